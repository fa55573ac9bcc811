//! What the process says of itself: the log, on standard error; and spans of sampled calls, to a collector.

pub mod otlp;
pub mod spans;

pub mod log;

use tracing_subscriber::filter::ParseError;

/// The environment variable that sets what is logged, such as `info` or `keyledger=debug`.
pub const LOG_VARIABLE: &str = "KEYLEDGER_LOG";

/// Starts the log, as text. `filter` is the value of [`LOG_VARIABLE`]; none logs from `info` on.
///
/// # Errors
/// If the filter has no meaning.
pub fn start(filter: Option<&str>) -> Result<(), ParseError> {
    log::start(log::Form::Text, filter.unwrap_or("info")).map(drop)
}
