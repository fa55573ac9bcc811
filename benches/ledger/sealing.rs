//! RevokeKey's commits while a volume is sealed, next to those while nothing else happens.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::house::{self, House};
use super::{now, quantile, say, spread};

const ROUNDS: usize = 5;
const REVOCATIONS: usize = 400;

pub(crate) fn run() {
    let home = tempfile::tempdir().expect("a directory");
    let data_dir = home.path().join("data");
    let house = House::open(&data_dir);
    let writer = house.writer();
    let owner = house::account(1);
    house::submit(&writer, house::put(1)).blocking_recv().expect("answered").expect("done");
    let (mut created, mut revoked) = (0, 0);
    let mut rows: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        while is_sealing(&data_dir) {
            std::thread::yield_now();
        }
        let mut revoke = || {
            let asked = now();
            let answer = house::submit(&writer, house::revoke(revoked));
            answer.blocking_recv().expect("answered").expect("done");
            revoked += 1;
            asked.elapsed()
        };
        // Keys enough for this round; then on until the volume is full and its sealing has begun.
        let enough = created + 2 * REVOCATIONS as u64;
        let mut last = None;
        while created < enough || !is_sealing(&data_dir) {
            last = Some(house::submit(&writer, house::create(Arc::clone(&owner), created)));
            created += 1;
        }
        last.expect("one").blocking_recv().expect("answered").expect("done");
        let mut sealing: Vec<Duration> = Vec::new();
        while is_sealing(&data_dir) && sealing.len() < REVOCATIONS {
            sealing.push(revoke());
        }
        while is_sealing(&data_dir) {
            std::thread::yield_now();
        }
        let mut idle: Vec<Duration> = (0..REVOCATIONS).map(|_| revoke()).collect();
        if sealing.len() < 50 {
            continue;
        }
        sealing.sort_unstable();
        idle.sort_unstable();
        for (row, share) in rows.chunks_exact_mut(2).zip([0.5, 0.99]) {
            let (sealing, idle) = (quantile(&sealing, share), quantile(&idle, share));
            row[0].push(idle);
            row[1].push(sealing / idle);
        }
    }
    let [idle50, ratio50, idle99, ratio99] = rows;
    say(&format!(
        "RevokeKey committed while idle: p50 {} µs, p99 {} µs",
        spread(idle50),
        spread(idle99)
    ));
    say(&format!("while a volume is sealed: p50 × {}, p99 × {}", spread(ratio50), spread(ratio99)));
    drop(writer);
    house.close();
}

fn is_sealing(data_dir: &Path) -> bool {
    let entries = std::fs::read_dir(data_dir.join("ledger")).expect("a directory");
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("volume-") && name.ends_with(".tmp")
    })
}
