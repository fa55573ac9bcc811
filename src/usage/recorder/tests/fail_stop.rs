//! What ends the process: a sync that fails, a fold that panics; before anyone is answered.

use std::os::unix::process::ExitStatusExt;

use super::house::*;
use crate::config::{Durability, WhenBehind};

const SIGABRT: i32 = 6;

fn ask(prepare: impl FnOnce(&mut House)) -> ! {
    let mut house = House::new(Durability::BeforeReply, WhenBehind::Refuse);
    prepare(&mut house);
    let (recorder, _running) = house.start();
    wait(&recorder, house.record(&recorder, 1));
    panic!("acknowledged");
}

#[test]
#[ignore = "ends its process: run by the test below in a process of its own"]
fn child_whose_disk_fails() {
    ask(|house| house.disk.fail());
}

#[test]
#[ignore = "ends its process: run by the test below in a process of its own"]
fn child_whose_fold_panics() {
    ask(|house| house.fold.panics = true);
}

#[test]
fn a_failed_sync_or_a_panic_ends_the_process_before_any_acknowledgement() {
    let cases = [
        ("child_whose_disk_fails", "uses could not be made durable: Input/output error"),
        ("child_whose_fold_panics", "the usage recorder panicked"),
    ];
    for (child, reason) in cases {
        let child = format!("{}::{child}", module_path!());
        let name = child.split_once("::").expect("the crate comes first").1;
        // What the child cannot clean up goes with this directory.
        let dir = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.env("TMPDIR", dir.path());
        let output = command.args(["--exact", name, "--ignored", "--nocapture"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(SIGABRT), "{said}");
        assert!(said.contains(reason) && !said.contains("acknowledged:"), "{said}");
        assert!(!said.contains("panicked at") || child.contains("panics"), "{said}");
    }
}
