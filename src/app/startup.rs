//! Opening a data directory: lock, first start if it is empty, keys, replay, writer.
//!
//! A first start makes keys, an empty ledger and its anchor, and then says so in `FORMAT`. The
//! first records (policy, pepper, first admin) come after that and are made good at every start
//! that finds them missing, so that a first start can be interrupted anywhere.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use thiserror::Error;

use crate::app::App;
use crate::app::admin_credential::{self, CredentialError};
use crate::app::audit::Audit;
use crate::app::backup;
use crate::app::budget::Guessing;
use crate::app::caller_ends::CallerEnds;
use crate::app::closing::Closing;
use crate::app::conduct::ConductKeeper;
use crate::app::decisions::Decisions;
use crate::app::drain::Drain;
use crate::app::keys;
use crate::app::off_host::{self, OffHostError};
use crate::app::own_command::{self, OwnCommandError};
use crate::app::peppers::{self, PepperWork};
use crate::app::proofs;
use crate::app::recovery::{Recovered, Recovery, RecoveryError};
use crate::app::scrub::{Scrub, Target};
use crate::app::sealing::OpenedFields;
use crate::app::snapshots::SnapshotKeeper;
use crate::app::status::Vitals;
use crate::app::usage_model::{Projector, Setup, UsageModel};
use crate::app::uses::{self, UsesError};
use crate::clock::Clock;
use crate::config::{Config, DataSettings};
use crate::domain::command::Act;
use crate::domain::event::Mechanism;
use crate::domain::refusal::Refusal;
use crate::domain::signing::MAX_SIGNING_KEYS;
use crate::durable_file::create_private_dir;
use crate::ledger::anchor::{Anchor, AnchorError, AnchorKeeper};
use crate::ledger::backup::PackingRoom;
use crate::ledger::data_dir::{DataDir, DataDirError};
pub use crate::ledger::durable::stop_on_engine_panic;
use crate::ledger::engine::{Ledger, LedgerError};
use crate::ledger::lanes::Lane;
use crate::ledger::volumes::VolumeLedger;
use crate::ledger::writer::{Start, Writer};
use crate::progress::Progress;
use crate::projection::snapshot::store::SnapshotStore;
use crate::random::Random;
use crate::vault::{KeySources, Vault, VaultError};

/// Why the service cannot start. For operators: texts say what to do and may name paths.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A key is missing or wrong.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The head anchor cannot be used.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger is damaged, or lacks what it had.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The first admin's credential cannot be kept.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The operating system has no thread or directory to give.
    #[error("the operating system refuses: {0}")]
    Io(#[from] io::Error),
    /// A record of the service's own could not be made.
    #[error(transparent)]
    Own(#[from] OwnCommandError),
    /// What an earlier run left of uses cannot be told.
    #[error(transparent)]
    Uses(#[from] UsesError),
    /// The origin of checkpoints is too long.
    #[error(
        "audit.origin is too long: with the generation of the log it must be at most 255 bytes"
    )]
    OriginTooLong,
    /// Checkpoints cannot be kept off the host.
    #[error(transparent)]
    OffHost(#[from] OffHostError),
    /// No key is left that the log says has signed it.
    #[error(
        "none of the signing keys is left that the log says have signed it: put the signing-<n>.key files back \
         into the keys directory; if they are lost, keyledger admin add-signing-key --replace-lost makes another, \
         puts that on record, and every auditor must be told its verifier key"
    )]
    SigningKeysLost,
    /// Signing keys were to be replaced that are not lost.
    #[error("a signing key is left that the log says has signed it: nothing is replaced")]
    SigningKeysNotLost,
    /// There are more signing keys than may sign at once.
    #[error("there are more than {MAX_SIGNING_KEYS} signing-<n>.key files in the keys directory")]
    TooManySigningKeys,
    /// The writer stopped.
    #[error("the ledger writer has stopped")]
    WriterStopped,
}

/// An open service: its use cases, and what must be closed behind them.
#[derive(Debug)]
pub struct Opened {
    /// The use cases.
    pub app: Arc<App>,
    /// Where the first admin's credential lies, if this start made it.
    pub new_admin: Option<PathBuf>,
    /// What must be closed.
    pub closing: Closing,
}

/// Opens the data directory of `config`, makes it if it is empty and need not be there, and makes an admin if there
/// never was one. Blocks until everything is replayed, and tells `progress` how far it has come.
///
/// # Errors
/// [`StartError`]; nothing is skipped or repaired silently.
pub fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    progress: &dyn Progress,
) -> Result<Opened, StartError> {
    if config.data.must_exist {
        let data_dir = DataDir::open_existing(&config.data_dir).map_err(|error| match error {
            DataDirError::Missing(path) => DataDirError::MustExist(path),
            other => other,
        })?;
        return open_to_serve(data_dir, config, clock, random, progress);
    }
    let mut data_dir = DataDir::open_or_prepare(&config.data_dir)?;
    if data_dir.needs_initialisation() {
        let sources = KeySources::new(&config.keys, data_dir.path());
        initialise(&mut data_dir, sources, &*random)?;
    }
    open_to_serve(data_dir, config, clock, random, progress)
}

/// Makes the data directory of `config` with its first admin and closes it, for an offline command; answers where that
/// admin's credential lies. None, and nothing is touched, if there is such a directory already.
///
/// # Errors
/// As [`open`]; run again, it goes on where it was interrupted.
pub fn create(
    config: &Config,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    progress: &dyn Progress,
) -> Result<Option<PathBuf>, StartError> {
    match DataDir::open_existing(&config.data_dir) {
        Err(DataDirError::Missing(_)) => {}
        there => return Ok(there.map(|_| None)?),
    }
    // That a server must find one is why it is made here.
    let config = Config { data: DataSettings { must_exist: false }, ..config.clone() };
    let Opened { app, new_admin, closing } = open(&config, clock, random, progress)?;
    drop(app);
    closing.close()?;
    Ok(new_admin)
}

/// Opens a data directory that is locked and whole, and begins what a server does.
fn open_to_serve(
    data_dir: DataDir,
    config: &Config,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    progress: &dyn Progress,
) -> Result<Opened, StartError> {
    for path in data_dir.open_to_others() {
        tracing::warn!(path = %path.display(), "other users may read or replace what is keyledger's alone");
    }
    let mut opened = open_existing(data_dir, config, clock, random, progress)?;
    if let Err(refused) = begin(&mut opened, config) {
        let Opened { app, closing, .. } = opened;
        drop(app);
        if let Err(error) = closing.close() {
            tracing::error!(%error, "after a refused start");
        }
        return Err(refused);
    }
    Ok(opened)
}

/// What a server does once the log is open, before it takes the first call.
fn begin(opened: &mut Opened, config: &Config) -> Result<(), StartError> {
    record_own_facts(&opened.app, config)?;
    opened.new_admin = admin_credential::ensure(&opened.app, &opened.closing.data_dir)?;
    let usage = opened.closing.data_dir.usage();
    opened.closing.uses = Some(uses::start(&opened.app, &usage, &config.usage)?);
    let tiles = opened.closing.data_dir.tiles();
    opened.closing.tiles = Some(proofs::start(&opened.app, &tiles, &config.audit)?);
    opened.closing.conduct = Some(ConductKeeper::start(&opened.app)?);
    let data_dir = &opened.closing.data_dir;
    opened.closing.off_host = off_host::start_for(&opened.app, &config.audit, data_dir)?;
    start_scrub(opened, config)?;
    start_projector(opened)
}

fn start_projector(opened: &mut Opened) -> Result<(), StartError> {
    let (app, closing) = (&opened.app, &mut opened.closing);
    let setup = Setup {
        dir: closing.data_dir.projections(),
        vault: Arc::clone(&app.vault),
        log: Arc::clone(&app.reader),
        clock: Arc::clone(&app.clock),
        model: Arc::clone(&app.usage_model),
    };
    closing.projector = Some(Projector::start(setup)?);
    Ok(())
}

fn start_scrub(opened: &mut Opened, config: &Config) -> Result<(), StartError> {
    let Some(rate) = config.ledger.scrub_bytes_per_second else { return Ok(()) };
    let (app, closing) = (&opened.app, &mut opened.closing);
    let Some(examiner) = closing.take_examiner() else { return Ok(()) };
    let (vault, anchor) = (Arc::clone(&app.vault), closing.data_dir.anchor());
    let snapshots =
        SnapshotStore::new(closing.data_dir.snapshots(), vault.data_keys.snapshot_keys());
    let (reader, snapshots) = (Arc::clone(&app.reader), Arc::new(snapshots));
    let tiles = app.proofs.get().map(|proofs| Arc::clone(proofs.tiles()));
    let target = Target { examiner, reader, snapshots, tiles, vault, anchor };
    let (clock, state) = (Arc::clone(&app.clock), Arc::clone(&app.scrub));
    closing.scrub = Some(Scrub::start(target, rate, config.ledger.scrub_interval, clock, state)?);
    Ok(())
}

/// Opens a data directory that is there, for an offline command. Puts nothing on record: policy and
/// pepper are the server's to state.
///
/// # Errors
/// As [`open`].
pub fn open_offline(
    config: &Config,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    progress: &dyn Progress,
) -> Result<Opened, StartError> {
    open_existing(DataDir::open_existing(&config.data_dir)?, config, clock, random, progress)
}

fn initialise(
    data_dir: &mut DataDir,
    sources: impl Into<KeySources>,
    random: &dyn Random,
) -> Result<(), StartError> {
    tracing::info!(path = %data_dir.path().display(), "making a new data directory");
    Vault::create_missing(sources, &data_dir.data_keys(), random)?;
    match Anchor::read(&data_dir.anchor()) {
        Ok(_) => {}
        Err(AnchorError::Missing) => drop(Anchor::create(&data_dir.anchor())?),
        Err(error) => return Err(error.into()),
    }
    create_private_dir(&data_dir.ledger())?;
    VolumeLedger::create(&data_dir.ledger())?;
    data_dir.finish_initialisation()?;
    Ok(())
}

/// Opens a data directory that is locked and whole; one that is being restored too.
pub(crate) fn open_existing(
    data_dir: DataDir,
    config: &Config,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    progress: &dyn Progress,
) -> Result<Opened, StartError> {
    let sources = KeySources::new(&config.keys, data_dir.path());
    let mut vault = Vault::open(sources, &data_dir.data_keys())?;
    let (mut anchor, anchored) = Anchor::open(&data_dir.anchor())?;
    let mut ledger = VolumeLedger::open(&data_dir.ledger(), config.ledger.volume_bytes)?;
    let (reader, examiner, sealing) = (ledger.reader(), ledger.examiner(), ledger.sealing());
    let store = SnapshotStore::new(data_dir.snapshots(), vault.data_keys.snapshot_keys());
    let recovery = Recovery {
        reader: &*reader,
        end: ledger.head(),
        anchored: &anchored,
        vault: &vault,
        store: &store,
        clock: &*clock,
        progress,
    };
    let Recovered { mut table, head, last_time, snapshot } = recovery.run()?;
    keys::hold_to_the_log(&mut vault, &mut table, &*random, progress)?;
    if let Some(position) = head.position {
        // What was durable but not yet anchored is about to be read: it must not get lost again.
        anchor.write(position, head.frontier.root())?;
    }
    let announced = ledger.sealed_volumes();
    let snapshots =
        SnapshotKeeper::start(store, Arc::clone(&reader), snapshot, announced, Arc::clone(&clock))?;
    let key_table = table.table();
    let keeper = AnchorKeeper::start(anchor)?;
    let anchored = keeper.written();
    let start = Start { head: head.position, frontier: head.frontier, last_time };
    let (writer, thread) =
        Writer::start(ledger, table, keeper, Arc::clone(&clock), Arc::clone(&random), start)?;
    let app = App {
        caller_ends: CallerEnds::of(&key_table),
        table: key_table,
        writer: writer.clone(),
        reader,
        vault: Arc::new(vault),
        personal: OpenedFields::default(),
        prefix: config.key_prefix.clone(),
        guessing: Guessing::new(&config.limits),
        decisions: Decisions::default(),
        vitals: vitals(&data_dir, config, &*clock, &snapshots),
        sealing,
        transport: Arc::default(),
        reload: Arc::default(),
        scrub: Arc::default(),
        clock,
        random,
        backup_room: backup::one_backup(),
        audit: Audit::default(),
        conduct: Arc::default(),
        drain: Drain::default(),
        notices: config.notices,
        recording: OnceLock::new(),
        usage_model: Arc::new(UsageModel::new(&config.usage)),
        anchored,
        proofs: OnceLock::new(),
        off_host: OnceLock::new(),
        pepper_work: PepperWork::default(),
    };
    let closing = Closing::new(data_dir, writer, thread, snapshots, examiner);
    Ok(Opened { app: Arc::new(app), new_admin: None, closing })
}

fn vitals(
    data_dir: &DataDir,
    config: &Config,
    clock: &dyn Clock,
    snapshots: &SnapshotKeeper,
) -> Vitals {
    Vitals {
        start_time: clock.wall(),
        started: clock.monotonic(),
        ledger: data_dir.ledger(),
        packing: PackingRoom::new(&data_dir.ledger(), config.ledger.volume_bytes),
        anchor: data_dir.anchor(),
        snapshots: snapshots.state(),
    }
}

/// Puts on record which pepper and which policy are in force, where the log does not say so yet.
fn record_own_facts(app: &App, config: &Config) -> Result<(), StartError> {
    peppers::record_first(app)?;
    let commit = |act| own_command::commit(app, Lane::Background, Mechanism::Service, act);
    let put = match commit(Act::ChangePolicy(config.policy.clone())) {
        Err(OwnCommandError::Refused(Refusal::PolicyInUse(used))) => {
            // Nobody is there to put it right, and a server that is down denies every key.
            tracing::warn!(accounts = %used, "accounts use plans or roles that the configuration has no more");
            commit(Act::SetPolicy(config.policy.clone()))
        }
        put => put,
    };
    put?;
    Ok(())
}

#[cfg(test)]
#[path = "startup_tests.rs"]
mod tests;
