//! How fast Authenticate is beside a call that does nothing, in the same run.
//!
//!     cargo bench --bench load                    four minutes
//!     KEYLEDGER_BENCH_LONG=1 cargo bench --bench load      an hour, up to 10 M keys
//!     cargo bench --bench load -- closed          one part; parts are named below
//!
//! Three servers, each a process of its own, take turns under the same load, which a further process makes:
//!
//! - empty RPC: tonic as it comes, with handlers that do nothing (`nothing.rs`). It reads the same questions, which
//!   carry the same credential, and writes an answer of keyledger's, always the same one. There is no gate in front of
//!   it, nothing is looked up, and nothing is recorded.
//! - keyledger, as built and shipped, with its data directory: 100,000 keys of 10,000 accounts, asked for by rank as
//!   Zipf has it; 2 % are denied, half of them revoked, half for what the key may not do. The caller's credential is
//!   checked, the account's limit of 10 M a minute is judged, uses are recorded, `bounded` and `before_reply`, and each
//!   100 ms a key is made and one revoked.
//!
//! Before anything else each server is asked for each key once: a key's name is read and opened when it is first asked
//! for, which takes many times what the next question takes. That is a table of its own.
//!
//! Parts:
//!
//! - `decision`: what App takes from the text of a key to the verdict on record, without the wire, beside the bare HMAC.
//! - `closed`: unary calls, 512 under way over four connections. Throughput.
//! - `open`: unary calls that begin in time, at 25, 50 and 75 % of what keyledger, bounded, can do; the same rates for
//!   all three. Latencies count from when a call was to begin, so nothing is left out that had to wait. Calls due within
//!   some 100 µs begin together.
//! - `rivals`: unary calls, one under way on each of 64 connections, beside Redis and PostgreSQL: see `rivals.rs` for
//!   what is compared and what is not.
//! - `scale`: throughput, latency, memory and start by how many keys there are, as a plot too.
//! - `stream`: four streams, one on each connection, 256 questions under way in each.
//!
//! All of it shares this machine: what the load takes, the server does not get, so the ratios are nearer to 1 than
//! those of servers alone; the CPU of a call is the server's alone. The spread is of the rounds, in each of which all
//! servers took their turn. Every answer is checked; a call that fails, as when the
//! disk is behind by more than a second, is told and does not count. Talks only to this machine.

mod asks;
mod calls;
mod decision;
mod house;
mod nothing;
mod order;
mod plot;
mod process;
#[path = "../common/program.rs"]
mod program;
mod rivals;
mod scale;
mod streams;
mod table;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::asks::{Asks, Secrets};
use crate::house::{Admin, House};
use crate::order::{Load, Order};
use crate::program::{Process, serve};
use crate::rivals::{Kind, Rival};
use crate::table::{Case, Part};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const IN_FLIGHT: usize = 512;
const CONNECTIONS: usize = 4;
const STREAMS: usize = 4;
const WINDOW: usize = 256;

/// Of what can be done.
const SHARES: [f64; 3] = [0.25, 0.5, 0.75];

/// How many keys there are; the larger ones in the longer profile only. The largest takes some ten gigabytes of disk and
/// half an hour to make.
const SIZES: [usize; 4] = [1_000, 100_000, 1_000_000, 10_000_000];

/// What a load does before it is measured.
const WARMING: Duration = Duration::from_millis(500);

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// How much is measured.
struct Profile {
    keys: usize,
    rounds: usize,
    turn: Duration,
    connections: usize,
    /// How many keys there are, in the part that compares that.
    sizes: &'static [usize],
}

impl Profile {
    fn chosen() -> Self {
        let long = std::env::var_os("KEYLEDGER_BENCH_LONG").is_some_and(|value| value != "0");
        let (rounds, seconds) = if long { (9, 6) } else { (5, 2) };
        let turn = Duration::from_secs(seconds);
        let sizes = if long { &SIZES[..] } else { &SIZES[..2] };
        Profile { keys: 100_000, rounds, turn, connections: CONNECTIONS, sizes }
    }
}

/// The servers that take turns.
struct Servers {
    secrets: PathBuf,
    credential: String,
    servers: Vec<(Case, Process, Option<Admin>)>,
}

impl Servers {
    async fn start(house: &House, dir: &Path) -> Self {
        let mut servers =
            vec![(Case::Empty, Process::start(&mut process::nothing(&house.answer)), None)];
        for (case, name) in [(Case::Bounded, "bounded"), (Case::BeforeReply, "before_reply")] {
            let own = dir.join(name);
            std::fs::create_dir(&own).expect("made");
            let data_dir = house.copy_data(&own);
            let server = Process::start(&mut serve(&data_dir, &house::write_config(&own, name)));
            let admin = Admin::of(&data_dir, &server).await;
            servers.push((case, server, Some(admin)));
        }
        Servers { secrets: house.secrets.clone(), credential: house.credential.clone(), servers }
    }

    fn order(&self, (case, server): (Case, &Process), load: Load, profile: &Profile) -> Order {
        Order {
            address: server.address.clone(),
            process: server.child.id(),
            credential: self.credential.clone(),
            secrets: self.secrets.clone(),
            decides: case != Case::Empty,
            load,
            connections: profile.connections,
            warming: WARMING,
            span: profile.turn,
        }
    }

    /// Has each server asked for each key, the first time since its start.
    async fn acquaint(&self, profile: &Profile) -> Part {
        let mut part = Part::new("Authenticate, each key for the first time since the start");
        for (case, server, _) in &self.servers {
            let load = Load::Each { in_flight: IN_FLIGHT };
            let order = self.order((*case, server), load, profile);
            let measured = tokio::task::spawn_blocking(move || process::measure(&order)).await;
            part.add(*case, 0, measured.expect("no panic"), process::memory(server.child.id()));
        }
        part.print();
        part
    }

    /// One turn of each server.
    async fn take_turns(&self, round: usize, load: Load, profile: &Profile, part: &mut Part) {
        for turn in 0..self.servers.len() {
            // Each is the first in its time.
            let (case, server, admin) = &self.servers[(turn + round) % self.servers.len()];
            let order = self.order((*case, server), load, profile);
            let changes = admin.clone().map(|admin| tokio::spawn(admin.keep_changing()));
            let measured = tokio::task::spawn_blocking(move || process::measure(&order)).await;
            if let Some(changes) = changes {
                assert!(!changes.is_finished(), "keys were made and revoked all the while");
                changes.abort();
            }
            part.add(*case, round, measured.expect("no panic"), process::memory(server.child.id()));
        }
    }

    async fn measure(&self, title: String, load: Load, profile: &Profile) -> Part {
        let mut part = Part::new(title);
        for round in 0..profile.rounds {
            self.take_turns(round, load, profile, &mut part).await;
        }
        part.print();
        part
    }
}

/// Whether a part is to be run.
fn wants(parts: &[String], name: &str) -> bool {
    parts.is_empty() || parts.iter().any(|part| part == name)
}

async fn run(parts: &[String]) {
    let profile = Profile::chosen();
    let dir = TempDir::new().expect("a directory");
    let began = now();
    let house = House::furnish(dir.path(), profile.keys).await;
    say(&format!("{} keys were made in {:.0} s", profile.keys, began.elapsed().as_secs_f64()));
    if wants(parts, "decision") {
        let own = dir.path().join("decision");
        std::fs::create_dir(&own).expect("made");
        let data_dir = house.copy_data(&own);
        let (secrets, credential) = (Secrets::read(&house.secrets), house.credential.clone());
        let measured = move || decision::run(&data_dir, &secrets, &credential);
        tokio::task::spawn_blocking(measured).await.expect("no panic");
    }
    let servers = Servers::start(&house, dir.path()).await;
    let mut measured = vec![servers.acquaint(&profile).await];
    if wants(parts, "closed") || wants(parts, "open") {
        let title = format!("Authenticate, {IN_FLIGHT} calls under way");
        let closed = Load::Closed { in_flight: IN_FLIGHT };
        measured.push(servers.measure(title, closed, &profile).await);
    }
    if wants(parts, "open") {
        let capacity = measured[1].middle(Case::Bounded, |it| it.rate);
        for share in SHARES {
            let rate = capacity * share;
            let title = format!("Authenticate, {rate:.0} calls a second, {:.0} %", share * 100.0);
            let rounds = profile.rounds.div_ceil(2);
            let fewer = Profile { rounds, ..profile };
            measured.push(servers.measure(title, Load::Open { rate }, &fewer).await);
        }
    }
    if wants(parts, "stream") {
        let title = format!("AuthenticateStream, {STREAMS} streams, {WINDOW} under way in each");
        let streams = Load::Streams { streams: STREAMS, window: WINDOW };
        measured.push(servers.measure(title, streams, &profile).await);
    }
    if wants(parts, "rivals") {
        measured.push(beside_rivals(&servers, dir.path(), &profile).await);
    }
    table::write_json("load.json", &measured);
    for (case, server, _) in servers.servers {
        if case != Case::Empty {
            server.stop();
        }
    }
    if wants(parts, "scale") {
        scale::run(dir.path(), profile.sizes, &profile).await;
    }
}

/// As many connections to each, one question under way on each; then inserts.
async fn beside_rivals(servers: &Servers, dir: &Path, profile: &Profile) -> Part {
    let connections = rivals::CONNECTIONS;
    let title = format!(
        "Beside what people would pick instead, {connections} connections, one question on each"
    );
    let fewer = Profile { rounds: profile.rounds.div_ceil(2), connections, ..*profile };
    let closed = Load::Closed { in_flight: connections };
    let part = servers.measure(title, closed, &fewer).await;
    let admin = servers.servers.iter().find_map(|(.., admin)| admin.as_ref()).expect("one");
    let created = admin.time_creating(connections, profile.turn).await;
    created.print("CreateKey");
    for kind in Kind::ALL {
        let Some(rival) = Rival::start(kind, dir).await else { continue };
        rival.fill(profile.keys).await;
        for insert in [false, true] {
            rival.measure(profile.keys, insert, profile.turn).await.print(kind.name(insert));
        }
    }
    part
}

/// Makes load as it is told on standard input.
#[expect(clippy::print_stdout, reason = "whoever started it reads it")]
async fn make_load() {
    let told = std::io::read_to_string(std::io::stdin()).expect("told");
    let order: Order = serde_json::from_str(&told).expect("an order");
    let asks = Asks::of(&Secrets::read(&order.secrets));
    let measured = calls::run(&order, asks).await;
    println!("{}", serde_json::to_string(&measured).expect("plain"));
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let runtime = || Runtime::new().expect("threads");
    match &words[..] {
        [part] if part == "load" => runtime().block_on(make_load()),
        [part, answer] if part == "nothing" => nothing::serve(Path::new(answer)),
        parts => runtime().block_on(run(parts)),
    }
}
