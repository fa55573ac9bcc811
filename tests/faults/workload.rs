//! Faults while a server works: whatever happens, what it acknowledged is there afterwards.

use std::fmt;
use std::path::Path;

use tempfile::TempDir;
use tonic::Status;

use crate::common::Client;
use crate::common::process::{Process, serve};
use crate::model::{Model, is_an_answer};
use crate::outcome::{Outcome, Tally, judge};
use crate::points::{self, every, some};
use crate::shim::{Board, Fault, Kind};
use crate::{block_on, is_sealed, until, used_directory, with_small_volumes};

/// Operations of the sealing of a volume that go wrong if not all do, of each kind.
const SEALING_POINTS: u64 = 12;

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

/// Fills a volume of the smallest size, which is then sealed behind the writer's back, and reads
/// from it.
async fn fill_and_seal(
    model: &mut Model,
    client: &Client,
    told: &impl fmt::Display,
    over: impl Fn() -> bool,
) -> Vec<Status> {
    let mut errors = Vec::new();
    errors.extend(model.create_key(client, "billing").await.err());
    errors.extend(until(client, over).await.err());
    errors.extend(model.revoke(client, 0).await.err());
    for at in 0..model.keys.len() {
        errors.extend(model.authenticate(client, at, told).await.err());
    }
    errors.extend(model.get_key(client, 3).await.err());
    errors
}

/// What a server is put to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Changes,
    Sealing,
}

impl Task {
    /// Does the task on a server that has just been started, under the fault of `board`.
    async fn run(
        self,
        server: &Process,
        board: &Board,
        data_dir: &Path,
        model: &mut Model,
    ) -> Vec<Status> {
        let admin = server.admin(data_dir).await;
        let told = data_dir.display();
        if self == Task::Changes {
            board.arm();
            return work(model, &admin, &told).await;
        }
        model.put_account(&admin, "second").await.expect("put");
        for _ in 0..4 {
            model.create_bulky_key(&admin, "second").await.expect("created");
        }
        board.arm();
        let over = || board.struck().is_some() || is_sealed(data_dir, 2);
        fill_and_seal(model, &admin, &told, over).await
    }
}

/// A server at a task under a fault, up to its end in order; then a normal one. False if the fault
/// did not happen.
fn work_with(
    task: Task,
    fault: Fault,
    used: &(TempDir, Model),
    room: &Path,
    tally: &Tally,
) -> bool {
    let data_dir = room.join("data");
    points::copy(&used.0.path().join("data"), &data_dir);
    let mut model = used.1.clone();
    let board = Board::new(&room.join("board"), fault);
    let server = Process::spawn(with_small_volumes(board.serve(&data_dir), room));
    let errors = block_on(task.run(&server, &board, &data_dir, &mut model));
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
    let after = Process::try_spawn(with_small_volumes(serve(&data_dir, "127.0.0.1:0"), room));
    let after = after.unwrap_or_else(|(status, said)| panic!("{told}: {status}\n{said}\n{log}"));
    let verified = block_on(async { model.verify(&after.admin(&data_dir).await, &told).await });
    let said = after.kill();
    verified.unwrap_or_else(|error| panic!("{told}: {error}\n{said}"));
    struck.is_some()
}

/// How many operations that a fault can happen to a task makes.
fn count(task: Task, kind: Kind, used: &(TempDir, Model)) -> u64 {
    let room = TempDir::new().expect("a directory");
    let data_dir = room.path().join("data");
    points::copy(&used.0.path().join("data"), &data_dir);
    let board = Board::new(&room.path().join("board"), Fault::once(kind, 0));
    let server = Process::spawn(with_small_volumes(board.serve(&data_dir), room.path()));
    let errors = block_on(task.run(&server, &board, &data_dir, &mut used.1.clone()));
    assert!(errors.is_empty(), "{errors:?}");
    server.terminate();
    board.counted()
}

const KINDS: [Kind; 6] =
    [Kind::Kill, Kind::KillTorn, Kind::Fail, Kind::FailLook, Kind::NoSpace, Kind::Short];

#[test]
fn whatever_fails_under_a_workload_what_was_acknowledged_is_there_afterwards() {
    let _turn = points::turn();
    let used = used_directory();
    let tally = Tally::of("workload");
    for kind in KINDS {
        every(|at, room| work_with(Task::Changes, Fault::once(kind, at), &used, room, &tally));
        if points::all() {
            let fault = |at| Fault { kind, at, persistent: true };
            every(|at, room| work_with(Task::Changes, fault(at), &used, room, &tally));
        }
    }
    tally.print();
    assert!(tally.tried(Kind::Fail) > 20, "the shim has missed operations");
}

#[test]
fn whatever_fails_while_a_volume_is_sealed_what_was_acknowledged_is_there_afterwards() {
    let _turn = points::turn();
    let used = used_directory();
    let tally = Tally::of("sealing");
    for kind in KINDS {
        let last = count(Task::Sealing, kind, &used);
        let run =
            |at, room: &Path| work_with(Task::Sealing, Fault::once(kind, at), &used, room, &tally);
        some(SEALING_POINTS, last, run);
    }
    tally.print();
    assert!(tally.tried(Kind::Kill) > 0, "the shim has missed operations");
}
