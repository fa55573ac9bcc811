//! What ends the process: an append that fails or panics, before anyone is answered.

use std::os::unix::process::ExitStatusExt;
use std::process::Output;

use super::*;
use crate::clock::ManualClock;
use crate::ledger::anchor::Anchor;
use crate::ledger::engine::{LedgerError, LedgerReader};
use crate::ledger::frame::Frame;
use crate::projection::table_writer::TableWriter;
use crate::random::SeededRandom;

const SIGABRT: i32 = 6;

/// A ledger whose appends fail, or panic.
struct Broken {
    panics: bool,
}

impl Ledger for Broken {
    fn append(&mut self, _: &Frame) -> Result<(), LedgerError> {
        assert!(!self.panics, "the engine is broken");
        Err(LedgerError::Engine { doing: "flushing" })
    }

    fn head(&self) -> Option<Position> {
        None
    }

    fn reader(&self) -> Arc<dyn LedgerReader> {
        unreachable!("the writer does not read")
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        // What a real engine would do then is write.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"dropped\n");
    }
}

fn ask(ledger: Broken) -> ! {
    let dir = tempfile::tempdir().unwrap();
    let anchor = AnchorKeeper::start(Anchor::create(&dir.path().join("anchor")).unwrap()).unwrap();
    let (clock, random) = (ManualClock::new(at(0)), SeededRandom::new(1));
    let start = Start { head: None, frontier: Frontier::new(), last_time: None };
    let table = TableWriter::default();
    let (writer, _thread) =
        Writer::start(ledger, table, anchor, Arc::new(clock), Arc::new(random), start).unwrap();
    let command = by(the_service(), Act::SetPolicy(policy()));
    // A sender that is dropped while a panic unwinds is no answer.
    if let Ok(answer) = writer.submit(Lane::Commands, command).unwrap().blocking_recv() {
        panic!("answered: {answer:?}");
    }
    loop {
        std::thread::park();
    }
}

#[test]
#[ignore = "ends its process: run by a test below in a process of its own"]
fn child_whose_append_fails() {
    ask(Broken { panics: false })
}

#[test]
#[ignore = "ends its process: run by a test below in a process of its own"]
fn child_whose_append_panics() {
    ask(Broken { panics: true })
}

fn run(child: &str) -> Output {
    let child = format!("{}::{child}", module_path!());
    let name = child.split_once("::").expect("the crate comes first").1;
    // What the child cannot clean up goes with this directory.
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.env("TMPDIR", dir.path());
    command.args(["--exact", name, "--ignored", "--nocapture"]).output().unwrap()
}

fn aborts(output: &Output, reason: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{said}");
    assert!(said.contains(reason), "{said}");
    assert!(!said.contains("answered") && !said.contains("dropped"), "{said}");
}

#[test]
fn a_frame_that_cannot_be_made_durable_ends_the_process_before_any_answer() {
    let reason = "a frame could not be made durable: the storage engine failed while flushing";
    aborts(&run("child_whose_append_fails"), reason);
}

#[test]
fn a_panic_of_the_writer_ends_the_process_before_any_answer() {
    let output = run("child_whose_append_panics");
    aborts(&output, "the ledger writer panicked");
}
