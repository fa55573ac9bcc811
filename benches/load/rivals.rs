//! What people would pick instead, asked for the same keys over as many connections, one question at a time on each:
//! Redis, `GET` of a hashed key, and PostgreSQL, a prepared `SELECT` by an indexed hash; and, for what is to be durable,
//! an insert with fsync in each beside CreateKey.
//!
//! What they leave out: nothing is hashed or compared (their clients would), no caller is checked, no state, permission,
//! source or limit judged, no use recorded; what they answer is 32 bytes. Their insert is one row: no tree, no chain, no
//! sealing. They hold no more than what is asked for.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::asks::{Dice, Zipf};
use crate::{now, say};

/// Connections, and so questions under way.
pub(crate) const CONNECTIONS: usize = 64;

/// How long a server may take to start.
const STARTING: Duration = Duration::from_secs(20);

/// What was measured: answers a second, and the middle and the 99th of a hundred latencies, in microseconds.
pub(crate) struct Measured {
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Measured {
    /// Of latencies of calls since `began`.
    pub(crate) fn of(mut latencies: Vec<Duration>, began: Instant) -> Self {
        let rate = latencies.len() as f64 / began.elapsed().as_secs_f64();
        latencies.sort_unstable();
        let at = |share: usize| latencies[(latencies.len() - 1) * share / 100].as_secs_f64() * 1e6;
        Measured { rate, p50: at(50), p99: at(99) }
    }

    pub(crate) fn print(&self, name: &str) {
        say(&format!("{name:<24} {:>10.0} {:>8.0} {:>8.0}", self.rate, self.p50, self.p99));
    }
}

/// One of them, running.
pub(crate) struct Rival {
    child: Child,
    port: u16,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Redis,
    Postgres,
}

impl Kind {
    pub(crate) const ALL: [Kind; 2] = [Kind::Redis, Kind::Postgres];

    fn program(self) -> &'static str {
        match self {
            Kind::Redis => "redis-server",
            Kind::Postgres => "postgres",
        }
    }

    /// What is asked, as a table's line has it.
    pub(crate) fn name(self, insert: bool) -> &'static str {
        match (self, insert) {
            (Kind::Redis, false) => "Redis GET",
            (Kind::Redis, true) => "Redis SET, appendfsync",
            (Kind::Postgres, false) => "PostgreSQL SELECT",
            (Kind::Postgres, true) => "PostgreSQL INSERT",
        }
    }

    /// Where its program is: where Debian puts it.
    fn find(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let of_debian = versions.map(|version| version.path().join("bin"));
        let places = of_debian.chain(std::env::split_paths(&path));
        places.map(|place| place.join(self.program())).find(|program| program.is_file())
    }
}

/// The user and group of that name.
fn user(name: &str) -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?.to_owned();
    let mut ids = line.split(':').skip(2).map(str::parse);
    Some((ids.next()?.ok()?, ids.next()?.ok()?))
}

/// A free port: that of a listener which is gone.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

impl Rival {
    /// Starts one below `dir`; says so if it is not installed or does not start.
    pub(crate) async fn start(kind: Kind, dir: &Path) -> Option<Self> {
        let Some(program) = kind.find() else {
            say(&format!("skipped: {} is not installed", kind.program()));
            return None;
        };
        let (own, port) = (dir.join(kind.program()), free_port());
        std::fs::create_dir(&own).expect("made");
        let child = match kind {
            Kind::Redis => start_redis(&program, &own, port),
            Kind::Postgres => start_postgres(&program, &own, port),
        };
        let rival = Rival { child: child?, port, kind };
        let began = now();
        while began.elapsed() < STARTING {
            if let Ok(mut line) = rival.connect().await
                && rival.prepare(&mut line).await.is_some()
            {
                return Some(rival);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        say(&format!("skipped: {} did not start", kind.program()));
        None
    }

    async fn connect(&self) -> std::io::Result<Line> {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).await?;
        socket.set_nodelay(true)?;
        let mut line = Line { socket, read: Vec::new(), kind: self.kind };
        line.begin().await?;
        Ok(line)
    }

    /// Makes the table, if it takes one.
    async fn prepare(&self, line: &mut Line) -> Option<()> {
        let made = "CREATE TABLE IF NOT EXISTS keys (hash bytea PRIMARY KEY, row bytea NOT NULL)";
        match self.kind {
            Kind::Redis => Some(()),
            Kind::Postgres => line.query(made).await.ok(),
        }
    }

    /// Puts so many keys in.
    pub(crate) async fn fill(&self, keys: usize) {
        let mut line = self.connect().await.expect("it listens");
        match self.kind {
            Kind::Redis => {
                for key in 0..keys {
                    line.insert(key as u64).await.expect("inserted");
                }
            }
            Kind::Postgres => {
                let filled = format!(
                    "INSERT INTO keys SELECT decode(lpad(to_hex(n), 64, '0'), 'hex'), \
                     decode(repeat('00', 32), 'hex') FROM generate_series(0, {}) n",
                    keys - 1
                );
                line.query(&filled).await.expect("filled");
                line.query("ANALYZE keys").await.expect("analysed");
            }
        }
    }

    /// Loads it for a while: with gets of keys below `keys`, or with inserts of others.
    pub(crate) async fn measure(&self, keys: usize, insert: bool, span: Duration) -> Measured {
        let mut lines = Vec::new();
        for _ in 0..CONNECTIONS {
            lines.push(self.connect().await.expect("it listens"));
        }
        let zipf = Arc::new(Zipf::of(keys));
        let began = now();
        let mut running = JoinSet::new();
        for (task, mut line) in lines.into_iter().enumerate() {
            let zipf = Arc::clone(&zipf);
            running.spawn(async move {
                let (mut dice, mut latencies) = (Dice::new(), Vec::new());
                for _ in 0..task * 1000 {
                    dice.roll();
                }
                // No two tasks insert the same, and none what is there.
                let mut next = (1 << 63) | dice.roll();
                while began.elapsed() < span {
                    let sent = now();
                    if insert {
                        next += 1;
                        line.insert(next).await.expect("inserted");
                    } else {
                        line.get(zipf.draw(&mut dice) as u64).await.expect("found");
                    }
                    latencies.push(sent.elapsed());
                }
                latencies
            });
        }
        let latencies = running.join_all().await.into_iter().flatten().collect();
        Measured::of(latencies, began)
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        // SIGTERM: PostgreSQL ends its own processes.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn quietly(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

fn start_redis(program: &Path, own: &Path, port: u16) -> Option<Child> {
    let mut command = Command::new(program);
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
    command.args(["--appendfsync", "always", "--port", &port.to_string(), "--dir"]).arg(own);
    quietly(&mut command).spawn().ok()
}

fn start_postgres(program: &Path, own: &Path, port: u16) -> Option<Child> {
    let (data, initdb) = (own.join("data"), program.with_file_name("initdb"));
    let (mut make, mut serve) = (Command::new(initdb), Command::new(program));
    if rustix::process::geteuid().is_root() {
        // It does not run as root.
        let (uid, gid) = user("postgres")?;
        std::os::unix::fs::chown(own, Some(uid), Some(gid)).ok()?;
        let above = own.parent()?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(above, mode).ok()?;
        make.uid(uid).gid(gid).current_dir(own);
        serve.uid(uid).gid(gid).current_dir(own);
    }
    make.args(["-A", "trust", "-U", "bench", "-E", "UTF8", "-D"]).arg(&data);
    if !quietly(&mut make).status().is_ok_and(|made| made.success()) {
        say("skipped: initdb failed");
        return None;
    }
    serve.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k", ""]);
    serve.args(["-c", "max_connections=100"]);
    quietly(&mut serve).spawn().ok()
}

/// A connection to one of them, in as much of its protocol as is needed.
struct Line {
    socket: TcpStream,
    read: Vec<u8>,
    kind: Kind,
}

type Done = std::io::Result<()>;

fn broken(what: &str) -> std::io::Error {
    std::io::Error::other(what.to_owned())
}

/// A key's hash: what is looked up by.
fn hash(key: u64) -> [u8; 32] {
    let mut hash = [0; 32];
    hash[24..].copy_from_slice(&key.to_be_bytes());
    hash
}

/// A message of PostgreSQL's.
fn message(kind: u8, body: &[u8], to: &mut Vec<u8>) {
    to.push(kind);
    to.extend_from_slice(&u32::try_from(body.len() + 4).expect("short").to_be_bytes());
    to.extend_from_slice(body);
}

/// Binds a prepared statement to parameters in binary, executes it, and asks for the end of it.
fn execute(statement: &str, parameters: &[&[u8]]) -> Vec<u8> {
    let count = u16::try_from(parameters.len()).expect("few").to_be_bytes();
    let mut bind = format!("\0{statement}\0").into_bytes();
    // One form for all: binary.
    bind.extend_from_slice(&[0, 1, 0, 1]);
    bind.extend_from_slice(&count);
    for parameter in parameters {
        bind.extend_from_slice(&u32::try_from(parameter.len()).expect("short").to_be_bytes());
        bind.extend_from_slice(parameter);
    }
    bind.extend_from_slice(&[0, 1, 0, 1]);
    let mut all = Vec::new();
    message(b'B', &bind, &mut all);
    message(b'E', &[0, 0, 0, 0, 0], &mut all);
    message(b'S', &[], &mut all);
    all
}

impl Line {
    async fn begin(&mut self) -> Done {
        if self.kind == Kind::Redis {
            return Ok(());
        }
        let parameters = b"\0\x03\0\0user\0bench\0database\0postgres\0\0";
        let length = u32::try_from(parameters.len() + 4).expect("short");
        let begin = [&length.to_be_bytes()[..], parameters].concat();
        self.socket.write_all(&begin).await?;
        self.ready().await?;
        let mut prepare = Vec::new();
        message(b'P', b"get\0SELECT row FROM keys WHERE hash = $1\0\0\0", &mut prepare);
        message(b'P', b"put\0INSERT INTO keys VALUES ($1, $2)\0\0\0", &mut prepare);
        message(b'S', &[], &mut prepare);
        self.socket.write_all(&prepare).await?;
        // The first connection comes before the table, and does not prepare.
        let _ = self.ready().await;
        Ok(())
    }

    async fn query(&mut self, text: &str) -> Done {
        let mut all = Vec::new();
        message(b'Q', format!("{text}\0").as_bytes(), &mut all);
        self.socket.write_all(&all).await?;
        self.ready().await.map(drop)
    }

    async fn more(&mut self) -> Done {
        match self.socket.read_buf(&mut self.read).await? {
            0 => Err(broken("it hung up")),
            _ => Ok(()),
        }
    }

    /// Reads until PostgreSQL is ready for more; answers how many rows came.
    async fn ready(&mut self) -> std::io::Result<usize> {
        let (mut rows, mut failed) = (0, false);
        loop {
            while self.read.len() < 5 {
                self.more().await?;
            }
            let (kind, length) = (self.read[0], &self.read[1..5]);
            let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
            let whole = 1 + usize::try_from(length).expect("64 bits");
            while self.read.len() < whole {
                self.more().await?;
            }
            self.read.drain(..whole);
            match kind {
                b'D' => rows += 1,
                b'E' => failed = true,
                b'Z' if failed => return Err(broken("it failed")),
                b'Z' => return Ok(rows),
                _ => {}
            }
        }
    }

    /// Reads an answer of Redis's: so many bytes that begin so.
    async fn answered(&mut self, start: &[u8], length: usize) -> Done {
        while self.read.len() < length {
            self.more().await?;
        }
        let right = self.read.starts_with(start) && self.read.len() == length;
        self.read.clear();
        if right { Ok(()) } else { Err(broken("another answer")) }
    }

    async fn get(&mut self, key: u64) -> Done {
        let hash = hash(key);
        match self.kind {
            Kind::Redis => {
                let ask = [b"*2\r\n$3\r\nGET\r\n$32\r\n", &hash[..], b"\r\n"].concat();
                self.socket.write_all(&ask).await?;
                self.answered(b"$32\r\n", 39).await
            }
            Kind::Postgres => {
                self.socket.write_all(&execute("get", &[&hash])).await?;
                match self.ready().await? {
                    1 => Ok(()),
                    _ => Err(broken("no row")),
                }
            }
        }
    }

    async fn insert(&mut self, key: u64) -> Done {
        let (hash, row) = (hash(key), [0; 32]);
        match self.kind {
            Kind::Redis => {
                let head = b"*3\r\n$3\r\nSET\r\n$32\r\n";
                let ask = [&head[..], &hash, b"\r\n$32\r\n", &row, b"\r\n"].concat();
                self.socket.write_all(&ask).await?;
                self.answered(b"+OK\r\n", 5).await
            }
            Kind::Postgres => {
                self.socket.write_all(&execute("put", &[&hash, &row])).await?;
                self.ready().await.map(drop)
            }
        }
    }
}
