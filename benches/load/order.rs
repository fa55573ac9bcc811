//! What the process that makes load is told, on its standard input, and what it says, on its standard output.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What load is made.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Load {
    /// Each working key once, so many calls under way: what comes after finds every key's name at hand.
    Each { in_flight: usize },
    /// So many calls are under way at any time.
    Closed { in_flight: usize },
    /// A call begins at each multiple of a second over `rate`, whether or not others are answered; latencies count
    /// from then.
    Open { rate: f64 },
    /// So many streams, in each of which so many questions are under way at any time.
    Streams { streams: usize, window: usize },
}

/// What is to be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Where the server listens.
    pub(crate) address: String,
    /// Its process.
    pub(crate) process: u32,
    pub(crate) credential: String,
    /// The file of [`crate::asks::Secrets`].
    pub(crate) secrets: PathBuf,
    /// Whether the server tells one question from another.
    pub(crate) decides: bool,
    pub(crate) load: Load,
    pub(crate) connections: usize,
    /// What is not measured, at the beginning. It and the span mean nothing to [`Load::Each`].
    pub(crate) warming: Duration,
    /// What is.
    pub(crate) span: Duration,
}

/// What was measured. Times are in microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Answers.
    pub(crate) calls: u64,
    /// Answers a second.
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// What the server's process ran, for a call.
    pub(crate) server_cpu: f64,
    /// What the process that made the load ran, for a call.
    pub(crate) client_cpu: f64,
    /// Answers that were not the right ones.
    pub(crate) wrong: u64,
    /// Calls that failed.
    pub(crate) failed: u64,
    /// Why the first of these did.
    pub(crate) failure: Option<String>,
}
