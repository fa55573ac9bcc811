//! The crash gate: nothing acknowledged is ever lost, and whatever a crash leaves is opened again.
//!
//! The real server is recorded as it works; from the recording, the directories that a crash could
//! leave are rebuilt, by the thousand, and each is recovered, checked, used and recovered again.
//!
//! - `KEYLEDGER_GATE_SECONDS`: how long to try states for; 12 if not set.
//! - `KEYLEDGER_GATE_SEED`: which points and losses are chosen; printed by each run.
//! - `KEYLEDGER_GATE_STATE`: the directory of a failing state that was kept, to try it alone.

mod common;
mod crash;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crash::dice::Dice;
use crash::disk::Faults;
use crash::gate::{Course, Plan, Trace, run};
use crash::recorder::build_shim;
use crash::worker::{Setting, Worker};
use crash::{case, control_frames, controls, recovery, workloads};

/// What a run without settings uses: the same points and losses each time.
const SEED: u64 = 20_260_101;
const SECONDS: u64 = 12;

/// How long one control may look for a failure, and how many are enough to see that it sees.
const CONTROL_TIME: Duration = Duration::from_secs(20);
const CONTROL_FAILURES: usize = 5;

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number(name: &str, default: u64) -> u64 {
    setting(name)
        .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Past libtest, which keeps the words of a test that succeeds to itself.
fn tell(text: &str) {
    writeln!(std::io::stderr(), "{text}").expect("standard error");
}

/// Records the runs, and the recovery of some states that crashes of theirs leave.
fn record(shim: &Path, dice: &mut Dice) -> Vec<Course> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut courses = vec![
        Course::new(runtime.block_on(workloads::small_frames(shim)), 24),
        Course::new(runtime.block_on(workloads::restarts(shim)), 24),
        Course::new(runtime.block_on(workloads::volumes(shim)), 24),
        Course::new(runtime.block_on(workloads::largest_frames(shim)), 8),
    ];
    for (at, name) in [(1, "recovery in restarts"), (2, "recovery in volumes")] {
        let case = courses[at].case(dice);
        let recovery = runtime.block_on(workloads::recovery_of(name, &case, shim));
        courses.push(Course::new(recovery, 8));
    }
    courses
}

#[test]
fn a_crash_anywhere_loses_nothing_acknowledged_and_the_controls_fail() {
    if let Some(home) = setting("KEYLEDGER_GATE_STATE") {
        return try_again(Path::new(&home));
    }
    let seed = number("KEYLEDGER_GATE_SEED", SEED);
    let time = Duration::from_secs(number("KEYLEDGER_GATE_SECONDS", SECONDS));
    let shim = build_shim();
    let courses = record(&shim, &mut Dice::new(seed));
    tell(&format!("\ncrash gate: seed {seed}, {} s", time.as_secs()));
    for course in &courses {
        let Trace { name, ops, answers, truth, .. } = &*course.trace;
        let (ops, answers, records) = (ops.len(), answers.len(), truth.records.len());
        tell(&format!("  {name}: {ops} operations, {answers} answers, {records} records"));
    }
    let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("crash-gate");
    let plan = Plan {
        seed,
        time,
        faults: Faults::default(),
        setting: Setting::default(),
        enough_failures: usize::MAX,
        keep: Some(kept.clone()),
    };
    let tally = run(&courses, &plan);
    tell(&tally.to_string());
    let blind = run_controls(&courses, &shim, &plan);
    assert!(
        tally.failed() == 0,
        "{} of {} states failed, kept below {}:\n{}each alone: KEYLEDGER_GATE_STATE=<its \
         directory> cargo test --test crash_gate",
        tally.failed(),
        tally.tried(),
        kept.display(),
        tally.failures()
    );
    assert!(blind.is_empty(), "the gate is blind: {blind:?}");
}

/// Answers the controls that were not as they must be.
fn run_controls(courses: &[Course], shim: &Path, plan: &Plan) -> Vec<&'static str> {
    let plan = Plan {
        time: CONTROL_TIME.min(plan.time),
        enough_failures: CONTROL_FAILURES,
        keep: None,
        ..plan.clone()
    };
    let [small, restarts, ..] = courses else { panic!("three traces") };
    let controls = [
        ("without fdatasync", controls::without_fdatasync(small, &plan)),
        ("unfinished snapshots left", controls::with_unfinished_snapshots(restarts, shim, &plan)),
        ("frames over the bound", controls::bare_frames(shim, true, &plan)),
    ];
    tell("  controls, which must fail");
    let mut blind = Vec::new();
    for (name, tally) in controls {
        let (failed, tried) = (tally.failed(), tally.tried());
        tell(&format!("  {name:<26}{tried:>7}{:>7}{failed:>9}", tried - failed));
        tell(tally.failures().lines().next().unwrap_or_default());
        if failed == 0 {
            blind.push(name);
        }
    }
    blind
}

fn try_again(home: &Path) {
    let mut worker = Worker::new(Setting::default());
    let (what, result) = case::recover_kept(home, &mut worker);
    tell(&format!("\ncrash gate: {what}"));
    if let Err(problem) = result {
        panic!("{problem}");
    }
    tell("  it is recovered");
}

#[test]
#[ignore = "recovers states: run by the gate in a process of its own"]
fn child_that_recovers() {
    recovery::serve_jobs();
}

#[test]
#[ignore = "writes frames: run by a control in a process of its own"]
fn child_that_writes_frames() {
    control_frames::write_frames();
}
