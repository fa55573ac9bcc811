//! The command line: what people and scripts type, turned into calls of the public API.
//!
//! Client commands know the API's messages and nothing else of the program. `serve` and the offline
//! commands are only parsed here.

mod account;
mod admin;
mod answers;
mod audit;
mod backup;
mod caller;
mod chart;
pub mod client;
mod confirm;
mod connect;
mod erase_account;
mod failure;
mod issued;
mod key;
pub mod offline;
mod options;
mod output;
mod pepper;
mod progress;
mod resources;
mod secret;
pub mod serve;
mod serve_args;
mod session;
mod status;
mod text;
mod times;
mod tls;
mod usage;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use account::AccountCommand;
use admin::AdminCommand;
use audit::AuditCommand;
use backup::BackupArgs;
use caller::CallerCommand;
use connect::ClientArgs;
use erase_account::EraseAccountArgs;
use key::KeyCommand;
use offline::generate_key::GenerateKeyArgs;
use offline::init::InitArgs;
use pepper::RotatePepperArgs;
pub use serve_args::ServeArgs;
use session::Session;
use usage::UsageCommand;

const EXAMPLES: &str = "\
Examples:
  keyledger serve
  keyledger account put acme billing --plan standard --permission reports:read
  keyledger key create acme billing --name 'nightly export'
  keyledger key authenticate --require reports:read < key.txt
  keyledger usage top --by account --last 24h

Client commands find the server by --server or KEYLEDGER_SERVER, and the
credential to call it with by --token-file, by KEYLEDGER_TOKEN (the credential
itself), or in the data directory of a server on this machine.

Exit codes: 0 done (a key: allowed), 1 refused or failed (a key: denied),
2 usage, 3 server unavailable";

/// Issues, authenticates and revokes API keys on a durable, verifiable ledger
#[derive(Debug, Parser)]
#[command(name = "keyledger", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    ///
    /// An empty data directory is given what it needs, each file readable by its owner alone, and the
    /// place of the first admin caller's credential is printed. SIGTERM drains the server and ends it.
    Serve(ServeArgs),
    /// Register, change and read accounts
    Account(AccountGroup),
    /// Make, read, change, authenticate and end keys
    Key(KeyGroup),
    /// Read the history as it happens and as it was, and hold it to signed checkpoints
    Audit(AuditGroup),
    /// See who uses which keys, how often, from where and since when
    Usage(UsageGroup),
    /// See how the server is, and manage who may call it
    #[command(subcommand)]
    Admin(AdminCommand),
}

/// What `keyledger admin recover-admin` is given.
#[derive(Clone, Debug, Default, Args)]
pub struct RecoverAdminArgs {
    /// Configuration file of the server [default: none, all settings have defaults]
    #[arg(long, env = "KEYLEDGER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory of the server, which must not be running [default: ./data]
    #[arg(long, env = "KEYLEDGER_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// File to write the new credential to [default: admin.credential in the data directory]
    #[arg(long, value_name = "FILE")]
    pub credential_out: Option<PathBuf>,
    /// Do not ask: the answer is yes. Needed when standard input is not a terminal
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// What `keyledger admin rebuild` is given.
#[derive(Clone, Debug, Default, Args)]
pub struct RebuildArgs {
    /// Configuration file of the server [default: none, all settings have defaults]
    #[arg(long, env = "KEYLEDGER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory of the server, which must not be running [default: ./data]
    #[arg(long, env = "KEYLEDGER_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// What `keyledger admin add-signing-key` is given.
#[derive(Clone, Debug, Default, Args)]
pub struct AddSigningKeyArgs {
    /// Configuration file of the server [default: none, all settings have defaults]
    #[arg(long, env = "KEYLEDGER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory of the server, which must not be running [default: ./data]
    #[arg(long, env = "KEYLEDGER_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// All keys that have signed are lost: make another in their place and put that on record. Every auditor
    /// must then be told its verifier key
    #[arg(long)]
    pub replace_lost: bool,
}

/// What `keyledger admin check` is given.
#[derive(Clone, Debug, Default, Args)]
pub struct CheckArgs {
    /// Configuration file of the server [default: none, all settings have defaults]
    #[arg(long, env = "KEYLEDGER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory of the server, which must not be running [default: ./data]
    #[arg(long, env = "KEYLEDGER_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Directory for copies of what cannot be opened without being changed, one volume at a time; removed
    /// at the end [default: the system's for temporary files]
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
    /// The form of the findings [default: table on a terminal, otherwise json]
    #[arg(long, value_enum, value_name = "FORM")]
    output: Option<output::Format>,
}

/// What `keyledger admin restore` is given.
#[derive(Clone, Debug, Default, Args)]
pub struct RestoreArgs {
    /// The backup. Without it, a directory that was restored before is worked on
    #[arg(long, value_name = "BACKUP_DIR")]
    pub from: Option<PathBuf>,
    /// Only read the backup and check all of it, without keys; nothing is restored
    #[arg(long)]
    pub check: bool,
    /// Configuration file of the server [default: none, all settings have defaults]
    #[arg(long, env = "KEYLEDGER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory to make: absent, or empty but for keys/ [default: ./data]
    #[arg(long, env = "KEYLEDGER_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Directory with copies of the pepper and key-encryption key files, which are copied into keys/
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// A later copy of the data key file, or a later backup that has one, in place of the backup's: what was
    /// erased since stays erased
    #[arg(long, value_name = "PATH")]
    pub data_keys: Option<PathBuf>,
    /// The last head there was, as admin status showed it. If it is the backup's, nothing is lost and the
    /// log goes on as it was
    #[arg(long, value_name = "POSITION:ROOT", conflicts_with = "last_known")]
    pub last_head: Option<String>,
    /// The last position that is known of, such as the last one a client has seen
    #[arg(long, value_name = "POSITION")]
    pub last_known: Option<u64>,
    /// Where the events behind the backup lie: a sealed volume, a directory of them, or a later backup.
    /// What they denied is recorded anew. If the end of the loss is not known, what may lie behind them
    /// is still to be accepted
    #[arg(long, value_name = "PATH")]
    pub events_from: Option<PathBuf>,
    /// Authenticate keys again though events of this range are lost, among which keys may have been
    /// revoked; FROM- if the end is not known. It must be the range that was lost; it goes on record
    #[arg(long, value_name = "FROM-TO")]
    pub accept_lost_revocations: Option<String>,
    /// The form of the result [default: table on a terminal, otherwise json]
    #[arg(long, value_enum, value_name = "FORMAT")]
    output: Option<output::Format>,
}

#[derive(Debug, Args)]
struct AccountGroup {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: AccountCommand,
}

#[derive(Debug, Args)]
struct KeyGroup {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Args)]
struct AuditGroup {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Args)]
struct UsageGroup {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: UsageCommand,
}

/// What the command line asks for, by who does it.
#[derive(Debug)]
pub enum Invocation {
    /// Run the server.
    Serve(ServeArgs),
    /// Make a data directory.
    Init(InitArgs),
    /// Make an admin caller in the data directory of a server that is not running.
    RecoverAdmin(RecoverAdminArgs),
    /// Fold the log of a server that is not running, and hold its snapshot, its figures of uses and its hash tiles to
    /// that.
    Rebuild(RebuildArgs),
    /// Make another key that signs checkpoints, for a server that is not running.
    AddSigningKey(AddSigningKeyArgs),
    /// Make a pepper, key-encryption key or signing key, for wherever keys come from.
    GenerateKey(GenerateKeyArgs),
    /// Check the data directory of a server that is not running.
    Check(CheckArgs),
    /// Make a data directory from a backup, or resolve what that lost.
    Restore(RestoreArgs),
    /// Call a server: see [`run_client`].
    Client(Box<ClientCall>),
}

/// A command that calls a server.
#[derive(Debug)]
pub struct ClientCall {
    client: ClientArgs,
    call: Call,
}

#[derive(Debug)]
enum Call {
    Account(AccountCommand),
    Key(KeyCommand),
    Audit(AuditCommand),
    Usage(UsageCommand),
    Status,
    Backup(BackupArgs),
    Caller(CallerCommand),
    EraseAccount(EraseAccountArgs),
    RotatePepper(RotatePepperArgs),
}

impl From<Cli> for Invocation {
    fn from(cli: Cli) -> Self {
        let (client, call) = match cli.command {
            Command::Serve(args) => return Invocation::Serve(args),
            Command::Admin(AdminCommand::RecoverAdmin(args)) => {
                return Invocation::RecoverAdmin(args);
            }
            Command::Admin(AdminCommand::Init(args)) => return Invocation::Init(args),
            Command::Admin(AdminCommand::Rebuild(args)) => return Invocation::Rebuild(args),
            Command::Admin(AdminCommand::AddSigningKey(args)) => {
                return Invocation::AddSigningKey(args);
            }
            Command::Admin(AdminCommand::GenerateKey(args)) => {
                return Invocation::GenerateKey(args);
            }
            Command::Admin(AdminCommand::Check(args)) => return Invocation::Check(args),
            Command::Admin(AdminCommand::Restore(args)) => return Invocation::Restore(args),
            Command::Account(AccountGroup { client, command }) => (client, Call::Account(command)),
            Command::Key(KeyGroup { client, command }) => (client, Call::Key(command)),
            Command::Audit(AuditGroup { client, command }) => (client, Call::Audit(command)),
            Command::Usage(UsageGroup { client, command }) => (client, Call::Usage(command)),
            Command::Admin(AdminCommand::Status(client)) => (client, Call::Status),
            Command::Admin(AdminCommand::Backup(group)) => (group.client, Call::Backup(group.args)),
            Command::Admin(AdminCommand::Caller(group)) => {
                (group.client, Call::Caller(group.command))
            }
            Command::Admin(AdminCommand::EraseAccount(group)) => {
                (group.client, Call::EraseAccount(group.args))
            }
            Command::Admin(AdminCommand::RotatePepper(group)) => {
                (group.client, Call::RotatePepper(*group.args))
            }
        };
        Invocation::Client(Box::new(ClientCall { client, call }))
    }
}

/// Reads the command line of this process. A request for help ends the process with 0, a faulty line
/// with 2 and a message on standard error.
#[must_use]
pub fn parse() -> Invocation {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match (cli.into(), matches.subcommand_matches("serve")) {
        (Invocation::Serve(args), Some(given)) => Invocation::Serve(args.with_origins(given)),
        (invocation, _) => invocation,
    }
}

/// Asks before what cannot be undone, by the rule that every command keeps: `yes` answers beforehand; on
/// a terminal `question` (`… [y/N]` is added) must be answered with yes; where there is no terminal to ask
/// on, the answer must have been given beforehand.
///
/// # Errors
/// If it is not confirmed, the exit code; people have been told why.
pub async fn confirm(yes: bool, question: String) -> Result<(), ExitCode> {
    let confirmed = match confirm::Consent::given(yes).must_ask() {
        Ok(true) => confirm::ask(question).await,
        Ok(false) => Ok(()),
        Err(failure) => Err(failure),
    };
    confirmed.map_err(|failure| ended(&failure, None))
}

/// Calls the server, shows its answer and says how it went: 0 done, 1 refused or failed, 2 usage, 3
/// unavailable.
pub async fn run_client(call: ClientCall) -> ExitCode {
    let mut session = Session::new(call.client);
    let result = match call.call {
        Call::Account(command) => account::run(command, &mut session).await,
        Call::Key(command) => key::run(command, &mut session).await,
        Call::Audit(command) => audit::run(command, &mut session).await,
        Call::Usage(command) => usage::run(command, &mut session).await,
        Call::Status => admin::status(&mut session).await,
        Call::Backup(args) => backup::run(args, &mut session).await,
        Call::Caller(command) => caller::run(command, &mut session).await,
        Call::EraseAccount(args) => erase_account::run(args, &mut session).await,
        Call::RotatePepper(args) => pepper::run(args, &mut session).await,
    };
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => ended(&failure, session.credential_from.as_deref()),
    }
}

/// Tells people why a command failed.
fn ended(failure: &failure::Failure, credential_from: Option<&str>) -> ExitCode {
    if let Some(message) = failure.message(credential_from) {
        output::note(&message);
    }
    failure.exit().into()
}

#[cfg(test)]
mod tests;
