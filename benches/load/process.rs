//! Processes: this program in another part, and what the system says of any.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::order::{Measured, Order};
use crate::say;

/// Hundredths of a second: in what Linux tells times of processes.
const TICK: Duration = Duration::from_millis(10);

/// This program as the server that does nothing; it answers what `answer` holds.
pub(crate) fn nothing(answer: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    // It ends with its standard input.
    command.arg("nothing").arg(answer).stdin(Stdio::piped());
    command
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
