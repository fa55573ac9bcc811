//! Servers of benches, each a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running server. Killed when it is dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    /// Where it answers, as `http://ADDRESS`.
    pub(crate) address: String,
}

/// The real program on a port of its choice; it says what it warns of.
pub(crate) fn serve(data_dir: &Path, config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyledger"));
    command.args([
        "serve",
        "--ops-addr",
        "off",
        "--http-addr",
        "off",
        "--grpc-addr",
        "127.0.0.1:0",
        "--data-dir",
    ]);
    command.arg(data_dir).arg("--config").arg(config);
    command.env("KEYLEDGER_LOG", "warn").stdin(Stdio::null());
    command
}

impl Process {
    /// Starts it and waits for its first line, which says `grpc=ADDRESS`.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.split_whitespace().find_map(|word| word.strip_prefix("grpc="));
        let address = format!("http://{}", address.expect("it is ready"));
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
