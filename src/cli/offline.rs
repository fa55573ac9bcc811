//! Commands that work on the data directory itself, while no server uses it.

use std::process::ExitCode;
use std::sync::Arc;

use crate::app::admin_credential;
use crate::app::startup::{self, Opened};
use crate::cli::{RecoverAdminArgs, confirm, output};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::process;
use crate::progress::Silent;
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

fn try_recover(args: &RecoverAdminArgs) -> Result<ExitCode, String> {
    let config = args.config.as_deref().map(Config::read).transpose();
    let mut config = config.map_err(|error| error.to_string())?.unwrap_or_default();
    if let Some(data_dir) = &args.data_dir {
        config.data_dir.clone_from(data_dir);
    }
    let filter = std::env::var(telemetry::LOG_VARIABLE).ok();
    telemetry::start(filter.as_deref()).map_err(|error| error.to_string())?;
    startup::stop_on_engine_panic();
    process::harden().map_err(|error| format!("the operating system refuses: {error}"))?;
    let (clock, random) = (Arc::new(SystemClock::new()), Arc::new(SystemRandom));
    let Opened { app, closing, .. } = startup::open_offline(&config, clock, random, &Silent)
        .map_err(|error| error.to_string())?;
    let path = args.credential_out.clone().unwrap_or_else(|| closing.admin_credential());
    let made = admin_credential::recover(&app, &path);
    drop(app);
    closing.close().map_err(|error| error.to_string())?;
    made.map_err(|error| error.to_string())?;
    output::note(&format!("the new admin's credential is in {}", path.display()));
    Ok(ExitCode::SUCCESS)
}
