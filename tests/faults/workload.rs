//! Faults while a server works: whatever happens, what it acknowledged is there afterwards.

use std::fmt;
use std::path::Path;

use tempfile::TempDir;
use tonic::Status;

use crate::common::Client;
use crate::common::process::Process;
use crate::model::{Model, is_an_answer};
use crate::outcome::{Outcome, Tally, judge};
use crate::points::{self, every};
use crate::shim::{Board, Fault, Kind};
use crate::{block_on, used_directory};

/// The workload, one call after the other; goes on after errors. Answers them.
async fn work(model: &mut Model, client: &Client, told: &impl fmt::Display) -> Vec<Status> {
    let mut errors = Vec::new();
    let mut note = |answer: Result<(), Status>| errors.extend(answer.err());
    note(model.create_key(client, "billing").await);
    // A new account needs a data key of its own.
    note(model.put_account(client, "second").await);
    note(model.create_key(client, "second").await);
    note(model.revoke(client, 0).await);
    for at in 0..model.keys.len() {
        note(model.authenticate(client, at, told).await);
    }
    note(model.get_key(client, 1).await);
    note(model.create_key(client, "billing").await);
    errors
}

/// A server that works while a fault is armed, up to its end in order; then a normal one. False if
/// the fault did not happen.
fn work_with(fault: Fault, used: &(TempDir, Model), room: &Path, tally: &Tally) -> bool {
    let data_dir = room.join("data");
    points::copy(&used.0.path().join("data"), &data_dir);
    let mut model = used.1.clone();
    let board = Board::new(&room.join("board"), fault);
    let server = Process::spawn(board.serve(&data_dir));
    let told = fault.to_string();
    let errors = block_on(async {
        let admin = server.admin(&data_dir).await;
        board.arm();
        work(&mut model, &admin, &told).await
    });
    let (status, log) = server.end();
    let struck = board.struck();
    let told = format!("{fault}: {}", struck.as_deref().unwrap_or("nothing"));
    let outcome = judge(status, &log, &told);
    let answers = errors.iter().filter(|error| is_an_answer(error, &data_dir, &told)).count();
    let gone = matches!(outcome, Outcome::Killed | Outcome::Aborted);
    assert!(gone || answers == errors.len(), "{told}: {errors:?}\n{log}");
    let killing = matches!(fault.kind, Kind::Kill | Kind::KillTorn);
    assert_eq!(outcome == Outcome::Killed, killing && struck.is_some(), "{told}\n{log}");
    if fault.kind == Kind::Short || struck.is_none() {
        assert_eq!((outcome, errors.len()), (Outcome::Survived, 0), "{told}: {errors:?}\n{log}");
    }
    if struck.is_some() {
        tally.add(fault, outcome);
    }
    let server = Process::start(&data_dir);
    let verified = block_on(async { model.verify(&server.admin(&data_dir).await, &told).await });
    verified.unwrap_or_else(|error| panic!("{told}: {error}"));
    server.kill();
    struck.is_some()
}

#[test]
fn whatever_fails_under_a_workload_what_was_acknowledged_is_there_afterwards() {
    let _turn = points::turn();
    let used = used_directory();
    let tally = Tally::of("workload");
    let kinds =
        [Kind::Kill, Kind::KillTorn, Kind::Fail, Kind::FailLook, Kind::NoSpace, Kind::Short];
    for kind in kinds {
        every(|at, room| work_with(Fault::once(kind, at), &used, room, &tally));
        if points::all() {
            let fault = |at| Fault { kind, at, persistent: true };
            every(|at, room| work_with(fault(at), &used, room, &tally));
        }
    }
    tally.print();
    assert!(tally.tried(Kind::Fail) > 20, "the shim has missed operations");
}
