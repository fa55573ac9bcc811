//! `keyledger audit`: the history, as it happens and as it was.

mod checkpoint;

use clap::Subcommand;

use super::failure::{Exit, Failure};
use super::session::Session;
use checkpoint::CheckpointArgs;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Show the newest signed checkpoint, and hold it to the last one that was seen
    ///
    /// With --verify the checkpoint must be signed by a key in the state file and continue the one that is there:
    /// nothing before was changed, moved or removed. It then takes that one's place. Keep the file off the
    /// server's host. Exit code 1 if it does not hold: keep what is shown, and the file, as evidence.
    Checkpoint(CheckpointArgs),
}

pub(super) async fn run(command: AuditCommand, session: &mut Session) -> Result<Exit, Failure> {
    match command {
        AuditCommand::Checkpoint(args) => checkpoint::run(args, session).await,
    }
}
