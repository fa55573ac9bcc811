//! A child process that opens states, and how the gate speaks with it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::recovery::{Job, MARK, Report};

/// How long one opening may take, on a machine that is busy with other things: a hang takes for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the states of all workers may take.
const NEEDED_KILOBYTES: u64 = 1024 * 1024;

/// How children are started.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// The shim, and the ending of the names of files whose removal it only pretends.
    pub keep: Option<(PathBuf, String)>,
}

pub struct Worker {
    setting: Setting,
    running: Option<Running>,
}

struct Running {
    child: Child,
    jobs: ChildStdin,
    reports: Receiver<Report>,
    errors: JoinHandle<String>,
}

impl Worker {
    pub fn new(setting: Setting) -> Self {
        Worker { setting, running: None }
    }

    /// Does one job. That the child ends, or does not answer, is the job's problem.
    pub fn run(&mut self, job: &Job) -> Report {
        let mut running = self.running.take().unwrap_or_else(|| start(&self.setting));
        let line = serde_json::to_string(job).expect("a job");
        // If the child has ended meanwhile, the report says so.
        let _ = writeln!(running.jobs, "{line}");
        match running.reports.recv_timeout(PATIENCE) {
            Ok(report) if report.problem.is_none() && job.close => {
                self.running = Some(running);
                report
            }
            // It may hold the state open, or must not close it.
            Ok(report) => {
                running.end();
                report
            }
            Err(error) => {
                let (status, errors) = running.end();
                let how = match (error, status.signal()) {
                    (RecvTimeoutError::Timeout, _) => "does not come to an end".to_owned(),
                    (_, Some(signal)) => format!("ended by signal {signal}"),
                    (_, None) => format!("ended with {status}"),
                };
                let problem = Some(format!("recovery {how}: {}", last_lines(&errors)));
                Report { problem, ..Report::default() }
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }
}

impl Running {
    /// kill -9, if it has not ended.
    fn end(mut self) -> (ExitStatus, String) {
        // Its end closes the pipe before its status is there: let what it said decide.
        let _ = self.child.kill();
        let status = self.child.wait().expect("gone");
        (status, self.errors.join().expect("no panic"))
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(6)..].join(" | ")
}

/// This test binary again, for one of its tests alone.
pub fn this_binary(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    // Of a panic the gate tells the message; a trace of calls is slow to make and would hide it.
    command.env("RUST_BACKTRACE", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn start(setting: &Setting) -> Running {
    let mut command = this_binary("child_that_recovers");
    command.stdin(Stdio::piped());
    if let Some((shim, ending)) = &setting.keep {
        command.env("LD_PRELOAD", shim).env("GATE_KEEP", ending).env("GATE_ROOT", base_of_states());
        command.env("GATE_TRACE", "/dev/null");
    }
    let mut child = command.spawn().expect("the child runs");
    let jobs = child.stdin.take().expect("piped");
    let mut stderr = child.stderr.take().expect("piped");
    let errors = thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let (say, reports) = channel();
    thread::spawn(move || {
        // libtest's own words come before, on the same line.
        let reports = stdout.lines().map_while(Result::ok);
        let reports = reports.filter_map(|line| {
            let text = line.split_once(MARK)?.1;
            Some(serde_json::from_str::<Report>(text).expect("a report"))
        });
        for report in reports {
            // Nobody listens any more once the child is to end.
            let _ = say.send(report);
        }
    });
    Running { child, jobs, reports, errors }
}

/// Where states are: in memory if the machine has room there.
fn base_of_states() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let room = Command::new("df").args(["--output=avail", "-k"]).arg(memory).output();
    let room = room.ok().filter(|df| df.status.success()).and_then(|df| {
        String::from_utf8(df.stdout).ok()?.lines().nth(1)?.trim().parse::<u64>().ok()
    });
    let in_memory = room.is_some_and(|kilobytes| kilobytes > NEEDED_KILOBYTES);
    if in_memory { memory.to_owned() } else { std::env::temp_dir() }
}

/// A place for the states of one gate.
pub fn place_for_states() -> tempfile::TempDir {
    let made = tempfile::Builder::new().prefix("keyledger-gate-").tempdir_in(base_of_states());
    made.expect("a directory for states")
}

/// Makes the directory empty.
pub fn clear(path: &Path) {
    if path.exists() {
        fs::remove_dir_all(path).expect("a state can be removed");
    }
}
