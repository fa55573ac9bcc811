//! The real program, as a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running `keyledger serve`. Killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: String,
}

impl Process {
    pub(crate) fn start(data_dir: &Path, config: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_keyledger"))
            .args(["serve", "--ops-addr", "off", "--grpc-addr", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .arg("--config")
            .arg(config)
            .env("KEYLEDGER_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.split(' ').find_map(|word| word.strip_prefix("grpc="));
        let address = format!("http://{}", address.expect("it is ready").trim());
        Process { child, address }
    }

    /// SIGTERM.
    ///
    /// # Panics
    /// If it does not end in order.
    pub(crate) fn stop(mut self) {
        let id = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        assert!(told.success(), "it was told to stop");
        let ended = self.child.wait().expect("it ends");
        assert!(ended.success(), "it stops in order: {ended}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing of one that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
