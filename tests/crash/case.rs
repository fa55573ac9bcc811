//! One crash: the state it leaves, how it is recovered, and how a failing one is kept and tried again.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::dice::Dice;
use super::disk::Disk;
use super::gate::Trace;
use super::modes::{Mode, crash};
use super::points::Class;
use super::recovery::Job;
use super::tree::Tree;
use super::verify_uses::UseBounds;
use super::worker::{Worker, clear};

#[derive(Debug)]
pub struct Case {
    pub trace: Arc<Trace>,
    pub told: Told,
    pub class: Class,
    /// How many operations were done.
    pub point: usize,
    pub mode: Mode,
    pub seed: u64,
    pub tree: Tree,
    uses: Option<UseBounds>,
}

/// What the world had been told when the crash came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Told {
    pub trace: &'static str,
    pub answered: u64,
    pub ready: bool,
    /// How many verdicts on keys had been answered.
    pub verdicts: u64,
}

/// Openings of a state. The worst of what a crash does shows at the second.
const OPENINGS: usize = 3;

/// Operations told of before the crash of a kept state.
const TOLD_OF: usize = 60;

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { trace, point, mode, told, .. } = self;
        let (name, all, answered) = (trace.name, trace.ops.len(), told.answered);
        write!(f, "{name}, after {point} of {all} operations, {mode}, {answered} acknowledged")
    }
}

/// A failing state as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    what: String,
    problem: String,
    job: Job,
    seed: u64,
}

impl Case {
    /// What a crash leaves of the disk, which is one of the trace's.
    pub fn new(trace: &Arc<Trace>, disk: &Disk, class: Class, mode: Mode, seed: u64) -> Self {
        let point = disk.done;
        let (answered, ready) = (trace.answered(point), trace.is_ready(point));
        let uses = trace.use_bounds(point);
        let verdicts = uses.as_ref().map_or(0, |uses| uses.answered.values().sum());
        let told = Told { trace: trace.name, answered, ready, verdicts };
        let tree = crash(disk, mode, &mut Dice::new(seed));
        Case { trace: Arc::clone(trace), told, class, point, mode, seed, tree, uses }
    }

    /// Recovers the state in `place`. Its problem, if it has one.
    pub fn recover(&self, worker: &mut Worker, place: &Path) -> Result<(), String> {
        let root = place.join("state");
        clear(&root);
        self.tree.write(&root);
        let truth = write_truth(place, &self.trace);
        let result = open_again_and_again(self.job(root.clone(), truth), self.seed, worker);
        clear(&root);
        result
    }

    fn job(&self, root: PathBuf, truth: PathBuf) -> Job {
        Job {
            root,
            truth,
            answered: self.told.answered,
            ready: self.told.ready,
            seen: Vec::new(),
            acts: Vec::new(),
            keys: Vec::new(),
            close: true,
            verify: false,
            volume_bytes: self.trace.volume_bytes,
            frame_bytes: self.trace.frame_bytes,
            uses: self.uses.clone(),
        }
    }

    /// Keeps the state, untouched, and what is needed to try it again.
    pub fn keep(&self, problem: &str, place: &Path) {
        let home = place.join(format!("{}-{}-{:016x}", self.trace.name, self.point, self.seed));
        clear(&home);
        fs::create_dir_all(&home).expect("room for a failing state");
        self.tree.write(&home.join("state"));
        let job = self.job(home.join("state"), write_truth(&home, &self.trace));
        let kept =
            Kept { what: self.to_string(), problem: problem.to_owned(), job, seed: self.seed };
        let text = serde_json::to_string_pretty(&kept).expect("a case");
        fs::write(home.join("case.json"), text).expect("written");
        let before = &self.trace.ops[..self.point];
        let told_of = before.iter().enumerate().skip(self.point.saturating_sub(TOLD_OF));
        let lines: Vec<_> = told_of.map(|(at, op)| format!("{at} {op}\n")).collect();
        fs::write(home.join("operations.txt"), lines.concat()).expect("written");
    }
}

/// Tries a kept state again. What it was, and its problem if it still has one.
pub fn recover_kept(home: &Path, worker: &mut Worker) -> (String, Result<(), String>) {
    let text = fs::read(home.join("case.json")).expect("a kept state");
    let mut kept: Kept = serde_json::from_slice(&text).expect("a kept state");
    let again = super::worker::place_for_states();
    kept.job.root = again.path().join("state");
    Tree::read(&home.join("state")).write(&kept.job.root);
    let truth = kept.job.truth.file_name().expect("a file").to_owned();
    kept.job.truth = home.join(truth);
    let result = open_again_and_again(kept.job, kept.seed, worker);
    (kept.what, result)
}

fn open_again_and_again(mut job: Job, seed: u64, worker: &mut Worker) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    for opening in 1..=OPENINGS {
        job.verify = opening == OPENINGS;
        job.close = job.verify || job.frame_bytes > 0 || dice.toss();
        let report = worker.run(&job);
        if let Some(problem) = report.problem {
            return Err(format!("opening {opening}: {problem}"));
        }
        job.seen.extend(report.seen);
        job.acts.extend(report.acts);
        job.keys.extend(report.keys);
    }
    Ok(())
}

/// Writes the truth of a trace for the children, which read it once.
fn write_truth(place: &Path, trace: &Trace) -> PathBuf {
    let path = place.join(format!("{}.truth", trace.name));
    if !path.exists() {
        fs::write(&path, serde_json::to_vec(&trace.truth).expect("a truth")).expect("written");
    }
    path
}
