//! Reading what is on disk while the ledger is in use: for the scrub.
//!
//! Sealed volumes are read whole, from the disk: what the system's cache holds of them is dropped
//! first. Of a volume in sled every frame is read through sled, which may answer from its own cache, and
//! then looked for in sled's file itself. What sled keeps besides the frames (its pages' headers, `conf`,
//! `snap.*`) is not looked at while it is in use: opening the ledger does that, and the offline check.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::reader::{LivePart, Shared};
use super::{live_name, open};
use crate::durable_file::forget_cached;
use crate::ledger::engine::{LedgerError, io_failed};
use crate::ledger::sled_engine::first_missed;
use crate::ledger::volume::{SealedVolume, Seen, check_watched};
use crate::merkle::{Frontier, leaf_hash};

/// How often sled's file is read again before a frame is called lost: it changes while it is read.
const LOOKS: u32 = 3;

/// Reads the volumes of a ledger beside its writer and its readers. MUST be gone before the ledger is
/// closed, as readers must.
#[derive(Clone, Debug)]
pub struct Examiner {
    shared: Arc<Shared>,
}

/// Who looks on while volumes are examined.
pub trait Watch {
    /// So many bytes have been read. May wait, and may end the examination.
    fn read(&mut self, bytes: u64) -> ControlFlow<()>;

    /// A volume is damaged: `name` in the ledger's directory.
    fn damaged(&mut self, name: &str, error: LedgerError);
}

type Examined = Result<ControlFlow<(), Frontier>, LedgerError>;

impl Examiner {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Examiner { shared }
    }

    /// About how many bytes an examination reads.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let parts = self.shared.parts();
        let sealed = parts.sealed.iter().map(|volume| volume.sealed().bytes);
        // The frames in sled are read once more, through sled, of which the file says nothing.
        let live = parts.live.iter().map(|part| self.log_bytes(part));
        sealed.chain(live).sum()
    }

    /// Examines every volume there is when it begins. Breaks if `watch` did.
    pub fn run(&self, watch: &mut dyn Watch) -> ControlFlow<()> {
        let parts = self.shared.parts();
        let mut tree = Some(Frontier::new());
        for volume in &parts.sealed {
            tree = match examine_sealed(volume, tree.as_ref(), watch) {
                Ok(examined) => Some(examined?),
                Err(error) => {
                    watch.damaged(&format!("volume-{:08}", volume.sealed().number), error);
                    open::after(volume).ok()
                }
            };
        }
        for part in &parts.live {
            let Some(before) = tree.take() else { break };
            let examined = self.examine_live(part, before.clone(), watch);
            let in_file = self.look_in_file(part, watch);
            match examined {
                Ok(examined) => tree = Some(examined?),
                Err(error) => watch.damaged(&format!("live-{:08}", part.number()), error),
            }
            match in_file {
                Ok(looked) => looked?,
                Err(error) => watch.damaged(&format!("live-{:08}/db", part.number()), error),
            }
        }
        ControlFlow::Continue(())
    }

    /// Reads a volume through sled, up to what is durable by then.
    fn examine_live(&self, part: &LivePart, before: Frontier, watch: &mut dyn Watch) -> Examined {
        let mut frames = part.reader().frames_from(part.reader().first());
        let mut tree = before;
        let mut next = part.reader().first();
        loop {
            let read = match frames.read_next() {
                // A scan does not see what was appended to the leaf it stands in: look anew.
                Err(LedgerError::MissingFrame { .. }) => {
                    frames = part.reader().frames_from(next);
                    frames.read_next()?
                }
                read => read?,
            };
            let Some(frame) = read else { return Ok(ControlFlow::Continue(tree)) };
            next = frame.last().next();
            for (_, record) in frame.records() {
                tree.push(leaf_hash(record));
            }
            if tree != *frame.frontier() {
                return Err(LedgerError::OtherTree { first: frame.first(), last: frame.last() });
            }
            if watch.read(frame.as_bytes().len() as u64).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    /// Looks for every durable frame in sled's file.
    fn look_in_file(
        &self,
        part: &LivePart,
        watch: &mut dyn Watch,
    ) -> Result<ControlFlow<()>, LedgerError> {
        let path = live_name(self.shared.dir(), part.number()).join("db");
        let mut lost = None;
        for _ in 0..LOOKS {
            let Some(head) = part.reader().head() else { return Ok(ControlFlow::Continue(())) };
            let log = match File::open(&path) {
                // Sealed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(ControlFlow::Continue(()));
                }
                opened => opened.and_then(|log| forget_cached(&log).map(|()| log)),
            };
            let log = log.map_err(|error| io_failed("reading", &error))?;
            let mut on = |bytes| watch.read(bytes);
            let looked = first_missed(&log, part.reader().first(), head, &mut on);
            match looked.map_err(|error| io_failed("reading", &error))? {
                ControlFlow::Break(()) => return Ok(ControlFlow::Break(())),
                ControlFlow::Continue(None) => return Ok(ControlFlow::Continue(())),
                ControlFlow::Continue(missed) => lost = missed,
            }
        }
        match lost {
            Some(position) => Err(LedgerError::Unreadable { position }),
            None => Ok(ControlFlow::Continue(())),
        }
    }

    fn log_bytes(&self, part: &LivePart) -> u64 {
        let path = live_name(self.shared.dir(), part.number()).join("db");
        std::fs::metadata(path).map_or(0, |log| log.len())
    }
}

fn examine_sealed(
    volume: &SealedVolume,
    before: Option<&Frontier>,
    watch: &mut dyn Watch,
) -> Examined {
    let known = volume.sealed();
    forget_cached(&volume.file()?).map_err(|error| io_failed("reading", &error))?;
    let examined = check_watched(volume.path(), known.number, &mut |seen| match seen {
        Seen::Frame(frame) => watch.read(frame.as_bytes().len() as u64),
        Seen::Bytes(bytes) => watch.read(bytes),
    })?;
    // What was read is of use to nobody else.
    forget_cached(&volume.file()?).map_err(|error| io_failed("reading", &error))?;
    let ControlFlow::Continue(checked) = examined else { return Ok(ControlFlow::Break(())) };
    let continues = before.is_none_or(|before| *before == checked.before);
    if checked.sealed == known && continues {
        Ok(ControlFlow::Continue(checked.after))
    } else {
        Err(LedgerError::OtherVolume { number: known.number })
    }
}
