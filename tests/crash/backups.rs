//! The run with backups, and what a crash leaves of one: the file its tail is written to.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyledger::proto::v1::{self, backup_response::Part};
use tokio::task::JoinSet;
use tonic::{Code, Streaming};

use super::case::Case;
use super::dice::Dice;
use super::gate::{Course, Trace};
use super::hand::Hand;
use super::trace::Op;
use super::tree::Tree;
use super::workloads::{MOST_METADATA, Run, SMALL_VOLUME, kill_under_load, stop};

/// What the names of a backup's own files in the ledger's directory begin with.
const TAIL: &str = "backup-tail";
const LEDGER: &str = "data/ledger";

/// Backups that follow each other in one start of the server.
const BACKUPS: usize = 4;

/// How often a backup may be refused because the one before has not noticed that its client left.
const MOST_REFUSALS: usize = 1000;

/// States that are looked at for one with a leftover in it.
const MOST_LOOKED_AT: usize = 1000;

/// Backups one after the other, while keys are made, volumes sealed and snapshots made: from the
/// beginning, on top of the one before, left by its client, cut by a kill -9.
pub async fn backups(shim: &Path) -> Trace {
    let mut run = Run::new("backup meanwhile", shim, SMALL_VOLUME);
    for start in 0..2 {
        let (server, hand) = run.start().await;
        let over = Arc::new(AtomicBool::new(false));
        let mut working = JoinSet::new();
        for of in 0..2 {
            working.spawn(work_until(hand.clone(), of, Arc::clone(&over)));
        }
        let mut last = v1::BackupHead::default();
        for _ in 0..BACKUPS {
            last = whole_backup(&hand, &last).await;
            drop(begin(&hand, &v1::BackupHead::default()).await);
        }
        over.store(true, Ordering::SeqCst);
        while let Some(done) = working.join_next().await {
            done.expect("no panic");
        }
        if start == 0 {
            let (_, cut) = begin(&hand, &last).await;
            kill_under_load(server, &hand).await;
            drop(cut);
        } else {
            stop(server);
        }
    }
    let trace = run.finish();
    let made = |begin: &str| {
        let named = |op: &&Op| matches!(op, Op::Rename { to, .. } if to.starts_with(begin));
        trace.ops.iter().filter(named).count()
    };
    assert!(made(&format!("{LEDGER}/{TAIL}")) >= 2 * BACKUPS, "each whole backup has a tail");
    for begin in ["data/ledger/volume-", "data/snapshots/"] {
        assert!(made(begin) > 0, "the run made no {begin}…");
    }
    trace
}

/// Makes and revokes keys until it is over.
async fn work_until(hand: Hand, of: usize, over: Arc<AtomicBool>) {
    while !over.load(Ordering::SeqCst) {
        let large = hand.create(&format!("large {of}"), MOST_METADATA).await.expect("created");
        hand.create(&format!("small {of}"), 0).await.expect("created");
        hand.revoke(&large).await;
    }
}

/// Begins a backup on top of an earlier one; answers its head and what follows.
async fn begin(
    hand: &Hand,
    last: &v1::BackupHead,
) -> (v1::BackupHead, Streaming<v1::BackupResponse>) {
    let request = v1::BackupRequest {
        after_volume: last.volumes,
        known_head: last.position,
        known_root: last.root.clone(),
    };
    for _ in 0..MOST_REFUSALS {
        match hand.client.admin.clone().backup(request.clone()).await {
            Ok(parts) => {
                let mut parts = parts.into_inner();
                let Part::Head(head) = next(&mut parts).await.expect("a part") else {
                    panic!("a backup begins with its head")
                };
                hand.told.head(head.position, &head.root);
                return (head, parts);
            }
            // The one before is noticed to be over at its next part.
            Err(refused) if refused.code() == Code::ResourceExhausted => {
                hand.status().await;
            }
            Err(error) => panic!("a backup: {error}"),
        }
    }
    panic!("a backup that nobody waits for goes on for ever")
}

async fn next(parts: &mut Streaming<v1::BackupResponse>) -> Option<Part> {
    parts.message().await.expect("the backup goes on").and_then(|message| message.part)
}

/// Receives a backup to its end; answers its head.
async fn whole_backup(hand: &Hand, last: &v1::BackupHead) -> v1::BackupHead {
    let (head, mut parts) = begin(hand, last).await;
    let (mut bytes, mut up_to, mut end) = (0, 0, None);
    while let Some(part) = next(&mut parts).await {
        match part {
            Part::File(file) => up_to = up_to.max(file.last),
            Part::Data(data) => bytes += data.len() as u64,
            Part::End(whole) => end = Some(whole),
            Part::Head(_) | Part::FileEnd(_) => {}
        }
    }
    assert_eq!(end.expect("it is whole").bytes, bytes);
    assert_eq!(up_to, head.position, "it holds every record up to its head and none behind");
    head
}

/// Whether an interrupted backup has left something here.
pub fn has_leftover(root: &Tree) -> bool {
    let ledger = LEDGER.split('/').try_fold(root, |at, name| match at {
        Tree::Dir(entries) => entries.get(name),
        Tree::File(_) => None,
    });
    let Some(Tree::Dir(names)) = ledger else { return false };
    names.keys().any(|name| name.starts_with(TAIL))
}

/// An open has removed what an interrupted backup left.
pub fn check_tidied(root: &Path) -> Result<(), String> {
    for entry in fs::read_dir(root.join(LEDGER)).map_err(|error| error.to_string())? {
        let name = entry.map_err(|error| error.to_string())?.file_name();
        if name.to_string_lossy().starts_with(TAIL) {
            return Err(format!("a backup's {} is still there", name.display()));
        }
    }
    Ok(())
}

/// The trace, crashed only where a crash can leave something of a backup: from where a tail is begun
/// until its removal is durable.
pub fn where_tails_are(course: &Course, a_pass: usize) -> Course {
    let ops = &course.trace.ops;
    let is_tail = |path: &str| path.rsplit('/').next().is_some_and(|name| name.starts_with(TAIL));
    let mut ledger = None;
    let (mut there, mut removed) = (false, false);
    let mut may_be_left = vec![false; ops.len() + 1];
    for (at, op) in ops.iter().enumerate() {
        match op {
            Op::MakeDir { path, inode } if path == LEDGER => ledger = Some(*inode),
            Op::MakeFile { path, .. } if is_tail(path) => (there, removed) = (true, false),
            Op::Remove { path } if is_tail(path) => removed = true,
            Op::Sync { inode } if Some(*inode) == ledger && removed => there = false,
            _ => {}
        }
        may_be_left[at + 1] = there;
    }
    Course::only(Arc::clone(&course.trace), a_pass, |point| may_be_left[point])
}

/// A state with the leftover of a backup in it.
pub fn case_with_leftover(tails: &Course, dice: &mut Dice) -> Case {
    let mut cases = (0..MOST_LOOKED_AT).map(|_| tails.case(dice));
    cases.find(|case| has_leftover(&case.tree)).expect("a crash can leave a tail")
}
