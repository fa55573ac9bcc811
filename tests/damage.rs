//! Damage to a data directory is found, with its file or position, or the result is right: never silence.
//!
//! Directories are those the real server leaves. `KEYLEDGER_DAMAGE_SECONDS` says how long bits are
//! flipped in what takes long to try, `all` tries each used byte of a small directory;
//! `KEYLEDGER_DAMAGE_SEED` repeats a run, `KEYLEDGER_DAMAGE_VERBOSE` tells each outcome.

mod common;
#[path = "damage/image.rs"]
mod image;
#[path = "damage/made.rs"]
mod made;
#[path = "damage/trial.rs"]
mod trial;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keyledger::app::check::check_files;
use keyledger::domain::key_format::KeyPrefix;
use keyledger::random::{self, Random, SeededRandom, SystemRandom};

use image::{Image, flip};
use made::{End, home, run};
use trial::{Outcome, Subject, Tally, tell};

/// How long the flips below take unless told otherwise.
const DEFAULT_SECONDS: u64 = 12;

/// How many bytes of a large directory are tried when all of a small one are.
const LARGE_SAMPLES: usize = 2_000;

/// Every how manyth trial goes through a start.
const STARTS: usize = 4;

/// How much is tried.
enum Effort {
    Until(Instant),
    All,
}

impl Effort {
    #[expect(
        clippy::disallowed_methods,
        reason = "bounds how long the test takes, decides nothing"
    )]
    fn asked() -> Effort {
        let seconds = match std::env::var("KEYLEDGER_DAMAGE_SECONDS").as_deref() {
            Ok("all") => return Effort::All,
            Ok(seconds) => seconds.parse().expect("a number of seconds, or all"),
            Err(_) => DEFAULT_SECONDS,
        };
        Effort::Until(Instant::now() + Duration::from_secs(seconds))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "bounds how long the test takes, decides nothing"
    )]
    fn is_spent(&self) -> bool {
        matches!(self, Effort::Until(end) if Instant::now() >= *end)
    }
}

fn seed() -> u64 {
    match std::env::var("KEYLEDGER_DAMAGE_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => u64::from_be_bytes(random::bytes(&SystemRandom)),
    }
}

fn below(random: &dyn Random, bound: usize) -> usize {
    let drawn = u64::from_be_bytes(random::bytes(random));
    usize::try_from(drawn % bound as u64).expect("below a usize")
}

/// A few changes, a server that was stopped or killed.
async fn small(name: &'static str, end: End) -> Subject {
    let place = home();
    let (_, secrets) = run(place.path(), 2, 0, end).await;
    let gaps = u64::from(matches!(end, End::Killed));
    Subject::new(name, place, secrets, gaps)
}

/// Enough changes to seal volumes.
async fn large(name: &'static str) -> Subject {
    let place = home();
    let (_, secrets) = run(place.path(), 50, 2, End::Stopped).await;
    Subject::new(name, place, secrets, 0)
}

/// The bytes of a file up to the last that is not zero.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)
}

/// Whether a file takes long to check: the ledger's and the snapshots'.
fn is_large(name: &Path) -> bool {
    name.starts_with("ledger") || name.starts_with("snapshots")
}

/// Whether a file is made from the log, and only when held to that found damaged.
fn is_derived(name: &Path) -> bool {
    name.starts_with("projections") || name.starts_with("tiles")
}

/// Flips one bit of every byte of the files beside ledger, snapshots and what is derived; all must be found.
fn flip_all_beside_the_ledger(subject: &Subject) -> usize {
    let (data, prefix) = (subject.data(), KeyPrefix::default());
    let mut flipped = 0;
    let counts = |name: &Path| !is_large(name) && !is_derived(name);
    for (name, bytes) in subject.image.files.iter().filter(|(name, _)| counts(name)) {
        for at in 0..bytes.len() {
            flip(&data.join(name), at);
            let report = check_files(&data, &prefix).expect("can be checked");
            let place = name.to_string_lossy();
            let told = report.findings.iter().any(|finding| finding.place == place);
            assert!(told, "{}: byte {at} of {place}: {report:?}", subject.name);
            flip(&data.join(name), at);
            flipped += 1;
        }
    }
    flipped
}

/// Flips a bit of one byte, tries, mends.
async fn flip_one(subject: &Subject, name: &Path, at: usize, start: bool, tally: &mut Tally) {
    let data = subject.data();
    flip(&data.join(name), at);
    let outcome = if start { subject.start_read_check().await } else { subject.check() };
    tally.count(name, &format!("({}) byte {at} flipped, start {start}", subject.name), &outcome);
    if start {
        subject.image.write(&data);
    } else {
        subject.image.mend(&data, name);
    }
}

/// Bytes of the ledger's and the snapshots' files: those in use, and some of those that are not.
fn targets(subject: &Subject, random: &dyn Random) -> Vec<(PathBuf, usize)> {
    let mut targets = Vec::new();
    for (name, bytes) in subject.image.files.iter().filter(|(name, _)| is_large(name)) {
        let used = used(bytes);
        targets.extend((0..used).map(|at| (name.clone(), at)));
        if bytes.len() > used {
            targets
                .extend((0..10).map(|_| (name.clone(), used + below(random, bytes.len() - used))));
        }
    }
    for at in (1..targets.len()).rev() {
        targets.swap(at, below(random, at + 1));
    }
    targets
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_anywhere_is_found_or_harmless() {
    let seed = seed();
    tell(&format!("KEYLEDGER_DAMAGE_SEED={seed}"));
    let random = SeededRandom::new(seed);
    let subjects = [
        small("stopped", End::Stopped).await,
        small("killed", End::Killed).await,
        large("large").await,
    ];
    let beside: usize = subjects.iter().map(flip_all_beside_the_ledger).sum();
    tell(&format!("beside the ledger: {beside} bytes flipped, found by check {beside}"));
    let effort = Effort::asked();
    let mut lists: Vec<_> =
        subjects.iter().map(|subject| targets(subject, &random).into_iter()).collect();
    if matches!(effort, Effort::All) {
        lists[2] = lists[2].clone().take(LARGE_SAMPLES).collect::<Vec<_>>().into_iter();
    }
    let mut tallies = [Tally::default(), Tally::default(), Tally::default()];
    let mut trial = 0;
    'tried: loop {
        let mut any = false;
        for ((subject, list), tally) in subjects.iter().zip(&mut lists).zip(&mut tallies) {
            if effort.is_spent() {
                break 'tried;
            }
            let Some((name, at)) = list.next() else { continue };
            any = true;
            flip_one(subject, &name, at, trial % STARTS == 0, tally).await;
            trial += 1;
        }
        if !any {
            break;
        }
    }
    for (subject, tally) in subjects.iter().zip(&tallies) {
        tell(&format!("{}: {} bytes of the ledger flipped: {tally}", subject.name, tally.trials));
        tally.assert_nothing_silent();
    }
}

/// Whatever may happen to one file.
fn mishaps(
    subject: &Subject,
    others: &[(&str, &Image)],
    name: &Path,
) -> Vec<(String, Option<Vec<u8>>)> {
    let bytes = subject.image.bytes(name);
    let mut mishaps = vec![("deleted".to_owned(), None)];
    let mut lengths = vec![0, 1, used(bytes) / 2, used(bytes).saturating_sub(1), bytes.len() / 2];
    lengths.extend([bytes.len().saturating_sub(1)]);
    lengths.retain(|length| *length < bytes.len());
    lengths.sort_unstable();
    lengths.dedup();
    let cut = |length: usize| (format!("cut to {length}"), Some(bytes[..length].to_vec()));
    mishaps.extend(lengths.into_iter().map(cut));
    for (other, image) in others {
        let theirs = image.files.iter().find(|(file, _)| file == name);
        if let Some((_, theirs)) = theirs.filter(|(_, theirs)| theirs != bytes) {
            mishaps.push(((*other).to_owned(), Some(theirs.clone())));
        }
    }
    mishaps
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_cut_deleted_swapped_or_of_yesterday_is_found_or_harmless() {
    let foreign = large("foreign").await;
    let place = home();
    let (data, mut secrets) = run(place.path(), 50, 2, End::Stopped).await;
    let yesterday = Image::of(&data);
    secrets.extend(run(place.path(), 5, 2, End::Stopped).await.1);
    let subject = Subject::new("today", place, secrets, 0);
    let others = [("of another installation", &foreign.image), ("of yesterday", &yesterday)];
    let mut tally = Tally::default();
    for (name, _) in &subject.image.files {
        for (what, bytes) in mishaps(&subject, &others, name) {
            let path = subject.data().join(name);
            match bytes {
                None => std::fs::remove_file(&path).expect("removed"),
                Some(bytes) => image::write(&path, &bytes),
            }
            let outcome = subject.start_read_check().await;
            tally.count(name, &what, &outcome);
            subject.image.write(&subject.data());
        }
    }
    tell(&format!("{} mishaps to one file: {tally}", tally.trials));
    tally.assert_nothing_silent();
    a_whole_volume_gone_or_swapped(&subject, &foreign.image).await;
}

/// Directories of the ledger, taken away or swapped as a whole.
async fn a_whole_volume_gone_or_swapped(subject: &Subject, foreign: &Image) {
    let data = subject.data();
    let mut tally = Tally::default();
    let dirs: Vec<_> = ["ledger", "keys"].map(PathBuf::from).into();
    let live = subject.image.dirs().filter(|dir| dir.to_string_lossy().contains("/live-"));
    let live = live.filter(|dir| !dir.ends_with("blobs")).cloned();
    for dir in dirs.into_iter().chain(live) {
        for swapped in [false, true] {
            std::fs::remove_dir_all(data.join(&dir)).expect("removed");
            if swapped {
                foreign.write_below(&dir, &data);
            }
            let outcome = subject.start_read_check().await;
            tally.count(&dir, if swapped { "swapped" } else { "deleted" }, &outcome);
            subject.image.write(&data);
        }
    }
    tell(&format!("{} mishaps to a directory: {tally}", tally.trials));
    tally.assert_nothing_silent();
    assert_eq!(subject.check(), Outcome::Harmless, "the directory itself is whole");
}
