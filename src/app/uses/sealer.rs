//! The sealer: a thread of its own that puts the windows of ended usage journals on record, spread over
//! the time until the next journal ends, in the background lane. If more than half as many windows wait as may, it
//! spreads them no longer; if as many as may, uses count as behind.
//!
//! It says that a journal is sealed only when all of its windows are durable in the log. Whatever ends
//! it before that, the journal stays and the next start puts the rest on record. A sealer that is dropped
//! stops where it stands.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::app::error::AppError;
use crate::app::own_command::{self, WriterGone};
use crate::app::sealing;
use crate::app::uses::sealing_state::UseSealingState;
use crate::domain::command::Act;
use crate::domain::event::EventKind;
use crate::domain::ids::{AccountRef, KeyId};
use crate::domain::personal::Personal;
use crate::domain::sealed::Private;
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::domain::usage::rules::{RecordUnknown, RecordUses};
use crate::domain::usage::used::{UnknownKeyTried, UsageGap, UsedWindow};
use crate::ledger::durable::AbortOnPanic;
use crate::ledger::writer::{Answer, WriterHandle};
use crate::random::Random;
use crate::usage::open_windows::{Part, Whose};
use crate::vault::{Scope, Vault};

/// Windows that are sealed and handed to the writer together: a sixteenth of the background lane, so that
/// a commit has enough of them and other background work has room.
const BATCH: usize = 256;

/// An ended journal, ready to go on record.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its number.
    pub(crate) journal: u64,
    /// Its windows that are not on record yet.
    pub(crate) parts: Vec<Part>,
    /// Its gaps that are not on record yet.
    pub(crate) gaps: Vec<UsageGap>,
    /// Over how long to spread them.
    pub(crate) spread: Duration,
}

/// What is told that a journal is on record, whole.
pub(crate) type OnSealed = Box<dyn Fn(u64) + Send>;

/// The way to the sealer; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct SealerInbox {
    sender: Sender<Ended>,
    state: Arc<UseSealingState>,
}

impl SealerInbox {
    /// Notes uses of a journal that has not ended, in the window that begins at `start`.
    pub(crate) fn note_open(&self, journal: u64, start: Time) {
        self.state.note_open(journal, start);
    }

    /// Hands over an ended journal.
    pub(crate) fn put(&self, ended: Ended) {
        self.state.note_waiting(ended.parts.len());
        for part in &ended.parts {
            self.state.note_open(ended.journal, part.window.start());
        }
        // After the sealer has stopped the journal's file is all there is, and all that is needed.
        let _ = self.sender.send(ended);
    }
}

/// The running sealer.
#[derive(Debug)]
pub(crate) struct UseSealer {
    /// None once it has ended.
    thread: Option<JoinHandle<()>>,
    /// What comes here ends the waiting between batches; that this is gone before, ends the sealer.
    hurry: Option<Sender<()>>,
    state: Arc<UseSealingState>,
}

/// An inbox, and what a sealer takes from it once it is started.
pub(crate) fn inbox(state: &Arc<UseSealingState>) -> (SealerInbox, Receiver<Ended>) {
    let (sender, ended) = mpsc::channel();
    (SealerInbox { sender, state: Arc::clone(state) }, ended)
}

impl UseSealer {
    /// Starts the sealer on what comes out of `ended`, which must be of an [`inbox`] with the same state.
    ///
    /// # Errors
    /// If the operating system has no thread to give.
    pub(crate) fn start(
        ended: Receiver<Ended>,
        writer: WriterHandle,
        vault: Arc<Vault>,
        random: Arc<dyn Random>,
        on_sealed: OnSealed,
        state: Arc<UseSealingState>,
    ) -> io::Result<Self> {
        let (hurry, hurried) = mpsc::channel();
        let work = Work {
            writer,
            vault,
            random,
            on_sealed,
            hurried,
            hurries: Cell::new(false),
            state: Arc::clone(&state),
        };
        let thread = thread::Builder::new().name("usage-sealer".to_owned());
        let thread = thread.spawn(move || work.run(&ended))?;
        Ok(UseSealer { thread: Some(thread), hurry: Some(hurry), state })
    }

    /// Lets the sealer put on record what it was handed, without waiting between batches, and ends it. Every
    /// [`SealerInbox`] must be gone. Blocks.
    pub(crate) fn finish(mut self) {
        // If it has ended, there is nobody to hurry.
        let _ = self.hurry.as_ref().map(|hurry| hurry.send(()));
        self.join();
        let waiting = self.state.waiting();
        if waiting > 0 {
            tracing::warn!(waiting, "windows of uses stay in their journals until the next start");
        }
    }
}

impl UseSealer {
    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // It ends the process rather than panic.
            let _ = thread.join();
        }
    }
}

impl Drop for UseSealer {
    /// Ends the sealer behind the batch it is at. Every [`SealerInbox`] must be gone. Blocks.
    fn drop(&mut self) {
        self.hurry = None;
        self.join();
    }
}

struct Work {
    writer: WriterHandle,
    vault: Arc<Vault>,
    random: Arc<dyn Random>,
    on_sealed: OnSealed,
    hurried: Receiver<()>,
    hurries: Cell<bool>,
    state: Arc<UseSealingState>,
}

/// Nothing more goes on record: the writer has stopped, or the sealer was dropped.
struct Stopped;

impl From<WriterGone> for Stopped {
    fn from(_: WriterGone) -> Self {
        Stopped
    }
}

impl Work {
    fn run(&self, ended: &Receiver<Ended>) {
        let _guard = AbortOnPanic("the sealer of uses panicked");
        while let Ok(ended) = ended.recv() {
            let journal = ended.journal;
            match self.seal(ended) {
                Ok(true) => {
                    self.state.note_sealed(journal);
                    (self.on_sealed)(journal);
                }
                Ok(false) => self.state.note_refused(),
                Err(Stopped) => return,
            }
        }
    }

    /// Puts a journal on record; answers whether all of it is.
    fn seal(&self, ended: Ended) -> Result<bool, Stopped> {
        let Ended { journal, mut parts, gaps, spread } = ended;
        self.rest(Duration::ZERO)?;
        parts.sort_unstable_by(|one, other| place_of(one).cmp(&place_of(other)));
        let batches = u32::try_from(parts.len().div_ceil(BATCH)).unwrap_or(u32::MAX);
        let rest = spread / batches.max(1);
        let mut whole = true;
        let mut parts = parts.into_iter();
        while parts.len() > 0 {
            let batch: Vec<Part> = parts.by_ref().take(BATCH).collect();
            whole &= self.seal_batch(journal, &batch)?;
            // Behind the last there is nothing to wait for: what asks of uses should know that all are there.
            if parts.len() > 0 {
                self.rest(rest)?;
            }
        }
        for gap in gaps {
            whole &=
                self.wait_for(own_command::submit_behind(&self.writer, Act::RecordGap(gap))?)?;
        }
        Ok(whole)
    }

    fn seal_batch(&self, journal: u64, batch: &[Part]) -> Result<bool, Stopped> {
        let scopes: Vec<Scope> = batch.iter().map(scope).collect();
        sealing::ensure_all_or_stop(&self.vault, &scopes, &*self.random);
        let mut whole = true;
        let mut answers = Vec::with_capacity(batch.len());
        for (part, scope) in batch.iter().zip(&scopes) {
            match self.act(journal, part, scope) {
                Ok(act) => answers.push(own_command::submit_behind(&self.writer, act)?),
                Err(error) => {
                    tracing::error!(journal, part = part.number, %error, "uses cannot be sealed");
                    self.state.note_done(false);
                    whole = false;
                }
            }
        }
        for answer in answers {
            let is_on_record = self.wait_for(answer)?;
            self.state.note_done(is_on_record);
            whole &= is_on_record;
        }
        Ok(whole)
    }

    /// What to ask of the writer for a window, its sources and agents sealed.
    fn act(&self, journal: u64, part: &Part, scope: &Scope) -> Result<Act, AppError> {
        let (mut window, personal) = UsedWindow::of(&part.window, part.span);
        let number = part.number;
        Ok(match &part.whose {
            Whose::Key(key, account) => {
                let subject = Subject::Key(Arc::clone(account), *key);
                let kind = EventKind::KeyUsed;
                let private = self.private(scope, &subject, kind, &personal, &mut window)?;
                let (key, account) = (*key, Arc::clone(account));
                Act::RecordUses(RecordUses { key, account, journal, part: number, window, private })
            }
            Whose::Unknown => {
                let (subject, kind) = (Subject::Service, EventKind::UnknownKeyTried);
                let private = self.private(scope, &subject, kind, &personal, &mut window)?;
                let tried = UnknownKeyTried { journal, part: number, window };
                Act::RecordUnknown(RecordUnknown { tried, private })
            }
        })
    }

    /// The sealed fields of a window. If there is no key any more to seal them under, since its account was erased or
    /// its month is over, they are left out of the window too: what is counted stays.
    fn private(
        &self,
        scope: &Scope,
        subject: &Subject,
        kind: EventKind,
        personal: &Personal,
        window: &mut UsedWindow,
    ) -> Result<Option<Private>, AppError> {
        if personal.is_empty() {
            return Ok(None);
        }
        let (data_keys, random) = (&self.vault.data_keys, &*self.random);
        let sealed = sealing::seal_unless_over(data_keys, random, scope, subject, kind, personal)?;
        if sealed.is_none() {
            window.forget_origins();
        }
        Ok(sealed)
    }

    /// Whether it was done; false if a rule refused.
    fn wait_for(&self, answer: oneshot::Receiver<Answer>) -> Result<bool, Stopped> {
        match answer.blocking_recv().map_err(|_| Stopped)? {
            Ok(_) => Ok(true),
            Err(refusal) => {
                tracing::error!(%refusal, "uses are refused by a rule; their journal is kept");
                Ok(false)
            }
        }
    }

    /// Waits between batches, unless the sealer is to finish or falls behind.
    fn rest(&self, span: Duration) -> Result<(), Stopped> {
        if self.hurries.get() {
            return Ok(());
        }
        let span = if self.state.is_pressed() { Duration::ZERO } else { span };
        match self.hurried.recv_timeout(span) {
            Ok(()) => self.hurries.set(true),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Stopped),
        }
        Ok(())
    }
}

/// Where a window goes among those of its journal. Keys of an account are neighbours, as they are in the usage
/// projection: what folds them writes fewer pages, and commands wait for the same disk.
fn place_of(part: &Part) -> (Option<(&AccountRef, KeyId)>, u32) {
    match &part.whose {
        Whose::Key(key, account) => (Some((&**account, *key)), part.number),
        Whose::Unknown => (None, part.number),
    }
}

/// Whose data key the sources and agents of a window are sealed under.
fn scope(part: &Part) -> Scope {
    match &part.whose {
        Whose::Key(_, account) => {
            Scope::AccountMonth(AccountRef::clone(account), part.window.start().month())
        }
        Whose::Unknown => Scope::ServiceMonth(part.window.start().month()),
    }
}

#[cfg(test)]
#[path = "sealer_tests.rs"]
mod tests;
