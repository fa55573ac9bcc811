//! Faults put into the real server by a shim at its file operations: killed, failing disk, full disk,
//! short reads and writes, at every n-th operation of a start and of a small workload.
//!
//! Likewise in `recover-admin` and in restores.
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
mod restores;
mod shim;
mod starts;
mod workload;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use keyledger::proto::v1;
use tempfile::TempDir;
use tonic::Status;

use common::Client;
use common::process::{Process, serve};
use model::Model;

/// What has not come by then never comes, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test's calls on this thread.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

/// The command of a server whose volumes are as small as they may be.
pub(crate) fn with_small_volumes(mut command: Command, room: &Path) -> Command {
    let file = room.join("keyledger.toml");
    fs::write(&file, "[ledger]\nvolume_bytes = 65536\nscrub_bytes_per_second = 0\n")
        .expect("written");
    command.arg("--config").arg(file);
    command
}

/// Whether a volume is sealed, gone from the engine, and in a snapshot.
pub(crate) fn is_sealed(data_dir: &Path, volume: usize) -> bool {
    let names = |room: &str| {
        let entries = fs::read_dir(data_dir.join(room)).into_iter().flatten();
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names.map(|name| name.into_string().expect("text")).collect::<Vec<_>>()
    };
    let (ledger, live) = (names("ledger"), format!("live-{volume:08}"));
    let snapshots = names("snapshots").iter().filter(|name| !name.ends_with(".tmp")).count();
    ledger.contains(&format!("volume-{volume:08}"))
        && !ledger.iter().any(|name| name.starts_with(&live))
        && snapshots > 0
}

/// A data directory, in `data`, whose server was killed: with accounts, keys, one of them revoked, a
/// sealed volume and a snapshot.
pub(crate) fn used_directory() -> (TempDir, Model) {
    let directory = TempDir::new().expect("a directory");
    let data_dir = directory.path().join("data");
    let mut model = Model::default();
    let server =
        Process::spawn(with_small_volumes(serve(&data_dir, "127.0.0.1:0"), directory.path()));
    block_on(async {
        let admin = server.admin(&data_dir).await;
        for account in ["billing", "bulky"] {
            model.put_account(&admin, account).await.expect("put");
        }
        for _ in 0..3 {
            model.create_key(&admin, "billing").await.expect("created");
        }
        for _ in 0..4 {
            model.create_bulky_key(&admin, "bulky").await.expect("created");
        }
        model.revoke(&admin, 2).await.expect("revoked");
        let sealed = until(&admin, || is_sealed(&data_dir, 1)).await;
        sealed.expect("the server works");
    });
    server.kill();
    (directory, model)
}

/// Asks a server how it is until something is so.
pub(crate) async fn until(admin: &Client, so: impl Fn() -> bool) -> Result<(), Status> {
    let asking = async {
        while !so() {
            admin.admin.clone().get_status(v1::GetStatusRequest {}).await?;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("it never came")
}
