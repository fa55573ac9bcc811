//! Use cases, one file each: the only callers of the rooms below together.

pub mod accounts;
pub mod admin_credential;
pub mod audit;
pub mod authenticate;
pub mod backup;
pub mod budget;
pub mod call;
pub mod caller_ends;
pub mod callers;
pub mod calls;
pub mod check;
pub mod checkpoint;
pub mod closing;
pub mod conduct;
pub mod create_key;
pub mod decisions;
pub mod drain;
pub mod erase_account;
pub mod error;
pub mod forget_sources;
pub mod get_key_usage;
pub mod get_stragglers;
pub mod housekeeping;
pub mod identify;
pub mod key_view;
pub mod keys;
pub mod list_idle_keys;
pub mod list_keys;
pub mod list_signals;
#[cfg(test)]
mod model_tests;
pub mod off_host;
mod outcome_words;
pub mod own_command;
pub mod page;
pub mod peppers;
pub mod proofs;
pub mod proxied;
pub mod put_account;
pub mod query_usage;
pub mod rate_sweep;
pub mod rebuild;
pub mod recovery;
pub mod rehash;
pub mod reload;
pub mod report_leaked_key;
pub mod restore;
pub mod retire_idle;
pub mod revoke_key;
pub mod rotate_key;
pub mod scrub;
pub mod sealing;
pub mod snapshots;
pub mod startup;
pub mod status;
pub mod switch_key;
pub mod tile_keeper;
pub mod transport;
pub mod update_key;
pub mod usage_agents;
pub mod usage_model;
pub mod usage_question;
pub mod usage_range;
pub mod uses;
pub mod who_am_i;

use std::sync::{Arc, OnceLock};

use tokio::sync::{Semaphore, watch};

use crate::app::audit::Audit;
use crate::app::budget::Guessing;
use crate::app::caller_ends::CallerEnds;
use crate::app::conduct::Conduct;
use crate::app::decisions::Decisions;
use crate::app::drain::Drain;
use crate::app::off_host::Places;
use crate::app::peppers::PepperWork;
use crate::app::proofs::Proofs;
use crate::app::reload::ReloadState;
use crate::app::scrub::ScrubState;
use crate::app::sealing::OpenedFields;
use crate::app::status::Vitals;
use crate::app::transport::TransportState;
use crate::app::usage_model::UsageModel;
use crate::app::uses::Recording;
use crate::clock::Clock;
use crate::config::NoticeSettings;
use crate::domain::key_format::KeyPrefix;
use crate::domain::time::Time;
use crate::ledger::anchor::AnchorState;
use crate::ledger::engine::LedgerReader;
use crate::ledger::volumes::SealingState;
use crate::ledger::writer::WriterHandle;
use crate::projection::key_table::KeyTable;
use crate::random::Random;
use crate::vault::Vault;

/// What the use cases work with: one of these for the whole service.
pub struct App {
    pub(crate) table: Arc<KeyTable>,
    pub(crate) writer: WriterHandle,
    pub(crate) reader: Arc<dyn LedgerReader>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) personal: OpenedFields,
    pub(crate) prefix: KeyPrefix,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) guessing: Guessing,
    pub(crate) decisions: Decisions,
    pub(crate) vitals: Vitals,
    pub(crate) transport: Arc<TransportState>,
    pub(crate) reload: Arc<ReloadState>,
    pub(crate) sealing: Arc<SealingState>,
    pub(crate) scrub: Arc<ScrubState>,
    pub(crate) backup_room: Arc<Semaphore>,
    pub(crate) audit: Audit,
    pub(crate) conduct: Arc<Conduct>,
    pub(crate) drain: Drain,
    pub(crate) caller_ends: CallerEnds,
    pub(crate) notices: NoticeSettings,
    /// Set before the first call is taken; offline nothing is recorded and no key authenticated.
    pub(crate) recording: OnceLock<Recording>,
    /// Folded while the service runs, not offline.
    pub(crate) usage_model: Arc<UsageModel>,
    /// What the head anchor says.
    pub(crate) anchored: watch::Receiver<AnchorState>,
    /// Set before the first call is taken; offline nothing is proved.
    pub(crate) proofs: OnceLock<Proofs>,
    /// Set before the first call is taken; offline nothing is kept off the host.
    pub(crate) off_host: OnceLock<Places>,
    pub(crate) pepper_work: PepperWork,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("writer", &self.writer).finish_non_exhaustive()
    }
}

impl App {
    /// The time by which rules judge now.
    pub(crate) fn now(&self) -> Time {
        self.table.judge_time(self.clock.wall())
    }

    /// What tells streams that the server is about to end.
    #[must_use]
    pub fn drain(&self) -> Drain {
        self.drain.clone()
    }

    /// Where the server tells how encryption of connections goes.
    #[must_use]
    pub fn transport(&self) -> Arc<TransportState> {
        Arc::clone(&self.transport)
    }

    /// Whether no key is authenticated because it is not known what a restore lost.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.table.is_held()
    }

    /// What is decided on keys, counted.
    #[must_use]
    pub fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    /// The handle to the writer.
    #[must_use]
    pub fn writer(&self) -> &WriterHandle {
        &self.writer
    }
}
