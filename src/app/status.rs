//! GetStatus: how the service is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::app::audit::AuditFigures;
use crate::app::decisions::DecisionFigures;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::off_host::{OffHostFigures, Places};
use crate::app::peppers::PepperFigures;
use crate::app::proofs::{CheckpointFigures, Proofs};
use crate::app::reload::ReloadFigures;
use crate::app::scrub::ScrubStatus;
use crate::app::snapshots::SnapshotState;
use crate::app::tile_keeper::TileFigures;
use crate::app::transport::TransportFigures;
use crate::app::usage_model::ProjectionFigures;
use crate::app::uses::{Recording, UseFigures};
use crate::domain::ids::{PepperVersion, Position};
use crate::domain::log_state::LogState;
use crate::domain::time::Time;
use crate::durable_file::free_bytes;
use crate::ledger::anchor::Anchor;
use crate::ledger::backup::PackingRoom;
use crate::ledger::writer::CommitFigures;
use crate::merkle::Hash;

/// The engine that stores the log.
pub const ENGINE: &str = "sled";

/// The engine's version, as in `Cargo.lock`.
pub const ENGINE_VERSION: &str = "0.34.7";

/// What is fixed while the service runs, or measured from outside the use cases.
#[derive(Debug)]
pub(crate) struct Vitals {
    pub(crate) start_time: Time,
    pub(crate) started: Duration,
    pub(crate) ledger: PathBuf,
    pub(crate) packing: PackingRoom,
    pub(crate) anchor: PathBuf,
    pub(crate) snapshots: Arc<SnapshotState>,
}

/// How the service is.
#[derive(Debug)]
pub struct Status {
    /// The root of the tree over all records up to the head.
    pub tree_root: Hash,
    /// All that needs no frame to be read.
    pub figures: Figures,
}

/// How the limits of accounts are used.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateFigures {
    /// How many accounts have used something of their limit lately.
    pub windows: usize,
    /// How many uses were refused for the limit of their account since the start.
    pub refused: u64,
}

/// How many keys will not work for much longer.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndFigures {
    /// Keys that work, have no successor and expire within the span in which that is soon.
    pub expiring_soon: u64,
    /// Keys that work beside their successors.
    pub retiring: u64,
}

/// Figures of the whole service.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The last durable and applied position.
    pub head: Option<Position>,
    /// The position the head anchor has reached; none if it cannot be read.
    pub anchor_position: Option<u64>,
    /// What a checkpoint is of that is asked for at this instant; none before the first is possible.
    pub checkpoint: Option<CheckpointFigures>,
    /// How the making of hash tiles goes.
    pub tiles: TileFigures,
    /// How the places off the host are, where checkpoints are kept, and the witnesses that cosign them.
    pub off_host: OffHostFigures,
    /// When this process became ready.
    pub start_time: Time,
    /// How long ago that is.
    pub uptime: Duration,
    /// How many accounts there are, closed ones included.
    pub accounts: usize,
    /// How many keys there are, revoked ones included.
    pub keys: usize,
    /// How many keys will not work for much longer.
    pub ends: EndFigures,
    /// How many callers there are, revoked ones included.
    pub callers: usize,
    /// How the limits of accounts are used.
    pub rates: RateFigures,
    /// How the recording of uses goes.
    pub uses: UseFigures,
    /// How the usage projection is.
    pub usage_projection: ProjectionFigures,
    /// The pepper that new tags are made under.
    pub pepper: PepperVersion,
    /// How many data keys lie under each key-encryption key, by its version; the newest is always there.
    pub keks: BTreeMap<u16, u64>,
    /// The peppers that tags are recognised by, oldest first, and who depends on each.
    pub peppers: Vec<PepperFigures>,
    /// Bytes of the log on disk, all its volumes.
    pub disk_bytes: u64,
    /// Bytes that may still be written to the disk that the log is on; none if that cannot be told.
    pub disk_free: Option<u64>,
    /// The position of the newest snapshot; none if there is none yet.
    pub snapshot: Option<Position>,
    /// Whether the last attempt to make a snapshot failed.
    pub snapshots_fail: bool,
    /// What waits for the writer, and what it committed.
    pub commits: CommitFigures,
    /// What was decided on keys.
    pub decisions: DecisionFigures,
    /// How many volumes of the log are sealed.
    pub sealed: usize,
    /// How many full volumes wait to be sealed.
    pub waiting_to_seal: u64,
    /// Whether the last attempt to seal a volume failed.
    pub sealing_failing: bool,
    /// How reading of the history goes.
    pub audit: AuditFigures,
    /// How encryption of connections goes.
    pub transport: TransportFigures,
    /// How reading the configuration file again goes.
    pub reload: ReloadFigures,
    /// How the scrub goes.
    pub scrub: ScrubStatus,
    /// The generation of the log, and what restores lost of it.
    pub log_state: Arc<LogState>,
}

impl Figures {
    /// How many records of the log are not folded into the usage projection.
    #[must_use]
    pub fn projection_lag(&self) -> u64 {
        let at = |position: Option<Position>| position.map_or(0, Position::get);
        at(self.head).saturating_sub(at(self.usage_projection.position))
    }

    /// What somebody should look at, for people.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let sealing = self.sealing_failing.then(|| SEALING_FAILS.to_owned());
        let anchor = self.anchor_position.is_none().then(|| NO_ANCHOR.to_owned());
        let snapshots = self.snapshots_fail.then(|| SNAPSHOTS_FAIL.to_owned());
        let uses = self.uses.refused_by_a_rule.then(|| USES_FAIL.to_owned());
        let behind = self.uses.log_is_behind.then(|| USES_BEHIND.to_owned());
        let projection = self.usage_projection.failing.then(|| PROJECTION_FAILS.to_owned());
        let tiles = self.tiles.failing.then(|| TILES_FAIL.to_owned());
        let findings = self.scrub.findings.iter().cloned();
        findings
            .chain(sealing)
            .chain(snapshots)
            .chain(anchor)
            .chain(uses)
            .chain(behind)
            .chain(projection)
            .chain(tiles)
            .chain(self.off_host.warnings())
            .chain(self.transport.warnings())
            .chain(self.reload.warnings())
            .collect()
    }
}

const SEALING_FAILS: &str = "a volume of the log cannot be sealed; the server's log says why";
const SNAPSHOTS_FAIL: &str = "no new snapshot can be made; the server's log says why";
const USES_FAIL: &str =
    "uses cannot be put on record; their journal is kept, the server's log says why";
const USES_BEHIND: &str = "too many windows of uses wait for their record; uses are refused or not recorded until it is made";
const PROJECTION_FAILS: &str =
    "the usage projection cannot be folded; questions on uses fail, the server's log says why";
const TILES_FAIL: &str =
    "hash tiles cannot be made, so newer records cannot be proved; the server's log says why";
const NO_ANCHOR: &str = "the head anchor cannot be read; the server's log says why";

impl App {
    /// GetStatus: figures of the whole service, so only for callers bound to no tenant.
    ///
    /// # Errors
    /// [`AppError`]: a caller bound to tenants; the head's frame cannot be read.
    pub async fn status(self: &Arc<Self>, identity: &Identity) -> Result<Status, AppError> {
        self.confirm(identity)?;
        if !identity.caller.tenants.is_empty() {
            return Err(AppError::TenantNotAllowed);
        }
        let app = Arc::clone(self);
        tokio::task::spawn_blocking(move || app.read_status())
            .await
            .map_err(|error| AppError::internal("reading the status", &error))?
    }

    fn read_status(&self) -> Result<Status, AppError> {
        let figures = self.figures();
        let root = match figures.head {
            Some(head) => self.reader.frame_at(head)?.map(|frame| frame.root()),
            None => Some(crate::merkle::Frontier::new().root()),
        };
        let tree_root = root.ok_or(AppError::Damaged { position: figures.head })?;
        Ok(Status { tree_root, figures })
    }

    /// Figures of the whole service. Blocks: reads the anchor and lists the log's files.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let head = self.table.head();
        let anchor = Anchor::read(&self.vitals.anchor);
        if let Err(error) = &anchor {
            tracing::error!(%error, "the head anchor cannot be read");
        }
        Figures {
            head,
            anchor_position: anchor.ok().map(|anchor| anchor.position.map_or(0, Position::get)),
            checkpoint: self.checkpoint_figures(),
            tiles: self.proofs.get().map(Proofs::figures).unwrap_or_default(),
            off_host: self.off_host.get().map(Places::figures).unwrap_or_default(),
            start_time: self.vitals.start_time,
            uptime: self.clock.monotonic().saturating_sub(self.vitals.started),
            accounts: self.table.account_count(),
            keys: self.table.key_count(),
            ends: self.end_figures(),
            callers: self.table.callers().len(),
            rates: RateFigures {
                windows: self.table.rate_windows().count(),
                refused: self.table.rate_windows().refused(),
            },
            uses: self.recording.get().map(Recording::figures).unwrap_or_default(),
            usage_projection: self.usage_model.figures(),
            pepper: self.pepper().version(),
            peppers: self.pepper_figures(),
            keks: self.vault.data_keys.under_each_kek(),
            disk_bytes: bytes_below(&self.vitals.ledger),
            disk_free: free_bytes(&self.vitals.ledger).ok(),
            snapshot: self.vitals.snapshots.newest(),
            snapshots_fail: self.vitals.snapshots.failing(),
            commits: self.writer.figures(),
            decisions: self.decisions.figures(),
            sealed: self.reader.sealed().len(),
            waiting_to_seal: self.sealing.waiting(),
            sealing_failing: self.sealing.failing(),
            audit: self.audit.figures(),
            transport: self.transport.figures(self.clock.wall()),
            reload: self.reload.figures(),
            scrub: self.scrub.status(),
            log_state: self.table.log_state(),
        }
    }
}

impl App {
    fn end_figures(&self) -> EndFigures {
        let (ends, now) = (self.table.ends(), self.now());
        let expiring_soon = ends.expiring(now, self.notices.expires_soon);
        EndFigures { expiring_soon, retiring: ends.retiring(now) }
    }
}

/// Bytes of the files in a directory and in those below it; what cannot be read counts nothing.
pub(crate) fn bytes_below(directory: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes_below(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
