//! A writer on a real ledger in a directory of its own, with a gate before each append.

use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard};

use tempfile::TempDir;
use tokio::sync::oneshot;

use super::*;
use crate::clock::ManualClock;
use crate::domain::account_rules::PutAccount;
use crate::domain::facts::FactsMut;
use crate::ledger::anchor::{Anchor, AnchorState};
use crate::ledger::engine::{LedgerError, LedgerReader};
use crate::ledger::frame::Frame;
use crate::ledger::record;
use crate::ledger::replay::{Head, replay};
use crate::ledger::volumes::VolumeLedger;
use crate::projection::key_table::KeyTable;
use crate::projection::table_writer::TableWriter;
use crate::random::SeededRandom;

#[derive(Debug, Default)]
struct Passage {
    shut: bool,
    /// How many may pass although it is shut.
    passes: usize,
    /// Whether one stands before it.
    waits: bool,
    /// First and last position of what passed.
    passed: Vec<(u64, u64)>,
}

/// Holds appends back while it is shut.
#[derive(Debug, Default)]
pub(super) struct Gate {
    passage: Mutex<Passage>,
    changed: Condvar,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, Passage> {
        self.passage.lock().unwrap()
    }

    pub(super) fn shut(&self) {
        self.lock().shut = true;
    }

    pub(super) fn open(&self) {
        self.lock().shut = false;
        self.changed.notify_all();
    }

    pub(super) fn let_one_pass(&self) {
        let mut passage = self.lock();
        passage.passes += 1;
        passage.waits = false;
        self.changed.notify_all();
    }

    /// Waits until an append stands before the shut gate.
    pub(super) fn wait_for_append(&self) {
        let _passage = self.changed.wait_while(self.lock(), |passage| !passage.waits).unwrap();
    }

    /// First and last position of every frame that was appended.
    pub(super) fn appended(&self) -> Vec<(u64, u64)> {
        self.lock().passed.clone()
    }

    fn pass(&self) {
        let mut passage = self.lock();
        passage.waits = passage.shut && passage.passes == 0;
        self.changed.notify_all();
        let held = |passage: &mut Passage| passage.shut && passage.passes == 0;
        let mut passage = self.changed.wait_while(passage, held).unwrap();
        passage.waits = false;
        passage.passes = passage.passes.saturating_sub(1);
    }
}

/// The ledger behind the gate.
#[derive(Debug)]
pub(super) struct Gated {
    ledger: VolumeLedger,
    gate: Arc<Gate>,
}

impl Ledger for Gated {
    fn append(&mut self, frame: &Frame) -> Result<(), LedgerError> {
        self.gate.pass();
        self.ledger.append(frame)?;
        self.gate.lock().passed.push((frame.first().get(), frame.last().get()));
        Ok(())
    }

    fn head(&self) -> Option<Position> {
        self.ledger.head()
    }

    fn reader(&self) -> Arc<dyn LedgerReader> {
        self.ledger.reader()
    }
}

/// A running writer.
pub(super) struct House {
    pub(super) clock: Arc<ManualClock>,
    pub(super) gate: Arc<Gate>,
    pub(super) table: Arc<KeyTable>,
    pub(super) writer: WriterHandle,
    thread: JoinHandle<Gated>,
    dir: TempDir,
}

/// A writer that has ended, and what it left.
pub(super) struct Closed {
    pub(super) clock: Arc<ManualClock>,
    gate: Arc<Gate>,
    dir: TempDir,
}

impl House {
    /// A new ledger; records 1 and 2 are the policy and the account `acme/a` on this plan.
    pub(super) fn new(plan: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("ledger")).unwrap();
        VolumeLedger::create(&dir.path().join("ledger")).unwrap();
        drop(Anchor::create(&dir.path().join("anchor")).unwrap());
        let clock = Arc::new(ManualClock::new(at(0)));
        let house = Closed { clock, gate: Arc::default(), dir }.open();
        done(house.ask(by(the_service(), Act::SetPolicy(policy()))));
        let plan = Some(plan_name(plan));
        done(house.ask(by(admin(), Act::PutAccount(PutAccount { plan, ..put("a") }))));
        house
    }

    pub(super) fn submit(&self, command: Command) -> oneshot::Receiver<Answer> {
        self.writer.submit(Lane::Commands, command).unwrap()
    }

    pub(super) fn ask(&self, command: Command) -> Answer {
        self.submit(command).blocking_recv().unwrap()
    }

    /// Has all of these waiting before the writer takes the first of them; the group before
    /// theirs records one event.
    pub(super) fn submit_as_one_group(
        &self,
        commands: impl IntoIterator<Item = Command>,
    ) -> Vec<oneshot::Receiver<Answer>> {
        self.gate.shut();
        let renamed = PutAccount {
            plan: None,
            renamed: true,
            basis: self.table.standing(&account("a")).map(|standing| standing.account.position),
            ..put("a")
        };
        let first = self.submit(by(admin(), Act::PutAccount(renamed)));
        self.gate.wait_for_append();
        let waiting = commands.into_iter().map(|command| self.submit(command)).collect();
        self.gate.open();
        done(first.blocking_recv().unwrap());
        waiting
    }

    pub(super) fn close(self) -> Closed {
        self.writer.close();
        self.thread.join().unwrap().ledger.close().unwrap();
        Closed { clock: self.clock, gate: self.gate, dir: self.dir }
    }
}

impl Closed {
    /// Starts a writer on what there is.
    pub(super) fn open(self) -> House {
        let (anchor, _) = Anchor::open(&self.dir.path().join("anchor")).unwrap();
        let ledger = open(self.dir.path()).unwrap();
        let (mut table, start) = fold(&*ledger.reader());
        if let (Some(head), Some(time)) = (start.head, start.last_time) {
            table.publish(head, time);
        }
        let key_table = table.table();
        let gated = Gated { ledger, gate: Arc::clone(&self.gate) };
        let keeper = AnchorKeeper::start(anchor).unwrap();
        let random = Arc::new(SeededRandom::new(1));
        let clock: Arc<ManualClock> = Arc::clone(&self.clock);
        let (writer, thread) = Writer::start(gated, table, keeper, clock, random, start).unwrap();
        let Closed { clock, gate, dir } = self;
        House { clock, gate, table: key_table, writer, thread, dir }
    }

    /// Every record of the log.
    pub(super) fn facts(&self) -> Vec<Recorded> {
        self.read(|reader| {
            let frames: Vec<Frame> =
                reader.frames_from(Position::FIRST).collect::<Result<_, _>>().unwrap();
            let records = frames.iter().flat_map(Frame::records);
            records.map(|(_, bytes)| record::decode(bytes).unwrap()).collect()
        })
    }

    /// First and last position of every frame.
    pub(super) fn frames(&self) -> Vec<(u64, u64)> {
        self.read(|reader| {
            let frames = reader.frames_from(Position::FIRST).map(Result::unwrap);
            frames.map(|frame| (frame.first().get(), frame.last().get())).collect()
        })
    }

    /// The table folded anew from the log.
    pub(super) fn replayed(&self) -> TableWriter {
        self.read(|reader| fold(reader).0)
    }

    pub(super) fn anchored(&self) -> AnchorState {
        Anchor::read(&self.dir.path().join("anchor")).unwrap()
    }

    fn read<T>(&self, read: impl FnOnce(&dyn LedgerReader) -> T) -> T {
        let ledger = open(self.dir.path()).unwrap();
        let result = read(&*ledger.reader());
        ledger.close().unwrap();
        result
    }
}

fn open(dir: &Path) -> Result<VolumeLedger, LedgerError> {
    VolumeLedger::open(&dir.join("ledger"), 64 * 1024)
}

fn fold(reader: &dyn LedgerReader) -> (TableWriter, Start) {
    let (mut table, mut last_time) = (TableWriter::default(), None);
    let empty = AnchorState { position: None, root: Frontier::new().root() };
    let head = replay(reader, Head::empty(), &empty, |_, bytes| {
        let fact = record::decode(bytes).unwrap();
        last_time = Some(fact.time);
        apply(&mut table, &fact)
    });
    let head = head.unwrap();
    // Who gives the commands of these tests: a fact without a record, so that positions begin with them.
    table.put_caller(ADMIN, working_admin());
    (table, Start { head: head.position, frontier: head.frontier, last_time })
}
