//! Commits while the scrub reads, next to those without one. A key is disabled and enabled by turns: a
//! commit like RevokeKey's, as often as is wanted.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use keyledger::ledger::writer::WriterHandle;

use super::house::{self, House};
use super::{now, quantile, say, spread};

const ROUNDS: usize = 5;

/// Enough for a pass of a second or more: three volumes.
const KEYS: u64 = 600_000;

const MOST_COMMITS: usize = 2_000;

pub(crate) fn run() {
    let home = tempfile::tempdir().expect("a directory");
    let data_dir = home.path().join("data");
    let house = House::open(&data_dir);
    let writer = house.writer();
    let owner = house::account(1);
    house::submit(&writer, house::put(1)).blocking_recv().expect("answered").expect("done");
    let mut last = None;
    for n in 0..KEYS {
        last = Some(house::submit(&writer, house::create(Arc::clone(&owner), n)));
    }
    last.expect("one").blocking_recv().expect("answered").expect("done");
    drop(writer);
    house.close();
    for (name, rate) in [("4 MiB/s", 4 << 20), ("full speed", 1 << 40)] {
        at_rate(name, rate, &data_dir);
    }
}

fn commit(writer: &WriterHandle, turn: &mut bool) -> Duration {
    let asked = now();
    let answer = house::submit(writer, house::switch(KEYS - 1, *turn));
    answer.blocking_recv().expect("answered").expect("done");
    *turn = !*turn;
    asked.elapsed()
}

fn at_rate(name: &str, rate: u64, data_dir: &std::path::Path) {
    let mut rows: [Vec<f64>; 4] = Default::default();
    let mut passes = Vec::new();
    for _ in 0..ROUNDS {
        let house = House::open_scrubbed(data_dir, NonZeroU64::new(rate));
        let writer = house.writer();
        let mut turn = false;
        let began = now();
        let mut scrubbed: Vec<Duration> = Vec::new();
        while house.passes() == 0 && scrubbed.len() < MOST_COMMITS {
            scrubbed.push(commit(&writer, &mut turn));
        }
        passes.push(began.elapsed().as_secs_f64());
        drop(writer);
        house.close();
        let house = House::open(data_dir);
        let writer = house.writer();
        let mut idle: Vec<Duration> =
            (0..scrubbed.len()).map(|_| commit(&writer, &mut turn)).collect();
        scrubbed.sort_unstable();
        idle.sort_unstable();
        for (row, share) in rows.chunks_exact_mut(2).zip([0.5, 0.99]) {
            let (scrubbed, idle) = (quantile(&scrubbed, share), quantile(&idle, share));
            row[0].push(idle);
            row[1].push(scrubbed / idle);
        }
        drop(writer);
        house.close();
    }
    let [idle50, ratio50, idle99, ratio99] = rows;
    say(&format!(
        "a key switched without a scrub: p50 {} µs, p99 {} µs",
        spread(idle50),
        spread(idle99)
    ));
    say(&format!(
        "while the scrub reads at {name} (for {} s): p50 × {}, p99 × {}",
        spread(passes),
        spread(ratio50),
        spread(ratio99)
    ));
}
