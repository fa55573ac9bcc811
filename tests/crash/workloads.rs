//! The runs that are recorded: the real program, driven by a real client.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyledger::merkle::{Frontier, leaf_hash};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::answers::{Answer, answers};
use super::case::Case;
use super::gate::Trace;
use super::hand::{Hand, Notes, Told};
use super::recorder::Recorder;
use super::trace::Op;
use super::truth::{Truth, hash, proposed, read_log};
use crate::common::credential_in;
use crate::common::process::Process;

/// No volume of a run is full, unless the run is about that.
pub const ONE_VOLUME: u64 = 64 * 1024 * 1024;

/// The least a volume can be.
pub const SMALL_VOLUME: u64 = 64 * 1024;

/// As much metadata as a key may have.
pub const MOST_METADATA: usize = 32;

pub struct Run<'a> {
    name: &'static str,
    shim: &'a Path,
    recorder: Recorder,
    told: Told,
    volume_bytes: u64,
    /// What else is configured.
    pub config: &'static str,
}

impl<'a> Run<'a> {
    pub fn new(name: &'static str, shim: &'a Path, volume_bytes: u64) -> Self {
        let (recorder, told) = (Recorder::new(), Told::default());
        Run { name, shim, recorder, told, volume_bytes, config: "" }
    }

    /// Has clocks run so many times as fast.
    pub fn faster(mut self, speed: u32) -> Self {
        self.recorder.speed = Some(speed);
        self
    }

    pub fn data_dir(&self) -> PathBuf {
        self.recorder.data_dir()
    }

    pub async fn start(&mut self) -> (Process, Hand) {
        let config = self.recorder.beside("keyledger.toml");
        // The scrub only reads, at times of its own.
        let Run { volume_bytes, config: more, .. } = self;
        let text =
            format!("{more}[ledger]\nvolume_bytes = {volume_bytes}\nscrub_bytes_per_second = 0\n");
        fs::write(&config, text).expect("written");
        let arguments = [OsStr::new("--config"), config.as_os_str()];
        let server = self.recorder.serve(self.shim, &arguments);
        let client = server.admin(&self.recorder.data_dir()).await;
        let hand = Hand { client, told: self.told.clone() };
        hand.put_account().await;
        (server, hand)
    }

    pub fn finish(self) -> Trace {
        let ops = self.recorder.finish();
        let answers = answers(&ops);
        let Notes { keys, positions, roots } = self.told.take();
        let left: Vec<_> = answers.iter().map(|answer| answer.position).collect();
        let unseen: Vec<_> = positions.iter().filter(|position| !left.contains(position)).collect();
        assert!(unseen.is_empty(), "clients were told of {unseen:?}, the shim saw no such answer");
        let data_dir = self.recorder.data_dir();
        let log = read_log(&data_dir, self.volume_bytes).expect("a whole log");
        check_roots(&log, &roots);
        let records: Vec<_> = log.iter().map(|record| hash(record)).collect();
        let truth =
            Truth { credential: credential_in(&data_dir), records, proposed: proposed(&ops), keys };
        let (name, volume_bytes) = (self.name, self.volume_bytes);
        let (first_point, frame_bytes, uses) = (0, 0, None);
        Trace { name, ops, answers, truth, first_point, volume_bytes, frame_bytes, uses }
    }
}

/// What a client was told is the root at some head is the root there in the log.
fn check_roots(log: &[Vec<u8>], told: &[(u64, Vec<u8>)]) {
    let mut frontier = Frontier::new();
    let roots: BTreeMap<_, _> = (1..)
        .zip(log)
        .map(|(position, record)| {
            frontier.push(leaf_hash(record));
            (position, frontier.root().0.to_vec())
        })
        .collect();
    for (position, root) in told {
        assert_eq!(roots.get(position), Some(root), "the root told at head {position}");
    }
}

pub fn stop(server: Process) {
    let (status, log) = server.terminate();
    assert!(status.success(), "{log}");
}

/// One client, one call after the other: small frames.
pub async fn small_frames(shim: &Path) -> Trace {
    let mut run = Run::new("small frames", shim, ONE_VOLUME);
    let (server, hand) = run.start().await;
    for n in 0..12 {
        let mut keys = Vec::new();
        for part in 0..4 {
            keys.push(hand.create(&format!("key {n}.{part}"), 0).await.expect("created"));
        }
        hand.revoke(&keys[0]).await;
        hand.disable(keys[1].clone()).await;
        hand.rotate(keys[2].clone()).await;
        hand.status().await;
    }
    stop(server);
    run.finish()
}

/// Many calls in flight, each with as much personal data as a key may have: the largest frames.
pub async fn largest_frames(shim: &Path) -> Trace {
    let mut run = Run::new("largest frames", shim, ONE_VOLUME);
    let (server, hand) = run.start().await;
    create_at_once(&hand, 128).await;
    stop(server);
    run.finish()
}

/// Creates large keys, all calls in flight together, and revokes some.
async fn create_at_once(hand: &Hand, count: usize) {
    let mut calls = JoinSet::new();
    for n in 0..count {
        let hand = hand.clone();
        let name = format!("{n:0>200}");
        calls.spawn(async move { hand.create(&name, MOST_METADATA).await.expect("created") });
    }
    let ids = calls.join_all().await;
    for id in ids.iter().step_by(4) {
        hand.revoke(id).await;
    }
    hand.status().await;
}

/// One start after the other, some ended by kill -9 under load.
pub async fn restarts(shim: &Path) -> Trace {
    let mut run = Run::new("restarts", shim, ONE_VOLUME);
    for start in 0..6 {
        let (server, hand) = run.start().await;
        hand.status().await;
        if start % 3 == 2 {
            let id = hand.create(&format!("key of start {start}"), 0).await.expect("created");
            hand.revoke(&id).await;
            stop(server);
        } else {
            kill_under_load(server, &hand).await;
        }
    }
    run.finish()
}

pub async fn kill_under_load(server: Process, hand: &Hand) {
    let created = Arc::new(Semaphore::new(0));
    let mut clients = JoinSet::new();
    for of in 0..4 {
        clients.spawn(hand.clone().create_until_the_end(of, Arc::clone(&created)));
    }
    drop(created.acquire_many(12).await.expect("nobody closes it"));
    Recorder::kill(server);
    clients.join_all().await;
}

/// Volumes as small as can be: they are prepared, filled, sealed and removed all the time, and
/// snapshots made of them, over a kill -9 and orderly stops.
pub async fn volumes(shim: &Path) -> Trace {
    let mut run = Run::new("volumes", shim, SMALL_VOLUME);
    for start in 0..3 {
        let (server, hand) = run.start().await;
        create_at_once(&hand, 16).await;
        if start == 1 {
            kill_under_load(server, &hand).await;
        } else {
            stop(server);
        }
    }
    let trace = run.finish();
    for made in ["data/ledger/volume-", "data/snapshots/"] {
        let named = |op: &Op| matches!(op, Op::Rename { to, .. } if to.starts_with(made));
        assert!(trace.ops.iter().any(named), "the run made no {made}…");
    }
    trace
}

/// The recovery of a state that a crash left, and some use of it: crashed again, it is a crash within
/// the recovery from a crash.
pub async fn recovery_of(name: &'static str, case: &Case, shim: &Path) -> Trace {
    let before = &case.trace;
    let mut run = Run {
        name,
        shim,
        recorder: Recorder::on(&case.tree, case.told.ready),
        told: Told::of(before.truth.keys.clone()),
        volume_bytes: before.volume_bytes,
        config: "",
    };
    let (server, hand) = run.start().await;
    hand.status().await;
    kill_under_load(server, &hand).await;
    let (server, hand) = run.start().await;
    hand.status().await;
    stop(server);
    let first_point = run.recorder.before();
    let mut trace = run.finish();
    let answered = case.told.answered;
    for (position, (then, now)) in
        (1..=answered).zip(before.truth.records.iter().zip(&trace.truth.records))
    {
        assert!(then == now, "{case}: acknowledged position {position} has other bytes");
    }
    assert!(trace.truth.records.len() as u64 >= answered, "{case}: acknowledged records are lost");
    let told_then = Answer { op: first_point - 1, position: answered };
    trace.answers.insert(0, told_then);
    trace.truth.proposed.extend(&before.truth.proposed);
    Trace { first_point, ..trace }
}
