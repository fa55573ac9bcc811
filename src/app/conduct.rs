//! What callers did that changed nothing, on its way to the log: reads of the history and refused calls, noted
//! as they happen and put on record minute by minute by a thread of its own, in the background lane.
//!
//! What is noted lies in memory until its minute is over: an orderly stop puts it on record, any other end of
//! the process loses the open minute.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::own_command::{self, WriterGone};
use crate::app::sealing;
use crate::clock::Clock;
use crate::domain::command::Act;
use crate::domain::conduct::window::{ConductWindow, Read, RefusedOne, start_of};
use crate::domain::conduct::{CallsRefused, Named, Reader, RecordConduct};
use crate::domain::event::EventKind;
use crate::domain::personal::Personal;
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::ledger::durable::AbortOnPanic;
use crate::ledger::writer::WriterHandle;
use crate::random::Random;
use crate::vault::{Scope, Vault};

/// How often is looked whether a minute is over.
const EVERY: Duration = Duration::from_secs(1);

/// Records that are handed to the writer together: their commit is short, since a command that comes meanwhile
/// waits for it.
const BATCH: usize = 32;

/// The most windows that wait to be put on record. While there are so many, the open one goes on beyond its
/// minute: nothing is lost, and memory keeps its bound.
const MAX_WAITING: usize = 4;

/// Who reads what: the name of an RPC that shows history.
pub(crate) mod rpc {
    pub(crate) const STREAM_EVENTS: &str = "AuditService/StreamEvents";
    pub(crate) const GET_KEY_TIMELINE: &str = "AuditService/GetKeyTimeline";
    pub(crate) const GET_KEY_AT: &str = "AuditService/GetKeyAt";
    pub(crate) const GET_ACCOUNT_AT: &str = "AuditService/GetAccountAt";
}

/// What is noted and not yet on record.
#[derive(Debug, Default)]
pub(crate) struct Conduct(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    open: Option<ConductWindow>,
    ended: VecDeque<ConductWindow>,
}

impl Noted {
    /// Ends the open window if `now` is in another minute, earlier or later, and there is room for it to wait.
    fn turn(&mut self, now: Time) {
        let over = |open: &mut ConductWindow| open.start() != start_of(now);
        if self.ended.len() < MAX_WAITING {
            self.ended.extend(self.open.take_if(over));
        }
    }

    fn window_at(&mut self, now: Time) -> &mut ConductWindow {
        self.turn(now);
        self.open.get_or_insert_with(|| ConductWindow::new(start_of(now)))
    }
}

impl Conduct {
    /// Notes that `reader` was shown something.
    pub(crate) fn note_read(&self, reader: &Reader, read: &Read, now: Time) {
        self.lock().window_at(now).note_read(reader, read, now);
    }

    /// Notes that a call was refused.
    pub(crate) fn note_refused(&self, one: RefusedOne, now: Time) {
        self.lock().window_at(now).note_refused(one, now);
    }

    /// The oldest window whose minute is over.
    fn take_ended(&self, now: Time) -> Option<ConductWindow> {
        let mut noted = self.lock();
        noted.turn(now);
        noted.ended.pop_front()
    }

    /// The oldest window, over or not.
    fn take_any(&self) -> Option<ConductWindow> {
        let mut noted = self.lock();
        noted.ended.pop_front().or_else(|| noted.open.take())
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who reads, by which RPC, and what it named.
pub(crate) fn reader(identity: &Identity, rpc: &'static str, named: Named) -> Reader {
    Reader { caller: identity.id, rpc: rpc.into(), named }
}

impl App {
    /// Notes that `reader` was shown something, for the record.
    pub(crate) fn note_read(&self, reader: &Reader, read: &Read) {
        self.conduct.note_read(reader, read, self.clock.wall());
    }

    /// Notes a refused call, for the record.
    pub fn note_refused(&self, one: RefusedOne) {
        self.conduct.note_refused(one, self.clock.wall());
    }
}

/// What the keeper works with.
struct Setup {
    conduct: Arc<Conduct>,
    writer: WriterHandle,
    vault: Arc<Vault>,
    random: Arc<dyn Random>,
    clock: Arc<dyn Clock>,
}

/// The thread that puts on record what was noted. Dropped, it stops where it stands.
#[derive(Debug)]
pub(crate) struct ConductKeeper {
    /// What comes here lets it put everything on record; that this is gone before, ends it.
    finish: Option<Sender<()>>,
    /// None once it has ended.
    thread: Option<JoinHandle<()>>,
}

impl ConductKeeper {
    /// Starts it.
    ///
    /// # Errors
    /// If the operating system has no thread to give.
    pub(crate) fn start(app: &App) -> io::Result<Self> {
        let setup = Setup {
            conduct: Arc::clone(&app.conduct),
            writer: app.writer.clone(),
            vault: Arc::clone(&app.vault),
            random: Arc::clone(&app.random),
            clock: Arc::clone(&app.clock),
        };
        let (finish, told) = mpsc::channel();
        let thread = thread::Builder::new().name("conduct-keeper".to_owned());
        let thread = thread.spawn(move || setup.run(&told))?;
        Ok(ConductKeeper { finish: Some(finish), thread: Some(thread) })
    }

    /// Puts on record all that was noted, and ends. Nothing must be noted any more. Blocks.
    pub(crate) fn finish(self) {
        // If it has ended, the writer has, and nothing more can go on record.
        let _ = self.finish.as_ref().map(|finish| finish.send(()));
    }
}

impl Drop for ConductKeeper {
    /// Ends it behind the records it is at. Blocks.
    fn drop(&mut self) {
        self.finish = None;
        if let Some(thread) = self.thread.take() {
            // It ends the process rather than panic.
            let _ = thread.join();
        }
    }
}

impl Setup {
    fn run(&self, told: &Receiver<()>) {
        let _guard = AbortOnPanic("the keeper of conduct panicked");
        let ended = loop {
            match told.recv_timeout(EVERY) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) => break self.record_while(|| self.conduct.take_any()),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let over = self.record_while(|| self.conduct.take_ended(self.clock.wall()));
            if over.is_err() {
                break over;
            }
        };
        if ended.is_err() {
            tracing::warn!("reads and refusals are not on record: the writer has stopped");
        }
    }

    fn record_while(
        &self,
        mut next: impl FnMut() -> Option<ConductWindow>,
    ) -> Result<(), WriterGone> {
        while let Some(window) = next() {
            self.record(window)?;
        }
        Ok(())
    }

    fn record(&self, window: ConductWindow) -> Result<(), WriterGone> {
        let (reads, refusals) = window.into_records();
        let mut records: Vec<RecordConduct> = Vec::with_capacity(reads.len() + refusals.len());
        records.extend(reads.into_iter().map(|read| RecordConduct::Read(Box::new(read))));
        for (refused, sources) in refusals {
            match sealed(&self.vault, &*self.random, refused, &sources) {
                Ok(record) => records.push(record),
                Err(error) => tracing::error!(%error, "refusals cannot be sealed, nor recorded"),
            }
        }
        for batch in records.chunks(BATCH) {
            let submit = |record: &RecordConduct| {
                own_command::submit_behind(&self.writer, Act::RecordConduct(record.clone()))
            };
            let answers = batch.iter().map(submit).collect::<Result<Vec<_>, _>>()?;
            for answer in answers {
                if let Err(refusal) = answer.blocking_recv().map_err(|_| WriterGone)? {
                    tracing::error!(%refusal, "a record of conduct is refused by a rule");
                }
            }
        }
        Ok(())
    }
}

/// Refusals with their sources sealed under the data key of the service and the month of their window, made if there
/// is none. If it is destroyed, since its time is over, they are left out: what is counted stays.
fn sealed(
    vault: &Vault,
    random: &dyn Random,
    mut refused: CallsRefused,
    sources: &Personal,
) -> Result<RecordConduct, AppError> {
    if sources.is_empty() {
        return Ok(RecordConduct::Refused(Box::new(refused), None));
    }
    let scope = Scope::ServiceMonth(refused.window.month());
    sealing::ensure_all_or_stop(vault, std::slice::from_ref(&scope), random);
    let (subject, kind) = (Subject::Service, EventKind::CallsRefused);
    let private =
        sealing::seal_unless_over(&vault.data_keys, random, &scope, &subject, kind, sources)?;
    if private.is_none() {
        refused.forget_origins();
    }
    Ok(RecordConduct::Refused(Box::new(refused), private))
}

#[cfg(test)]
#[path = "conduct_tests.rs"]
mod tests;
