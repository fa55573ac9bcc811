//! The gate against what it must find: each control breaks one thing that keeps the log safe, and
//! must then see states fail. A gate that sees none is blind.

use std::path::Path;
use std::sync::Arc;

use super::control_frames::record;
use super::disk::Faults;
use super::gate::{Course, Plan, Trace, run};
use super::table::Tally;
use super::trace::Op;
use super::truth::Truth;
use super::worker::Setting;

/// sled's ending for a snapshot that is not finished.
const UNFINISHED: &str = ".generating";

/// Our own fdatasync does nothing.
pub fn without_fdatasync(course: &Course, plan: &Plan) -> Tally {
    let faults = Faults { no_fdatasync: true };
    run(std::slice::from_ref(course), &Plan { faults, ..plan.clone() })
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

/// Frames of this length in bare sled with our settings and syncs.
pub fn bare_frames(shim: &Path, frame_bytes: usize, plan: &Plan) -> Tally {
    let (ops, answers) = record(shim, frame_bytes);
    let first_point = answers[0].op + 1;
    let name = "bare sled";
    let truth = Truth::default();
    let frame_bytes = frame_bytes as u64;
    let trace = Trace { name, ops, answers, truth, first_point, volume_bytes: 0, frame_bytes };
    run(&[Course::new(trace, 24)], plan)
}
