//! The single writer: decides commands in groups, makes each group one durable frame, applies it,
//! and only then answers.
//!
//! It is an operating-system thread of its own. There is no rollback: what cannot be made durable
//! ends the process before any answer leaves.

mod commits;
mod group;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::clock::Clock;
use crate::domain::apply::apply;
use crate::domain::command::Command;
use crate::domain::event::Event;
use crate::domain::facts::FactsMut;
use crate::domain::ids::Position;
use crate::domain::refusal::Refusal;
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::ledger::anchor::AnchorKeeper;
use crate::ledger::durable::{AbortOnPanic, fail_stop};
use crate::ledger::engine::Ledger;
use crate::ledger::frame::FrameBuilder;
use crate::ledger::lanes::{Lane, Lanes, NotTaken, Refused, next_lane};
pub use crate::ledger::writer::commits::CommitFigures;
use crate::ledger::writer::commits::Commits;
use crate::ledger::writer::group::Group;
use crate::merkle::Frontier;
use crate::random::Random;

/// How far the wall clock may run from time that never steps before it is on record.
const CLOCK_STEP: Duration = Duration::from_secs(2);

/// How often an idle writer compares the clocks, so that slow drift is not taken for a step.
const CLOCK_CHECK: Duration = Duration::from_secs(60);

/// The read model the writer decides on and applies to.
pub trait Table: FactsMut + Send {
    /// Lets readers see that everything up to `head`, recorded at `time`, is durable and applied.
    /// MUST be called after the records have been applied and before any answer leaves.
    fn publish(&mut self, head: Position, time: Time);

    /// The latest time that a reader has judged by and may have told; records are never earlier.
    fn witnessed(&self) -> Time;
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The last record it caused; none if nothing had to change.
    pub position: Option<Position>,
    /// Whom or what that record is about.
    pub subject: Option<Subject>,
    /// Whether the call came before and this is what it did then.
    pub replayed: bool,
}

/// The answer to a command, sent once what it rests on is durable and applied.
pub type Answer = Result<Done, Refusal>;

#[derive(Debug)]
struct Entry {
    command: Command,
    answer: oneshot::Sender<Answer>,
}

type PendingAnswer = (oneshot::Sender<Answer>, Answer);

/// A handle to the writer, cheap to clone.
#[derive(Clone)]
pub struct WriterHandle {
    lanes: Arc<Lanes<Entry>>,
    published: Arc<Notify>,
    commits: Arc<Commits>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for WriterHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterHandle").field("waiting", &self.waiting()).finish()
    }
}

impl WriterHandle {
    /// Hands a command to the writer. The receiver fails only if the writer has stopped.
    ///
    /// # Errors
    /// [`NotTaken`] if too many commands wait or the writer takes no more.
    pub fn submit(
        &self,
        lane: Lane,
        command: Command,
    ) -> Result<oneshot::Receiver<Answer>, NotTaken> {
        self.offer(lane, command).map_err(|refused| refused.why)
    }

    /// As [`WriterHandle::submit`], but a command that is not taken is given back.
    ///
    /// # Errors
    /// [`Refused`] if too many commands wait or the writer takes no more.
    pub fn offer(
        &self,
        lane: Lane,
        command: Command,
    ) -> Result<oneshot::Receiver<Answer>, Refused<Box<Command>>> {
        let (answer, receiver) = oneshot::channel();
        let put = self.lanes.put(lane, Entry { command, answer }, self.clock.monotonic());
        put.map_err(|Refused { why, entry }| Refused { why, entry: Box::new(entry.command) })?;
        Ok(receiver)
    }

    /// How many commands wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lanes.len()
    }

    /// How many commands wait in each lane, and what was committed.
    #[must_use]
    pub fn figures(&self) -> CommitFigures {
        self.commits.figures(self.lanes.lengths())
    }

    /// Told after each group that has been published; one permit is kept if nobody waits, so that one
    /// who waits again and again misses nothing.
    #[must_use]
    pub fn published(&self) -> Arc<Notify> {
        Arc::clone(&self.published)
    }

    /// Takes no more commands; those that wait are still done.
    pub fn close(&self) {
        self.lanes.close();
    }
}

/// Where the log stands when the writer starts.
#[derive(Debug)]
pub struct Start {
    /// The last durable position; none if the log is empty.
    pub head: Option<Position>,
    /// The tree over all records so far.
    pub frontier: Frontier,
    /// The time of the last record; none if the log is empty.
    pub last_time: Option<Time>,
}

/// What the writer works with.
#[derive(Debug)]
pub struct Writer<L, T> {
    ledger: L,
    table: T,
    anchor: AnchorKeeper,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    lanes: Arc<Lanes<Entry>>,
    published: Arc<Notify>,
    commits: Arc<Commits>,
    /// Taken from its lane but did not fit the frame: first of the next group.
    carried: Option<Entry>,
    next: Position,
    frontier: Frontier,
    last_time: Option<Time>,
    /// What both clocks showed when they were last compared.
    seen: Option<(Time, Duration)>,
}

impl<L: Ledger + 'static, T: Table + 'static> Writer<L, T> {
    /// Starts the writer on a thread of its own, which ends with the ledger once the handle is
    /// closed and everything that waited is done.
    ///
    /// # Errors
    /// If the operating system has no thread to give.
    pub fn start(
        ledger: L,
        table: T,
        anchor: AnchorKeeper,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        start: Start,
    ) -> std::io::Result<(WriterHandle, JoinHandle<L>)> {
        let lanes = Arc::new(Lanes::default());
        let published = Arc::new(Notify::new());
        let commits = Arc::<Commits>::default();
        let handle = WriterHandle {
            lanes: Arc::clone(&lanes),
            clock: Arc::clone(&clock),
            published: Arc::clone(&published),
            commits: Arc::clone(&commits),
        };
        let writer = Writer {
            ledger,
            table,
            anchor,
            clock,
            random,
            lanes,
            published,
            commits,
            carried: None,
            next: start.head.map_or(Position::FIRST, Position::next),
            frontier: start.frontier,
            last_time: start.last_time,
            seen: None,
        };
        let thread = std::thread::Builder::new().name("ledger-writer".to_owned());
        Ok((handle, thread.spawn(move || writer.run())?))
    }

    fn run(mut self) -> L {
        let _guard = AbortOnPanic("the ledger writer panicked");
        while self.carried.is_some() || self.lanes.wait(CLOCK_CHECK) {
            self.commit_group();
        }
        let Writer { ledger, anchor, .. } = self;
        anchor.close();
        ledger
    }

    /// Decides what waits, makes it durable, applies it, publishes the head, answers.
    fn commit_group(&mut self) {
        let (now, step) = self.read_clocks();
        let builder = FrameBuilder::new(&self.frontier, self.next);
        let mut group = Group::new(&self.table, builder, self.next, now, &*self.random);
        if let Some(step) = step {
            group.add_step(step);
        }
        let waited = self.lanes.background_waited(self.clock.monotonic());
        // Without what was carried: the share is of what the lanes give.
        let mut begun = None;
        while !group.is_full() {
            let next = self.carried.take().or_else(|| {
                let (count, bytes) = group.size();
                let (first, empty) = *begun.get_or_insert((count, bytes));
                self.lanes.take(next_lane(waited, count - first, bytes - empty))
            });
            let Some(entry) = next else { break };
            if let Some(entry) = group.admit(entry) {
                self.carried = Some(entry);
                break;
            }
        }
        let (builder, facts, answers) = group.into_parts();
        if let Some(last) = facts.last() {
            let head = last.position;
            let frame = builder.finish();
            let begun = self.clock.monotonic();
            if let Err(error) = self.ledger.append(&frame) {
                fail_stop("a frame could not be made durable", &error);
            }
            let took = self.clock.monotonic().saturating_sub(begun);
            self.commits.note(facts.len(), took);
            for fact in &facts {
                if let Err(error) = apply(&mut self.table, fact) {
                    fail_stop("a durable record could not be applied", &error);
                }
            }
            self.frontier = frame.frontier().clone();
            self.next = head.next();
            self.last_time = Some(now);
            self.table.publish(head, now);
            self.anchor.note(head, frame.root());
            self.published.notify_one();
        }
        for (sender, answer) in answers {
            // Whoever asked may have gone away; the command is done all the same.
            let _ = sender.send(answer);
        }
    }

    /// The time the next records carry, and the step of the wall clock since the last look, if it
    /// made one.
    fn read_clocks(&mut self) -> (Time, Option<Event>) {
        let (wall, monotonic) = (self.clock.wall(), self.clock.monotonic());
        let expected = match self.seen {
            Some((then, at)) => Some(then.plus(monotonic.saturating_sub(at))),
            None => self.last_time.filter(|last| *last > wall),
        };
        self.seen = Some((wall, monotonic));
        let stepped = |expected: &Time| {
            expected.since(wall) > CLOCK_STEP || wall.since(*expected) > CLOCK_STEP
        };
        let step = expected.filter(stepped).map(|expected| Event::ClockStepped { wall, expected });
        let now = wall.max(self.table.witnessed());
        (self.last_time.map_or(now, |last| last.max(now)), step)
    }
}
