//! Every reader of bytes that others wrote, fed with what was kept, with what a server writes, and with what both
//! become when they are changed. `targets` says what is fed and what must hold.
//!
//! A run is repeated by its seed. `KEYLEDGER_FUZZ_SEED`, `KEYLEDGER_FUZZ_RUNS` (changed inputs of each target) and
//! `KEYLEDGER_FUZZ_TARGET` (that one alone) choose another one; `KEYLEDGER_FUZZ_SECONDS` goes on for so long, all
//! targets together. An input that a target fails on is kept where the failure says; put it into
//! `corpus/<target>/`, where it is fed first from then on. `KEYLEDGER_FUZZ_KEEP=1` writes what a server writes into
//! the corpora anew. The same targets run under libFuzzer: see `fuzz/run`.

#![expect(unreachable_pub, reason = "targets are another crate's too")]

mod mutate;
mod seeds;
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyledger::clock::{Clock, SystemClock};
use keyledger::grpc::access;
use mutate::{Dice, mutated};
use peak_alloc::PeakAlloc;
use targets::{ALL, Shape, Target};

/// Counts what is held, so that an input cannot take memory that it does not have.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Changed inputs of each target, unless the environment says how many, or for how long.
const RUNS: usize = 400;

/// Calls of a server are a thousand times as dear as other inputs.
const RUNS_OF_CALLS: usize = 150;

/// Most bytes that may be held at once for an input, besides so many for each of its bytes: buffers of files, and
/// what the library of settings takes.
const MOST_HELD: usize = 4 << 20;
const MOST_HELD_OF_A_BYTE: usize = 256;

/// Most bytes of all that is kept in the repository.
const MOST_KEPT: u64 = 300 * 1024;

/// One test at a time: what they hold is counted together.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target)
}

/// The inputs that are kept of a target, by their names.
fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(corpus(target)).expect("each target has a corpus") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        found.push((name, fs::read(&path).expect("readable")));
    }
    found.sort();
    found
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Feeds an input; whether it was taken. It is on disk while it is fed, so that it is there if the process goes.
fn feed(target: &Target, input: &[u8], told: &str) -> bool {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", target.name));
    fs::write(&path, input).expect("written");
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let taken = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let held = MEMORY.peak_usage().saturating_sub(before);
    let Ok(taken) = taken else {
        panic!("{} fails on {told}, which is kept in {}", target.name, path.display());
    };
    // A server holds what it holds.
    let of_server =
        target.shape == Shape::Call || ["page_tokens", "http_requests"].contains(&target.name);
    let most = MOST_HELD + MOST_HELD_OF_A_BYTE * input.len();
    assert!(
        of_server || held <= most,
        "{} holds {held} bytes for {} of {told}, which is kept in {}",
        target.name,
        input.len(),
        path.display()
    );
    taken
}

/// The targets of this run.
fn chosen() -> impl Iterator<Item = &'static Target> {
    let only = std::env::var("KEYLEDGER_FUZZ_TARGET").ok();
    if let Some(only) = &only {
        assert!(targets::named(only).is_some(), "there is no target {only}");
    }
    ALL.iter().filter(move |target| only.as_ref().is_none_or(|only| only == target.name))
}

#[test]
fn what_a_server_writes_is_taken() {
    let _alone = alone();
    let keep = variable("KEYLEDGER_FUZZ_KEEP").is_some();
    let mut of_targets = BTreeSet::new();
    targets::calls::begin_anew();
    let seeds = seeds::all();
    for seed in seeds.iter().filter(|_| keep) {
        fs::create_dir_all(corpus(seed.target)).expect("made");
        fs::write(corpus(seed.target).join(&seed.name), &seed.bytes).expect("written");
    }
    for seed in seeds {
        let target = targets::named(seed.target).expect("a target");
        let told = format!("the seed {}", seed.name);
        let taken = feed(target, &seed.bytes, &told);
        assert!(taken || !seed.good, "{} does not take {told}", seed.target);
        of_targets.insert(seed.target);
    }
    let all: BTreeSet<_> = ALL.iter().map(|target| target.name).collect();
    assert_eq!(of_targets, all, "each target has seeds");
}

#[test]
fn the_kept_inputs_are_few_and_each_is_of_a_target() {
    let mut bytes = 0;
    for target in ALL {
        let inputs = kept(target.name);
        assert!(!inputs.is_empty(), "{} has no corpus", target.name);
        bytes += inputs.iter().map(|(_, input)| input.len() as u64).sum::<u64>();
    }
    assert!(bytes <= MOST_KEPT, "{bytes} bytes are kept");
    for entry in fs::read_dir(corpus("")).expect("corpora") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(targets::named(&name).is_some(), "no target {name}");
    }
}

#[test]
fn a_call_of_each_rpc_is_kept() {
    let calls = kept("calls");
    // The services of gRPC itself are others' code.
    for (path, ..) in access::table().filter(|(path, ..)| !path.starts_with("/grpc.")) {
        let line = format!("{path}\n");
        let is_kept = calls.iter().any(|(_, input)| input.starts_with(line.as_bytes()));
        assert!(is_kept, "none of {path}: KEYLEDGER_FUZZ_KEEP=1 writes one");
    }
}

#[test]
fn no_input_panics_holds_too_much_or_is_taken_for_another() {
    let _alone = alone();
    let seed = variable("KEYLEDGER_FUZZ_SEED").unwrap_or(1);
    let clock = SystemClock::new();
    let seconds = variable("KEYLEDGER_FUZZ_SECONDS").map(Duration::from_secs);
    let count = u32::try_from(chosen().count()).expect("a few");
    for target in chosen() {
        let mut inputs: Vec<_> = kept(target.name);
        for (name, input) in &inputs {
            feed(target, input, name);
        }
        let made = seeds::of_rpcs(target.name);
        inputs.extend(made.into_iter().map(|seed| (seed.name, seed.bytes)));
        let inputs: Vec<_> = inputs.into_iter().map(|(_, input)| input).collect();
        let runs = if target.shape == Shape::Call { RUNS_OF_CALLS } else { RUNS };
        let runs = variable("KEYLEDGER_FUZZ_RUNS")
            .map_or(runs, |runs| usize::try_from(runs).expect("a number of runs"));
        let until = seconds.map(|all| clock.monotonic() + all / count);
        let on = |done| until.map_or(done < runs, |until| clock.monotonic() < until);
        let mut dice = Dice::new(seed);
        let (mut done, mut taken) = (0, 0);
        while on(done) {
            let of = &inputs[dice.below(inputs.len())];
            let input = mutated(target, of, &inputs, &mut dice);
            let told = format!("input {done} of KEYLEDGER_FUZZ_SEED={seed}");
            taken += usize::from(feed(target, &input, &told));
            done += 1;
        }
        eprintln!("{}: seed {seed}, {done} inputs, {taken} taken", target.name);
    }
}
