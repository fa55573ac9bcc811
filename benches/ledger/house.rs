//! The real write path without RPCs: data directory, writer, volumes, anchor, key table.

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyledger::app::startup::{self, Opened};
use keyledger::clock::SystemClock;
use keyledger::config::Config;
use keyledger::domain::account_rules::PutAccount;
use keyledger::domain::command::{Act, Command};
use keyledger::domain::event::{Actor, KeyCreated, Mechanism};
use keyledger::domain::ids::{AccountId, AccountRef, EventId, KeyId, PepperVersion, TenantId};
use keyledger::domain::key::RevokeReason;
use keyledger::domain::key_format::Environment;
use keyledger::domain::key_rules::{CreateKey, RevokeKey, SwitchKey};
use keyledger::domain::permission::{Permission, Permissions, PlanName};
use keyledger::domain::sealed::{Commitment, DataKeyId, Private, Sealed};
use keyledger::domain::source::Sources;
use keyledger::domain::tag::{KeyTag, Tag};
use keyledger::ledger::engine::Ledger;
use keyledger::ledger::engine::LedgerReader;
use keyledger::ledger::lanes::{Lane, NotTaken};
use keyledger::ledger::volumes::VolumeLedger;
use keyledger::ledger::writer::{Answer, WriterHandle};
use keyledger::progress::Silent;
use keyledger::random::SystemRandom;
use tokio::sync::oneshot;

use super::now;

/// Bytes of sealed personal fields: a name, no metadata, as sealing makes them.
const SEALED_BYTES: usize = 90;

/// A running ledger.
pub(crate) struct House {
    opened: Opened,
}

impl House {
    /// Without a scrub.
    pub(crate) fn open(data_dir: &Path) -> Self {
        House::open_scrubbed(data_dir, None)
    }

    /// With a scrub that reads so many bytes a second.
    pub(crate) fn open_scrubbed(data_dir: &Path, rate: Option<NonZeroU64>) -> Self {
        let mut config = Config { data_dir: data_dir.to_owned(), ..Config::default() };
        config.ledger.scrub_bytes_per_second = rate;
        let (clock, random) = (Arc::new(SystemClock::new()), Arc::new(SystemRandom));
        House { opened: startup::open(&config, clock, random, &Silent).expect("it opens") }
    }

    pub(crate) fn writer(&self) -> WriterHandle {
        self.opened.app.writer().clone()
    }

    /// How many passes of the scrub have ended.
    pub(crate) fn passes(&self) -> u64 {
        self.opened.app.figures().scrub.passes
    }

    /// Waits until no new snapshot has come for `still`; answers how long after the call the last one came.
    pub(crate) fn wait_for_snapshots(&self, still: Duration) -> Duration {
        let began = now();
        let (mut newest, mut came) = (None, Duration::ZERO);
        while began.elapsed().saturating_sub(came) < still {
            let found = self.opened.app.figures().snapshot;
            if found != newest {
                (newest, came) = (found, began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        came
    }

    pub(crate) fn close(self) {
        let Opened { app, closing, .. } = self.opened;
        drop(app);
        closing.close().expect("it closes");
    }
}

/// Frames, records and bytes of frames of a closed ledger.
pub(crate) fn count(data_dir: &Path) -> (u64, u64, u64) {
    let ledger = VolumeLedger::open(&data_dir.join("ledger"), u64::MAX).expect("it opens");
    let reader: Arc<dyn LedgerReader> = ledger.reader();
    let (mut frames, mut records, mut bytes) = (0, 0, 0);
    for frame in reader.frames_from(keyledger::domain::ids::Position::FIRST) {
        let frame = frame.expect("it reads");
        frames += 1;
        records += frame.last().get() - frame.first().get() + 1;
        bytes += frame.as_bytes().len() as u64;
    }
    drop(reader);
    ledger.close().expect("it closes");
    (frames, records, bytes)
}

/// Hands a command over; waits while the lane is full.
pub(crate) fn submit(writer: &WriterHandle, act: Act) -> oneshot::Receiver<Answer> {
    let actor = Actor { caller: None, mechanism: Mechanism::Service };
    let command = Command { act, actor, trace_id: None, request: None };
    loop {
        match writer.submit(Lane::Commands, command.clone()) {
            Ok(answer) => return answer,
            Err(NotTaken::Full) => std::thread::yield_now(),
            Err(closed) => panic!("{closed}"),
        }
    }
}

pub(crate) fn account(n: u64) -> Arc<AccountRef> {
    let tenant = TenantId::parse(&format!("tenant-{}", n % 100)).expect("an id");
    let account = AccountId::parse(&format!("account-{n}")).expect("an id");
    Arc::new(AccountRef { tenant, account })
}

/// Spreads numbers over ids as random ones are spread.
pub(crate) fn key_id(n: u64) -> KeyId {
    let mixed = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut id = [0; 12];
    id[..8].copy_from_slice(&(mixed ^ (mixed >> 29)).to_be_bytes());
    id[8..].copy_from_slice(&n.to_be_bytes()[4..]);
    KeyId(id)
}

static EVENTS: AtomicU64 = AtomicU64::new(0);

/// Stands for sealed fields: made by callers' threads, the writer does not look inside.
pub(crate) fn private() -> Private {
    let mut event_id = [7; 16];
    event_id[..8].copy_from_slice(&EVENTS.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    let ciphertext = Arc::from([0x5A; SEALED_BYTES]);
    let sealed = Sealed { scheme: 1, data_key: DataKeyId(1), nonce: [3; 12], ciphertext };
    Private { event_id: EventId(event_id), sealed, commitment: Commitment([9; 32]) }
}

pub(crate) fn put(n: u64) -> Act {
    let permission = Permission::parse("reports:*").expect("a permission");
    Act::PutAccount(PutAccount {
        account: account(n),
        plan: Some(PlanName::parse("enterprise").expect("a plan")),
        permissions: Some(Permissions::new(vec![permission])),
        roles: None,
        status: None,
        renamed: true,
        basis: None,
        expected: None,
        private: private(),
    })
}

pub(crate) fn create(owner: Arc<AccountRef>, n: u64) -> Act {
    let key = key_id(n);
    let mut tag = [0; 32];
    tag[..12].copy_from_slice(&key.0);
    let created = KeyCreated {
        tag: KeyTag { pepper: PepperVersion(1), tag: Tag::from_bytes(tag) },
        environment: Environment::Live,
        scopes: None,
        expire_time: None,
        sources: Sources::Any,
        replaces: None,
    };
    Act::CreateKey(CreateKey { account: owner, key, created, private: private() })
}

pub(crate) fn switch(n: u64, enabled: bool) -> Act {
    let switch = SwitchKey { key: key_id(n), private: None };
    if enabled { Act::EnableKey(switch) } else { Act::DisableKey(switch) }
}

pub(crate) fn revoke(n: u64) -> Act {
    let reason = RevokeReason::KeyCompromise;
    Act::RevokeKey(RevokeKey { key: key_id(n), reason, leaked: false, private: None })
}
