//! Processes: the real program, this one in another part, and what the system says of them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::order::{Measured, Order};
use crate::say;

/// Hundredths of a second: in what Linux tells times of processes.
const TICK: Duration = Duration::from_millis(10);

/// A server in a process of its own. Killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Server {
    /// The real program.
    pub(crate) fn keyledger(data_dir: &Path, config: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyledger"));
        command.args(["serve", "--ops-addr", "off", "--grpc-addr", "127.0.0.1:0", "--data-dir"]);
        command.arg(data_dir).arg("--config").arg(config).stdin(Stdio::null());
        let (child, line) = start(command.stderr(Stdio::null()));
        let address = line.split_whitespace().find_map(|word| word.strip_prefix("grpc="));
        Server { address: address.expect("it is ready").to_owned(), child }
    }

    /// This program as the server that does nothing; it answers what `answer` holds.
    pub(crate) fn nothing(answer: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        // It ends with its standard input.
        command.arg("nothing").arg(answer).stdin(Stdio::piped());
        let (child, line) = start(&mut command);
        Server { address: line.trim().to_owned(), child }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM.
    ///
    /// # Panics
    /// If keyledger does not end in order.
    pub(crate) fn stop(mut self) {
        let id = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        assert!(told.success(), "it was told to stop");
        let ended = self.child.wait().expect("it ends");
        assert!(ended.success(), "it stops in order: {ended}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing of one that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a process and waits for its first line.
fn start(command: &mut Command) -> (Child, String) {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
    let stdout = child.stdout.take().expect("piped");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    (child, line)
}

/// Has this program make load in a process of its own.
pub(crate) fn measure(order: &Order) -> Measured {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .arg("load")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let told = serde_json::to_vec(order).expect("plain");
    child.stdin.take().expect("piped").write_all(&told).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "load was made");
    let measured: Measured = serde_json::from_slice(&output.stdout).expect("what it measured");
    let Measured { calls, wrong, failed, failure, .. } = &measured;
    assert!(*wrong == 0 || !order.decides, "of {calls} answers {wrong} were wrong");
    if *failed > 0 {
        let why = failure.as_deref().unwrap_or_default();
        say(&format!(
            "  beside {calls} that were answered {failed} calls failed, and do not count: {why}"
        ));
    }
    measured
}

/// What a process has run so far, all its threads.
pub(crate) fn cpu(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    // The name, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let times = fields.split_whitespace().skip(11).take(2);
    let ticks: u32 = times.map(|ticks| ticks.parse::<u32>().expect("a number")).sum();
    TICK * ticks
}

/// Bytes that a process holds in memory.
pub(crate) fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}
