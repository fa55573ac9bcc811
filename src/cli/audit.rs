//! `keyledger audit`: the history, as it happens and as it was.

mod at;
mod checkpoint;
mod export;
mod feed;
mod filter;
mod json;
mod state;
mod tail;
mod timeline;
mod told;
mod verify;
mod witness;

use clap::Subcommand;

use super::failure::{Exit, Failure};
use super::session::Session;
use at::AtArgs;
use checkpoint::CheckpointArgs;
use export::ExportArgs;
use tail::TailArgs;
use timeline::TimelineArgs;
use verify::VerifyArgs;

const TAIL_EXAMPLES: &str = "\
Examples:
  What happens from here on, behind the last ten events:
    keyledger audit tail
  Everything there ever was, as JSON lines, and then stop:
    keyledger audit tail --after 0 --once --output json
  Revocations of one tenant:
    keyledger audit tail --tenant acme --kind key-revoked";

const EXPORT_EXAMPLES: &str = "\
Examples:
  The whole history, to be kept off the host and verified in years:
    keyledger audit export --archive history-2026-11.tar.gz
  What is new, for a collector of events, behind what it has:
    keyledger audit export --json-lines - --after 81230
  One record, for who may see no more:
    keyledger audit export --proof revoked.tlog-proof --position 81230";

const VERIFY_EXAMPLES: &str = "\
Examples:
  Begin, with a verifier key that was got over a way one trusts:
    keyledger audit verify --state log.state --verifier-key 'keyledger/…+…+…'
  From then on, as often as one likes:
    keyledger audit verify --state log.state
  What a tenant's auditor may see, with a state file of its own:
    keyledger audit verify --state acme.state --tenant acme --verifier-key 'keyledger/…+…+…'
  Only if two of three witnesses have cosigned it:
    keyledger audit verify --state log.state --witness w1.key --witness w2.key --witness w3.key --quorum 2
  What was exported, without a server:
    keyledger audit verify --archive history-2026-11.tar.gz --verifier-key log.key
    keyledger audit verify --proof revoked.tlog-proof --verifier-key log.key";

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Show events as they are recorded
    ///
    /// One line each: when, where in the log, what happened to what, by whom. If the connection is lost it is
    /// made anew and goes on behind the last event that was shown: none is missed and none is shown twice.
    #[command(after_help = TAIL_EXAMPLES)]
    Tail(TailArgs),
    /// Show what happened to a key, newest first
    ///
    /// Its uses are there by the minute: how often it was allowed and denied, from where and what for.
    Timeline(TimelineArgs),
    /// Show a key or an account as it was
    ///
    /// Whether it was valid or why not, what it granted and its plan, by the rules of that time.
    #[command(
        override_usage = "keyledger audit at <KEY_ID | TENANT ACCOUNT> <--time TIME | --position POSITION>"
    )]
    At(AtArgs),
    /// Show the newest signed checkpoint, and hold it to the last one that was seen
    ///
    /// With --verify the checkpoint must be signed by a key in the state file and continue the one that is there:
    /// nothing before was changed, moved or removed. It then takes that one's place. Keep the file off the
    /// server's host. Exit code 1 if it does not hold: keep what is shown, and the file, as evidence.
    Checkpoint(CheckpointArgs),
    /// Take the history out: an archive or a proof to be verified elsewhere, or events as JSON lines
    ///
    /// Names, comments, addresses and other personal fields are in what is exported, as far as the caller may
    /// see them; --without-disclosures leaves them out of archives and proofs. Secrets of keys are never in it.
    /// docs/history-format.md describes archive and proof file byte by byte.
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(ExportArgs),
    /// Verify the whole log, or what one tenant may see of it, trusting nothing but a verifier key
    ///
    /// Every record is read and held to the ones before it and, by the tree over all of them or by a proof of
    /// its own, to a signed checkpoint; that is held to the last one that was seen. A later run reads only what
    /// is new. Exit code 0 if it is sound; 1 if it is not (the verdict says NOT SOUND: keep what is shown, and the
    /// state file, as evidence) or if it was refused (an error and no verdict); 3 if the server could not be reached
    /// or the run was cut off: run it again.
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
}

pub(super) async fn run(command: AuditCommand, session: &mut Session) -> Result<Exit, Failure> {
    match command {
        AuditCommand::Tail(args) => tail::run(args, session).await,
        AuditCommand::Timeline(args) => timeline::run(args, session).await,
        AuditCommand::At(args) => at::run(args, session).await,
        AuditCommand::Checkpoint(args) => checkpoint::run(args, session).await,
        AuditCommand::Export(args) => export::run(args, session).await,
        AuditCommand::Verify(args) => verify::run(args, session).await,
    }
}
