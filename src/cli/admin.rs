//! `keyledger admin`: how the server is, and who may call it.

use clap::{Args, Subcommand};

use super::backup::BackupArgs;
use super::caller::CallerCommand;
use super::connect::ClientArgs;
use super::erase_account::EraseAccountArgs;
use super::failure::{Exit, Failure};
use super::offline::generate_key::GenerateKeyArgs;
use super::offline::init::InitArgs;
use super::pepper::RotatePepperArgs;
use super::session::Session;
use super::status::Status;
use super::{AddSigningKeyArgs, CheckArgs, RebuildArgs, RecoverAdminArgs, RestoreArgs};
use crate::proto::v1;

#[derive(Debug, Subcommand)]
pub(super) enum AdminCommand {
    /// Show how the server is
    Status(ClientArgs),
    /// Copy log and data keys of a running server into a directory; only what is not there yet
    ///
    /// The copy is consistent at one position, and holds no pepper, key-encryption key or credential: keep
    /// those apart. It is a backup once the command ends with 0; until then the one that was there remains.
    Backup(BackupGroup),
    /// Create, rotate, revoke and list callers: the services, auditors and operators that call keyledger
    Caller(CallerGroup),
    /// Close an account for ever and destroy what its personal fields are sealed under; asks first
    ///
    /// None of its keys works any more, and names, metadata, address ranges, comments, addresses and user agents
    /// of all its events can be read by nobody. What else is on record stays and still verifies.
    EraseAccount(EraseAccountGroup),
    /// Put another pepper in force, or retire an old one
    ///
    /// New secrets are tagged under the new pepper at once; keys and callers move to it when their secrets are
    /// next presented, and admin status tells how many remain on each. When none remains, --retire ends the old
    /// one. With --force those that remain end with it: see them with --list first.
    RotatePepper(RotatePepperGroup),
    /// Make the data directory and its first admin, offline
    ///
    /// What `serve` does on an empty data directory, and no more: for a first set-up before servers whose configuration says
    /// data.must_exist. If there is such a directory already, that is told, nothing is touched, and it ends with 0.
    Init(InitArgs),
    /// Make a new admin caller, offline, when no admin's credential is left
    ///
    /// Works on the data directory of a server that is not running. The log keeps that it was done.
    RecoverAdmin(RecoverAdminArgs),
    /// Fold the whole log again, offline, and compare the newest snapshot with what that gives
    ///
    /// Works on the data directory of a server that is not running. A snapshot that is missing, damaged or
    /// other than the log says is replaced. Exit code 1 if it was whole and not what the log says.
    Rebuild(RebuildArgs),
    /// Make another key that signs checkpoints, offline
    ///
    /// Works on the data directory of a server that is not running. From its next start on both keys sign;
    /// when every auditor has the new verifier key, take the old file out of keys/.
    AddSigningKey(AddSigningKeyArgs),
    /// Make a pepper, a key-encryption key or a signing key and write its line to standard output
    ///
    /// Needs no server and no data directory. Redirect it to where keys come from: a file `kek-<n>.key` of the directory
    /// of key files, or a secret of a key-management service. The next start finds it.
    GenerateKey(GenerateKeyArgs),
    /// Read everything in the data directory, offline, and say whether it is whole
    ///
    /// Works on the data directory of a server that is not running, and changes nothing in it. Shows each
    /// finding with its file or position, then the verdict with head and root. Exit codes: 0 whole (there
    /// may be warnings and notes), 1 damaged or not checked. A directory put back to an earlier state is whole: compare
    /// head and root with those noted elsewhere.
    Check(CheckArgs),
    /// Make a data directory from a backup, offline
    ///
    /// All of the backup is checked before the directory is one. Unless --last-head shows that nothing is
    /// lost, the log goes on as another generation, and no key is authenticated until the lost events are
    /// replayed (--events-from) or accepted (--accept-lost-revocations): now, or later without --from.
    /// Exit codes: 0 keys are authenticated, 1 refused or not yet, 2 usage.
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
pub(super) struct BackupGroup {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    #[command(flatten)]
    pub(super) args: BackupArgs,
}

#[derive(Debug, Args)]
pub(super) struct RotatePepperGroup {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    #[command(flatten)]
    pub(super) args: Box<RotatePepperArgs>,
}

#[derive(Debug, Args)]
pub(super) struct CallerGroup {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    #[command(subcommand)]
    pub(super) command: CallerCommand,
}

#[derive(Debug, Args)]
pub(super) struct EraseAccountGroup {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    #[command(flatten)]
    pub(super) args: EraseAccountArgs,
}

/// Shows how the server is.
pub(super) async fn status(session: &mut Session) -> Result<Exit, Failure> {
    let mut admin = session.connect().await?.admin();
    let answer = admin.get_status(v1::GetStatusRequest {}).await?.into_inner();
    session.output.one(&Status { server: session.client.server_name(), answer })?;
    Ok(Exit::Done)
}
