//! Directories of one test: data, backups, what is restored from them; and the program run on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use keyledger::proto::v1;
use serde_json::Value;
use tempfile::TempDir;

use super::process::{self, Process};
use super::{Client, TestServer, new_key};

/// Volumes of 64 KiB, the smallest there are.
const CONFIG: &str = "[ledger]\nvolume_bytes = 65536\n";

pub struct Place {
    home: TempDir,
}

/// How a run of the program ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub said: String,
    pub json: Value,
}

impl Place {
    pub fn new() -> Self {
        let home = TempDir::new().expect("a directory");
        fs::write(home.path().join("config.toml"), CONFIG).expect("written");
        Place { home }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A server on the data directory of that name.
    pub fn serve(&self, data: &str) -> Process {
        let mut command = process::serve(&self.path(data), "127.0.0.1:0");
        command.arg("--config").arg(self.path("config.toml"));
        Process::spawn(command)
    }

    /// What a server that does not start says.
    pub fn refused(&self, data: &str) -> String {
        let (status, said) = process::refused(process::serve(&self.path(data), "127.0.0.1:0"));
        assert_eq!(status.code(), Some(1), "{said}");
        said
    }

    /// Backs a server up, as an operator would, with the credential in `data`.
    pub async fn backup(&self, address: &str, data: &str, to: &str) -> Ran {
        let mut command = process::command();
        command.args(["admin", "backup", "--output", "json", "--server", address, "--token-file"]);
        command.arg(self.path(data).join("admin.credential")).arg("--to").arg(self.path(to));
        run(command).await
    }

    /// Backs a server up and expects that to go well.
    pub async fn must_backup(&self, server: &Process, to: &str) -> Value {
        let ran = self.backup(&server.address, "data", to).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.json
    }

    /// `admin restore` into `data`, with these arguments besides.
    pub async fn restore(&self, data: &str, arguments: &[&str]) -> Ran {
        let mut command = process::command();
        command.args(["admin", "restore", "--output", "json", "--data-dir"]).arg(self.path(data));
        command.arg("--config").arg(self.path("config.toml"));
        command.args(arguments).current_dir(self.home.path());
        run(command).await
    }
}

async fn run(mut command: std::process::Command) -> Ran {
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    let Output { status, stdout, stderr } = output.expect("it runs");
    let text = String::from_utf8(stdout).expect("text");
    let json = serde_json::from_str(text.trim()).unwrap_or(Value::Null);
    let said = String::from_utf8(stderr).expect("text");
    Ran { code: status.code(), said, json }
}

/// Makes keys with 16 KiB of metadata until so many volumes of the log are sealed. Answers the
/// secrets.
pub async fn grow(admin: &Client, volumes: u64) -> Vec<String> {
    let bulk = (0..32).map(|n| (format!("bulk {n}"), "x".repeat(512))).collect();
    let request = v1::CreateKeyRequest { metadata: bulk, ..new_key("acme", "bulk", "bulky") };
    admin.put_account("bulk", "enterprise", &[]).await;
    let mut secrets = Vec::new();
    while status(admin).await.volumes.expect("always").sealed < volumes {
        let made = admin.keys.clone().create_key(request.clone()).await.expect("created");
        secrets.push(made.into_inner().secret);
        assert!(secrets.len() < 2000, "no volume is sealed");
    }
    secrets
}

/// How the server is.
pub async fn status(client: &Client) -> v1::GetStatusResponse {
    let mut admin = client.admin.clone();
    admin.get_status(v1::GetStatusRequest {}).await.expect("a status").into_inner()
}

/// Waits until the server warns so.
pub async fn warned(client: &Client, of: &str) {
    while !status(client).await.warnings.iter().any(|warning| warning.contains(of)) {}
}

/// Waits until a figure is so.
pub async fn shows(server: &TestServer, line: &str) {
    let ops = server.ops.clone().expect("served");
    loop {
        let ops = ops.clone();
        let page = tokio::task::spawn_blocking(move || process::get(&ops, "/metrics").1).await;
        if page.expect("no panic").lines().any(|found| found == line) {
            return;
        }
    }
}

/// A copy of a directory; what it is copied to is made.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).expect("copied");
        }
    }
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
