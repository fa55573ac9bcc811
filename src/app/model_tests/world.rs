//! The service under test: the real writer on the real key table, over an engine on its bench. It can
//! be stopped and started, and its power can be cut at a chosen instant.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::clock::{Clock, ManualClock};
use crate::domain::apply::apply;
use crate::domain::command::Command;
use crate::domain::event::Recorded;
use crate::domain::ids::Position;
use crate::domain::testing::at;
use crate::domain::time::Time;
use crate::ledger::anchor::{Anchor, AnchorKeeper};
use crate::ledger::conformance::{Bench, fast_home};
use crate::ledger::engine::{Ledger, LedgerError, LedgerReader};
use crate::ledger::frame::Frame;
use crate::ledger::lanes::Lane;
use crate::ledger::record;
use crate::ledger::replay::{Head, replay};
use crate::ledger::writer::{Answer, Start, Table, Writer, WriterHandle};
use crate::projection::key_table::KeyTable;
use crate::projection::table_writer::TableWriter;
use crate::random::SeededRandom;

/// The writer's clock. It looks at it before it takes the first command of a group, so while the clock
/// cannot be read, commands gather: what is asked meanwhile is decided as one group.
#[derive(Debug)]
struct HeldClock {
    hands: ManualClock,
    readable: Mutex<bool>,
    changed: Condvar,
}

impl HeldClock {
    fn new() -> Self {
        let hands = ManualClock::new(at(0));
        HeldClock { hands, readable: Mutex::new(false), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.readable.lock().unwrap()
    }

    fn set_readable(&self, readable: bool) {
        *self.lock() = readable;
        self.changed.notify_all();
    }
}

impl Clock for HeldClock {
    fn wall(&self) -> Time {
        let _readable = self.changed.wait_while(self.lock(), |readable| !*readable).unwrap();
        self.hands.wall()
    }

    fn monotonic(&self) -> Duration {
        self.hands.monotonic()
    }
}

/// What is done at an instant of the next append, on the writer's thread.
struct Trap {
    /// Just before the frame is handed to the engine, or just after it is durable.
    after: bool,
    spring: Box<dyn FnOnce() + Send>,
}

/// The ledger with a trap in its way.
struct Staged<L> {
    ledger: L,
    trap: Arc<Mutex<Option<Trap>>>,
}

impl<L> Staged<L> {
    fn pass(&self, after: bool) {
        let trap = self.trap.lock().unwrap().take_if(|trap| trap.after == after);
        if let Some(trap) = trap {
            (trap.spring)();
        }
    }
}

impl<L: Ledger> Ledger for Staged<L> {
    fn append(&mut self, frame: &Frame) -> Result<(), LedgerError> {
        self.pass(false);
        self.ledger.append(frame)?;
        self.pass(true);
        Ok(())
    }

    fn head(&self) -> Option<Position> {
        self.ledger.head()
    }

    fn reader(&self) -> Arc<dyn LedgerReader> {
        self.ledger.reader()
    }
}

/// What outlives the process: the ledger and the anchor.
struct Disk<B> {
    bench: B,
    home: TempDir,
}

impl<B: Bench> Disk<B> {
    fn new(seed: u64) -> Self {
        let (bench, home) = (B::new(seed), fast_home());
        B::close(bench.create().unwrap()).unwrap();
        drop(Anchor::create(&anchor(&home)).unwrap());
        Disk { bench, home }
    }

    /// What a crash at this instant leaves. The anchor may be in the middle of a write.
    fn crash(&self) -> Self {
        let (bench, home) = (self.bench.crash(), fast_home());
        std::fs::copy(anchor(&self.home), anchor(&home)).unwrap();
        Disk { bench, home }
    }
}

fn anchor(home: &TempDir) -> std::path::PathBuf {
    Path::join(home.path(), "anchor")
}

/// What the power cut left, and what could be seen from outside at that instant.
struct Cut<B> {
    left: Disk<B>,
    head: Option<Position>,
    answered: usize,
}

/// A process: everything that ends with it.
struct Running<L: Ledger + 'static> {
    clock: Arc<HeldClock>,
    table: Arc<KeyTable>,
    reader: Arc<dyn LedgerReader>,
    writer: WriterHandle,
    thread: Option<JoinHandle<Staged<L>>>,
    trap: Arc<Mutex<Option<Trap>>>,
}

impl<L: Ledger + 'static> Running<L> {
    fn submit(&self, commands: Vec<Command>) -> Vec<oneshot::Receiver<Answer>> {
        let submit = |command| self.writer.submit(Lane::Commands, command).unwrap();
        commands.into_iter().map(submit).collect()
    }

    /// Lets the writer finish what waits; answers the ledger.
    fn stop(&mut self) -> Option<L> {
        let thread = self.thread.take()?;
        self.writer.close();
        self.clock.set_readable(true);
        let staged = thread.join().unwrap();
        self.clock.set_readable(false);
        Some(staged.ledger)
    }
}

impl<L: Ledger + 'static> Drop for Running<L> {
    fn drop(&mut self) {
        // A failed check leaves it running; its threads and files go all the same.
        self.stop();
    }
}

/// The service and what it stands on.
pub(super) struct World<B: Bench> {
    // Dropped first: it lets go of the disk.
    running: Option<Running<B::L>>,
    disk: Arc<Disk<B>>,
    clock: Arc<HeldClock>,
    seed: u64,
    /// All records, folded anew beside the live table.
    pub(super) folded: TableWriter,
    /// All records that have been read from the ledger.
    pub(super) facts: Vec<Recorded>,
}

impl<B: Bench> World<B> {
    /// An empty ledger and a service on it.
    pub(super) fn new(seed: u64) -> Self {
        let clock = Arc::new(HeldClock::new());
        let (folded, facts) = (TableWriter::default(), Vec::new());
        let disk = Arc::new(Disk::new(seed));
        let mut world = World { running: None, disk, clock, seed, folded, facts };
        world.start();
        world
    }

    fn running(&self) -> &Running<B::L> {
        self.running.as_ref().expect("it runs between steps")
    }

    pub(super) fn clock(&self) -> &ManualClock {
        &self.clock.hands
    }

    pub(super) fn table(&self) -> &KeyTable {
        &self.running().table
    }

    pub(super) fn reader(&self) -> &dyn LedgerReader {
        &*self.running().reader
    }

    /// Opens the ledger and replays it, as a start does.
    fn start(&mut self) {
        // Other random bytes in each process.
        self.seed = self.seed.wrapping_add(1 << 32);
        let (mut anchor, anchored) = Anchor::open(&anchor(&self.disk.home)).unwrap();
        let ledger = self.disk.bench.open().expect("the ledger opens");
        let reader = ledger.reader();
        let (mut table, mut facts) = (TableWriter::default(), Vec::new());
        self.folded = TableWriter::default();
        let head = replay(&*reader, Head::empty(), &anchored, |_, bytes| {
            let fact = record::decode(bytes).expect("a record");
            apply(&mut table, &fact)?;
            apply(&mut self.folded, &fact)?;
            facts.push(fact);
            Ok::<_, crate::domain::apply::DoesNotFollow>(())
        });
        let head = head.expect("the ledger replays");
        let last_time = facts.last().map(|fact| fact.time);
        if let (Some(position), Some(time)) = (head.position, last_time) {
            anchor.write(position, head.frontier.root()).unwrap();
            table.publish(position, time);
        }
        self.facts = facts;
        let (key_table, trap) = (table.table(), Arc::default());
        let staged = Staged { ledger, trap: Arc::clone(&trap) };
        let start = Start { head: head.position, frontier: head.frontier, last_time };
        let clock: Arc<HeldClock> = Arc::clone(&self.clock);
        let random = Arc::new(SeededRandom::new(self.seed));
        let keeper = AnchorKeeper::start(anchor).unwrap();
        let (writer, thread) =
            Writer::start(staged, table, keeper, clock, random, start).expect("a thread");
        let (clock, thread) = (Arc::clone(&self.clock), Some(thread));
        self.running = Some(Running { clock, table: key_table, reader, writer, thread, trap });
    }

    /// Asks all of these as one group.
    pub(super) fn ask(&self, commands: Vec<Command>) -> Vec<Answer> {
        let waiting = self.running().submit(commands);
        self.clock.set_readable(true);
        let answers = waiting.into_iter().map(|answer| answer.blocking_recv().unwrap()).collect();
        self.clock.set_readable(false);
        answers
    }

    /// Stops in order and starts again.
    pub(super) fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// Stops in order.
    pub(super) fn stop(&mut self) {
        let mut running = self.running.take().expect("it runs");
        let ledger = running.stop().expect("it ran");
        // sled's file is held as long as there is a reader.
        drop(running);
        B::close(ledger).expect("closed in order");
    }

    /// Cuts the power while the group of these is made durable, just before it is or just after, and
    /// starts on what is left. If nothing had to be made durable, the power goes when all is still.
    ///
    /// What the process would have gone on to do, it does in a world of its own: its threads end in
    /// order, and what it writes and answers is seen by nobody. Answers what it would have answered.
    pub(super) fn cut_power(&mut self, commands: Vec<Command>, after: bool) -> Vec<Answer> {
        let head_before = self.table().head();
        let running = self.running.take().expect("it runs");
        let waiting = Arc::new(Mutex::new(running.submit(commands)));
        let cut = Arc::new(Mutex::new(None));
        let spring = {
            let (disk, table) = (Arc::clone(&self.disk), Arc::clone(&running.table));
            let (cut, waiting) = (Arc::clone(&cut), Arc::clone(&waiting));
            // It only looks: a panic here would be one of the writer's.
            move || {
                let arrived = |answer: &mut oneshot::Receiver<Answer>| {
                    !matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Empty))
                };
                let mut waiting = waiting.lock().unwrap();
                let answered = waiting.iter_mut().map(arrived).filter(|arrived| *arrived).count();
                let head = table.head();
                *cut.lock().unwrap() = Some(Cut { left: disk.crash(), head, answered });
            }
        };
        *running.trap.lock().unwrap() = Some(Trap { after, spring: Box::new(spring) });
        let mut running = running;
        let ledger = running.stop().expect("it ran");
        drop(running);
        let answers = std::mem::take(&mut *waiting.lock().unwrap());
        let answers = answers.into_iter().map(|answer| answer.blocking_recv().unwrap()).collect();
        let cut = cut.lock().unwrap().take();
        let left = match cut {
            Some(cut) => {
                assert_eq!(cut.head, head_before, "a head was published before its frame");
                assert_eq!(cut.answered, 0, "an answer left before its frame was durable");
                cut.left
            }
            None => self.disk.crash(),
        };
        B::close(ledger).expect("closed in order");
        self.disk = Arc::new(left);
        self.start();
        answers
    }

    /// Reads the records that have come since, and folds them.
    pub(super) fn read_on(&mut self) {
        let next = Position::new(self.facts.len() as u64 + 1).expect("not 0");
        let reader = Arc::clone(&self.running().reader);
        for frame in reader.frames_from(next) {
            let frame = frame.expect("readable");
            for (position, bytes) in frame.records() {
                let fact = record::decode(bytes).expect("a record");
                assert_eq!(fact.position, position);
                apply(&mut self.folded, &fact).expect("it follows");
                self.facts.push(fact);
            }
        }
    }
}
