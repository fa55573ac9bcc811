//! `keyledger key`: make keys, read them, change them, end them, and try what they may do.

mod change;
mod create;
mod presented;
mod read;
mod rotate;

use clap::Subcommand;

use super::failure::{Exit, Failure};
use super::session::Session;

const CREATE_EXAMPLES: &str = "\
Examples:
  keyledger key create acme billing --name export --scope reports:read --expires 90d
  The secret in a new file and nowhere else:
    keyledger key create acme billing --name export --secret-out key.txt";

const UPDATE_EXAMPLES: &str = "\
Examples:
  keyledger key update key_0a1B2c3D4e5F6g7H8 --scope reports:read
  keyledger key update key_0a1B2c3D4e5F6g7H8 --allow-cidr 192.0.2.0/24,2001:db8::/32";

const ROTATE_EXAMPLES: &str = "\
Example:
  A successor, with a day to bring it everywhere:
    keyledger key rotate key_0a1B2c3D4e5F6g7H8 --overlap 1d";

const AUTHENTICATE_EXAMPLES: &str = "\
Examples:
  keyledger key authenticate < key.txt
  keyledger key authenticate --secret-file key.txt --require reports:read

Exit codes: 0 allowed, 1 denied (or failed: then with an error on standard error),
2 usage, 3 server unavailable";

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key and show its secret, once
    #[command(after_help = CREATE_EXAMPLES)]
    Create(Box<create::CreateArgs>),
    /// Show one key
    Get(read::GetArgs),
    /// List the keys of a tenant, oldest first
    List(Box<read::ListArgs>),
    /// Change a key: only what is given
    #[command(
        after_help = UPDATE_EXAMPLES,
        override_usage = "keyledger key update [OPTIONS] <KEY_ID>"
    )]
    Update(Box<change::UpdateArgs>),
    /// Make a key stop working until it is enabled
    Disable(Box<change::SwitchArgs>),
    /// Make a disabled key work again
    Enable(Box<change::SwitchArgs>),
    /// Make a successor to a key and show its secret, once; asks first
    #[command(after_help = ROTATE_EXAMPLES)]
    Rotate(Box<rotate::RotateArgs>),
    /// Make a key stop working at once and for ever; asks first
    Revoke(Box<change::RevokeArgs>),
    /// Revoke the key whose text was found where it should not be; reads it from standard input
    ReportLeak(Box<presented::ReportLeakArgs>),
    /// Ask whether a key may do something; reads it from standard input
    #[command(after_help = AUTHENTICATE_EXAMPLES)]
    Authenticate(Box<presented::AuthenticateArgs>),
    /// Show who a key speaks for; reads it from standard input and needs no other credential
    Whoami(presented::WhoamiArgs),
}

/// Does what is asked.
pub(super) async fn run(command: KeyCommand, session: &mut Session) -> Result<Exit, Failure> {
    match command {
        KeyCommand::Create(args) => create::run(*args, session).await,
        KeyCommand::Get(args) => read::get(args, session).await,
        KeyCommand::List(args) => read::list(*args, session).await,
        KeyCommand::Update(args) => change::update(*args, session).await,
        KeyCommand::Disable(args) => change::disable(*args, session).await,
        KeyCommand::Enable(args) => change::enable(*args, session).await,
        KeyCommand::Rotate(args) => rotate::run(*args, session).await,
        KeyCommand::Revoke(args) => change::revoke(*args, session).await,
        KeyCommand::ReportLeak(args) => presented::report_leak(*args, session).await,
        KeyCommand::Authenticate(args) => presented::authenticate(*args, session).await,
        KeyCommand::Whoami(args) => presented::whoami(args, session).await,
    }
}
