//! Faults in `admin restore`: whatever stopped it, a start is refused or finds the right log, and so does
//! another restore.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use keyledger::backup_dir::{Manifest, read_manifest};
use keyledger::domain::ids::Position;
use keyledger::ledger::engine::Ledger;
use keyledger::ledger::volumes::VolumeLedger;
use tempfile::TempDir;

use crate::common::place::{hex, status};
use crate::common::process::{self, Process, contents, serve};
use crate::model::Model;
use crate::outcome::{Outcome, Tally, judge};
use crate::points::{self, some};
use crate::shim::{Board, Fault, Kind};
use crate::{block_on, used_directory};

/// Operations at which a restore is killed, if not at all of them.
const KILLS: u64 = 16;

/// Operations of each other kind at which it goes wrong, if not at all of them.
const FAILURES: u64 = 6;

/// What is known of the end of the log that is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is the backup's.
    Known,
    /// Nothing: another generation begins, and what may be lost is accepted at once.
    Accepted,
}

/// A backup of a used directory, and what it takes to restore it.
struct Backup {
    home: TempDir,
    model: Model,
    manifest: Manifest,
}

/// The root of the tree over all records up to `position`, in hexadecimal.
fn root_at(data_dir: &Path, position: u64) -> String {
    let ledger = VolumeLedger::open(&data_dir.join("ledger"), u64::MAX).expect("it opens");
    let position = Position::new(position).expect("not 0");
    let frame = ledger.reader().frame_at(position).expect("it reads").expect("a frame");
    assert_eq!(frame.last(), position);
    let root = frame.root();
    ledger.close().expect("it closes");
    hex(&root.0)
}

impl Backup {
    fn new() -> Backup {
        let (home, model) = used_directory();
        let data_dir = home.path().join("data");
        let server = Process::spawn(serve(&data_dir, "127.0.0.1:0"));
        let mut backup = process::command();
        backup.args(["admin", "backup", "--server", &server.address, "--token-file"]);
        backup.arg(data_dir.join("admin.credential")).arg("--to").arg(home.path().join("backup"));
        let (status, log) = process::refused(backup);
        assert!(status.success(), "{log}");
        server.terminate();
        let manifest = read_manifest(&home.path().join("backup")).expect("a manifest");
        assert!(!manifest.volumes.is_empty() && manifest.tail.is_some(), "{manifest:?}");
        Backup { home, model, manifest }
    }

    fn keys(&self) -> PathBuf {
        self.home.path().join("data/keys")
    }

    /// The command that restores it into `data_dir`.
    fn restore(&self, end: End, data_dir: &Path) -> Command {
        let mut command = process::command();
        command.args(["admin", "restore", "--data-dir"]).arg(data_dir);
        command.arg("--from").arg(self.home.path().join("backup")).arg("--keys").arg(self.keys());
        match end {
            End::Known => {
                let Manifest { head, root, .. } = &self.manifest;
                command.arg("--last-head").arg(format!("{head}:{root}"))
            }
            End::Accepted => command.arg("--accept-lost-revocations").arg(self.lost()),
        };
        command
    }

    /// The command that accepts what was lost, once it is restored.
    fn accept(&self, data_dir: &Path) -> Command {
        let mut command = process::command();
        command.args(["admin", "restore", "--data-dir"]).arg(data_dir);
        command.arg("--accept-lost-revocations").arg(self.lost());
        command
    }

    fn lost(&self) -> String {
        format!("{}-", self.manifest.head + 1)
    }

    /// Holds what was restored to what was backed up.
    fn verify(&self, end: End, data_dir: &Path, told: &str) {
        let credential = "admin.credential";
        fs::copy(self.home.path().join("data").join(credential), data_dir.join(credential))
            .expect("copied");
        let restored = root_at(data_dir, self.manifest.head);
        let server = Process::start(data_dir);
        let verified = block_on(async {
            let admin = server.admin(data_dir).await;
            self.model.verify(&admin, &told).await?;
            Ok::<_, tonic::Status>(status(&admin).await)
        });
        let log = server.kill();
        let now = verified.unwrap_or_else(|error| panic!("{told}: {error}\n{log}"));
        let Manifest { head, root, .. } = &self.manifest;
        let found = (now.head, now.generation, now.losses.len());
        match end {
            End::Known => {
                assert_eq!(restored, root.to_string(), "{told}");
                // A backup has no usage journals: that uses may be missing is on record.
                assert_eq!(found, (head + 1, 1, 0), "{told}");
            }
            // LogRestored and LossResolved besides, each once.
            End::Accepted => assert_eq!(found, (head + 3, 2, 0), "{told}"),
        }
    }
}

/// A restore with a fault, then what must be so. False if the fault did not happen.
fn restore_with(fault: Fault, end: End, backup: &Backup, room: &Path, tally: &Tally) -> bool {
    let data_dir = room.join("data");
    let board = Board::new(&room.join("board"), fault);
    board.arm();
    let (ended, log) = process::refused(board.preload(backup.restore(end, &data_dir), &data_dir));
    let struck = board.struck();
    let told = format!("{end:?}, {fault}: {}", struck.as_deref().unwrap_or("nothing"));
    let outcome = judge(ended, &log, &told);
    let killing = matches!(fault.kind, Kind::Kill | Kind::KillTorn);
    assert_eq!(outcome == Outcome::Killed, killing && struck.is_some(), "{told}\n{log}");
    if struck.is_some() {
        tally.add(fault, outcome);
    }
    if data_dir.join("FORMAT").exists() {
        let before = contents(&data_dir);
        let (again, log) = process::refused(backup.restore(end, &data_dir));
        assert!(again.code() == Some(1) && log.contains("not empty"), "{told}: {log}");
        assert_eq!(contents(&data_dir), before, "{told}: it was touched");
    } else {
        assert_ne!(outcome, Outcome::Survived, "{told}: it said that it was done");
        if data_dir.join("RESTORING").exists() {
            let (started, log) = process::refused(serve(&data_dir, "127.0.0.1:0"));
            assert!(started.code() == Some(1) && log.contains("was interrupted"), "{told}: {log}");
        }
        let (again, log) = process::refused(backup.restore(end, &data_dir));
        assert!(again.success(), "{told}; once more: {log}");
    }
    if end == End::Accepted {
        // If it ended before that was on record it is to be said again.
        let (accepted, log) = process::refused(backup.accept(&data_dir));
        assert!(accepted.success() || log.contains("has lost nothing"), "{told}: {log}");
    }
    backup.verify(end, &data_dir, &told);
    struck.is_some()
}

fn count(kind: Kind, end: End, backup: &Backup) -> u64 {
    let room = TempDir::new().expect("a directory");
    let data_dir = room.path().join("data");
    let board = Board::new(&room.path().join("board"), Fault::once(kind, 0));
    board.arm();
    let (ended, log) = process::refused(board.preload(backup.restore(end, &data_dir), &data_dir));
    assert!(ended.success(), "{log}");
    board.counted()
}

fn restores(kinds: &[Kind], points: u64) {
    let _turn = points::turn();
    let backup = Backup::new();
    let tally = Tally::of("restore");
    for end in [End::Known, End::Accepted] {
        for kind in kinds {
            let run =
                |at, room: &Path| restore_with(Fault::once(*kind, at), end, &backup, room, &tally);
            some(points, count(*kind, end, &backup), run);
        }
    }
    tally.print();
    assert!(tally.tried(kinds[0]) >= points, "the shim has missed operations");
}

#[test]
fn a_restore_killed_at_any_operation_is_refused_or_right_and_can_be_repeated() {
    restores(&[Kind::Kill, Kind::KillTorn], KILLS);
}

#[test]
fn a_restore_that_meets_a_failing_or_full_disk_says_so_and_can_be_repeated() {
    restores(&[Kind::Fail, Kind::NoSpace, Kind::FailLook, Kind::Short], FAILURES);
}
