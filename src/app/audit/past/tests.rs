//! What was is what folding the log to that point gives, whatever happened and wherever it is asked.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::app::own_command::{self, OwnCommandError};
use crate::app::startup::{Opened, open};
use crate::clock::{Clock as _, ManualClock};
use crate::config::Config;
use crate::domain::account::AccountStatus;
use crate::domain::account_rules::PutAccount;
use crate::domain::apply::apply;
use crate::domain::command::Act;
use crate::domain::event::Mechanism;
use crate::domain::facts::Facts;
use crate::domain::ids::PepperVersion;
use crate::domain::key_rules::{CreateKey, RotateKey, UpdateKey};
use crate::domain::peppers::{RehashCaller, RehashKey, RetirePepper, RotatePepper};
use crate::domain::tag::{KeyTag, PepperCheck, Tag};
use crate::domain::testing::{
    account, at, create, created, key_id, permissions, plan_name, policy, private, put, revoke,
    role_name, switch, tag,
};
use crate::domain::usage::rules::RecordUses;
use crate::domain::usage::used::UsedWindow;
use crate::domain::usage::window::Total;
use crate::domain::usage::{UseOutcome, window_start};
use crate::ledger::lanes::Lane;
use crate::progress::Silent;
use crate::projection::table_writer::TableWriter;
use crate::random::SystemRandom;

const MINUTE: Duration = Duration::from_secs(60);
const KEYS: u8 = 6;

/// One step: what happens, to which key or account, and a number that says how.
type Step = (u8, u8, u32);

struct Service {
    opened: Opened,
    clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
}

impl Service {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { data_dir: dir.path().join("data"), ..Config::default() };
        config.ledger.volume_bytes = 24 * 1024;
        let clock = Arc::new(ManualClock::new(at(0)));
        let opened = open(&config, clock.clone(), Arc::new(SystemRandom), &Silent).unwrap();
        Service { opened, clock, dir }
    }

    fn app(&self) -> &Arc<App> {
        &self.opened.app
    }

    fn admin(&self) -> Arc<Identity> {
        let text = std::fs::read_to_string(self.opened.closing.admin_credential()).unwrap();
        Arc::new(self.app().identify(text.trim_end()).unwrap())
    }

    /// Does what can be done of a step; a refusal is fine.
    fn does(&self, (what, which, n): Step) {
        self.clock.advance(Duration::from_secs(u64::from(n % 3) * 25));
        let Some(act) = self.act(what, which % KEYS, n) else { return };
        match own_command::commit(self.app(), Lane::Commands, Mechanism::Service, act) {
            Ok(_) | Err(OwnCommandError::Refused(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn act(&self, what: u8, which: u8, n: u32) -> Option<Act> {
        let table = &self.app().table;
        let owner = if which.is_multiple_of(2) { "a" } else { "b" };
        let row = table.row(&key_id(which));
        Some(match what % 10 {
            0 => Act::PutAccount(self.put(owner, n)),
            1 if row.is_none() => Act::CreateKey(CreateKey {
                created: crate::domain::event::KeyCreated {
                    scopes: n.is_multiple_of(2).then(|| permissions(&["reports:*"])),
                    expire_time: n.is_multiple_of(4).then(|| self.clock.wall().plus(MINUTE * 5)),
                    ..created(which)
                },
                ..create(owner, which)
            }),
            2 => Act::UpdateKey(UpdateKey {
                key: key_id(which),
                scopes: n.is_multiple_of(3).then(|| permissions(&["reports:read"])),
                expire_time: n.is_multiple_of(5).then(|| self.clock.wall().plus(MINUTE)),
                sources: Sources::Any,
                resealed: vec!["name"],
                basis: row?.key.last,
                expected: None,
                private: private(),
            }),
            3 => Act::DisableKey(switch(which)),
            4 => Act::EnableKey(switch(which)),
            5 if n.is_multiple_of(6) => Act::RevokeKey(revoke(which)),
            5 if n % 6 == 1 => Act::RotateKey(RotateKey {
                key: key_id(which),
                successor: key_id(which + 100),
                tag: tag(which),
                overlap: MINUTE * (n % 3),
                retire_when_idle_for: (n % 3 == 2).then_some(MINUTE),
                reason: crate::domain::key::RevokeReason::Superseded,
                basis: row?.key.last,
                sources: Sources::Any,
                private: private(),
                aside: None,
            }),
            6 => {
                let mut policy = policy();
                let words: &[&str] =
                    if n.is_multiple_of(2) { &["reports:read"] } else { &["files:*"] };
                policy.roles.insert(role_name("reader"), permissions(words));
                if n.is_multiple_of(3) {
                    policy.plans.remove(&plan_name("tiny"));
                }
                Act::SetPolicy(policy)
            }
            7 => self.of_peppers(which, n)?,
            _ => Act::RecordUses(RecordUses {
                key: key_id(which),
                account: Arc::clone(&row?.key.account),
                journal: u64::from(n) + 1,
                part: 0,
                window: self.window(n),
                private: None,
            }),
        })
    }

    /// Another pepper, a key that moves to it, or the end of those that did not.
    fn of_peppers(&self, which: u8, n: u32) -> Option<Act> {
        let table = &self.app().table;
        let (current, oldest) = (table.pepper_in_force()?, table.peppers().in_use().next()?.0);
        let key = table.row(&key_id(which)).map(|row| row.key);
        Some(match n % 4 {
            0 if current == oldest => Act::RotatePepper(RotatePepper {
                version: PepperVersion(current.0 + 1),
                check: PepperCheck([1; 16]),
                private: None,
            }),
            1 => {
                let now = self.app().now();
                let ended = table.ends().working_on(oldest, now) + table.callers_on(oldest, now);
                let accepted = Some(ended);
                Act::RetirePepper(RetirePepper { version: oldest, accepted, private: None })
            }
            2 => {
                let callers = table.callers();
                let (caller, found) = callers.first()?;
                let (caller, from) = (*caller, found.tag.clone());
                let to = KeyTag { pepper: current, tag: Tag::from_bytes([7; 32]) };
                Act::RehashCaller(RehashCaller { caller, from, to })
            }
            _ => {
                let key = key?;
                let from = KeyTag { pepper: key.pepper, tag: key.tag };
                let to = KeyTag { pepper: current, tag: Tag::from_bytes([n.to_be_bytes()[3]; 32]) };
                Act::RehashKey(RehashKey { key: key_id(which), from, to })
            }
        })
    }

    fn put(&self, owner: &str, n: u32) -> PutAccount {
        let basis = self.app().table.standing(&account(owner)).map(|known| known.account.position);
        let plans = ["standard", "tiny", "enterprise"];
        PutAccount {
            plan: Some(plan_name(plans[n as usize % 3])),
            permissions: n.is_multiple_of(2).then(|| permissions(&["reports:*", "files:read"])),
            roles: n.is_multiple_of(5).then(|| vec![role_name("reader")]),
            status: n
                .is_multiple_of(7)
                .then_some(AccountStatus::Suspended)
                .or(Some(AccountStatus::Active)),
            basis,
            ..put(owner)
        }
    }

    /// Uses of the minute that is under way: often of one outcome alone.
    fn window(&self, n: u32) -> UsedWindow {
        let start = window_start(self.clock.wall(), MINUTE);
        let total = |outcome, count: u32, second: u64| {
            let (first, last) = (start, start.plus(Duration::from_secs(second)));
            (count > 0).then_some(Total { outcome, count: count.into(), first, last })
        };
        let (allowed, denied) =
            if n.is_multiple_of(4) { (0, n % 3 + 1) } else { (n % 5 + 1, n % 2) };
        let totals = [
            total(UseOutcome::Allowed, allowed, u64::from(n % 60)),
            total(UseOutcome::Expired, denied, u64::from(n % 50)),
        ];
        UsedWindow {
            start,
            span: MINUTE,
            totals: totals.into_iter().flatten().collect(),
            positions: (allowed > 0).then_some((Position::FIRST, Position::FIRST)),
            callers: Vec::new(),
            actions: Vec::new(),
            counts: Vec::new(),
            samples: Vec::new(),
        }
    }

    fn stop(self) {
        let Opened { app, closing, .. } = self.opened;
        drop(app);
        closing.close().unwrap();
        drop(self.dir);
    }
}

/// Holds what is answered about every key and account behind `position` to the fold of the log up to there.
fn check(
    app: &App,
    log: &mut LogReader<'_>,
    identity: &Identity,
    fold: &TableWriter,
    position: Position,
    moment: Moment,
) {
    for which in (0..KEYS).chain(100..100 + KEYS) {
        let expected = fold.key(&key_id(which));
        let past = match app.read_key_at(log, identity, key_id(which), moment) {
            Ok(past) => past,
            Err(AppError::Refused(Refusal::KeyNotFound)) => {
                assert!(app.table.row(&key_id(which)).is_none());
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        assert_eq!(past.standpoint.position, Some(position));
        assert_eq!(past.policy.1, fold.policy(), "behind {position}");
        let Some((key, account, uses)) = past.found else {
            assert_eq!(expected, None, "key {which} behind {position}");
            continue;
        };
        let expected = expected.expect("it had come to be");
        let counts = expected.used.as_ref().map(|used| used.counts).unwrap_or_default();
        assert_eq!(uses.counts, counts, "uses of key {which} behind {position}");
        assert_eq!(Some(account), fold.account(&key.account).map(|account| (*account).clone()));
        assert_eq!(key, Key { used: None, ..expected }, "key {which} behind {position}");
    }
    for name in ["a", "b"] {
        let Some(now) = app.table.standing(&account(name)) else { continue };
        let past = account_at(log, &account(name), &now.account, Some(position)).unwrap();
        assert_eq!(past, fold.account(&account(name)).map(|account| (*account).clone()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 12, ..ProptestConfig::default() })]

    #[test]
    fn what_was_is_the_fold_of_the_log_up_to_there(
        steps in vec((any::<u8>(), any::<u8>(), any::<u32>()), 100..220)
    ) {
        let service = Service::start();
        (0..2).for_each(|owner| service.does((0, owner, 2)));
        (0..KEYS).for_each(|key| service.does((1, key, 1)));
        // Its tag moves too, to what is no tag of its secret.
        let identity = service.admin();
        steps.iter().for_each(|step| service.does(*step));
        let app = Arc::clone(service.app());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = app.read_history(move |app, log| {
            let mut fold = TableWriter::default();
            let mut before = None;
            // So that stretches of these small volumes are read whole, and links followed, in turns.
            log.dense = 3;
            for frame in app.reader.frames_from(Position::FIRST) {
                for (position, bytes) in frame.unwrap().records() {
                    let fact = record::decode(bytes).unwrap();
                    // Behind the last record of an instant, that instant is the same question.
                    if let Some((position, time)) = before.filter(|(_, time)| *time < fact.time) {
                        check(app, log, &identity, &fold, position, Moment::Time(time));
                    }
                    apply(&mut fold, &fact).unwrap();
                    before = Some((position, fact.time));
                    check(app, log, &identity, &fold, position, Moment::Position(position));
                }
            }
            Ok(())
        });
        runtime.block_on(read).unwrap();
        drop(runtime);
        drop(app);
        service.stop();
    }
}
