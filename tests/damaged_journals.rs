//! Usage journals that cannot be read, or are gone, do not stop a start: what may be missing with them is on record.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::process::{Process, command, serve};
use keyledger::clock::{Clock, SystemClock};
use keyledger::domain::event::Event;
use keyledger::domain::ids::Position;
use keyledger::domain::usage::used::{GapCause, UsageGap};
use keyledger::ledger::engine::{Ledger, LedgerReader};
use keyledger::ledger::record;
use keyledger::ledger::volumes::VolumeLedger;

/// A server that answered ten uses, each durable before its answer, and was killed.
async fn used_and_killed(home: &Path) -> PathBuf {
    let (data_dir, config) = (home.join("data"), home.join("keyledger.toml"));
    // A window so long that it hardly ends meanwhile.
    fs::write(&config, "[usage]\ndurability = \"before_reply\"\nwindow_seconds = 3600\n")
        .expect("written");
    let mut command = serve(&data_dir, "127.0.0.1:0");
    command.arg("--config").arg(config);
    let process = Process::spawn(command);
    let admin = process.admin(&data_dir).await;
    admin.put_account("a", "enterprise", &[]).await;
    let (_, secret) = admin.create_key("a", "used").await;
    for _ in 0..10 {
        assert_eq!(admin.verdict(&secret).await, Ok(()));
    }
    process.kill();
    data_dir
}

/// The one file of the directory of journals that has frames.
fn journal(data_dir: &Path) -> PathBuf {
    let entries = fs::read_dir(data_dir.join("usage")).expect("a directory");
    let mut paths = entries.map(|entry| entry.expect("an entry").path());
    let is_journal = |path: &Path| path.extension().is_some_and(|ending| ending == "klj");
    let has_frames = |path: &Path| fs::metadata(path).expect("a file").len() > 36;
    paths.find(|path| is_journal(path) && has_frames(path)).expect("a journal")
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("a file");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("written");
}

fn check(data_dir: &Path) -> String {
    let output = command().args(["admin", "check", "--data-dir"]).arg(data_dir).output();
    String::from_utf8(output.expect("it runs").stdout).expect("text")
}

/// Starts on the directory and stops in order; answers the windows of keys and the gaps of damage on record.
fn start_and_stop(data_dir: &Path) -> (usize, Vec<UsageGap>) {
    let (status, log) = Process::start(data_dir).terminate();
    assert!(status.success(), "{log}");
    let ledger = VolumeLedger::open(&data_dir.join("ledger"), u64::MAX).expect("it opens");
    let reader: Arc<dyn LedgerReader> = ledger.reader();
    let (mut windows, mut gaps) = (0, Vec::new());
    for frame in reader.frames_from(Position::FIRST) {
        for (_, bytes) in frame.expect("it reads").records() {
            match record::decode(bytes).expect("a record").event {
                Event::KeyUsed(_) => windows += 1,
                Event::UsageGap(gap) if gap.cause == GapCause::Damaged => gaps.push(gap),
                _ => {}
            }
        }
    }
    drop(reader);
    ledger.close().expect("it closes");
    (windows, gaps)
}

#[tokio::test]
async fn a_journal_with_a_damaged_header_is_set_aside_and_is_a_gap_on_record() {
    let home = tempfile::tempdir().expect("a directory");
    let before = SystemClock::new().wall();
    let data_dir = used_and_killed(home.path()).await;
    let after = SystemClock::new().wall();
    let journal = journal(&data_dir);
    flip(&journal, 20);
    let bytes = fs::read(&journal).expect("a file");
    assert!(check(&data_dir).contains("is damaged at byte 0"));

    let (windows, gaps) = start_and_stop(&data_dir);
    assert_eq!(windows, 0);
    let [gap] = gaps[..] else { panic!("{gaps:?}") };
    // From the beginning of their window, which began in the hour before the first at the earliest.
    assert!(gap.from <= after && gap.from.plus(Duration::from_hours(1)) >= before, "{gap:?}");
    assert!(gap.to >= after && gap.lost.is_none(), "{gap:?}");

    let aside = journal.with_extension("klj.damaged");
    assert_eq!(fs::read(&aside).expect("kept"), bytes);
    assert!(!journal.exists());
    let name = aside.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(check(&data_dir).contains(&format!("usage/{name}")), "{}", check(&data_dir));
    // It is no journal any more, and nothing new is said of it.
    assert_eq!(start_and_stop(&data_dir), (0, gaps));
    assert!(aside.exists());
}

#[tokio::test]
async fn a_journal_that_is_gone_is_a_gap_on_record_though_it_was_the_last() {
    let home = tempfile::tempdir().expect("a directory");
    let before = SystemClock::new().wall();
    let data_dir = used_and_killed(home.path()).await;
    let after = SystemClock::new().wall();
    let journal = journal(&data_dir);
    fs::remove_file(&journal).expect("removed");
    assert!(check(&data_dir).contains("is gone: uses are missing"), "{}", check(&data_dir));

    let (windows, gaps) = start_and_stop(&data_dir);
    assert_eq!(windows, 0);
    let [gap] = gaps[..] else { panic!("{gaps:?}") };
    // Since the journal was made, in the run that began after `before`.
    assert!(gap.from.plus(Duration::from_secs(2)) >= before && gap.from <= after, "{gap:?}");
    assert!(gap.to >= after && gap.lost.is_none(), "{gap:?}");
    // It is off the roll, and nothing new is said of it.
    assert!(!check(&data_dir).contains("is gone"), "{}", check(&data_dir));
    assert_eq!(start_and_stop(&data_dir), (0, gaps));
}

#[tokio::test]
async fn a_journal_that_goes_before_the_service_removes_it_is_a_gap_though_the_log_names_it() {
    let home = tempfile::tempdir().expect("a directory");
    let data_dir = used_and_killed(home.path()).await;
    let journal = journal(&data_dir);
    // On record, but kept for the rate limits.
    assert_eq!(start_and_stop(&data_dir), (1, vec![]));
    fs::remove_file(&journal).expect("removed");
    let (windows, gaps) = start_and_stop(&data_dir);
    assert_eq!((windows, gaps.len()), (1, 1));
}
