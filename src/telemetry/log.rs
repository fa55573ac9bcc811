//! The log's lines: in which form they are, and which of them are written, which may change while the process runs.

use std::io::IsTerminal;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As people read it; in colours on a terminal.
    Text,
    /// An object for each line: `timestamp`, `level`, `target`, `message` and the fields of the event beside them.
    Json,
}

/// Changes which lines are written.
#[derive(Clone, Debug)]
pub struct LogControl(Handle<EnvFilter, Registry>);

impl LogControl {
    /// Writes the lines that this filter lets through, from now on.
    ///
    /// # Errors
    /// If the filter has no meaning.
    pub fn set(&self, filter: &str) -> Result<(), ParseError> {
        let filter = EnvFilter::try_new(filter)?;
        // It fails where another log was started before this one, as in tests: that one is not changed.
        let _ = self.0.reload(filter);
        Ok(())
    }
}

/// Starts the log on standard error.
///
/// # Errors
/// If the filter has no meaning.
pub fn start(form: Form, filter: &str) -> Result<LogControl, ParseError> {
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(filter)?);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match form {
        Form::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        Form::Json => lines.json().flatten_event(true).boxed(),
    };
    // A second start in one process, as in tests, keeps the first log. The filter is this layer's own.
    let _ = tracing::subscriber::set_global_default(
        Registry::default().with(lines.with_filter(filter)),
    );
    Ok(LogControl(handle))
}
