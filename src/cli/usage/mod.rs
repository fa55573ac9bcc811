//! `keyledger usage`: who uses which keys, how often, from where and since when.

mod idle;
mod key;
mod range;
mod report;
mod signals;
mod stragglers;
mod top;

use clap::Subcommand;

use super::failure::{Exit, Failure};
use super::session::Session;

const KEY_EXAMPLES: &str = "\
Examples:
  The last day, by the hour:
    keyledger usage key key_0a1B2c3D4e5F6g7H8
  A week of last month, by the day:
    keyledger usage key key_0a1B2c3D4e5F6g7H8 --from 2027-01-04T00:00:00Z \\
      --to 2027-01-11T00:00:00Z --granularity day";

const TOP_EXAMPLES: &str = "\
Examples:
  keyledger usage top --by account --tenant acme
  Who was refused in the last hour, and why:
    keyledger usage top --by reason,caller --last 1h";

const IDLE_EXAMPLES: &str = "\
Example:
  Keys that could be revoked without anybody missing them:
    keyledger usage idle --tenant acme --unused-for 90d";

const STRAGGLERS_EXAMPLES: &str = "\
Example:
  Who has not moved to the new key yet:
    keyledger usage stragglers key_0a1B2c3D4e5F6g7H8";

const SIGNALS_EXAMPLES: &str = "\
Examples:
  keyledger usage signals --tenant acme --last 7d
  Everything of the last day, where unknown keys came from too:
    keyledger usage signals

What each kind is:
  NEW_SOURCE       allowed from an address that is not among the key's last 20
  ENDED_KEY_TRIED  a revoked or superseded key was presented
  BURST            over 4 times the uses of the busiest hour of the past week
  UNKNOWN_KEYS     100 or more unknown keys from one source in an hour";

#[derive(Debug, Subcommand)]
pub(super) enum UsageCommand {
    /// Show how often a key was used, and when
    ///
    /// Uses are counted here about two minutes after they happen; the answer says up to when all are.
    #[command(after_help = KEY_EXAMPLES)]
    Key(key::KeyArgs),
    /// Show by whom, for what and from where keys are used most
    ///
    /// Uses are counted here about two minutes after they happen; the answer says up to when all are.
    #[command(after_help = TOP_EXAMPLES)]
    Top(Box<top::TopArgs>),
    /// List the keys of a tenant that work and are not used, oldest first
    #[command(after_help = IDLE_EXAMPLES)]
    Idle(idle::IdleArgs),
    /// Show who still uses a key that has a successor, latest first
    #[command(after_help = STRAGGLERS_EXAMPLES)]
    Stragglers(stragglers::StragglersArgs),
    /// Show unusual activity, the latest first
    ///
    /// Each signal says what was compared with what, and in which events it was found.
    #[command(after_help = SIGNALS_EXAMPLES)]
    Signals(signals::SignalsArgs),
}

/// Does what is asked.
pub(super) async fn run(command: UsageCommand, session: &mut Session) -> Result<Exit, Failure> {
    match command {
        UsageCommand::Key(args) => key::run(args, session).await,
        UsageCommand::Top(args) => top::run(*args, session).await,
        UsageCommand::Idle(args) => idle::run(args, session).await,
        UsageCommand::Stragglers(args) => stragglers::run(args, session).await,
        UsageCommand::Signals(args) => signals::run(args, session).await,
    }
}
