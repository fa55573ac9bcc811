//! What lies in a fixture: a data directory and a backup as older programs wrote them.

use std::fs;
use std::path::Path;
use std::process::Command;

use keyledger::domain::ids::Position;
use keyledger::ledger::frame::Frame;

use super::{Seed, bad, good};
use crate::targets::{number, scratch_dir};

/// Frames of a volume that become seeds: the first have little in them, and the more bytes one has, the less often
/// a change meets what matters.
const FRAMES: usize = 4;

pub fn all() -> Vec<Seed> {
    let dir = scratch_dir();
    for archive in ["format-0-restored.tar.gz", "backup-1.tar.gz"] {
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(archive);
        let unpacked =
            Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(dir.path()).status();
        assert!(unpacked.expect("tar runs").success());
    }
    let read = |name: &str| fs::read(dir.path().join(name)).expect("in the fixture");
    let volume = read("data/ledger/volume-00000001");
    let anchor = read("data/anchor");
    let snapshot = read("data/snapshots/00000000000000000035.kls");
    let mut seeds = vec![
        good("key_files", "kek", read("data/keys/kek-1.key")),
        good("key_files", "pepper", read("data/keys/pepper-1.key")),
        good("data_keys", "slots", read("data/datakeys")),
        good("snapshots", "first", read("data/snapshots/00000000000000000027.kls")),
        good("snapshots", "second", snapshot.clone()),
        bad("snapshots", "more-keys-than-bytes", more_keys(snapshot)),
        good("anchors", "written", anchor.clone()),
        bad("anchors", "last-generation", last_generation(anchor)),
        good("manifests", "backup", read("backup/manifest")),
        good("volumes", "sealed", volume.clone()),
    ];
    let mut rest = &volume[..];
    while let Some(at) = rest.windows(4).position(|four| four == b"KLFR") {
        let frame = &rest[at..];
        let next = frame[4..].windows(4).position(|four| four == b"KLFR").map(|next| next + 4);
        let first = number(frame, 8).and_then(Position::new).expect("a frame's position");
        // The last is followed by the index.
        let Some(frame) = next.map(|next| &frame[..next]) else { break };
        Frame::decode(frame.to_vec(), first).expect("a whole frame");
        seeds.push(good("frames", &format!("at-{first}"), frame));
        rest = &rest[at + frame.len()..];
    }
    seeds.sort_by_key(|seed| (seed.target, seed.bytes.len()));
    let mut frames = 0;
    seeds.retain(|seed| {
        frames += usize::from(seed.target == "frames");
        seed.target != "frames" || frames <= FRAMES
    });
    seeds
}

/// An anchor that has been written as often as its number can say.
fn last_generation(mut anchor: Vec<u8>) -> Vec<u8> {
    let slot = 4096;
    anchor[slot + 8..slot + 16].fill(0xff);
    crate::targets::seal(&mut anchor, slot..2 * slot).expect("as long as a slot");
    anchor
}

/// A snapshot whose index and header say of its keys that they are more than there can be.
fn more_keys(mut snapshot: Vec<u8>) -> Vec<u8> {
    const KEYS: u8 = 5;
    let mut at = usize::try_from(number(&snapshot, 120).expect("a header")).expect("inside");
    while snapshot[at] != KEYS {
        at += 11 + usize::from(u16::from_be_bytes([snapshot[at + 9], snapshot[at + 10]]));
    }
    let had = snapshot[at + 5..at + 9].try_into().map(u32::from_be_bytes).expect("4 bytes");
    let count_at = 72 + 8 * usize::from(KEYS - 1);
    let all = number(&snapshot, count_at).expect("a count") + u64::from(u32::MAX - had);
    snapshot[at + 5..at + 9].fill(0xff);
    snapshot[count_at..count_at + 8].copy_from_slice(&all.to_be_bytes());
    snapshot
}
