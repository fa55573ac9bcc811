//! Targets that read what the ledger keeps: records, frames, sealed volumes, the anchor.

use std::fs;

use keyledger::domain::ids::Position;
use keyledger::domain::subject::Subject;
use keyledger::ledger::anchor::Anchor;
use keyledger::ledger::export::Export;
use keyledger::ledger::frame::{Frame, FrameBuilder};
use keyledger::ledger::record::{
    Glance, RecordError, decode, decode_personal, encode, encode_personal, glance, salt,
};
use keyledger::merkle::{Frontier, HASH_BYTES, Hash};
use sha2::{Digest, Sha256};

use super::{number, scratch, seal};

/// What is decoded and encoded anew is the same event, and its encoding is that of the event alone; a glance
/// says the same as the whole record.
pub fn records(input: &[u8]) -> bool {
    let Ok(recorded) = decode(input) else {
        let _: Result<Glance<'_>, RecordError> = glance(input);
        return false;
    };
    let encoded = encode(&recorded);
    assert_eq!(decode(&encoded), Ok(recorded.clone()));
    let seen = glance(&encoded).expect("a glance at what was encoded");
    assert_eq!((seen.time, seen.previous), (recorded.time, recorded.previous));
    let (account, key) = match &recorded.subject {
        Subject::Key(account, key) => (Some(account), Some(*key)),
        Subject::Account(account) => (Some(account), None),
        Subject::Caller(_) | Subject::Service => (None, None),
    };
    assert_eq!(seen.tenant, account.map_or("", |account| account.tenant.as_str()));
    assert_eq!(seen.account, account.map_or("", |account| account.account.as_str()));
    assert_eq!(seen.key, key);
    assert_eq!(seen.of_caller, matches!(recorded.subject, Subject::Caller(_)));
    // A message may say a field twice; the last counts for both readers.
    if encoded == input {
        assert_eq!(glance(input), Ok(seen));
    }
    true
}

/// Personal fields are the same once more encoded, with the salt they had.
pub fn personal(input: &[u8]) -> bool {
    let Ok(personal) = decode_personal(input) else { return false };
    let again = encode_personal(&personal, [7; 32]);
    assert_eq!(salt(&again), Some([7; 32]));
    assert_eq!(decode_personal(&again), Ok(personal));
    true
}

/// A frame that is taken is its bytes, its records follow each other, and made anew it is the same.
pub fn frames(input: &[u8]) -> bool {
    let whole = frame(input);
    let mut resealed = input.to_vec();
    seal_frame(&mut resealed);
    frame(&resealed);
    whole
}

fn frame(bytes: &[u8]) -> bool {
    let first = number(bytes, 8).and_then(Position::new).unwrap_or(Position::FIRST);
    let Ok(frame) = Frame::decode(bytes.to_vec(), first) else { return false };
    assert_eq!(frame.as_bytes(), bytes);
    let mut next = frame.first();
    for (position, record) in frame.records() {
        assert_eq!(position, next);
        assert_eq!(frame.record(position), Some(record));
        next = next.next();
    }
    assert_eq!(frame.frontier().size(), frame.last().get());
    assert_eq!(frame.frontier().root(), frame.root());
    if first == Position::FIRST {
        let mut builder = FrameBuilder::new(&Frontier::new(), first);
        frame.records().for_each(|(_, record)| builder.push(record));
        let built = builder.finish();
        assert_eq!(built.as_bytes() == bytes, built.frontier() == frame.frontier());
    }
    true
}

/// Makes the checksums and the root of a frame hold, as far as its lengths lead; how long it is.
fn seal_frame(bytes: &mut [u8]) -> Option<usize> {
    let short = |bytes: &[u8], at: usize| -> Option<usize> {
        let found = bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_be_bytes(found.try_into().ok()?) as usize)
    };
    let behind = 24_usize.checked_add(short(bytes, 20)?)?;
    let mut at = 24;
    while at < behind {
        let (begin, length) = (at + 8, short(bytes, at)?);
        let checksum = crc32fast::hash(bytes.get(begin..begin.checked_add(length)?)?);
        bytes[at + 4..begin].copy_from_slice(&checksum.to_be_bytes());
        at = begin + length;
    }
    let peaks = usize::from(*bytes.get(behind)?);
    let root_at = behind + 1 + peaks * HASH_BYTES;
    let (hashes, _) = bytes.get(behind + 1..root_at)?.as_chunks::<HASH_BYTES>();
    let size = number(bytes, 8)?.checked_add(short(bytes, 16)? as u64)?.checked_sub(1)?;
    let tree = Frontier::from_parts(size, hashes.iter().map(|hash| Hash(*hash)).collect());
    if let Some(tree) = tree {
        bytes.get_mut(root_at..root_at + HASH_BYTES)?.copy_from_slice(&tree.root().0);
    }
    let end = root_at + HASH_BYTES + 4;
    seal(bytes, 0..end)?;
    Some(end)
}

/// A volume that is taken has the records that it says, one behind the other, all of them readable.
pub fn volumes(input: &[u8]) -> bool {
    let whole = volume(input);
    let mut resealed = input.to_vec();
    if seal_volume(&mut resealed).is_some() {
        volume(&resealed);
    }
    whole
}

const FOOTER: usize = 176;

fn volume(bytes: &[u8]) -> bool {
    let path = scratch("volume");
    fs::write(&path, bytes).expect("written");
    let Ok(export) = Export::open::<RecordError>(vec![path]) else { return false };
    let (Some(first), Some(last)) = (number(bytes, 16), number(bytes, bytes.len() - FOOTER + 16))
    else {
        panic!("a volume was taken that is too short for one");
    };
    let peaks = usize::from(bytes[24]);
    let (hashes, _) = bytes[32..32 + peaks * HASH_BYTES].as_chunks::<HASH_BYTES>();
    let before = Frontier::from_parts(first - 1, hashes.iter().map(|hash| Hash(*hash)).collect());
    let before = before.expect("the tree of a volume that was taken");
    let mut next = first;
    let read = export.records_behind(first - 1, before.root(), |position, record| {
        assert_eq!(position.get(), next);
        next = next.wrapping_add(1);
        decode(record).map(drop)
    });
    let Ok(reached) = read else { return false };
    assert_eq!((reached.position.get(), next), (last, last.wrapping_add(1)));
    true
}

/// Makes the checksums of a volume hold, and its digest.
fn seal_volume(bytes: &mut [u8]) -> Option<()> {
    let header = 32 + usize::from(*bytes.get(24)?) * HASH_BYTES + 4;
    seal(bytes, 0..header)?;
    let footer = bytes.len().checked_sub(FOOTER)?;
    let index = usize::try_from(number(bytes, footer + 48)?).ok()?.min(footer);
    let mut at = header;
    while at < index {
        at += seal_frame(bytes.get_mut(at..index)?)?;
    }
    for page in (index..footer).step_by(4096) {
        let _ = seal(bytes, page..page + 4096);
    }
    let digest = Sha256::digest(&bytes[..footer]);
    bytes[footer + 104..footer + 136].copy_from_slice(&digest);
    seal(bytes, footer..footer + FOOTER)
}

/// An anchor says what one of its slots says, and says it again once it is opened.
pub fn anchors(input: &[u8]) -> bool {
    let whole = anchor(input);
    let mut resealed = input.to_vec();
    let _ = seal(&mut resealed, 0..4096);
    let _ = seal(&mut resealed, 4096..8192);
    anchor(&resealed);
    whole
}

fn anchor(bytes: &[u8]) -> bool {
    let path = scratch("anchor");
    fs::write(&path, bytes).expect("written");
    let Ok(found) = Anchor::examine(&path) else { return false };
    let position = found.state.position.map_or(0, Position::get);
    let slots = [number(bytes, 16), number(bytes, 4096 + 16)];
    assert!(slots.contains(&Some(position)));
    let (mut anchor, state) = Anchor::open(&path).expect("what was read is opened");
    assert_eq!(state, found.state);
    let next = Position::new(position).map_or(Position::FIRST, Position::next);
    anchor.write(next, Hash([3; 32])).expect("written");
    assert_eq!(Anchor::read(&path).expect("read").position, Some(next));
    true
}
