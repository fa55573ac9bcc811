//! Backup: a stream of a consistent copy of log and data keys, while the service serves.
//!
//! The head is fixed first. Sealed volumes up to it are sent as they are on disk, the records behind
//! them as one more file of the same form, and the data keys last: all that the records name are there
//! by then. A thread reads and hands on a few parts at a time, so that a slow client is waited for with
//! little in memory, and for so long only.

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::domain::ids::Position;
use crate::ledger::backup::{DigestCheck, origin, pack_tail, tree_at};
use crate::ledger::engine::LedgerError;
use crate::ledger::volumes::Sealed;
use crate::merkle::Hash;

/// The most bytes of a part.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// Parts that wait for the client.
const PARTS_WAITING: usize = 4;

/// How long a client may read nothing: a live one takes the next 64 KiB far sooner.
const PATIENCE: Duration = Duration::from_secs(60);

/// When to come back while another backup is under way.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// What who asks has of an earlier backup.
#[derive(Clone, Copy, Debug, Default)]
pub struct Have {
    /// The number of the last sealed volume it has; 0 if none.
    pub after_volume: u64,
    /// The head of that backup, and the root there.
    pub head: Option<(Position, Hash)>,
}

/// What a backup is of.
#[derive(Clone, Debug)]
pub struct BackupHead {
    /// What names the log in all its generations.
    pub origin: Hash,
    /// The generation of the log.
    pub generation: u64,
    /// The head.
    pub position: Position,
    /// The root of the tree over all records up to it.
    pub root: Hash,
    /// How many sealed volumes there are.
    pub volumes: u64,
    /// Bytes of those that will follow.
    pub volume_bytes: u64,
}

/// A file of a backup.
#[derive(Clone, Debug)]
pub enum BackupFile {
    /// A sealed volume, and whether its bytes follow.
    Volume(Sealed, bool),
    /// The records behind the last sealed volume.
    Tail(Sealed),
    /// So many bytes of wrapped data keys.
    DataKeys(u64),
}

/// A part of a backup.
#[derive(Clone, Debug)]
pub enum Part {
    /// The first.
    Head(BackupHead),
    /// A file begins.
    File(BackupFile),
    /// Bytes of the file.
    Data(Vec<u8>),
    /// The SHA-256 of the file's bytes.
    FileEnd([u8; 32]),
    /// The backup is whole.
    End {
        /// Files that were sent with their bytes.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
}

/// The parts of a backup as they come; the last one is [`Part::End`] or an error.
pub type Parts = Receiver<Result<Part, AppError>>;

/// The room for backups: one at a time, since each reads the whole disk.
pub(crate) fn one_backup() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(1))
}

impl App {
    /// Backup.
    ///
    /// # Errors
    /// [`AppError`]: a caller bound to tenants; another backup; one of another log; no room to pack.
    pub async fn backup(
        self: &Arc<Self>,
        identity: &Arc<Identity>,
        have: Have,
    ) -> Result<Parts, AppError> {
        self.start_backup(identity, have, PATIENCE).await
    }

    async fn start_backup(
        self: &Arc<Self>,
        identity: &Arc<Identity>,
        have: Have,
        patience: Duration,
    ) -> Result<Parts, AppError> {
        self.confirm(identity)?;
        if !identity.caller.tenants.is_empty() {
            return Err(AppError::TenantNotAllowed);
        }
        let room = Arc::clone(&self.backup_room).try_acquire_owned();
        let room = room.map_err(|_| AppError::BackupUnderWay { retry_after: RETRY_AFTER })?;
        let app = Arc::clone(self);
        let plan = tokio::task::spawn_blocking(move || app.plan_backup(&have))
            .await
            .map_err(|error| AppError::internal("planning a backup", &error))??;
        let (parts, receiver) = channel(PARTS_WAITING + 1);
        // One place is kept for how it ends, which must not wait behind a client that does not read.
        let ending = parts.clone().try_reserve_owned().map_err(|_| AppError::Internal)?;
        let sending = Sending {
            app: Arc::clone(self),
            identity: Arc::clone(identity),
            runtime: Handle::current(),
            parts,
            patience,
            _room: room,
        };
        tokio::task::spawn_blocking(move || {
            let ended = sending.run(plan);
            drop(sending);
            match ended {
                Ok(end) => drop(ending.send(Ok(end))),
                Err(Ended::With(error)) => {
                    tracing::warn!(%error, "a backup ended before it was whole");
                    drop(ending.send(Err(error)));
                }
                Err(Ended::ClientGone) => tracing::info!("the client of a backup has gone"),
            }
        });
        Ok(receiver)
    }

    /// Fixes the head, and looks whether what there is of an earlier backup belongs to it.
    fn plan_backup(&self, have: &Have) -> Result<Plan, AppError> {
        // In this order: every volume is sealed behind a head that is published.
        let volumes = self.reader.sealed();
        let position = self.table.head().ok_or(AppError::Internal)?;
        let root = tree_at(&*self.reader, position)?.root();
        let origin = origin(&*self.reader)?.ok_or(AppError::Internal)?;
        if let Some((known, known_root)) = have.head {
            let reached = known <= position;
            if !reached
                || tree_at(&*self.reader, known).ok().map(|tree| tree.root()) != Some(known_root)
            {
                return Err(AppError::BackupOfOtherLog);
            }
        }
        if have.after_volume > volumes.len() as u64 {
            return Err(AppError::BackupOfOtherLog);
        }
        // Told at once, and not when all volumes have been sent.
        self.vitals.packing.require(&*self.reader, volumes.last(), position)?;
        let generation = self.table.log_state().generation;
        let count = volumes.len() as u64;
        let to_come = volumes.iter().filter(|volume| volume.number > have.after_volume);
        let volume_bytes = to_come.map(|volume| volume.bytes).sum();
        let head = BackupHead { origin, generation, position, root, volumes: count, volume_bytes };
        Ok(Plan { head, volumes, after_volume: have.after_volume })
    }
}

/// What a backup is to hold.
struct Plan {
    head: BackupHead,
    volumes: Vec<Sealed>,
    after_volume: u64,
}

/// Why a backup ended before it was whole.
#[derive(Debug)]
enum Ended {
    ClientGone,
    With(AppError),
}

impl From<AppError> for Ended {
    fn from(error: AppError) -> Self {
        Ended::With(error)
    }
}

impl From<LedgerError> for Ended {
    fn from(error: LedgerError) -> Self {
        Ended::With(error.into())
    }
}

/// The reading side of a backup, on a thread that may block.
struct Sending {
    app: Arc<App>,
    identity: Arc<Identity>,
    runtime: Handle,
    parts: Sender<Result<Part, AppError>>,
    patience: Duration,
    _room: OwnedSemaphorePermit,
}

impl Sending {
    /// Sends everything but the end, which it answers.
    fn run(&self, plan: Plan) -> Result<Part, Ended> {
        let Plan { head, volumes, after_volume } = plan;
        tracing::info!(head = head.position.get(), after_volume, "a backup begins");
        let position = head.position;
        self.send(Part::Head(head))?;
        let (mut files, mut bytes) = (0, 0);
        for volume in &volumes {
            let included = volume.number > after_volume;
            self.send(Part::File(BackupFile::Volume(*volume, included)))?;
            if included {
                self.send_volume(volume)?;
                (files, bytes) = (files + 1, bytes + volume.bytes);
            }
        }
        let reader = &*self.app.reader;
        let packing = &self.app.vitals.packing;
        let tail = pack_tail(reader, volumes.last(), position, packing, || self.may_go_on())?;
        if let Some(tail) = tail {
            self.send(Part::File(BackupFile::Tail(tail.sealed)))?;
            self.send_bytes(tail.file, tail.sealed.bytes, |_| {})?;
            (files, bytes) = (files + 1, bytes + tail.sealed.bytes);
        }
        let (file, size) = self.app.vault.data_keys.durable_bytes().map_err(AppError::from)?;
        self.send(Part::File(BackupFile::DataKeys(size)))?;
        self.send_bytes(file, size, |_| {})?;
        (files, bytes) = (files + 1, bytes + size);
        tracing::info!(head = position.get(), files, bytes, "a backup is sent");
        Ok(Part::End { files, bytes })
    }

    /// Sends a volume as it is on disk, and holds it to its digest on the way: damage is not passed on
    /// as a backup.
    fn send_volume(&self, volume: &Sealed) -> Result<(), Ended> {
        let file = self.app.reader.sealed_file(volume.number)?;
        let mut check = DigestCheck::new(volume.bytes);
        self.send_bytes(file, volume.bytes, |bytes| check.update(bytes))?;
        if check.holds(volume) {
            return Ok(());
        }
        tracing::error!(volume = volume.number, "a sealed volume is damaged");
        Err(Ended::With(AppError::Damaged { position: Some(volume.first) }))
    }

    fn send_bytes(
        &self,
        mut file: File,
        size: u64,
        mut seen: impl FnMut(&[u8]),
    ) -> Result<(), Ended> {
        let mut hash = Sha256::new();
        let mut left = size;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            let mut chunk = vec![0; wanted];
            file.read_exact(&mut chunk)
                .map_err(|error| AppError::internal("reading a file to back up", &error))?;
            hash.update(&chunk);
            seen(&chunk);
            left -= wanted as u64;
            self.send(Part::Data(chunk))?;
        }
        self.send(Part::FileEnd(hash.finalize().into()))
    }

    /// Hands a part on, once there is room for it.
    fn send(&self, part: Part) -> Result<(), Ended> {
        self.may_go_on()?;
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.app.drain.begun() => Err(Ended::With(AppError::Draining)),
                () = self.app.ended(&self.identity) => Err(Ended::With(AppError::CredentialInvalid)),
                sent = tokio::time::timeout(self.patience, self.parts.send(Ok(part))) => match sent {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) => Err(Ended::ClientGone),
                    Err(_) => Err(Ended::With(AppError::Stalled)),
                },
            }
        })
    }

    /// Looks whether who asked may still have it and is there, and the server goes on.
    fn may_go_on(&self) -> Result<(), Ended> {
        if self.app.drain.has_begun() {
            return Err(Ended::With(AppError::Draining));
        }
        if self.parts.is_closed() {
            return Err(Ended::ClientGone);
        }
        self.app.confirm(&self.identity)?;
        Ok(())
    }
}
