//! Commands of the service itself: no caller asks, and who gives them may block.

use std::thread;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;

use crate::app::App;
use crate::domain::command::{Act, Command};
use crate::domain::event::{Actor, Mechanism};
use crate::domain::refusal::Refusal;
use crate::ledger::lanes::{Lane, NotTaken, Refused};
use crate::ledger::writer::{Answer, Done, WriterHandle};

/// How long to wait when the background lane is full.
const LANE_FULL: Duration = Duration::from_millis(5);

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

/// The writer has stopped: nothing more goes on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WriterGone;

/// Hands the service's own command to the writer, behind all commands of callers. Blocks while the lane is full.
///
/// # Errors
/// [`WriterGone`].
pub(crate) fn submit_behind(
    writer: &WriterHandle,
    act: Act,
) -> Result<oneshot::Receiver<Answer>, WriterGone> {
    let actor = Actor { caller: None, mechanism: Mechanism::Service };
    let mut command = Command { act, actor, trace_id: None, request: None };
    loop {
        match writer.offer(Lane::Background, command) {
            Ok(answer) => return Ok(answer),
            Err(Refused { why: NotTaken::Closed, .. }) => return Err(WriterGone),
            Err(Refused { why: NotTaken::Full, entry }) => {
                command = *entry;
                thread::park_timeout(LANE_FULL);
            }
        }
    }
}
