//! The gate against what it must find: each control breaks one thing that keeps the log safe, and
//! must then see states fail. A gate that sees none is blind.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::control_frames::record;
use super::disk::Faults;
use super::gate::{Course, Plan, Trace, run};
use super::journal::{ends, journal_of};
use super::table::Tally;
use super::trace::Op;
use super::truth::Truth;
use super::worker::Setting;

/// sled's ending for a snapshot that is not finished.
const UNFINISHED: &str = ".generating";

/// Our own fdatasync does nothing to the files whose paths begin so.
pub fn without_fdatasync(course: &Course, begin: &'static str, plan: &Plan) -> Tally {
    let faults = Faults { no_fdatasync: Some(begin) };
    run(std::slice::from_ref(course), &Plan { faults, ..plan.clone() })
}

/// Each usage journal is removed as soon as it has ended, before its uses are on record.
pub fn journals_removed_early(course: &Course, plan: &Plan) -> Tally {
    let Trace { ops, .. } = &*course.trace;
    let ends = ends(ops);
    let is_commit = commits(ops);
    let mut early = vec![0; ops.len() + 1];
    let mut order: Vec<_> = (0..ops.len()).map(|at| (at, at)).collect();
    for (at, op) in ops.iter().enumerate() {
        let Op::Remove { path } = op else { continue };
        let end = journal_of(path).and_then(|journal| ends.get(&journal));
        if let Some(end) = end.filter(|end| **end < at) {
            order[at].0 = *end;
            // Until a commit that may have put them on record.
            let commit = (*end..at).find(|later| is_commit[*later]).unwrap_or(at);
            early[*end + 2..=commit].fill(1);
        }
    }
    // What comes earlier goes behind what was there.
    order.sort_by_key(|(place, at)| (*place, *at));
    let order: Vec<_> = order.into_iter().map(|(_, at)| at).collect();
    let trace = Arc::new(course.trace.reordered(&order));
    run(&[Course::only(trace, course.a_pass, |point| early[point] == 1)], plan)
}

/// Unfinished snapshots are left where they are: in the children, removing one is only pretended.
pub fn unfinished_snapshots(course: &Course, shim: &Path, plan: &Plan) -> Tally {
    let ops = &course.trace.ops;
    let mut unfinished = vec![false; ops.len() + 1];
    let mut is_there = false;
    for (at, op) in ops.iter().enumerate() {
        match op {
            Op::MakeFile { path, .. } if path.ends_with(UNFINISHED) => is_there = true,
            Op::Rename { from, .. } if from.ends_with(UNFINISHED) => is_there = false,
            _ => {}
        }
        unfinished[at + 1] = is_there;
    }
    let course = Course::only(Arc::clone(&course.trace), course.a_pass, |point| unfinished[point]);
    let keep = Some((shim.to_owned(), UNFINISHED.to_owned()));
    run(&[course], &Plan { setting: Setting { keep }, ..plan.clone() })
}

/// Which operations make something of the ledger durable.
fn commits(ops: &[Op]) -> Vec<bool> {
    let mut of_ledger = HashMap::new();
    let is_commit = ops.iter().map(|op| match op {
        Op::MakeFile { path, inode } => {
            of_ledger.insert(*inode, path.starts_with("data/ledger/"));
            false
        }
        Op::SyncData { inode } => of_ledger.get(inode) == Some(&true),
        _ => false,
    });
    is_commit.collect()
}

/// Frames of this length in bare sled with our settings and syncs.
pub fn bare_frames(shim: &Path, frame_bytes: usize, plan: &Plan) -> Tally {
    let (ops, answers) = record(shim, frame_bytes);
    let first_point = answers[0].op + 1;
    let name = "bare sled";
    let truth = Truth::default();
    let frame_bytes = frame_bytes as u64;
    let trace =
        Trace { name, ops, answers, truth, first_point, volume_bytes: 0, frame_bytes, uses: None };
    run(&[Course::new(trace, 24)], plan)
}
