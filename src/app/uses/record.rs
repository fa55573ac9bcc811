//! Recording of a use, before its answer leaves.

use std::time::Duration;

use crate::app::App;
use crate::app::authenticate::UseContext;
use crate::app::error::AppError;
use crate::app::uses::Recording;
use crate::config::{Detail, Durability};
use crate::domain::ids::{CallerId, Position};
use crate::domain::usage::{Tried, Use, UseOutcome, sampled_permissions};
use crate::telemetry::spans;
use crate::usage::recorder::{Admission, Behind, Stopped};

/// When to come back if the disk is behind: it has flushed by then, or it is still behind.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// What was asked of a key, and by whom.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The calling service; none: the holder of the key asked itself.
    pub(crate) caller: Option<CallerId>,
    /// The permissions that were required.
    pub(crate) required: Vec<String>,
    /// What is known of the use.
    pub(crate) context: UseContext,
    /// The position it was decided at.
    pub(crate) position: Option<Position>,
    /// What it was charged to the account's limit.
    pub(crate) charged: u32,
}

impl App {
    /// Leave to decide on a key: its use will be recorded.
    ///
    /// # Errors
    /// [`AppError::UsesBehind`] if it could not be, [`AppError::Draining`] if nothing is recorded any more:
    /// the key MUST NOT be judged.
    pub(crate) fn admit_use(&self) -> Result<Admission, AppError> {
        let admitted = self.recording()?.recorder.admit();
        admitted.map_err(|Behind| AppError::UsesBehind { retry_after: RETRY_AFTER })
    }

    fn recording(&self) -> Result<&Recording, AppError> {
        self.recording.get().ok_or(AppError::Draining)
    }

    /// Records what was answered; if answers wait for the disk, until it is durable.
    ///
    /// # Errors
    /// [`AppError::Draining`] if nothing is recorded any more: it MUST NOT be answered.
    pub(crate) async fn record_use(
        &self,
        admission: Admission,
        tried: Tried,
        outcome: UseOutcome,
        asked: Asked,
    ) -> Result<(), AppError> {
        let Asked { caller, required, context, position, charged } = asked;
        let UseContext { action, source, agent, trace_id } = context;
        // The wall clock, not the time that rules judge by: a clock that repeats a minute repeats it here.
        let time = self.clock.wall();
        let Recording { recorder, settings, .. } = self.recording()?;
        let detail = match &tried {
            Tried::Key(_, account) => settings.detail_of(&account.tenant),
            Tried::Unknown(_) => Detail::Window,
        };
        let allowed = outcome == UseOutcome::Allowed;
        let alone = match detail {
            Detail::Window => false,
            Detail::Denied => !allowed,
            Detail::Every => true,
        };
        let used = Use {
            tried,
            outcome,
            caller,
            action,
            source,
            agent,
            trace_id,
            required: sampled_permissions(required),
            position,
            time,
            cost: charged,
            alone,
        };
        if let Tried::Key(id, _) = &used.tried {
            if admission.is_shed() {
                self.table.note_missed_use();
            } else {
                // Before the recorder has it: from then on it may be on record at any time.
                self.table.with_row(id, |row| self.table.note_use(*id, &row.key, allowed, time));
            }
        }
        let ticket = recorder.record(admission, used).map_err(|Stopped| AppError::Draining)?;
        if settings.durability == Durability::BeforeReply {
            let _flush = spans::part("keyledger.usage.flush");
            recorder.durable(ticket).await;
        }
        Ok(())
    }
}
