//! Commands that call a server, run to their end.

use std::process::ExitCode;

use crate::cli::{ClientCall, output, run_client};

/// Runs a client command on this thread.
#[must_use]
pub fn run(call: ClientCall) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run_client(call)),
        Err(error) => {
            output::note(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
