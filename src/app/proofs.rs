//! GetInclusionProof and GetConsistencyProof; and what stands behind all that is proved of the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::Thread;
use std::time::Duration;

use tokio::time::timeout;

use crate::app::App;
use crate::app::checkpoint::{CheckpointSigner, origin_of};
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::own_command;
use crate::app::startup::{self, Opened, StartError};
use crate::app::tile_keeper::{TileFigures, TileKeeper, TileState};
use crate::clock::Clock;
use crate::config::{AuditSettings, Config};
use crate::domain::command::Act;
use crate::domain::event::{EventKind, Mechanism};
use crate::domain::ids::Position;
use crate::domain::signing::{MAX_SIGNING_KEYS, SigningKey};
use crate::ledger;
use crate::ledger::data_dir::DataDir;
use crate::ledger::engine::{Ledger as _, LedgerReader};
use crate::ledger::lanes::Lane;
use crate::ledger::record::glance;
use crate::ledger::volumes::VolumeLedger;
use crate::merkle::Hash;
use crate::merkle::note::VerifierKey;
use crate::progress::Progress;
use crate::projection::tiles::{TileError, Tiles};
use crate::random::Random;
use crate::vault::{KeySources, SigningRing, VaultError};

/// How long a proof waits for the tiles: they are behind the head by what was recorded just now, unless they
/// are being made anew.
const PATIENCE: Duration = Duration::from_secs(2);

/// When to come back if they are further behind.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What proves the log while the service runs.
#[derive(Debug)]
pub(crate) struct Proofs {
    pub(crate) signer: Arc<CheckpointSigner>,
    tiles: Arc<Tiles>,
    making: Arc<TileState>,
    waker: Option<Thread>,
}

/// What a checkpoint is of that is asked for at this instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointFigures {
    /// What the tree is of.
    pub origin: String,
    /// How many records it covers.
    pub size: Position,
    /// The root of the tree over them.
    pub root: Hash,
    /// The names and ids of the keys that sign it, the newest first.
    pub key_names: Vec<String>,
}

/// Starts to prove the log of `app`, whose first record MUST be there; tiles are in `tiles`.
///
/// # Errors
/// If the signing key cannot be read or made, the first record not be read, or there is no thread.
pub(crate) fn start(
    app: &App,
    tiles: &Path,
    settings: &AuditSettings,
) -> Result<TileKeeper, StartError> {
    let first = ledger::backup::origin(&*app.reader)?;
    let first = first.expect("the service's own facts are on record before anything is proved");
    let generation = app.table.log_state().generation;
    let origin = origin_of(settings.origin.as_ref(), &first, generation);
    let origin = origin.ok_or(StartError::OriginTooLong)?;
    let ring = signing_ring(app)?;
    let signer = Arc::new(CheckpointSigner::new(origin, ring));
    let tiles = Arc::new(Tiles::new(tiles));
    let keeper = TileKeeper::start(Arc::clone(&tiles), Arc::clone(&app.reader))?;
    let proofs = Proofs { signer, tiles, making: keeper.state(), waker: keeper.waker() };
    // Once for the life of the service: it is started once.
    let _ = app.proofs.set(proofs);
    Ok(keeper)
}

/// The keys that sign, of which the log says so.
fn signing_ring(app: &App) -> Result<SigningRing, StartError> {
    let (log, keys) = (app.table.log_state(), &app.vault.sources);
    let ring = match SigningRing::open(keys) {
        // A log of which nothing says that it was signed.
        Err(VaultError::MissingSigningKey { .. }) if log.signing_keys.is_empty() => {
            SigningRing::open_or_create(keys, &*app.random)?
        }
        Err(VaultError::MissingSigningKey { .. }) => return Err(StartError::SigningKeysLost),
        ring => ring?,
    };
    if log.has_lost_signing_keys(&public_keys(&ring)) {
        return Err(StartError::SigningKeysLost);
    }
    record_signing_keys(app, &ring, Mechanism::Service)?;
    Ok(ring)
}

/// The public keys, each once, the oldest first.
fn public_keys(ring: &SigningRing) -> Vec<SigningKey> {
    let mut keys: Vec<_> = ring.public().map(SigningKey).collect();
    keys.reverse();
    let mut once = Vec::new();
    for key in keys {
        if !once.contains(&key) {
            once.push(key);
        }
    }
    once
}

/// Puts on record which keys sign, where the log does not say so yet.
fn record_signing_keys(
    app: &App,
    ring: &SigningRing,
    mechanism: Mechanism,
) -> Result<(), StartError> {
    let keys = public_keys(ring);
    if keys.len() > MAX_SIGNING_KEYS {
        return Err(StartError::TooManySigningKeys);
    }
    let done = own_command::commit(app, Lane::Background, mechanism, Act::SetSigningKeys(keys))?;
    if let Some(position) = done.position {
        tracing::info!(%position, "the keys that sign checkpoints have changed; it is on record");
    }
    Ok(())
}

/// Makes another key that signs checkpoints where all that have signed are lost, and puts that on record;
/// answers where the keys are. A key that is there and has not signed is taken for it. For an offline
/// command: no server uses the data directory of `config`.
///
/// # Errors
/// [`StartError::SigningKeysNotLost`] if a key is left; otherwise as [`startup::open_offline`].
pub fn replace_lost_signing_keys(
    config: &Config,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    progress: &dyn Progress,
) -> Result<PathBuf, StartError> {
    let Opened { app, closing, .. } = startup::open_offline(config, clock, random, progress)?;
    let keys = app.vault.sources.dir().to_owned();
    let replaced = replace_lost(&app);
    drop(app);
    closing.close()?;
    replaced.map(|()| keys)
}

fn replace_lost(app: &App) -> Result<(), StartError> {
    let (log, keys) = (app.table.log_state(), &app.vault.sources);
    let ring = match SigningRing::open(keys) {
        Err(VaultError::MissingSigningKey { .. }) if log.has_lost_signing_keys(&[]) => {
            SigningRing::create(keys, unused_number(&*app.reader)?, &*app.random)?
        }
        ring => ring?,
    };
    if !log.has_lost_signing_keys(&public_keys(&ring)) {
        return Err(StartError::SigningKeysNotLost);
    }
    record_signing_keys(app, &ring, Mechanism::Offline)
}

/// A number that no signing key on record has had: they count up from 1, and each that came is on record, with some
/// changes more. Not known are those that were made and taken away before a start. Reads the whole log.
fn unused_number(log: &dyn LedgerReader) -> Result<u16, StartError> {
    let is_change = |record: &[u8]| {
        glance(record).is_ok_and(|seen| seen.kind == EventKind::SigningKeyChanged as u64)
    };
    let mut changes = 0;
    for frame in log.frames_from(Position::FIRST) {
        changes += frame?.records().filter(|(_, record)| is_change(record)).count();
    }
    Ok(u16::try_from(changes).unwrap_or(u16::MAX).saturating_add(1))
}

/// Makes another key that signs checkpoints in a data directory that no server uses, and answers where it
/// is. Reads the whole log, for a number that no key has had.
///
/// # Errors
/// If the directory is in use or not one of ours, or its log cannot be read; if it has no signing key yet, or an
/// unfit one.
pub fn add_signing_key(config: &Config, random: &dyn Random) -> Result<PathBuf, StartError> {
    let data_dir = DataDir::open_existing(&config.data_dir)?;
    let ledger = VolumeLedger::open(&data_dir.ledger(), config.ledger.volume_bytes)?;
    let unused = unused_number(&*ledger.reader())?;
    drop(ledger);
    let keys = KeySources::new(&config.keys, data_dir.path());
    let name = SigningRing::add(&keys, unused, random)?;
    Ok(keys.dir().join(name.file_name()))
}

impl Proofs {
    pub(crate) fn tiles(&self) -> &Arc<Tiles> {
        &self.tiles
    }

    pub(crate) fn figures(&self) -> TileFigures {
        self.making.figures()
    }

    /// Waits until proofs can be made of a tree of `size` leaves.
    async fn reach(&self, size: u64) -> Result<(), AppError> {
        if let Some(keeper) = self.waker.as_ref().filter(|_| self.tiles.size() < size) {
            keeper.unpark();
        }
        let made = timeout(PATIENCE, self.making.reached(size)).await;
        made.map_err(|_| TileError::Behind { made: self.tiles.size() }.into())
    }
}

impl App {
    /// GetInclusionProof: that the record at `position` is in the tree of `size` records.
    ///
    /// # Errors
    /// [`AppError`]: `size` is beyond the head, or `position` beyond `size`; the tiles are behind.
    pub async fn inclusion_proof(
        &self,
        identity: &Identity,
        position: Position,
        size: u64,
    ) -> Result<Vec<Hash>, AppError> {
        self.prove(identity, size, move |tiles, log| tiles.inclusion(log, position, size)).await
    }

    /// GetConsistencyProof: that the tree up to `from` is the beginning of the one of `to` records.
    ///
    /// # Errors
    /// [`AppError`]: `to` is beyond the head; the tiles are behind.
    pub async fn consistency_proof(
        &self,
        identity: &Identity,
        from: Position,
        to: u64,
    ) -> Result<Vec<Hash>, AppError> {
        self.prove(identity, to, move |tiles, log| tiles.consistency(log, from, to)).await
    }

    async fn prove(
        &self,
        identity: &Identity,
        size: u64,
        make: impl FnOnce(&Tiles, &dyn LedgerReader) -> Result<Vec<Hash>, TileError> + Send + 'static,
    ) -> Result<Vec<Hash>, AppError> {
        self.confirm(identity)?;
        self.require_within_head(size)?;
        let proofs = self.proofs()?;
        proofs.reach(size).await?;
        let (tiles, log) = (Arc::clone(&proofs.tiles), Arc::clone(&self.reader));
        let made = tokio::task::spawn_blocking(move || make(&tiles, &*log)).await;
        Ok(made.map_err(|error| AppError::internal("making a proof", &error))??)
    }

    pub(crate) fn proofs(&self) -> Result<&Proofs, AppError> {
        self.proofs.get().ok_or(AppError::Internal)
    }

    /// What a checkpoint is of that is asked for at this instant; none before the first is possible.
    pub(crate) fn checkpoint_figures(&self) -> Option<CheckpointFigures> {
        let (signer, anchored) = (&self.proofs.get()?.signer, *self.anchored.borrow());
        let name = |key: &VerifierKey| format!("{}+{}", key.name(), key.id_text());
        Some(CheckpointFigures {
            origin: signer.origin().to_string(),
            size: anchored.position?,
            root: anchored.root,
            key_names: signer.keys().iter().map(name).collect(),
        })
    }
}

impl From<TileError> for AppError {
    fn from(error: TileError) -> Self {
        match error {
            TileError::Ledger(error) => error.into(),
            TileError::Behind { made } => AppError::ProofsBehind { made, retry_after: RETRY_AFTER },
            TileError::Stopped => AppError::Draining,
            TileError::Unwritable(_) => AppError::internal("making a proof", &error),
        }
    }
}
