//! Recording of a use, before its answer leaves.

use crate::app::App;
use crate::app::authenticate::UseContext;
use crate::app::error::AppError;
use crate::domain::ids::{CallerId, Position};
use crate::domain::usage::{Tried, Use, UseOutcome};

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
    /// Records what was answered.
    ///
    /// # Errors
    /// [`AppError`] if it cannot be recorded: then it must not be answered.
    pub(crate) async fn record_use(
        &self,
        tried: Tried,
        outcome: UseOutcome,
        asked: Asked,
    ) -> Result<(), AppError> {
        let Asked { caller, required, context, position, charged } = asked;
        let UseContext { action, source, agent, trace_id } = context;
        // The wall clock, not the time that rules judge by: a clock that repeats a minute repeats it here.
        let time = self.clock.wall();
        let used = Use {
            tried,
            outcome,
            caller,
            action,
            source,
            agent,
            trace_id,
            required,
            position,
            time,
            cost: charged,
            alone: false,
        };
        if let Tried::Key(id, _) = &used.tried {
            // Before the recorder has it: from then on it may be on record at any time.
            let allowed = outcome == UseOutcome::Allowed;
            self.table.with_row(id, |row| self.table.note_use(*id, &row.key, allowed, time));
        }
        drop(used);
        Ok(())
    }
}
