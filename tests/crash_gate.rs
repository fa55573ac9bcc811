//! The crash gate: nothing acknowledged is ever lost, and whatever a crash leaves is opened again.
//!
//! The real server is recorded as it works; from the recording, the directories that a crash could
//! leave are rebuilt, by the thousand, and each is recovered, checked, used and recovered again.
//!
//! - `KEYLEDGER_GATE_SECONDS`: how long to try states for; 7 if not set.
//! - `KEYLEDGER_GATE_SEED`: which points and losses are chosen; printed by each run.
//! - `KEYLEDGER_GATE_STATE`: the directory of a failing state that was kept, to try it alone.

mod common;
mod crash;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crash::case::Case;
use crash::control_frames::{OVER, WITHIN};
use crash::dice::Dice;
use crash::disk::Faults;
use crash::gate::{Course, Plan, Trace, run};
use crash::journal::USAGE;
use crash::recorder::build_shim;
use crash::table::Tally;
use crash::worker::{Setting, Worker};
use crash::{backups, case, control_frames, controls, recovery, uses, workloads};

/// What a run without settings uses: the same points and losses each time.
const SEED: u64 = 20_260_101;
const SECONDS: u64 = 7;

/// After this long the runs are recorded anew.
const ROUND: Duration = Duration::from_secs(60);

/// How long a control may look for failures, and how many show that it sees.
const CONTROL_TIME: Duration = Duration::from_secs(60);
const CONTROL_FAILURES: usize = 5;

/// How long the control that must not fail looks.
const COUNTER_TIME: Duration = Duration::from_secs(2);

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
    // Side by side: a run waits for the disk most of its time.
    let runs = thread::scope(|scope| {
        let small = scope.spawn(|| runtime.block_on(workloads::small_frames(shim)));
        let restarts = scope.spawn(|| runtime.block_on(workloads::restarts(shim)));
        let volumes = scope.spawn(|| runtime.block_on(workloads::volumes(shim)));
        let largest = scope.spawn(|| runtime.block_on(workloads::largest_frames(shim)));
        let backups = scope.spawn(|| runtime.block_on(backups::backups(shim)));
        let bounded = scope.spawn(|| runtime.block_on(uses::bounded(shim)));
        let before_reply = scope.spawn(|| runtime.block_on(uses::before_reply(shim)));
        let runs = [
            (small, 6),
            (restarts, 6),
            (volumes, 6),
            (largest, 2),
            (backups, 4),
            (bounded, 5),
            (before_reply, 5),
        ];
        runs.map(|(run, a_pass)| Course::new(run.join().expect("recorded"), a_pass))
    });
    let tails = backups::where_tails_are(&runs[4], 3);
    let crashes = [
        ("recovery in restarts", runs[1].case(dice)),
        ("recovery in volumes", runs[2].case(dice)),
        ("recovery in backup", backups::case_with_leftover(&tails, dice)),
    ];
    let recover =
        &|(name, case): (_, Case)| runtime.block_on(workloads::recovery_of(name, &case, shim));
    let recoveries = thread::scope(|scope| {
        let recoveries = crashes.map(|crash| scope.spawn(move || recover(crash)));
        recoveries.map(|recovery| Course::new(recovery.join().expect("recorded"), 2))
    });
    runs.into_iter().chain([tails]).chain(recoveries).collect()
}

#[test]
fn a_crash_anywhere_loses_nothing_acknowledged_and_the_controls_fail() {
    if let Some(home) = setting("KEYLEDGER_GATE_STATE") {
        return try_again(Path::new(&home));
    }
    let seed = number("KEYLEDGER_GATE_SEED", SEED);
    let mut left = Duration::from_secs(number("KEYLEDGER_GATE_SECONDS", SECONDS));
    let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("crash-gate");
    let shim = build_shim();
    tell(&format!("\ncrash gate: seed {seed}, {} s", left.as_secs()));
    let mut dice = Dice::new(seed);
    let mut tally = Tally::default();
    let (courses, plan) = loop {
        let courses = record(&shim, &mut dice);
        courses.iter().for_each(describe);
        let plan = Plan {
            seed: dice.any(),
            time: left.min(ROUND),
            faults: Faults::default(),
            setting: Setting::default(),
            enough_failures: usize::MAX,
            keep: Some(kept.clone()),
        };
        tally.add(run(&courses, &plan));
        left = left.saturating_sub(ROUND);
        if left.is_zero() {
            break (courses, plan);
        }
    };
    tell(&tally.to_string());
    let wrong = run_controls(&courses, &shim, &plan);
    assert!(
        tally.failed() == 0,
        "{} of {} states failed, kept below {}:\n{}each alone: KEYLEDGER_GATE_STATE=<its \
         directory> cargo test --test crash_gate",
        tally.failed(),
        tally.tried(),
        kept.display(),
        tally.failures()
    );
    assert!(wrong.is_empty(), "the gate sees what is not there or is blind: {wrong:?}");
}

fn describe(course: &Course) {
    let Trace { name, ops, answers, truth, .. } = &*course.trace;
    let (ops, answers, records) = (ops.len(), answers.len(), truth.records.len());
    let points = course.points.count();
    tell(&format!(
        "  {name}: {ops} operations, {answers} answers, {records} records, {points} points"
    ));
}

/// Runs the controls; answers those that were not as they must be.
fn run_controls(courses: &[Course], shim: &Path, plan: &Plan) -> Vec<&'static str> {
    let enough_failures = CONTROL_FAILURES;
    let plan = Plan { time: CONTROL_TIME, enough_failures, keep: None, ..plan.clone() };
    let brief = Plan { time: COUNTER_TIME, ..plan.clone() };
    let [small, restarts, .., before_reply, _, _, _, _] = courses else {
        panic!("a trace for each control")
    };
    let controls = [
        ("without fdatasync", true, controls::without_fdatasync(small, "", &plan)),
        ("no fdatasync of uses", true, controls::without_fdatasync(before_reply, USAGE, &plan)),
        ("journals removed early", true, controls::journals_removed_early(before_reply, &plan)),
        ("unfinished snapshots left", true, controls::unfinished_snapshots(restarts, shim, &plan)),
        ("frames over the bound", true, controls::bare_frames(shim, OVER, &plan)),
        ("frames within the bound", false, controls::bare_frames(shim, WITHIN, &brief)),
    ];
    tell("  controls: all but the last must fail");
    let mut wrong = Vec::new();
    for (name, must_fail, tally) in controls {
        let (failed, tried) = (tally.failed(), tally.tried());
        tell(&format!("  {name:<26}{tried:>7}{:>7}{failed:>9}", tried - failed));
        if let Some(failure) = tally.failures().lines().next() {
            tell(&format!("  {failure}"));
        }
        if tried == 0 || (failed > 0) != must_fail {
            wrong.push(name);
        }
    }
    wrong
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
