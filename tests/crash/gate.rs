//! The gate: crashes traces at sampled points in sampled ways and has each state recovered, by as
//! many children as there are cores.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::answers::{Answer, Verdict};
use super::case::{Case, Told};
use super::dice::Dice;
use super::disk::{Disk, Faults};
use super::journal::{Flush, Uses};
use super::modes::Mode;
use super::points::Points;
use super::table::Tally;
use super::trace::Op;
use super::truth::Truth;
use super::verify_uses::UseBounds;
use super::worker::{Setting, Worker, place_for_states};

/// What a recorded run did, what it answered, and what is true because of it.
#[derive(Debug)]
pub struct Trace {
    pub name: &'static str,
    pub ops: Vec<Op>,
    pub answers: Vec<Answer>,
    pub truth: Truth,
    /// What was done before this is where the run began.
    pub first_point: usize,
    /// The setting of the server.
    pub volume_bytes: u64,
    /// Not 0: bare sled, with frames of this length.
    pub frame_bytes: u64,
    /// If the run is about uses of keys: these.
    pub uses: Option<Uses>,
}

impl Trace {
    /// What a crash here demands of the uses on record.
    pub fn use_bounds(&self, point: usize) -> Option<UseBounds> {
        let starts = self.ops.iter().enumerate().filter(|(_, op)| matches!(op, Op::Start));
        let starts: Vec<_> = starts.map(|(at, _)| at).collect();
        self.uses.as_ref().map(|uses| uses.at(point, &starts))
    }

    /// The same operations, in this order.
    pub fn reordered(&self, order: &[usize]) -> Trace {
        let mut places = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, at)| places[*at] = place);
        let answer = |answer: &Answer| Answer { op: places[answer.op], ..*answer };
        let uses = self.uses.as_ref().map(|uses| Uses {
            before_reply: uses.before_reply,
            verdicts: uses
                .verdicts
                .iter()
                .map(|verdict| Verdict { op: places[verdict.op], ..verdict.clone() })
                .collect(),
            flushes: uses
                .flushes
                .iter()
                .map(|flush| Flush {
                    written: places[flush.written],
                    synced: flush.synced.map(|synced| places[synced]),
                    ..flush.clone()
                })
                .collect(),
        });
        Trace {
            ops: order.iter().map(|at| self.ops[*at].clone()).collect(),
            answers: self.answers.iter().map(answer).collect(),
            truth: self.truth.clone(),
            uses,
            ..*self
        }
    }

    /// The last position answered before the crash.
    pub fn answered(&self, point: usize) -> u64 {
        let before = self.answers.iter().filter(|answer| answer.op < point);
        before.map(|answer| answer.position).max().unwrap_or(0)
    }

    /// Whether a server had said before the crash that it was ready.
    pub fn is_ready(&self, point: usize) -> bool {
        self.ops[..point].iter().any(|op| matches!(op, Op::Said { .. }))
    }
}

/// A trace and where to crash it, this often in one pass over it.
#[derive(Clone, Debug)]
pub struct Course {
    pub trace: Arc<Trace>,
    pub points: Arc<Points>,
    pub a_pass: usize,
}

impl Course {
    pub fn new(trace: Trace, a_pass: usize) -> Self {
        Course::only(Arc::new(trace), a_pass, |_| true)
    }

    /// Crashed only at the points that `keep` holds for.
    pub fn only(trace: Arc<Trace>, a_pass: usize, keep: impl Fn(usize) -> bool) -> Self {
        let first = trace.first_point;
        let points = Points::of(&trace.ops).only(|point| point >= first && keep(point));
        Course { trace, points: Arc::new(points), a_pass }
    }

    /// One state that a crash of the trace can leave.
    pub fn case(&self, dice: &mut Dice) -> Case {
        let (class, point) = self.points.pick(dice);
        let (mode, seed) = (Mode::pick(dice), dice.any());
        let mut disk = Disk::new(Faults::default());
        self.trace.ops[..point].iter().for_each(|op| disk.apply(op));
        Case::new(&self.trace, &disk, class, mode, seed)
    }
}

/// How a gate is run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub time: Duration,
    pub faults: Faults,
    pub setting: Setting,
    /// The gate ends when this many states have failed.
    pub enough_failures: usize,
    /// Where failing states are kept.
    pub keep: Option<PathBuf>,
}

/// States that may wait to be recovered.
const WAITING: usize = 2;

/// Tries the courses by turns until the time is over.
pub fn run(courses: &[Course], plan: &Plan) -> Tally {
    let states = place_for_states();
    let gate = Gate::new(plan);
    let (put, take) = sync_channel(WAITING);
    let take = Mutex::new(take);
    let cores = 2 * thread::available_parallelism().map_or(2, std::num::NonZero::get);
    thread::scope(|scope| {
        for number in 0..cores {
            let (gate, take) = (&gate, &take);
            let place = states.path().join(format!("worker-{number}"));
            std::fs::create_dir(&place).expect("a new directory");
            scope.spawn(move || gate.recover(take, &place));
        }
        let mut dice = Dice::new(plan.seed);
        let mut tried = HashSet::new();
        while !gate.is_over() {
            courses.iter().for_each(|course| gate.pass(course, &mut dice, &mut tried, &put));
        }
        drop(put);
    });
    gate.finish()
}

struct Gate<'a> {
    plan: &'a Plan,
    started: Instant,
    tally: Mutex<Tally>,
}

impl<'a> Gate<'a> {
    #[expect(clippy::disallowed_methods, reason = "a gate has a time to run for")]
    fn new(plan: &'a Plan) -> Self {
        Gate { plan, started: Instant::now(), tally: Mutex::default() }
    }

    fn is_over(&self) -> bool {
        let failed = self.tally.lock().expect("no panic").failed();
        self.started.elapsed() >= self.plan.time || failed >= self.plan.enough_failures
    }

    fn finish(self) -> Tally {
        let mut tally = self.tally.into_inner().expect("no panic");
        tally.time = self.started.elapsed();
        tally
    }

    /// Goes through a trace once and hands on a state for each of some points of it.
    fn pass(
        &self,
        course: &Course,
        dice: &mut Dice,
        tried: &mut HashSet<(Told, [u8; 32])>,
        put: &SyncSender<Case>,
    ) {
        let mut picked: Vec<_> = (0..course.a_pass)
            .map(|_| {
                let (class, point) = course.points.pick(dice);
                (point, class, Mode::pick(dice), dice.any())
            })
            .collect();
        picked.sort_by_key(|(point, ..)| *point);
        let trace = &course.trace;
        let mut disk = Disk::new(self.plan.faults);
        for (point, class, mode, seed) in picked {
            if self.is_over() {
                return;
            }
            trace.ops[disk.done..point].iter().for_each(|op| disk.apply(op));
            let case = Case::new(trace, &disk, class, mode, seed);
            if !tried.insert((case.told, case.tree.digest())) {
                self.tally.lock().expect("no panic").equal += 1;
                continue;
            }
            put.send(case).expect("the workers wait for cases");
        }
    }

    /// Recovers states as they come.
    fn recover(&self, take: &Mutex<Receiver<Case>>, place: &std::path::Path) {
        let mut worker = Worker::new(self.plan.setting.clone());
        loop {
            let next = take.lock().expect("no panic").recv();
            let Ok(case) = next else { return };
            let result = case.recover(&mut worker, place);
            let mut tally = self.tally.lock().expect("no panic");
            tally.count(&case, result.as_ref().err());
            if let (Err(problem), Some(keep)) = (&result, &self.plan.keep) {
                case.keep(problem, keep);
            }
        }
    }
}
