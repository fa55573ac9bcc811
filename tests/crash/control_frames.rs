//! Bare sled with our settings and our syncs, but frames as long as one likes: shows what the bound
//! on frames is for.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use keyledger::ledger::frame::MAX_FRAME_BYTES;

use super::answers::Answer;
use super::recorder::Recorder;
use super::recovery::Job;
use super::trace::Op;
use super::worker::this_binary;

/// Frames written to one database, over several of sled's pages.
const FRAMES: u64 = 40;

/// What the children are told by.
const FRAME_BYTES: &str = "GATE_FRAME_BYTES";
const DATABASE: &str = "GATE_DATABASE";

/// Frames within the bound, and such that sixteen of them in one page are over a quarter segment.
pub const WITHIN: usize = MAX_FRAME_BYTES;
pub const OVER: usize = 4 * MAX_FRAME_BYTES;

/// What a database's writes were, and when each frame was acknowledged.
pub fn record(shim: &Path, frame_bytes: usize) -> (Vec<Op>, Vec<Answer>) {
    let mut recorder = Recorder::new();
    let mut command: Command = this_binary("child_that_writes_frames");
    command.env(FRAME_BYTES, frame_bytes.to_string()).env(DATABASE, recorder.root().join("db"));
    recorder.record(&mut command, shim);
    let output = command.output().expect("the child runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let ops = recorder.finish();
    let acknowledged = |op: &Op| match op {
        Op::Said { data } => {
            std::str::from_utf8(data).ok()?.strip_prefix("ack ")?.trim().parse().ok()
        }
        _ => None,
    };
    let answers = ops.iter().enumerate();
    let answers =
        answers.filter_map(|(at, op)| Some(Answer { op: at, position: acknowledged(op)? }));
    let answers: Vec<_> = answers.collect();
    assert_eq!(answers.len() as u64, FRAMES);
    (ops, answers)
}

/// The child.
pub fn write_frames() {
    let length: usize = std::env::var(FRAME_BYTES).expect("told").parse().expect("a number");
    let dir = std::path::PathBuf::from(std::env::var(DATABASE).expect("told"));
    let db = open(&dir).expect("a new database");
    sync_all(&dir);
    let log = fs::File::open(dir.join("db")).expect("sled's log");
    for n in 1..=FRAMES {
        db.insert(n.to_be_bytes(), frame(n, length)).expect("inserted");
        db.flush().expect("flushed");
        log.sync_data().expect("synced");
        writeln!(std::io::stdout(), "ack {n}").expect("said");
    }
}

fn open(dir: &Path) -> sled::Result<sled::Db> {
    let config = sled::Config::new().path(dir).segment_size(4 * 1024 * 1024);
    config.cache_capacity(16 * 1024 * 1024).flush_every_ms(None).open()
}

fn sync_all(dir: &Path) {
    let parent = dir.parent().expect("below the root");
    let files =
        fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    for path in files.chain([dir.to_owned(), parent.to_owned()]) {
        fs::File::open(path).and_then(|file| file.sync_all()).expect("synced");
    }
}

fn frame(n: u64, length: usize) -> Vec<u8> {
    let word = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    word.into_iter().cycle().take(length).collect()
}

/// Opens a database as our recovery would, and looks for every acknowledged frame.
pub fn open_and_verify(job: &Job) -> Result<(), String> {
    let dir = job.root.join("db");
    for entry in fs::read_dir(&dir).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.extension().is_some_and(|ending| ending == "generating") {
            fs::remove_file(&path).map_err(|error| error.to_string())?;
        }
    }
    let db = open(&dir).map_err(|error| format!("refused: {error}"))?;
    let length = usize::try_from(job.frame_bytes).expect("a length");
    for n in 1..=job.answered {
        match db.get(n.to_be_bytes()).map_err(|error| format!("frame {n}: {error}"))? {
            None => return Err(format!("acknowledged frame {n} of {} is lost", job.answered)),
            Some(found) if *found != frame(n, length) => {
                return Err(format!("acknowledged frame {n} has other bytes"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
