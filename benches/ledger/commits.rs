//! Durable commits by number of concurrent writers, next to a bare file that writes as many bytes.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyledger::ledger::writer::Answer;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::bare::BareFile;
use super::house::{self, House};
use super::{now, quantile, say, spread};

const WRITERS: [usize; 4] = [1, 8, 64, 512];
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(1500);
/// Commands of a round in which the writer is kept as busy as it can be, and how many wait at once.
const PIPELINED: u64 = 400_000;
const WAITING: usize = 4000;

pub(crate) fn run() {
    let runtime = Runtime::new().expect("threads");
    let home = tempfile::tempdir().expect("a directory");
    let data_dir = home.path().join("data");
    let house = House::open(&data_dir);
    let writer = house.writer();
    house::submit(&writer, house::put(1)).blocking_recv().expect("answered").expect("done");
    let keys = Arc::new(AtomicU64::new(1));

    say("durable commits, one key created each; beside them as many bytes into a bare file");
    say(
        "writers   commits/s   p50 µs   p99 µs   bare: commits/s   p50   p99   ratio of p50        ratio of p99        ratio of throughput",
    );
    let record_bytes = 420;
    for writers in WRITERS {
        let mut rows: [Vec<f64>; 9] = Default::default();
        for _ in 0..ROUNDS {
            let keys = Arc::clone(&keys);
            let writer = writer.clone();
            let owner = house::account(1);
            let ours = runtime.block_on(load(writers, move || {
                let act = house::create(Arc::clone(&owner), keys.fetch_add(1, Ordering::Relaxed));
                let answer = house::submit(&writer, act);
                async move { drop(answer.await.expect("answered").expect("done")) }
            }));
            let bare = bare_round(&runtime, home.path(), writers, record_bytes);
            let p = |latencies: &[Duration]| (quantile(latencies, 0.5), quantile(latencies, 0.99));
            let ((rate, ours), (bare_rate, bare)) = (ours, bare);
            let ((p50, p99), (bare_p50, bare_p99)) = (p(&ours), p(&bare));
            let values = [
                rate,
                p50,
                p99,
                bare_rate,
                bare_p50,
                bare_p99,
                p50 / bare_p50,
                p99 / bare_p99,
                rate / bare_rate,
            ];
            rows.iter_mut().zip(values).for_each(|(row, value)| row.push(value));
        }
        let middle = |row: &Vec<f64>| {
            let mut row = row.clone();
            row.sort_by(f64::total_cmp);
            row[row.len() / 2]
        };
        let [rate, p50, p99, bare_rate, bare_p50, bare_p99, ratio50, ratio99, ratio] = rows;
        say(&format!(
            "{writers:>7} {:>11.0} {:>8.0} {:>8.0} {:>17.0} {:>5.0} {:>5.0}   {:<19} {:<19} {}",
            middle(&rate),
            middle(&p50),
            middle(&p99),
            middle(&bare_rate),
            middle(&bare_p50),
            middle(&bare_p99),
            spread(ratio50),
            spread(ratio99),
            spread(ratio),
        ));
    }
    drop(writer);
    house.close();
    bytes_written(&home.path().join("bytes"));
}

/// The writer as busy as it can be: as many commands waiting as its lane holds.
pub(crate) fn groups() {
    let home = tempfile::tempdir().expect("a directory");
    let house = House::open(&home.path().join("data"));
    let writer = house.writer();
    let owner = house::account(1);
    house::submit(&writer, house::put(1)).blocking_recv().expect("answered").expect("done");
    let mut rates = Vec::new();
    for round in 0..ROUNDS as u64 {
        let began = now();
        let mut waiting = VecDeque::with_capacity(WAITING);
        for key in round * PIPELINED..(round + 1) * PIPELINED {
            if waiting.len() == WAITING {
                // Answers come by groups: once this one is there, many are.
                for answer in waiting.drain(..WAITING / 4) {
                    let answer: oneshot::Receiver<Answer> = answer;
                    answer.blocking_recv().expect("answered").expect("done");
                }
            }
            waiting.push_back(house::submit(&writer, house::create(Arc::clone(&owner), key)));
        }
        for answer in waiting {
            answer.blocking_recv().expect("answered").expect("done");
        }
        rates.push(PIPELINED as f64 / began.elapsed().as_secs_f64() / 1e3);
    }
    say(&format!("full groups: {} thousand events/s", spread(rates)));
    drop(writer);
    house.close();
}

/// Calls `commit` from so many tasks for a while; answers commits a second and sorted latencies.
async fn load<F: Future<Output = ()> + Send>(
    writers: usize,
    commit: impl Fn() -> F + Clone + Send + 'static,
) -> (f64, Vec<Duration>) {
    let began = now();
    let mut running = JoinSet::new();
    for _ in 0..writers {
        let commit = commit.clone();
        running.spawn(async move {
            let mut latencies = Vec::new();
            while began.elapsed() < ROUND {
                let asked = now();
                commit().await;
                latencies.push(asked.elapsed());
            }
            latencies
        });
    }
    let mut latencies: Vec<Duration> = running.join_all().await.into_iter().flatten().collect();
    let rate = latencies.len() as f64 / began.elapsed().as_secs_f64();
    latencies.sort_unstable();
    (rate, latencies)
}

fn bare_round(
    runtime: &Runtime,
    home: &Path,
    writers: usize,
    bytes: usize,
) -> (f64, Vec<Duration>) {
    let bare = BareFile::start(&home.join("bare"), bytes);
    let asks = bare.asks.clone();
    let round = runtime.block_on(load(writers, move || {
        let (answer, answered) = oneshot::channel();
        asks.send(answer).expect("the thread lives");
        async move { answered.await.expect("answered") }
    }));
    bare.close();
    round
}

/// Bytes that reached the disk, by the kernel's count for this process, per byte of records.
fn bytes_written(data_dir: &Path) {
    for (name, events, group) in [("one a commit", 5_000, 1), ("full groups", 400_000, 4000)] {
        let house = House::open(data_dir);
        let writer = house.writer();
        let owner = house::account(1);
        if group == 1 {
            house::submit(&writer, house::put(1)).blocking_recv().expect("answered").expect("done");
        }
        let (before, key) = (written(), 10_000_000 * group);
        for n in 0..events {
            let answer = house::submit(&writer, house::create(Arc::clone(&owner), key + n));
            if n % group == group - 1 {
                answer.blocking_recv().expect("answered").expect("done");
            }
        }
        let wrote = written() - before;
        drop(writer);
        house.close();
        let (frames, records, bytes) = house::count(data_dir);
        say(&format!(
            "{name}: {:.1} bytes written for each byte of its records; all so far: {frames} frames, {records} records, {:.0} bytes a record in frames, {:.2} bytes on disk for each of them",
            wrote as f64 / (events as f64 * 380.0),
            bytes as f64 / records as f64,
            on_disk(&data_dir.join("ledger")) as f64 / bytes as f64,
        ));
    }
}

/// `write_bytes` of this process.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("Linux");
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).expect("a line");
    line.parse().expect("a number")
}

pub(crate) fn on_disk(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(directory).expect("a directory");
    let sizes = entries.map(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() { on_disk(&path) } else { path.metadata().expect("there").blocks() * 512 }
    });
    sizes.sum()
}
