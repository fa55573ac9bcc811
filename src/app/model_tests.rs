//! The model test: random commands, groups, clocks, restarts and crashes on the real writer, key table
//! and verdict, over each engine, against a simple model.
//!
//! After each step every answer, record and verdict must be the model's, the live table a fold of the
//! log; after each restart and crash the replayed table too. What was acknowledged must be there, and
//! of the group that was being made durable when the power went, all or nothing.
//!
//! A run is named by its seed. `KEYLEDGER_MODEL_RUNS=n` makes n runs on the simulated engine and a part
//! of them on volumes, `KEYLEDGER_MODEL_SEED=n` exactly the one of that seed on each. A run that fails is made shorter as long as
//! it fails, and its seed printed.

mod callers;
mod check;
mod erasure;
mod model;
mod orders;
mod peppers;
mod picks;
mod rules;
mod script;
mod verdict;
mod world;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use proptest_state_machine::ReferenceStateMachine;

use crate::ledger::conformance::{Bench, SimBench, VolumeBench};
use model::Model;
use script::Step;
use world::World;

/// How many runs are made unless told otherwise.
const RUNS: u64 = 500;

/// One of how many runs is made on volumes too, where each takes some twenty times as long.
const VOLUMES_ONE_OF: u64 = 20;

/// The embedded ledger with volumes so small that a run fills some.
type Volumes = VolumeBench<8192>;

/// What a line begins with that names the run about to begin.
const BEGUN: &str = "model run of seed ";

/// Most steps of a run.
const STEPS: usize = 40;

fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config =
        Config { cases: 1, failure_persistence: None, max_shrink_iters: 500, ..Config::default() };
    TestRunner::new_with_rng(config, rng)
}

/// Plays a script on an engine; answers what there was to see, step by step.
fn play<B: Bench>(seed: u64, mut model: Model, steps: &[Step], seen: impl Fn()) -> Vec<String> {
    let mut world = World::<B>::new(seed);
    let mut trace = vec![check::begin(&mut world, &model)];
    for step in steps {
        seen();
        model = Model::apply(model, step);
        trace.push(check::play(&mut world, step, &model));
    }
    world.stop();
    trace
}

/// The run of a seed; answers what there was to see.
fn run<B: Bench>(seed: u64) -> Vec<String> {
    let trace = Mutex::new(Vec::new());
    let result = runner(seed).run(&Model::sequential_strategy(1..STEPS), |(model, steps, seen)| {
        // Steps that were not reached are the first to go when a failed run is made shorter.
        let count = || {
            seen.as_ref().map(|seen| seen.fetch_add(1, Ordering::SeqCst));
        };
        *trace.lock().unwrap() = play::<B>(seed, model, &steps, count);
        Ok(())
    });
    match result {
        Ok(()) => trace.into_inner().unwrap(),
        Err(TestError::Fail(reason, (_, steps, _))) => panic!(
            "the run of seed {seed} failed: {reason}\nKEYLEDGER_MODEL_SEED={seed} repeats it. \
             Made shorter, it is:\n{steps:#?}"
        ),
        Err(TestError::Abort(reason)) => panic!("the run of seed {seed} was given up: {reason}"),
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Runs the seed asked for, or the first few: one of `one_of` of those asked for.
fn run_seeds<B: Bench>(one_of: u64) {
    let runs = number("KEYLEDGER_MODEL_RUNS").unwrap_or(RUNS).div_ceil(one_of);
    let seeds = number("KEYLEDGER_MODEL_SEED").map_or(0..runs, |seed| seed..seed + 1);
    for seed in seeds {
        writeln!(std::io::stdout(), "{BEGUN}{seed}").unwrap();
        run::<B>(seed);
    }
}

/// Runs a test in a process of its own: what the service cannot go on from ends its process, which
/// then cannot say which run it was.
fn in_a_process_of_its_own(child: &str) {
    let child = format!("{}::{child}", module_path!());
    let name = child.split_once("::").expect("the crate comes first").1;
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).join("\n");
    let (begun, said): (Vec<_>, Vec<_>) = said.lines().partition(|line| line.starts_with(BEGUN));
    let last = begun.last().and_then(|line| line.strip_prefix(BEGUN)).expect("a run was begun");
    assert!(
        output.status.success(),
        "{}\n{}: the run of seed {last} failed; KEYLEDGER_MODEL_SEED={last} repeats it",
        said.join("\n"),
        output.status
    );
}

#[test]
#[ignore = "may end its process: run by a test below in a process of its own"]
fn child_on_the_simulated_engine() {
    run_seeds::<SimBench>(1);
}

#[test]
#[ignore = "may end its process: run by a test below in a process of its own"]
fn child_on_volumes() {
    run_seeds::<Volumes>(VOLUMES_ONE_OF);
}

#[test]
fn the_service_is_what_the_model_says_on_the_simulated_engine() {
    in_a_process_of_its_own("child_on_the_simulated_engine");
}

#[test]
fn the_service_is_what_the_model_says_on_volumes() {
    in_a_process_of_its_own("child_on_volumes");
}

#[test]
fn a_seed_tells_a_run_step_by_step_whatever_the_engine() {
    for seed in [3, 1_000_003] {
        let trace = run::<SimBench>(seed);
        assert!(trace == run::<SimBench>(seed), "on the same engine");
        assert!(trace == run::<Volumes>(seed), "on volumes");
    }
    assert_ne!(run::<SimBench>(3), run::<SimBench>(4));
}

/// Whether an order was done whose record takes more than half a frame.
fn is_bulky((order, answer): &(model::Order, model::Answer)) -> bool {
    matches!((&order.act, answer), (model::Act::Create { bulky: true, .. }, Ok((_, false))))
}

/// The runs say little if they do not get everywhere.
#[test]
fn scripts_get_everywhere() {
    let (mut kinds, mut refusals, mut verdicts) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut repeats, mut cut, mut parted) = (0, [0; 2], 0);
    for seed in 0..300 {
        let script = Model::sequential_strategy(1..STEPS).new_tree(&mut runner(seed)).unwrap();
        let (mut model, steps, _) = script.current();
        for step in &steps {
            model = Model::apply(model, step);
            for (_, answer) in &model.orders {
                match answer {
                    Err(refusal) => {
                        refusals.insert(refusal.split(' ').next().unwrap().to_owned());
                    }
                    Ok((_, replayed)) => repeats += usize::from(*replayed),
                }
            }
            parted += usize::from(model.orders.iter().filter(|order| is_bulky(order)).count() > 1);
            if let Step::Crash { kept, .. } = step {
                let changed =
                    |(_, answer): &(_, model::Answer)| matches!(answer, Ok((Some(_), false)));
                cut[usize::from(*kept)] += usize::from(model.orders.iter().any(changed));
            }
            for (key, words) in
                model.keys.keys().flat_map(|key| model::WORDS.map(|words| (key, words)))
            {
                verdicts.insert(model.verdict(*key, words).map(|(name, _)| name));
            }
        }
        kinds.extend(model.log.iter().map(|entry| entry.kind));
    }
    assert_eq!(kinds.len(), 19, "{kinds:?}");
    assert_eq!(refusals.len(), 25, "{refusals:?}");
    assert_eq!(verdicts.len(), 7, "{verdicts:?}");
    assert!(parted > 50, "{parted} groups that do not fit one frame");
    assert!(repeats > 50, "{repeats} repeats");
    assert!(cut.iter().all(|cut| *cut > 100), "crashes while something was lost and kept: {cut:?}");
}
