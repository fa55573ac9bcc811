//! Events of uses as the log has them, and places to fold them in: for tests.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::domain::event::{Actor, Event, Mechanism, Recorded};
use crate::domain::ids::{AccountRef, EventId, KeyId, Position};
use crate::domain::personal::Personal;
use crate::domain::sealed::Private;
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::domain::usage::used::{KeyUsed, UnknownKeyTried, UsedWindow};
use crate::domain::usage::window::Window;
use crate::domain::usage::{Tried, Use, UseOutcome};
use crate::ledger::record;
use crate::projection::private::context;
use crate::projection::usage::{Retention, UsageStore};
use crate::random::{self, SeededRandom};
use crate::vault::{Scope, Vault, commitment};

/// 2026-01-05T00:00:00Z.
pub(crate) const BASE: Time = Time::from_micros(1_767_571_200_000_000);

pub(crate) const MINUTE: Duration = Duration::from_mins(1);

pub(crate) const KEEP: Retention = Retention {
    minutes: Duration::from_hours(7 * 24),
    hours: Duration::from_hours(90 * 24),
    days: Duration::from_hours(1100 * 24),
};

/// So many minutes behind [`BASE`].
pub(crate) fn minute(minute: u64) -> Time {
    BASE.plus(MINUTE * u32::try_from(minute).unwrap())
}

/// A directory with keys and a projection.
pub(crate) struct Ground {
    place: TempDir,
    pub(crate) vault: Arc<Vault>,
    random: SeededRandom,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let random = SeededRandom::new(1);
        let (keys, data_keys) = (place.path().join("keys"), place.path().join("datakeys"));
        Vault::create_missing(&keys, &data_keys, &random).unwrap();
        let vault = Arc::new(Vault::open(&keys, &data_keys).unwrap());
        Ground { place, vault, random }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.place.path().join("projections")
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir().join("usage.db")
    }

    pub(crate) fn store(&self) -> UsageStore {
        self.store_that_keeps(KEEP)
    }

    pub(crate) fn store_that_keeps(&self, keep: Retention) -> UsageStore {
        UsageStore::open(&self.dir(), Arc::clone(&self.vault), keep).unwrap()
    }

    /// The vault as it is when the data keys of these accounts are destroyed.
    pub(crate) fn vault_without_keys_of(&self, accounts: &[&AccountRef]) -> Arc<Vault> {
        let (keys, data_keys) =
            (self.place.path().join("keys"), self.place.path().join("datakeys"));
        let destroyed = self.place.path().join("destroyed");
        fs::copy(data_keys, &destroyed).unwrap();
        let vault = Vault::open(&keys, &destroyed).unwrap();
        for account in accounts {
            assert!(vault.data_keys.destroy_account(account).unwrap() > 0);
        }
        Arc::new(vault)
    }

    /// Uses of one key in one window, as the log has them.
    pub(crate) fn used(&self, position: u64, uses: &[Use]) -> Recorded {
        let Tried::Key(key, account) = uses[0].tried.clone() else { panic!("no key's uses") };
        let (window, personal) = folded(uses);
        let scope = Scope::AccountMonth(AccountRef::clone(&account), window.start.month());
        let used = KeyUsed { journal: 1, part: 0, window, total_allowed: 0, total_denied: 0 };
        let event = Event::KeyUsed(Box::new(used));
        self.recorded(position, Subject::Key(account, key), event, &scope, &personal)
    }

    /// Tries with unknown keys in one window, as the log has them.
    pub(crate) fn tried(&self, position: u64, uses: &[Use]) -> Recorded {
        let month = crate::domain::usage::window_start(uses[0].time, MINUTE).month();
        self.tried_under(&Scope::ServiceMonth(month), position, uses)
    }

    /// As [`Ground::tried`], sealed under the data key of this scope.
    pub(crate) fn tried_under(&self, scope: &Scope, position: u64, uses: &[Use]) -> Recorded {
        let (window, personal) = folded(uses);
        let event =
            Event::UnknownKeyTried(Box::new(UnknownKeyTried { journal: 1, part: 0, window }));
        self.recorded(position, Subject::Service, event, scope, &personal)
    }

    pub(crate) fn recorded(
        &self,
        position: u64,
        subject: Subject,
        event: Event,
        scope: &Scope,
        personal: &Personal,
    ) -> Recorded {
        let event_id = EventId(random::bytes(&self.random));
        let private = (!personal.is_empty()).then(|| {
            let data_key = self.vault.data_keys.ensure(scope, &self.random).unwrap();
            let clear = record::encode_personal(personal, random::bytes(&self.random));
            let context = context(&subject, event.kind(), event_id);
            let sealed = self.vault.data_keys.seal(data_key, &context, &clear, &self.random);
            Private { event_id, sealed: sealed.unwrap(), commitment: commitment(&clear) }
        });
        Recorded {
            position: Position::new(position).unwrap(),
            event_id,
            time: BASE,
            previous: None,
            actor: Actor { caller: None, mechanism: Mechanism::Service },
            trace_id: None,
            request: None,
            subject,
            event,
            private,
        }
    }
}

/// A window of a minute.
pub(crate) fn folded(uses: &[Use]) -> (UsedWindow, Personal) {
    let start = crate::domain::usage::window_start(uses[0].time, MINUTE);
    let mut window = Window::new(start);
    uses.iter().for_each(|used| window.add(used, 1));
    UsedWindow::of(&window, MINUTE)
}

/// An allowed use of a key without particulars.
pub(crate) fn plain_use(key: KeyId, account: &Arc<AccountRef>, time: Time) -> Use {
    Use {
        tried: Tried::Key(key, Arc::clone(account)),
        outcome: UseOutcome::Allowed,
        caller: None,
        action: String::new(),
        source: None,
        agent: String::new(),
        trace_id: None,
        required: Vec::new(),
        position: Some(Position::FIRST),
        time,
        cost: 1,
        alone: false,
    }
}

pub(crate) fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}
