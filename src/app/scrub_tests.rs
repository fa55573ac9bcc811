//! What a pass finds while the service runs, and what it does not.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::*;
use crate::app::own_command;
use crate::app::startup::{self, Opened};
use crate::clock::ManualClock;
use crate::config::{Config, shipped_policy};
use crate::domain::command::Act;
use crate::domain::event::Mechanism;
use crate::domain::permission::PlanName;
use crate::domain::policy::Plan;
use crate::domain::testing::at;
use crate::ledger::lanes::Lane;
use crate::progress::Silent;
use crate::random::SystemRandom;

/// An open service without a scrub of its own, with sealed volumes and a live one.
struct Service {
    opened: Opened,
    examiner: Examiner,
    config: Config,
    home: tempfile::TempDir,
}

impl Service {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut config = Config { data_dir: home.path().join("data"), ..Config::default() };
        config.ledger.volume_bytes = 8 * 1024;
        config.ledger.scrub_bytes_per_second = None;
        let clock = Arc::new(ManualClock::new(at(0)));
        let mut opened = startup::open(&config, clock, Arc::new(SystemRandom), &Silent).unwrap();
        let examiner = opened.closing.take_examiner().unwrap();
        let service = Service { opened, examiner, config, home };
        while service.opened.app.reader.sealed().len() < 2 {
            service.changes(10);
            // Few volumes: each that waits is read as well.
            while service.opened.app.sealing.waiting() > 0 {
                std::thread::yield_now();
            }
        }
        service
    }

    /// Puts so many changes of the policy on record.
    fn changes(&self, count: u32) {
        for cap in 0..count {
            let mut policy = shipped_policy();
            let plan = Plan { active_keys: Some(cap), ..Plan::default() };
            policy.plans.insert(PlanName::parse("changing").unwrap(), plan);
            let act = Act::SetPolicy(policy);
            own_command::commit(&self.opened.app, Lane::Commands, Mechanism::Service, act).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.config.data_dir.join(name)
    }

    fn pass(&self) -> Pass {
        let keys = self.opened.app.vault.data_keys.snapshot_keys();
        let target = Target {
            examiner: self.examiner.clone(),
            reader: Arc::clone(&self.opened.app.reader),
            snapshots: Arc::new(SnapshotStore::new(self.path("snapshots"), keys)),
            tiles: self.opened.app.proofs.get().map(|proofs| Arc::clone(proofs.tiles())),
            vault: Arc::clone(&self.opened.app.vault),
            anchor: self.path("anchor"),
        };
        let rate = NonZeroU64::new(1 << 40).unwrap();
        Pass { target, rate, owed: 0, brake: Arc::default(), state: Arc::default() }
    }

    /// The newest snapshot, once all that is sealed is in it: so the keeper rests.
    fn snapshot(&self) -> Position {
        let sealed = self.opened.app.reader.sealed().last().map(|volume| volume.last);
        while self.opened.app.vitals.snapshots.newest() != sealed {
            std::thread::yield_now();
        }
        sealed.unwrap()
    }

    /// What a pass finds.
    fn findings(&self) -> Vec<String> {
        let mut pass = self.pass();
        assert!(pass.run().is_continue());
        pass.state.status().findings
    }

    /// Waits until the anchor says what is durable, so that nothing writes it any more.
    fn settle(&self) {
        let head = self.opened.app.table.head();
        while Anchor::read(&self.path("anchor")).unwrap().position != head {
            std::thread::yield_now();
        }
    }

    fn close(self) {
        let Service { opened, examiner, home, .. } = self;
        drop((examiner, opened.app));
        opened.closing.close().unwrap();
        drop(home);
    }
}

fn flip(path: &Path, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 4], offset).unwrap();
    // Only what has been written out can be read from the disk.
    file.sync_all().unwrap();
}

#[test]
fn a_whole_directory_has_no_findings_and_all_of_it_is_read() {
    let service = Service::new();
    let mut pass = service.pass();
    assert!(pass.run().is_continue());
    let status = pass.state.status();
    assert_eq!((status.findings, status.damage), (Vec::new(), 0));
    let sealed: u64 = service.opened.app.reader.sealed().iter().map(|sealed| sealed.bytes).sum();
    assert!(status.read > sealed && status.read == status.total, "{} {}", status.read, sealed);
    service.close();
}

#[test]
fn an_altered_byte_of_a_sealed_volume_is_found_while_it_is_in_use() {
    let service = Service::new();
    for name in ["ledger/volume-00000001", "ledger/volume-00000002"] {
        let path = service.path(name);
        let length = fs::metadata(&path).unwrap().len();
        for offset in (0..length).step_by(701).chain([length - 1]) {
            flip(&path, offset);
            let findings = service.findings();
            assert!(findings.iter().any(|text| text.starts_with(name)), "{offset}: {findings:?}");
            flip(&path, offset);
        }
    }
    assert_eq!(service.findings(), Vec::<String>::new());
    fs::rename(service.path("ledger/volume-00000001"), service.path("aside")).unwrap();
    let findings = service.findings();
    assert_eq!(findings, ["ledger/volume-00000001: sealed volume 1 is missing"]);
    fs::rename(service.path("aside"), service.path("ledger/volume-00000001")).unwrap();
    service.close();
}

#[test]
fn a_frame_that_is_in_sleds_cache_and_no_longer_in_its_file_is_found() {
    let service = Service::new();
    service.changes(3);
    let live = fs::read_dir(service.path("ledger")).unwrap();
    let names = live.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let head = service.opened.app.table.head().unwrap();
    // The frame is altered wherever it lies in the files of the volumes in sled.
    let frame = service.opened.app.reader.frame_at(head).unwrap().unwrap();
    let mut altered = 0;
    for name in names.filter(|name| name.starts_with("live-")) {
        let path = service.path("ledger").join(name).join("db");
        // The next volume is still being prepared, maybe under a name that it has no more.
        let Ok(bytes) = fs::read(&path) else { continue };
        for copy in bytes.windows(frame.as_bytes().len()).enumerate() {
            if copy.1 == frame.as_bytes() {
                flip(&path, copy.0 as u64 + 40);
                altered += 1;
            }
        }
    }
    assert!(altered > 0);
    let findings = service.findings();
    let told = format!("the frame that holds position {head} cannot be read");
    assert!(findings.len() == 1 && findings[0].ends_with(&told), "{findings:?}");
    service.close();
}

#[test]
fn an_altered_byte_of_the_anchor_or_of_the_data_keys_is_found() {
    let service = Service::new();
    service.settle();
    for (name, offsets) in [("anchor", [30, 4096 + 4000]), ("datakeys", [3, 127])] {
        for offset in offsets {
            flip(&service.path(name), offset);
            let findings = service.findings();
            assert!(findings.len() == 1 && findings[0].starts_with(name), "{findings:?}");
            flip(&service.path(name), offset);
        }
    }
    assert_eq!(service.findings(), Vec::<String>::new());
    service.close();
}

#[test]
fn an_altered_byte_of_a_snapshot_is_found_while_it_is_in_use() {
    let service = Service::new();
    let name = snapshot_place(service.snapshot());
    let path = service.path(&name);
    let whole = fs::read(&path).unwrap();
    let length = whole.len() as u64;
    for offset in (0..length).step_by(61).chain([length - 1]) {
        flip(&path, offset);
        let findings = service.findings();
        // The keeper may look once more, find it itself, and make the same snapshot again.
        if findings.is_empty() && fs::read(&path).unwrap() == whole {
            continue;
        }
        assert!(findings.len() == 1 && findings[0].starts_with(&name), "{offset}: {findings:?}");
        fs::write(&path, &whole).unwrap();
    }
    // Not the end of a start, so not damage: the log has everything.
    fs::rename(&path, service.path("aside")).unwrap();
    assert_eq!(service.findings(), Vec::<String>::new());
    fs::rename(service.path("aside"), &path).unwrap();
    service.close();
}

#[test]
fn a_whole_snapshot_of_another_log_is_found() {
    let (service, other) = (Service::new(), Service::new());
    let position = service.snapshot();
    let mut pass = service.pass();
    pass.target.reader = Arc::clone(&other.opened.app.reader);
    assert!(pass.run().is_continue());
    let told = RecoveryError::OtherThanSnapshot(position);
    let told = format!("{}: {told}", snapshot_place(position));
    let findings = pass.state.status().findings;
    assert!(findings.contains(&told), "{findings:?}");
    drop(pass);
    other.close();
    service.close();
}

#[test]
fn a_damaged_hash_tile_is_found_and_made_again_while_it_is_in_use() {
    let service = Service::new();
    let proofs = service.opened.app.proofs.get().unwrap();
    while proofs.tiles().size() < 256 {
        service.changes(50);
    }
    let name = "tiles/0/000";
    let before = fs::read(service.path(name)).unwrap();
    for offset in [0, 8191] {
        flip(&service.path(name), offset);
        let told = format!("{name}: was missing, torn or altered; it is made again from the log");
        assert_eq!(service.findings(), [told]);
        assert!(fs::read(service.path(name)).unwrap() == before);
        assert_eq!(service.findings(), Vec::<String>::new());
    }
    service.close();
}

#[test]
fn a_finding_is_told_once_however_often_it_is_found() {
    let service = Service::new();
    flip(&service.path("datakeys"), 3);
    let mut pass = service.pass();
    assert!(pass.run().is_continue() && pass.run().is_continue());
    assert_eq!(pass.state.status().damage, 1);
    flip(&service.path("datakeys"), 3);
    service.close();
}

#[test]
fn passes_beside_the_writer_and_the_sealer_find_nothing_wrong() {
    let service = Service::new();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let passes = scope.spawn(|| {
            let mut passes = 0;
            while !done.load(Ordering::Acquire) || passes == 0 {
                assert_eq!(service.findings(), Vec::<String>::new());
                passes += 1;
            }
        });
        service.changes(300);
        done.store(true, Ordering::Release);
        passes.join().unwrap();
    });
    service.close();
}

/// Puts changes on record between the first frames that are read of each volume in sled.
struct Appending<'a> {
    service: &'a Service,
    reads: u32,
    damaged: Vec<String>,
}

impl Watch for Appending<'_> {
    fn read(&mut self, _: u64) -> ControlFlow<()> {
        self.reads += 1;
        if self.reads.is_multiple_of(5) && self.reads < 1000 {
            self.service.changes(1);
        }
        ControlFlow::Continue(())
    }

    fn damaged(&mut self, name: &str, error: LedgerError) {
        self.damaged.push(format!("{name}: {error}"));
    }
}

#[test]
fn frames_appended_to_the_leaf_that_a_scan_stands_in_are_not_taken_for_lost() {
    let service = Service::new();
    service.changes(20);
    let mut watch = Appending { service: &service, reads: 0, damaged: Vec::new() };
    assert!(service.examiner.run(&mut watch).is_continue());
    assert_eq!(watch.damaged, Vec::<String>::new());
    service.close();
}

#[test]
fn a_scrub_that_waits_ends_at_once_when_it_is_dropped() {
    let service = Service::new();
    let Pass { target, state, .. } = service.pass();
    // At this rate a pass would take years.
    let slow = NonZeroU64::MIN;
    let clock = Arc::new(ManualClock::new(at(0)));
    let scrub =
        Scrub::start(target, slow, Duration::from_hours(1), clock, Arc::clone(&state)).unwrap();
    while state.status().read == 0 {
        std::thread::yield_now();
    }
    drop(scrub);
    let status = state.status();
    assert!(!status.runs && status.passes == 0);
    service.close();
}
