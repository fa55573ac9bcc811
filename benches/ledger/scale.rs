//! Start and memory by number of keys, and replay by number of events, of directories made through
//! the real writer. The real program starts on each, as a process of its own.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use keyledger::domain::command::Act;

use super::commits::on_disk;
use super::house::{self, House};
use super::{now, say};

/// Keys an account owns.
const KEYS_AN_ACCOUNT: u64 = 10;
const STARTS: usize = 3;

pub(crate) fn run(sizes: &[(u64, u64)]) {
    let home = tempfile::tempdir().expect("a directory");
    let empty = home.path().join("empty");
    House::open(&empty).close();
    let (_, base) = start(&empty);
    say(&format!("an empty server holds {:.0} MB", base as f64 / 1e6));
    for (keys, events) in sizes {
        let data_dir = home.path().join(format!("{keys}"));
        make(&data_dir, *keys, *events);
        let figures = |what: &str| {
            let mut starts: Vec<(Duration, u64)> = (0..STARTS).map(|_| start(&data_dir)).collect();
            starts.sort_unstable();
            let (took, held) = starts[STARTS / 2];
            say(&format!(
                "{keys} keys, {events} events, {what}: start {:.2} s ({:.2} to {:.2}), {:.0} bytes of memory a key",
                took.as_secs_f64(),
                starts[0].0.as_secs_f64(),
                starts[STARTS - 1].0.as_secs_f64(),
                held.saturating_sub(base) as f64 / *keys as f64,
            ));
            took
        };
        figures("from the snapshot");
        say(&format!(
            "  on disk: {:.0} bytes an event in the log, {:.0} bytes a key in snapshots",
            on_disk(&data_dir.join("ledger")) as f64 / *events as f64,
            on_disk(&data_dir.join("snapshots")) as f64 / *keys as f64,
        ));
        fs::remove_dir_all(data_dir.join("snapshots")).expect("removed");
        let took = figures("from the beginning");
        say(&format!(
            "  replay: {:.2} million events/s",
            *events as f64 / took.as_secs_f64() / 1e6
        ));
        fs::remove_dir_all(&data_dir).expect("removed");
    }
}

/// So many keys, and changes of them until there are so many events.
fn make(data_dir: &Path, keys: u64, events: u64) {
    let house = House::open(data_dir);
    let writer = house.writer();
    let began = now();
    let mut waiting = VecDeque::new();
    let mut made = 0;
    for act in acts(keys).take(usize::try_from(events).expect("64 bits")) {
        waiting.push_back(house::submit(&writer, act));
        made += 1;
        if waiting.len() > 4000 {
            let answer = waiting.pop_front().expect("one");
            answer.blocking_recv().expect("answered").expect("done");
        }
    }
    for answer in waiting {
        answer.blocking_recv().expect("answered").expect("done");
    }
    let took = began.elapsed().as_secs_f64();
    say(&format!(
        "made {keys} keys and {made} events at {:.0} thousand events/s",
        made as f64 / took / 1e3
    ));
    drop(writer);
    let still = Duration::from_secs(10 + keys / 100_000);
    let waited = house.wait_for_snapshots(still);
    say(&format!("  the last snapshot was made {:.0} s later", waited.as_secs_f64()));
    house.close();
}

/// Accounts and their keys, then each key disabled and enabled by turns, for ever.
fn acts(keys: u64) -> impl Iterator<Item = Act> {
    let made = (0..keys).flat_map(|key| {
        let owner = key / KEYS_AN_ACCOUNT;
        let account = (key % KEYS_AN_ACCOUNT == 0).then(|| house::put(owner));
        account.into_iter().chain([house::create(house::account(owner), key)])
    });
    let switched =
        (0..).flat_map(move |turn| (0..keys).map(move |key| house::switch(key, turn % 2 == 1)));
    made.chain(switched)
}

/// Starts the program, waits until it is ready, and stops it; answers how long the start took and
/// the bytes it then held.
fn start(data_dir: &Path) -> (Duration, u64) {
    let began = now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_keyledger"))
        .args([
            "serve",
            "--ops-addr",
            "off",
            "--http-addr",
            "off",
            "--grpc-addr",
            "127.0.0.1:0",
            "--data-dir",
        ])
        .arg(data_dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    assert!(line.starts_with("ready "), "{line}");
    let took = began.elapsed();
    let statm = fs::read_to_string(format!("/proc/{}/statm", child.id())).expect("running");
    let pages: u64 = statm.split_whitespace().nth(1).expect("a field").parse().expect("a number");
    child.kill().expect("killed");
    child.wait().expect("gone");
    (took, pages * 4096)
}
