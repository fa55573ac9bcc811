//! The least a durable commit can be: whatever waits is appended to a file in one write, synced, and
//! answered. No rules, no checksums, no tree, no engine.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

/// As much as a frame holds.
const GROUP_BYTES: usize = 60 * 1024;

type Asked = oneshot::Sender<()>;

/// The thread that writes.
pub(crate) struct BareFile {
    pub(crate) asks: Sender<Asked>,
    thread: JoinHandle<()>,
}

impl BareFile {
    /// Each commit is of `bytes` bytes.
    pub(crate) fn start(path: &Path, bytes: usize) -> Self {
        let (asks, asked) = channel();
        let file = File::create(path).expect("a file");
        let thread = std::thread::spawn(move || write(file, bytes, &asked));
        BareFile { asks, thread }
    }

    pub(crate) fn close(self) {
        drop(self.asks);
        self.thread.join().expect("no panic");
    }
}

fn write(mut file: File, bytes: usize, asked: &Receiver<Asked>) {
    let most = GROUP_BYTES / bytes;
    let mut group = Vec::new();
    while let Ok(first) = asked.recv() {
        group.push(first);
        group.extend(asked.try_iter().take(most - 1));
        file.write_all(&vec![7; bytes * group.len()]).expect("written");
        file.sync_data().expect("synced");
        for answer in group.drain(..) {
            let _ = answer.send(());
        }
    }
}
