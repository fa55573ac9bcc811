//! Commands of the service itself: no caller asks, and who gives them may block.

use thiserror::Error;

use crate::app::App;
use crate::domain::command::{Act, Command};
use crate::domain::event::{Actor, Mechanism};
use crate::domain::refusal::Refusal;
use crate::ledger::lanes::{Lane, NotTaken};
use crate::ledger::writer::Done;

/// Why a command of the service's own was not done.
#[derive(Debug, Error)]
pub enum OwnCommandError {
    /// A rule refused.
    #[error("a record of the service's own was refused: {0}")]
    Refused(#[from] Refusal),
    /// The writer takes no commands.
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    /// The writer stopped.
    #[error("the ledger writer has stopped")]
    WriterStopped,
}

/// Has the service's own command done, and waits for it. Blocks.
pub(crate) fn commit(
    app: &App,
    lane: Lane,
    mechanism: Mechanism,
    act: Act,
) -> Result<Done, OwnCommandError> {
    let actor = Actor { caller: None, mechanism };
    let answer = app.writer.submit(lane, Command { act, actor, trace_id: None, request: None })?;
    Ok(answer.blocking_recv().map_err(|_| OwnCommandError::WriterStopped)??)
}
