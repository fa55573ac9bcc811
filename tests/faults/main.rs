//! Faults put into the real server by a shim at its file operations: killed, failing disk, full disk,
//! short reads and writes, at every n-th operation of a start and of a small workload.
//!
//! Each must end the way the design says: the start is refused with a clear message, the process
//! aborts with one, or it survives with right answers; and what was acknowledged is there afterwards.
//! Every n is tried for a killed start and for the small workload. Elsewhere a printed seed chooses;
//! `KEYLEDGER_FAULTS=all` tries all of it, and faults that last.
//! `--nocapture` shows the counts.

#[path = "../common/mod.rs"]
mod common;
mod load;
mod model;
mod outcome;
mod points;
mod recover;
mod shim;
mod starts;
mod workload;

use tempfile::TempDir;

use common::process::Process;
use model::Model;

/// Runs a test's calls on this thread.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

/// A data directory, in `data`, with an account and three keys, one of them revoked, whose server was
/// killed.
pub(crate) fn used_directory() -> (TempDir, Model) {
    let directory = TempDir::new().expect("a directory");
    let data_dir = directory.path().join("data");
    let mut model = Model::default();
    let server = Process::start(&data_dir);
    block_on(async {
        let admin = server.admin(&data_dir).await;
        model.put_account(&admin, "billing").await.expect("put");
        model.put_account(&admin, "bulky").await.expect("put");
        for _ in 0..3 {
            model.create_key(&admin, "billing").await.expect("created");
        }
        model.revoke(&admin, 2).await.expect("revoked");
    });
    server.kill();
    (directory, model)
}
