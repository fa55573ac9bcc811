//! Commands that work on the data directory itself, while no server uses it.

pub mod check;
pub mod generate_key;
pub mod init;
pub mod restore;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use crate::app::admin_credential;
use crate::app::proofs;
use crate::app::rebuild::{self, Rebuilt, TilesRebuilt, UsageRebuilt};
use crate::app::startup::{self, Opened};
use crate::cli::output::{self, Output};
use crate::cli::progress::Shown;
use crate::cli::{AddSigningKeyArgs, RebuildArgs, RecoverAdminArgs, confirm};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::process;
use crate::random::SystemRandom;
use crate::telemetry;

/// Makes a new admin caller, puts it on record as made offline, and writes its credential to a file.
#[must_use]
pub fn recover_admin(args: &RecoverAdminArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string()),
    };
    let question = "Make a new admin caller of everything, on record as made offline?".to_owned();
    if let Err(exit) = runtime.block_on(confirm(args.yes, question)) {
        return exit;
    }
    drop(runtime);
    try_recover(args).unwrap_or_else(|problem| failed(&problem))
}

fn failed(problem: &str) -> ExitCode {
    output::note(&format!("error: {problem}"));
    ExitCode::FAILURE
}

/// Folds the log from its beginning and holds the newest snapshot, the usage projection and the hash tiles to it.
#[must_use]
pub fn rebuild(args: &RebuildArgs) -> ExitCode {
    try_rebuild(args).unwrap_or_else(|problem| failed(&problem))
}

fn try_rebuild(args: &RebuildArgs) -> Result<ExitCode, String> {
    let config = prepare(args.config.as_deref(), args.data_dir.as_deref())?;
    let rebuilt = rebuild::rebuild(&config, &Shown::new()).map_err(|error| error.to_string())?;
    let (text, exit): (_, u8) = match rebuilt {
        Rebuilt::Identical(at) => (format!("the snapshot at position {at} is identical"), 0),
        Rebuilt::Made(at) => (format!("there was no snapshot: made one at position {at}"), 0),
        Rebuilt::Replaced { position, reason } => {
            (format!("the snapshot at position {position} is replaced: {reason}"), 0)
        }
        Rebuilt::Differed { position, at, aside } => {
            let aside = aside.display();
            let text = format!(
                "the snapshot at position {position} is not what the log gives; first difference: \
                 {at}. It is replaced and now lies in {aside}"
            );
            (text, 1)
        }
        Rebuilt::Nothing => ("no volume is sealed yet: there is no snapshot to make".to_owned(), 0),
    };
    // Whoever started it may not listen; it is done all the same.
    let _ = Output::new(None).line(&text);
    let rebuilt = rebuild::rebuild_usage(&config, &Shown::new());
    let (text, usage_exit) = told_of_usage(&rebuilt.map_err(|error| error.to_string())?);
    let _ = Output::new(None).line(&text);
    let rebuilt = rebuild::rebuild_tiles(&config, &Shown::new());
    let TilesRebuilt { tiles, made } = rebuilt.map_err(|error| error.to_string())?;
    let text = match made {
        0 => format!("the hash tiles, {tiles} of them, are what the log gives"),
        made => format!("{made} of {tiles} hash tiles were missing, torn or altered and are made"),
    };
    let _ = Output::new(None).line(&text);
    Ok(ExitCode::from(exit.max(usage_exit)))
}

/// What is said of a rebuild of the usage projection, and how it exits.
fn told_of_usage(rebuilt: &UsageRebuilt) -> (String, u8) {
    match rebuilt {
        UsageRebuilt::Identical(at) => {
            (format!("the usage projection at position {at} is identical"), 0)
        }
        UsageRebuilt::Made(at) => {
            (format!("there was no usage projection: made one at position {at}"), 0)
        }
        UsageRebuilt::Replaced { position, reason } => {
            (format!("the usage projection is replaced by one at position {position}: {reason}"), 0)
        }
        UsageRebuilt::Differed { position, at, aside } => {
            let aside = aside.display();
            let text = format!(
                "the usage projection at position {position} is not what the log gives; first difference: \
                 {at}. It is replaced and now lies in {aside}"
            );
            (text, 1)
        }
        UsageRebuilt::Nothing => ("the log is empty: there is no usage projection".to_owned(), 0),
    }
}

/// Makes another key that signs checkpoints, and says where it lies.
#[must_use]
pub fn add_signing_key(args: &AddSigningKeyArgs) -> ExitCode {
    if args.replace_lost {
        return try_replace_lost(args).unwrap_or_else(|problem| failed(&problem));
    }
    let added = prepare(args.config.as_deref(), args.data_dir.as_deref()).and_then(|config| {
        proofs::add_signing_key(&config, &SystemRandom).map_err(|error| error.to_string())
    });
    match added {
        Ok(path) => {
            output::note(&format!("made {}: it signs from the next start on", path.display()));
            ExitCode::SUCCESS
        }
        Err(problem) => failed(&problem),
    }
}

fn try_replace_lost(args: &AddSigningKeyArgs) -> Result<ExitCode, String> {
    let config = prepare(args.config.as_deref(), args.data_dir.as_deref())?;
    let (clock, random) = (Arc::new(SystemClock::new()), Arc::new(SystemRandom));
    let keys = proofs::replace_lost_signing_keys(&config, clock, random, &Shown::new())
        .map_err(|error| error.to_string())?;
    output::note(&format!(
        "the lost signing keys are replaced by what is in {}, and that is on record: tell every auditor the \
         verifier key that keyledger audit checkpoint shows after the next start",
        keys.display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// The configuration, with the log and the process made ready for work on the data directory.
fn prepare(file: Option<&Path>, data_dir: Option<&Path>) -> Result<Config, String> {
    let config = file.map(Config::read).transpose();
    let mut config = config.map_err(|error| error.to_string())?.unwrap_or_default();
    if let Some(data_dir) = data_dir {
        config.data_dir = data_dir.to_owned();
    }
    let filter = std::env::var(telemetry::LOG_VARIABLE).ok();
    telemetry::start(filter.as_deref()).map_err(|error| error.to_string())?;
    process::harden().map_err(|error| format!("the operating system refuses: {error}"))?;
    Ok(config)
}

fn try_recover(args: &RecoverAdminArgs) -> Result<ExitCode, String> {
    let config = prepare(args.config.as_deref(), args.data_dir.as_deref())?;
    let (clock, random) = (Arc::new(SystemClock::new()), Arc::new(SystemRandom));
    let Opened { app, closing, .. } = startup::open_offline(&config, clock, random, &Shown::new())
        .map_err(|error| error.to_string())?;
    let path = args.credential_out.clone().unwrap_or_else(|| closing.admin_credential());
    let made = admin_credential::recover(&app, &path);
    drop(app);
    closing.close().map_err(|error| error.to_string())?;
    made.map_err(|error| error.to_string())?;
    output::note(&format!("the new admin's credential is in {}", path.display()));
    Ok(ExitCode::SUCCESS)
}
