//! The real program as a process of its own.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Client, credential_in};
use tonic::transport::Channel;

/// A process that neither answers nor ends within this time hangs, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `keyledger serve`. Killed when it is dropped: a test that fails leaves no server behind.
pub struct Process {
    child: Child,
    pub address: String,
    /// Where metrics and probes are; empty if nowhere.
    pub ops: String,
    log: Option<JoinHandle<String>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing of one that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyledger"));
    for variable in ["TOKEN", "SERVER", "CONFIG", "DATA_DIR", "GRPC_ADDR", "OPS_ADDR", "HTTP_ADDR"]
    {
        command.env_remove(format!("KEYLEDGER_{variable}"));
    }
    for variable in ["CA", "CLIENT_CERTIFICATE", "CLIENT_KEY"] {
        command.env_remove(format!("KEYLEDGER_{variable}"));
    }
    // Tests run beside each other: the port that is served as shipped is for one.
    command.env("KEYLEDGER_HTTP_ADDR", "off").stdin(Stdio::null());
    command
}

pub fn serve(data_dir: &Path, grpc_addr: &str) -> Command {
    let mut command = command();
    command.arg("serve").arg("--data-dir").arg(data_dir).arg("--grpc-addr").arg(grpc_addr);
    command.arg("--ops-addr").arg("127.0.0.1:0");
    command
}

/// Runs a server that is not expected to start.
pub fn refused(mut command: Command) -> (ExitStatus, String) {
    let Output { status, stderr, .. } = command.output().expect("it runs");
    (status, String::from_utf8(stderr).expect("text"))
}

impl Process {
    pub fn start(data_dir: &Path) -> Process {
        Process::spawn(serve(data_dir, "127.0.0.1:0"))
    }

    pub fn spawn(command: Command) -> Process {
        Process::try_spawn(command)
            .unwrap_or_else(|(status, log)| panic!("it did not start: {status}\n{log}"))
    }

    /// Starts a server that may end before it is ready: then answers its exit status and log.
    pub fn try_spawn(mut command: Command) -> Result<Process, (ExitStatus, String)> {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let mut stderr = child.stderr.take().expect("piped");
        let log = Some(std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).expect("text");
            text
        }));
        let watch = Watch::over(child.id());
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        watch.end();
        let named = |name| line.split_whitespace().find_map(|word| word.strip_prefix(name));
        match named("grpc=").filter(|_| line.starts_with("ready ")) {
            Some(address) => {
                let ops = named("ops=").unwrap_or_default().to_owned();
                Ok(Process { address: format!("http://{address}"), ops, child, log })
            }
            None => Err(Process { address: String::new(), ops: String::new(), child, log }.wait()),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub async fn admin(&self, data_dir: &Path) -> Client {
        let channel = Channel::from_shared(self.address.clone()).expect("an address");
        Client::new(channel.connect().await.expect("up"), Some(&credential_in(data_dir)))
    }

    /// A client of a server that may be gone already; none if it is.
    pub async fn admin_if_up(&self, data_dir: &Path) -> Option<Client> {
        let channel = Channel::from_shared(self.address.clone()).expect("an address");
        let channel = channel.connect().await.ok()?;
        Some(Client::new(channel, Some(&credential_in(data_dir))))
    }

    pub async fn client(&self, credential: &str) -> Client {
        let channel = Channel::from_shared(self.address.clone()).expect("an address");
        Client::new(channel.connect().await.expect("up"), Some(credential))
    }

    /// kill -9.
    pub fn kill(mut self) -> String {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
        self.take_log()
    }

    fn take_log(&mut self) -> String {
        self.log.take().expect("taken once").join().expect("no panic")
    }

    /// SIGHUP: look at the TLS files.
    pub fn hang_up(&self) {
        assert!(send("-HUP", self.child.id()));
    }

    /// Waits for the process to end by itself. Answers the exit status and the log.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let watch = Watch::over(self.child.id());
        let status = self.child.wait().expect("gone");
        watch.end();
        (status, self.take_log())
    }

    /// SIGTERM, as an init system would. Answers the exit status and the log.
    pub fn terminate(self) -> (ExitStatus, String) {
        assert!(send("-TERM", self.child.id()));
        self.wait()
    }

    /// SIGTERM to a process that may be gone already.
    pub fn end(self) -> (ExitStatus, String) {
        let _ = send("-TERM", self.child.id());
        self.wait()
    }
}

/// Sends a signal to a child that has not been waited for. False if it is gone.
fn send(signal: &str, id: u32) -> bool {
    let kill = Command::new("kill").arg(signal).arg(id.to_string()).stderr(Stdio::null()).status();
    kill.expect("kill runs").success()
}

/// Kills a child that takes too long, so that a test about it ends.
struct Watch {
    ended: mpsc::Sender<()>,
    hung: JoinHandle<bool>,
}

impl Watch {
    fn over(id: u32) -> Watch {
        let (ended, end) = mpsc::channel();
        let hung = std::thread::spawn(move || {
            let hung = end.recv_timeout(PATIENCE).is_err();
            if hung {
                let _ = send("-KILL", id);
            }
            hung
        });
        Watch { ended, hung }
    }

    fn end(self) {
        let _ = self.ended.send(());
        assert!(!self.hung.join().expect("no panic"), "the process hung");
    }
}

/// Asks over HTTP/1.1; answers the status and the body.
pub fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("up");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split_whitespace().nth(1).expect("a status line");
    (status.parse().expect("a status"), body.to_owned())
}

/// Every file of a directory with its bytes. What a running server takes away meanwhile is left
/// out.
pub fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rooms = vec![directory.to_owned()];
    while let Some(room) = rooms.pop() {
        for entry in unless_gone(std::fs::read_dir(&room)).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                rooms.push(path);
            } else if let Some(bytes) = unless_gone(std::fs::read(&path)) {
                found.push((path, bytes));
            }
        }
    }
    found.sort();
    found
}

fn unless_gone<T>(read: std::io::Result<T>) -> Option<T> {
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        read => Some(read.expect("readable")),
    }
}
