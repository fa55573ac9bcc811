//! Faults in `admin recover-admin`, which works on the data directory itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::common::process::{self, Process};
use crate::model::Model;
use crate::outcome::{Outcome, Tally, judge};
use crate::points::{self, some};
use crate::shim::{Board, Fault, Kind};
use crate::{block_on, used_directory};

/// Operations of each kind at which it goes wrong, if not at all of them.
const POINTS: u64 = 12;

/// About how many operations it makes; what is behind them finds nothing to let go wrong.
const LAST: u64 = 45;

fn recover(data_dir: &Path) -> Command {
    let mut command = process::command();
    command.args(["admin", "recover-admin", "--yes", "--data-dir"]).arg(data_dir);
    command
}

/// A recovery with a fault, then what must work. False if the fault did not happen.
fn recover_with(fault: Fault, used: &(TempDir, Model), room: &Path, tally: &Tally) -> bool {
    let data_dir = room.join("data");
    points::copy(&used.0.path().join("data"), &data_dir);
    let credential = data_dir.join("admin.credential");
    fs::remove_file(&credential).expect("removed");
    let board = Board::new(&room.join("board"), fault);
    board.arm();
    let (status, log) = process::refused(board.preload(recover(&data_dir), &data_dir));
    let struck = board.struck();
    let told = format!("{fault}: {}", struck.as_deref().unwrap_or("nothing"));
    let outcome = judge(status, &log, &told);
    assert_eq!(outcome == Outcome::Killed, fault.kind == Kind::Kill && struck.is_some(), "{told}");
    if outcome == Outcome::Survived {
        assert!(credential.exists(), "{told}: it said that it was done");
    }
    if struck.is_some() {
        tally.add(fault, outcome);
    }
    if !credential.exists() {
        let (status, log) = process::refused(recover(&data_dir));
        assert!(status.success(), "{told}; once more: {log}");
    }
    let server = Process::start(&data_dir);
    let verified = block_on(async {
        let admin = server.admin(&data_dir).await;
        used.1.verify(&admin, &told).await
    });
    let log = server.kill();
    verified.unwrap_or_else(|error| panic!("{told}: {error}\n{log}"));
    struck.is_some()
}

#[test]
fn a_recovery_of_the_admin_that_fails_at_any_operation_can_be_repeated() {
    let _turn = points::turn();
    let used = used_directory();
    let tally = Tally::of("recover-admin");
    for kind in [Kind::Kill, Kind::Fail] {
        some(POINTS, LAST, |at, room| recover_with(Fault::once(kind, at), &used, room, &tally));
    }
    tally.print();
    assert!(tally.tried(Kind::Kill) >= POINTS / 2, "the shim has missed operations");
}
