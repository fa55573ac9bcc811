//! The figures of recording uses: what it costs an Authenticate, the bytes it takes, what sealing does to
//! RevokeKey, and a soak after which every count must be right. Ratios are of one run, in alternation; the
//! machine's noise is in the spread beside them. Talks only to this machine.
//!
//! `cargo bench --bench usage` takes about a quarter of an hour. Behind `--`: `recording`, `bytes`, `sealing` or
//! `soak` runs one part; `name=number` sets what its file lists under `Settings`. `USAGE_BENCH_DIR` is where data
//! directories are made: on a disk, not in memory.

mod bytes;
mod calls;
mod house;
mod on_record;
#[path = "../common/program.rs"]
mod program;
mod recording;
mod sealing;
mod settings;
mod soak;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use settings::Settings;
use tempfile::TempDir;

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
    let last = sorted.len().checked_sub(1).expect("something was measured");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let at = (last as f64 * share).round() as usize;
    sorted[at].as_secs_f64() * 1e6
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Median, least and most.
fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let middle = median(values);
    let digits = if middle < 10.0 { 3 } else { usize::from(middle < 1000.0) };
    format!("{middle:.digits$} ({least:.digits$} to {most:.digits$})")
}

/// A directory on the disk that builds are on.
fn home() -> TempDir {
    let place = std::env::var_os("USAGE_BENCH_DIR");
    let place = place.unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    std::fs::create_dir_all(&place).expect("a directory");
    TempDir::new_in(place).expect("a directory")
}

/// A part of the bench: its name, what it runs, and whether all it found was right.
type Part = (&'static str, fn(&Settings) -> bool);

const PARTS: [Part; 4] = [
    ("recording", recording::run),
    ("bytes", bytes::run),
    ("sealing", sealing::run),
    ("soak", soak::run),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let (given, chosen): (Vec<_>, Vec<_>) = words.iter().partition(|word| word.contains('='));
    let settings = Settings::parse(&given);
    if let Some(unknown) = chosen.iter().find(|word| PARTS.iter().all(|(name, _)| name != *word)) {
        say(&format!("there is no part {unknown:?}"));
        return ExitCode::FAILURE;
    }
    let mut right = true;
    for (name, run) in PARTS {
        if chosen.is_empty() || chosen.iter().any(|word| *word == name) {
            say(&format!("\n{name}"));
            right &= run(&settings);
        }
    }
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
