//! What an open service is closed by: everything that runs beside the use cases, in the order in which it ends.

use std::path::PathBuf;
use std::thread::JoinHandle;

use crate::app::conduct::ConductKeeper;
use crate::app::off_host::OffHost;
use crate::app::scrub::Scrub;
use crate::app::snapshots::SnapshotKeeper;
use crate::app::startup::StartError;
use crate::app::tile_keeper::TileKeeper;
use crate::app::usage_model::Projector;
use crate::app::uses::UsesClosing;
use crate::ledger::data_dir::{DataDir, DataDirError};
use crate::ledger::volumes::VolumeLedger;
use crate::ledger::volumes::examine::Examiner;
use crate::ledger::writer::WriterHandle;

/// What is closed last, in this order: witnesses, scrub, tiles, records of conduct, recording of uses, snapshots, usage
/// projection, writer, anchor, ledger, what is kept off the host, lock.
#[derive(Debug)]
pub struct Closing {
    pub(super) scrub: Option<Scrub>,
    pub(super) tiles: Option<TileKeeper>,
    pub(super) conduct: Option<ConductKeeper>,
    pub(super) uses: Option<UsesClosing>,
    examiner: Option<Examiner>,
    writer: WriterHandle,
    thread: JoinHandle<VolumeLedger>,
    snapshots: SnapshotKeeper,
    pub(super) projector: Option<Projector>,
    pub(super) off_host: Option<OffHost>,
    pub(super) data_dir: DataDir,
}

impl Closing {
    /// What is open as soon as the log is; what a server starts beside it is set by who starts it.
    pub(super) fn new(
        data_dir: DataDir,
        writer: WriterHandle,
        thread: JoinHandle<VolumeLedger>,
        snapshots: SnapshotKeeper,
        examiner: Examiner,
    ) -> Self {
        Closing {
            scrub: None,
            tiles: None,
            conduct: None,
            uses: None,
            examiner: Some(examiner),
            writer,
            thread,
            snapshots,
            projector: None,
            off_host: None,
            data_dir,
        }
    }

    /// Where the data directory keeps the first admin's credential.
    #[must_use]
    pub fn admin_credential(&self) -> PathBuf {
        self.data_dir.admin_credential()
    }

    /// Who reads what is on disk, unless the scrub has it.
    pub(crate) fn take_examiner(&mut self) -> Option<Examiner> {
        self.examiner.take()
    }

    /// Ends a restore: the directory is one like any other from here on.
    pub(crate) fn finish_restore(&self) -> Result<(), DataDirError> {
        self.data_dir.finish_restore()
    }

    /// Lets the writer finish what waits, then closes the ledger and lets go of the directory.
    /// Blocks. The [`App`](crate::app::App) and all that holds it must be gone.
    ///
    /// # Errors
    /// If the ledger cannot be closed in order; what was acknowledged is durable all the same.
    pub fn close(mut self) -> Result<(), StartError> {
        if let Some(off_host) = &mut self.off_host {
            off_host.leave_witnesses();
        }
        drop((self.scrub, self.tiles, self.examiner));
        if let Some(conduct) = self.conduct {
            conduct.finish();
        }
        if let Some(uses) = self.uses {
            uses.close();
        }
        self.writer.close();
        self.snapshots.stop();
        drop(self.projector);
        let ledger = self.thread.join().map_err(|_| StartError::WriterStopped)?;
        ledger.close()?;
        // What the anchor says does not change any more.
        if let Some(off_host) = self.off_host {
            off_host.stop();
        }
        drop(self.data_dir);
        Ok(())
    }
}
