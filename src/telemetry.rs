//! What the process says of itself: the log, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// The environment variable that sets what is logged, such as `info` or `keyledger=debug`.
pub const LOG_VARIABLE: &str = "KEYLEDGER_LOG";

/// Starts the log. `filter` is the value of [`LOG_VARIABLE`]; none logs from `info` on.
///
/// # Errors
/// If the filter has no meaning.
pub fn start(filter: Option<&str>) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(filter.unwrap_or("info"))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .finish();
    // A second start in one process, as in tests, keeps the first log.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}
