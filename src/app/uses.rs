//! Uses on their way to the log: recorded as they are answered, sealed into events by the window, and
//! made good after a crash.

mod cover;
mod fold;
pub(crate) mod record;
mod recovery;
mod sealer;
mod sealing_state;

use std::path::Path;
use std::sync::Arc;

use crate::app::App;
use crate::app::own_command::{self, OwnCommandError};
use crate::config::UsageSettings;
use crate::domain::command::Act;
use crate::domain::event::Mechanism;
use crate::domain::usage::Use;
use crate::ledger::lanes::Lane;
use crate::usage::journal::{JournalNumber, Journals};
pub use crate::usage::recorder::RecorderState;
use crate::usage::recorder::{Recorder, RecorderSettings, Running, Setup};
use cover::VaultCover;
use fold::{Ranks, UseFold};
use recovery::Left;
pub use recovery::UsesError;
use sealer::UseSealer;
use sealing_state::UseSealingState;

/// What records uses while the service runs.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) recorder: Recorder<Use>,
    pub(crate) settings: UsageSettings,
    pub(crate) sealing: Arc<UseSealingState>,
}

impl Recording {
    /// How it goes.
    pub(crate) fn figures(&self) -> UseFigures {
        UseFigures {
            recorder: self.recorder.state(),
            windows_waiting: self.sealing.waiting(),
            log_is_behind: self.sealing.is_behind(),
            windows_recorded: self.sealing.sealed(),
            refused_by_a_rule: self.sealing.failing(),
        }
    }
}

impl App {
    /// Has uses answered and recorded nowhere, so that what recording costs can be measured. For a service that
    /// was opened offline; one that records goes on to.
    pub fn record_nothing(&self) {
        let settings = UsageSettings::default();
        let sealing = Arc::new(UseSealingState::new(settings.max_windows_waiting));
        let recording = Recording { recorder: Recorder::null(), settings, sealing };
        let _ = self.recording.set(recording);
    }
}

/// How the recording of uses goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct UseFigures {
    /// Of the recorder.
    pub recorder: RecorderState,
    /// Windows of ended journals that are not on record yet.
    pub windows_waiting: u64,
    /// Whether so many wait that uses are refused or shed.
    pub log_is_behind: bool,
    /// Windows put on record since the start.
    pub windows_recorded: u64,
    /// Whether windows were refused by a rule.
    pub refused_by_a_rule: bool,
}

/// What must be closed, after the last use and before the writer; in this order, even if it is dropped.
#[derive(Debug)]
pub(crate) struct UsesClosing {
    running: Running<UseFold>,
    sealer: UseSealer,
}

impl UsesClosing {
    /// Makes durable what was recorded and puts it on record. Blocks.
    pub(crate) fn close(self) {
        // With the fold goes the sealer's last inbox.
        drop(self.running.stop());
        self.sealer.finish();
    }
}

/// Reads what an earlier run left in the journals of `dir`, and starts to record.
///
/// # Errors
/// [`UsesError`] if a journal or the log cannot be read, or a gap cannot be put on record.
pub(crate) fn start(
    app: &Arc<App>,
    dir: &Path,
    settings: &UsageSettings,
) -> Result<UsesClosing, UsesError> {
    let cover = VaultCover { vault: Arc::clone(&app.vault), random: Arc::clone(&app.random) };
    let journals = Journals::open(dir, Arc::new(cover))?;
    let mut ranks = Ranks::new(&*app.random);
    let Left { found, unsealed, gaps, headless } = recovery::recover(app, &journals, &mut ranks)?;
    for gap in gaps {
        tracing::warn!(?gap, "uses may be missing: a gap goes on record");
        let act = Act::RecordGap(gap);
        own_command::commit(app, Lane::Background, Mechanism::Service, act)?;
    }
    for journal in headless {
        journals.set_aside(journal)?;
    }
    let state = Arc::new(UseSealingState::new(settings.max_windows_waiting));
    let (inbox, ended) = sealer::inbox(&state);
    let head = {
        let table = Arc::clone(&app.table);
        Box::new(move || table.head())
    };
    let log_is_behind = {
        let state = Arc::clone(&state);
        Arc::new(move || state.is_behind())
    };
    let setup = Setup {
        settings: RecorderSettings::from(settings),
        journals,
        clock: Arc::clone(&app.clock),
        head,
        log_is_behind,
        fold: UseFold::new(settings.window, ranks, inbox.clone()),
        found,
        recorded: JournalNumber::new(app.table.log_state().last_journal),
    };
    let (recorder, running) = Running::start(setup)?;
    let on_sealed = {
        let recorder = recorder.clone();
        Box::new(move |journal| {
            if let Some(journal) = JournalNumber::new(journal) {
                recorder.sealed(journal);
            }
        })
    };
    unsealed.into_iter().for_each(|ended| inbox.put(ended));
    drop(inbox);
    let (writer, vault) = (app.writer.clone(), Arc::clone(&app.vault));
    let random = Arc::clone(&app.random);
    let sealer = UseSealer::start(ended, writer, vault, random, on_sealed, Arc::clone(&state))?;
    let recording = Recording { recorder, settings: settings.clone(), sealing: state };
    // Once for the life of the service: it is started once.
    let _ = app.recording.set(recording);
    Ok(UsesClosing { running, sealer })
}

impl From<OwnCommandError> for UsesError {
    fn from(error: OwnCommandError) -> Self {
        UsesError::Gap(error.to_string())
    }
}
