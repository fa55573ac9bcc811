//! The ledger's figures: commits next to a bare file, bytes written, start and memory by number of
//! keys, replay, commits while a volume is sealed or the scrub reads. Ratios are of one run, in alternation; the
//! machine's noise is in the spread beside them. Talks to nobody.
//!
//! `cargo bench --bench ledger` takes about five minutes. Behind `--`: `commits`, `groups`, `sealing`,
//! `scrub` or `scale` runs one part; `scale 10000000 50000000` makes so many keys and events (10 million keys and 50
//! million events: about 40 GB free while it runs, a quarter of an hour).

mod bare;
mod commits;
mod house;
mod scale;
mod scrubbing;
mod sealing;

use std::time::{Duration, Instant};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
fn say(line: &str) {
    println!("{line}");
}

/// The value at a share of sorted spans, in microseconds.
fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let last = sorted.len() - 1;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let at = (last as f64 * share).round() as usize;
    sorted[at].as_secs_f64() * 1e6
}

/// Median, least and most.
fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let middle = values[values.len() / 2];
    format!("{middle:.2} ({:.2} to {:.2})", values[0], values[values.len() - 1])
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let numbers: Vec<u64> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let part = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    if part("commits") {
        commits::run();
    }
    if part("groups") {
        commits::groups();
    }
    if part("sealing") {
        sealing::run();
    }
    if part("scrub") {
        scrubbing::run();
    }
    if part("scale") {
        match numbers[..] {
            [keys, events] => scale::run(&[(keys, events)]),
            _ => scale::run(&[(10_000, 50_000), (1_000_000, 5_000_000)]),
        }
    }
}
