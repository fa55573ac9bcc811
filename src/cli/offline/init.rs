//! `keyledger admin init`: a new data directory, before any server serves it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::{failed, prepare};
use crate::app::startup;
use crate::cli::output;
use crate::cli::progress::Shown;
use crate::clock::SystemClock;
use crate::random::SystemRandom;

/// What `keyledger admin init` is given.
#[derive(Clone, Debug, Default, Args)]
pub struct InitArgs {
    /// Configuration file of the server [default: none, all settings have defaults]
    #[arg(long, env = "KEYLEDGER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory to make: absent, or empty [default: ./data]
    #[arg(long, env = "KEYLEDGER_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Makes the data directory, unless there is one.
#[must_use]
pub fn run(args: &InitArgs) -> ExitCode {
    try_init(args).map_or_else(|problem| failed(&problem), |()| ExitCode::SUCCESS)
}

fn try_init(args: &InitArgs) -> Result<(), String> {
    let config = prepare(args.config.as_deref(), args.data_dir.as_deref())?;
    let (clock, random) = (Arc::new(SystemClock::new()), Arc::new(SystemRandom));
    let made = startup::create(&config, clock, random, &Shown::new());
    let place = config.data_dir.display();
    output::note(&match made.map_err(|error| error.to_string())? {
        Some(credential) => {
            format!("made {place}: the first admin's credential is in {}", credential.display())
        }
        None => format!("{place} is a keyledger data directory already: nothing was touched"),
    });
    Ok(())
}
