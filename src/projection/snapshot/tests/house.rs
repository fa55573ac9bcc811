//! Stories to make snapshots of, and a directory to make them in.

use std::convert::Infallible;
use std::fmt::Write;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;

use super::super::store::SnapshotStore;
use super::super::*;
use crate::domain::apply::apply;
use crate::domain::event::{Event, Recorded};
use crate::domain::facts::Facts;
use crate::domain::ids::{AccountRef, EventId, KeyId, PepperVersion};
use crate::domain::requests::{Method, RequestKey};
use crate::domain::sealed::DataKeyId;
use crate::domain::source::{SourceRange, Sources};
use crate::domain::testing::play::{ACCOUNTS, Play, Step};
use crate::domain::testing::*;
use crate::ledger::engine::LedgerReader;
use crate::ledger::record;
use crate::ledger::testing::FrameLog;
use crate::ledger::writer::Table;
use crate::progress::Silent;
use crate::projection::table_writer::TableWriter;
use crate::random::SeededRandom;
use crate::vault::{SnapshotKeys, Vault};

/// What happened, and its log. Every record has sealed fields of its own.
pub(super) struct Story {
    pub(super) log: FrameLog,
    world: World,
}

impl Story {
    pub(super) fn of(script: &[Step], per_frame: usize) -> Self {
        let mut play = Play::new();
        for step in script {
            if let Some(command) = play.command(step) {
                let _ = play.world.carry_out(&command);
            }
        }
        Story::of_world(play.world, per_frame)
    }

    pub(super) fn of_world(mut world: World, per_frame: usize) -> Self {
        for fact in &mut world.log {
            let number = u8::try_from(fact.position.get()).unwrap();
            fact.event_id = EventId([number; 16]);
            if let Some(private) = &mut fact.private {
                private.event_id = fact.event_id;
                private.sealed.data_key = DataKeyId(u64::from(number) % 7 + 1);
                private.sealed.ciphertext = vec![number; 40 + usize::from(number)].into();
                private.commitment.0 = [number ^ 0xff; 32];
            }
        }
        Story { log: FrameLog::of(&world.log, per_frame), world }
    }

    /// The table after the whole log.
    pub(super) fn replayed(&self) -> TableWriter {
        self.replayed_behind(TableWriter::default())
    }

    /// The table after what is behind its head.
    pub(super) fn replayed_behind(&self, mut table: TableWriter) -> TableWriter {
        let next = table.table().head().map_or(Position::FIRST, Position::next);
        for frame in self.log.frames_from(next) {
            for (position, bytes) in frame.unwrap().records() {
                let mut fact = record::decode(bytes).unwrap();
                open_ranges(&mut fact);
                apply(&mut table, &fact).unwrap();
                table.publish(position, fact.time);
            }
        }
        table
    }

    /// All that the table answers, in words.
    pub(super) fn picture(&self, table: &TableWriter) -> String {
        let mut words = String::new();
        let mut add = |thing: &dyn std::fmt::Debug| writeln!(words, "{thing:?}").unwrap();
        let shared = table.table();
        add(&(shared.head(), shared.judge_time(crate::domain::time::Time::EPOCH)));
        add(&(table.policy(), table.callers(), table.service_position(), table.log_state()));
        add(&(table.peppers(), shared.key_count(), shared.account_count()));
        for id in (0..=u8::MAX).map(|n| KeyId([n; 12])) {
            let key = table.key(&id);
            add(&key.as_ref().map(|key| (key.clone(), key.tag.as_bytes().to_owned())));
            if let Some(row) = shared.row(&id) {
                let of_the_account = table.account(&row.key.account).unwrap();
                assert_eq!(*row.account.standing().account, *of_the_account);
            }
        }
        for name in ACCOUNTS.map(account) {
            add(&(
                table.account(&name),
                shared.standing(&name).map(|found| found.effective.clone()),
            ));
            add(&shared.directory().keys(&name.tenant, Some(&name), None, 1000));
            for seconds in 0..45 {
                let time = self.world.now.plus(std::time::Duration::from_secs(seconds));
                add(&table.open_keys(&name, time));
            }
        }
        for seconds in 0..45 {
            let span = std::time::Duration::from_secs(seconds);
            let time = self.world.now.plus(span);
            add(&(shared.ends().expiring(time, span), shared.ends().retiring(time)));
            add(&[1, 2, 3].map(|n| shared.ends().working_on(PepperVersion(n), time)));
        }
        add(&shared.directory().keys(&tenant("acme"), None, None, 1000));
        add(&shared.directory().accounts(&tenant("acme"), None, 1000));
        for method in [Method::CreateKey, Method::RotateKey] {
            for id in 0..=3 {
                let key = RequestKey { caller: ADMIN, method, id: [id; 16] };
                add(&table.remembered(&key, self.world.now));
            }
        }
        words
    }

    /// The record at a position, as it stands in the log.
    fn fact(&self, position: Position) -> &Recorded {
        &self.world.log[usize::try_from(position.get()).unwrap() - 1]
    }
}

/// Stands for the opening of sealed ranges: each record has sealed one address of its own.
fn ranges(event_id: EventId) -> Sources {
    Sources::Only([SourceRange::parse(&format!("192.0.2.{}", event_id.0[0])).unwrap()].into())
}

fn open_ranges(fact: &mut Recorded) {
    match &mut fact.event {
        Event::KeyCreated(created) if created.sources == Sources::Unreadable => {
            created.sources = ranges(fact.event_id);
        }
        Event::KeyUpdated(updated) if updated.sources == Sources::Unreadable => {
            updated.sources = ranges(fact.event_id);
        }
        _ => {}
    }
}

/// The table that a snapshot gives. Its sealed ranges are held to the record that set them.
pub(super) fn loaded(story: &Story, snapshot: &Snapshot) -> TableWriter {
    let open = |entry: &KeyEntry| {
        let bound = entry.bound.as_ref().expect("only bound keys are opened");
        let fact = story.fact(entry.key.limits.as_ref().unwrap().set_at);
        assert_eq!((&Some(bound.private.clone()), bound.kind), (&fact.private, fact.event.kind()));
        // What they were sealed under is destroyed with the account.
        let of_erased = story.world.accounts.get(&*entry.key.account).is_some_and(|account| {
            account.erased && account.position <= snapshot.standpoint().position
        });
        let ranges = ranges(bound.private.event_id);
        Ok::<_, Infallible>(if of_erased { Sources::Unreadable } else { ranges })
    };
    load(snapshot, open, &Silent).unwrap()
}

pub(super) fn key_entries(snapshot: &Snapshot) -> Vec<KeyEntry> {
    let mut found = Vec::new();
    snapshot
        .for_each(Section::Keys, |entry| {
            found.extend(KeyEntry::decode(entry, |_| Some(account("a"))));
            Ok::<_, SnapshotError>(())
        })
        .unwrap();
    found
}

pub(super) fn keys(seed: u64) -> SnapshotKeys {
    let dir = tempfile::tempdir().unwrap();
    let (keys, data_keys) = (dir.path().join("keys"), dir.path().join("datakeys"));
    Vault::create_missing(&keys, &data_keys, &SeededRandom::new(seed)).unwrap();
    Vault::open(&keys, &data_keys).unwrap().data_keys.snapshot_keys()
}

/// A directory of snapshots.
pub(super) struct Place {
    pub(super) store: SnapshotStore,
    pub(super) dir: TempDir,
}

impl Place {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Place { store: SnapshotStore::new(dir.path().join("snapshots"), keys(1)), dir }
    }

    pub(super) fn make(
        &self,
        story: &Story,
        previous: Option<Snapshot>,
        up_to: Position,
    ) -> Snapshot {
        self.try_make(&story.log, previous, up_to).unwrap()
    }

    pub(super) fn try_make(
        &self,
        reader: &dyn LedgerReader,
        previous: Option<Snapshot>,
        up_to: Position,
    ) -> Result<Snapshot, BuildError> {
        self.store.make(reader, previous, up_to, &AtomicBool::new(false), &Silent)
    }

    pub(super) fn bytes(&self, position: Position) -> Vec<u8> {
        fs::read(self.store.path(position)).unwrap()
    }

    /// The names of all files.
    pub(super) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("snapshots")).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort_unstable();
        names
    }
}

/// An account of another tenant than `acme`.
pub(super) fn elsewhere(name: &str) -> Arc<AccountRef> {
    Arc::new(AccountRef { tenant: tenant("zeta"), ..AccountRef::clone(&account(name)) })
}
