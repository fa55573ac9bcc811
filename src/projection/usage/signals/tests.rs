//! Signals as they are kept and listed, on real files.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::domain::event::Event;
use crate::domain::key_format::Environment;
use crate::domain::personal::Personal;
use crate::domain::source::Sources;
use crate::domain::subject::Subject;
use crate::domain::testing::{account, caller_id, key_id, tag};
use crate::domain::usage::{Tried, Use, UseOutcome};
use crate::projection::usage::testing::{BASE, Ground, KEEP, address, minute, plain_use};
use crate::projection::usage::{Range, UsageStore};
use crate::vault::Vault;

const DAY: u64 = 1440;
const ALWAYS: Range = Range { from: Time::EPOCH, until: Time::MAX };

/// Ann's key of acme, at a minute, from an address.
fn used(at: u64, source: &str) -> Use {
    Use { source: address(source), ..plain_use(key_id(1), &account("ann"), minute(at)) }
}

/// The same account's name in another tenant.
fn zeta() -> Arc<AccountRef> {
    let tenant = TenantId::parse("zeta").unwrap();
    Arc::new(AccountRef { tenant, ..AccountRef::clone(&account("ann")) })
}

fn revoked(at: u64, source: &str) -> Use {
    Use { outcome: UseOutcome::Revoked, caller: Some(caller_id(7)), ..used(at, source) }
}

fn unknown(at: u64, source: &str, presented: u8) -> Use {
    let tried = Tried::Unknown(Some(key_id(presented)));
    Use { tried, outcome: UseOutcome::UnknownKey, ..used(at, source) }
}

/// A log, folded into a projection as it grows.
struct Log {
    ground: Ground,
    store: UsageStore,
    events: Vec<Recorded>,
}

impl Log {
    fn new() -> Self {
        let ground = Ground::new();
        let store = ground.store();
        Log { ground, store, events: Vec::new() }
    }

    fn next(&self) -> u64 {
        self.events.len() as u64 + 1
    }

    fn add(&mut self, event: Recorded) {
        self.store.fold(std::slice::from_ref(&event)).unwrap();
        self.events.push(event);
    }

    fn used(&mut self, uses: &[Use]) {
        self.add(self.ground.used(self.next(), uses));
    }

    fn tried(&mut self, uses: &[Use]) {
        self.add(self.ground.tried(self.next(), uses));
    }

    fn all(&self) -> Vec<Signal> {
        all(&self.store)
    }

    fn of(&self, tenants: &[&str]) -> Vec<Signal> {
        let tenants: Vec<TenantId> =
            tenants.iter().map(|name| TenantId::parse(name).unwrap()).collect();
        self.store.reader().signals(Some(&tenants), ALWAYS, None, 100).unwrap().value.signals
    }
}

fn all(store: &UsageStore) -> Vec<Signal> {
    store.reader().signals(None, ALWAYS, None, 100).unwrap().value.signals
}

fn kinds(signals: &[Signal]) -> Vec<SignalKind> {
    signals.iter().map(|signal| signal.kind).collect()
}

/// One signal of each kind, Ann's key's in the order of their numbers, and one of a key of zeta.
fn busy_log() -> Log {
    let mut log = Log::new();
    log.used(&[used(0, "192.0.2.1")]);
    log.used(&[used(7 * DAY, "198.51.100.1"), used(7 * DAY, "192.0.2.1")]);
    log.used(&vec![used(7 * DAY + 60, "192.0.2.1"); 101]);
    log.used(&[revoked(7 * DAY + 120, "192.0.2.1")]);
    let theirs = revoked(7 * DAY + 120, "192.0.2.1");
    log.used(&[Use { tried: Tried::Key(key_id(2), zeta()), ..theirs }]);
    log.tried(&vec![unknown(7 * DAY + 180, "203.0.113.1", 3); 100]);
    log
}

#[test]
fn each_kind_is_kept_with_its_figures_events_and_ways() {
    let log = busy_log();
    let signals = log.all();
    use SignalKind::{Burst, EndedKeyTried, NewSource, UnknownKeys};
    assert_eq!(kinds(&signals), [UnknownKeys, Burst, EndedKeyTried, EndedKeyTried, NewSource]);
    let position = |number| Position::new(number).unwrap();
    let (from, until) = (minute(7 * DAY), minute(7 * DAY + 1));
    let AccountRef { tenant, account } = AccountRef::clone(&account("ann"));
    assert_eq!(
        signals[4],
        Signal {
            kind: NewSource,
            whose: Some((tenant, account, key_id(1))),
            from,
            until,
            uses: 1,
            observed: 1,
            threshold: 20,
            first: position(2),
            last: position(2),
            sources: vec![address("198.51.100.1").unwrap()],
            more_sources: false,
            erased: false,
            callers: Vec::new(),
            more_callers: false,
            presented: 0,
        }
    );
    let figures = |signal: &Signal| (signal.uses, signal.observed, signal.threshold);
    assert_eq!(figures(&signals[1]), (101, 101, 100));
    let ended = &signals[3];
    assert_eq!((figures(ended), &ended.callers[..]), ((1, 1, 1), &[caller_id(7)][..]));
    let tried = &signals[0];
    assert_eq!((figures(tried), tried.presented, &tried.whose), ((100, 100, 100), 1, &None));
    assert_eq!(tried.sources, [address("203.0.113.1").unwrap()]);
    assert_eq!(log.store.signals_found(), [1, 2, 1, 1]);
}

#[test]
fn a_tenant_is_shown_its_own_and_none_that_belong_to_no_tenant() {
    let log = busy_log();
    let tenants = |signals: Vec<Signal>| -> Vec<String> {
        let tenant = |signal: Signal| signal.whose.unwrap().0.as_str().to_owned();
        signals.into_iter().map(tenant).collect()
    };
    assert_eq!(tenants(log.of(&["acme"])), ["acme", "acme", "acme"]);
    assert_eq!(tenants(log.of(&["zeta"])), ["zeta"]);
    assert_eq!(log.of(&["acme", "zeta"]).len(), 4);
    assert!(log.of(&["nobody"]).is_empty());
    assert!(log.of(&[]).is_empty());
}

#[test]
fn what_lasts_is_one_signal_that_grows() {
    let mut log = Log::new();
    log.used(&[used(0, "192.0.2.1")]);
    for n in 0..200 {
        let at = 10 * DAY + 3 * n;
        log.used(&[revoked(at, &format!("198.51.100.{n}")), revoked(at, "::1")]);
    }
    let [signal] = &log.all()[..] else { panic!("{:?}", log.all()) };
    assert_eq!((signal.uses, signal.observed), (400, 400));
    assert_eq!((signal.first.get(), signal.last.get()), (2, 201));
    assert_eq!((signal.from, signal.until), (minute(10 * DAY), minute(10 * DAY + 598)));
    assert_eq!((signal.sources.len(), signal.more_sources), (MAX_NAMED, true));
    assert_eq!((&signal.callers[..], signal.more_callers), (&[caller_id(7)][..], false));
    log.used(&[revoked(11 * DAY, "::1")]);
    assert_eq!(kinds(&log.all()), [SignalKind::EndedKeyTried; 2], "the next day is another");
}

#[test]
fn tries_from_one_network_are_one_signal_with_some_of_its_addresses() {
    let mut log = Log::new();
    for at in 0..10 {
        let uses: Vec<Use> = (0..12)
            .map(|n| unknown(at, &format!("2001:db8::{at}:{n}"), u8::try_from(n).unwrap()))
            .collect();
        log.tried(&uses);
        let expected = if at < 8 { 0 } else { 1 };
        assert_eq!(log.all().len(), expected, "{at}");
    }
    let [signal] = &log.all()[..] else { panic!("{:?}", log.all()) };
    assert_eq!((signal.uses, signal.observed), (120, 120));
    assert_eq!((signal.first.get(), signal.last.get()), (1, 10));
    assert_eq!((signal.sources.len(), signal.more_sources), (MAX_NAMED, true));
    assert!(signal.presented >= 8, "of eight samples a window: {}", signal.presented);
    log.tried(&vec![unknown(60, "2001:db8::1", 1); 99]);
    assert_eq!(log.all().len(), 1, "the next hour begins anew");
}

#[test]
fn a_successor_begins_with_what_is_known_of_its_predecessor() {
    let mut log = Log::new();
    log.used(&[used(0, "192.0.2.1")]);
    let created = crate::domain::event::KeyCreated {
        tag: tag(2),
        environment: Environment::Live,
        scopes: None,
        expire_time: None,
        sources: Sources::Any,
        replaces: Some(key_id(1)),
    };
    let subject = Subject::Key(account("ann"), key_id(2));
    let event = Event::KeyCreated(created);
    let event = log.ground.recorded(2, subject, event, &Scope::Service, &Personal::default());
    log.add(event);
    let successor = |used: Use| Use { tried: Tried::Key(key_id(2), account("ann")), ..used };
    log.used(&[successor(used(2 * DAY, "192.0.2.1"))]);
    assert_eq!(log.all(), []);
    log.used(&[successor(used(2 * DAY + 1, "192.0.2.2"))]);
    assert_eq!(kinds(&log.all()), [SignalKind::NewSource]);
}

#[test]
fn sources_are_known_again_in_the_next_month() {
    // The base is in January.
    let mut log = Log::new();
    log.used(&[used(0, "192.0.2.1"), used(0, "192.0.2.2")]);
    log.used(&[used(40 * DAY, "192.0.2.1")]);
    log.used(&[used(70 * DAY, "192.0.2.2")]);
    assert_eq!(log.all(), []);
    log.used(&[used(70 * DAY, "192.0.2.3")]);
    assert_eq!(kinds(&log.all()), [SignalKind::NewSource]);
}

#[test]
fn a_log_that_is_folded_again_at_once_gives_the_same_signals() {
    let mut log = busy_log();
    for at in 0..60 {
        log.used(&[
            used(9 * DAY + at * 7, &format!("198.51.100.{}", at % 9)),
            revoked(9 * DAY + at * 7, "::1"),
        ]);
    }
    let kept = log.all();
    assert!(kept.len() > 10, "{}", kept.len());
    let Log { store, events, ground: _ground } = log;
    let mut anew = store.begin_anew("a test").unwrap();
    assert_eq!(all(&anew), []);
    anew.fold(&events).unwrap();
    assert_eq!(all(&anew), kept);
}

#[test]
fn a_signal_that_the_log_does_not_have_differs_from_one_folded_anew() {
    let log = busy_log();
    let beside = UsageStore::make_beside(
        &log.ground.dir(),
        Arc::clone(&log.ground.vault),
        KEEP,
        Some(&log.store),
    );
    let mut beside = beside.unwrap();
    beside.fold(&log.events).unwrap();
    assert_eq!(log.store.difference(&beside).unwrap(), None);
    let (database, _) = log.store.database();
    database.execute("UPDATE signals SET uses = uses + 1 WHERE kind = 1", []).unwrap();
    assert_eq!(log.store.difference(&beside).unwrap().as_deref(), Some("signals"));
}

#[test]
fn what_is_remembered_of_a_key_is_of_all_its_uses_and_what_was_found_before_the_horizon_is_not_kept()
 {
    let log = busy_log();
    let dir = log.ground.dir().join("later");
    let mut later = UsageStore::open(&dir, Arc::clone(&log.ground.vault), KEEP).unwrap();
    while later.expire(BASE.plus(Duration::from_hours(24 * 2_000))).unwrap() {}
    later.fold(&log.events).unwrap();
    assert_eq!(all(&later), []);
    assert_eq!(later.signals_found(), [0; 4]);
    let next = log.ground.used(log.next(), &[used(2_000 * DAY, "192.0.2.2")]);
    later.fold(&[next]).unwrap();
    assert_eq!(kinds(&all(&later)), [SignalKind::NewSource]);
}

#[test]
fn where_data_keys_are_destroyed_sources_are_erased_and_the_rest_stays() {
    let log = busy_log();
    let before = log.all();
    let Log { ground, store, events } = log;
    drop(store);
    let without = |dir: &str, vault: &Arc<Vault>| {
        UsageStore::open(&ground.dir().join(dir), Arc::clone(vault), KEEP)
    };
    let vault = ground.vault_without_keys_of(&[&account("ann"), &zeta()]);
    let later = all(&without("", &vault).unwrap());
    assert_eq!(kinds(&later), kinds(&before));
    for (later, before) in later.iter().zip(&before).filter(|(later, _)| later.whose.is_some()) {
        assert_eq!((&later.sources[..], later.erased), (&[][..], true));
        assert_eq!((later.uses, later.first), (before.uses, before.first));
    }
    // Folded anew, no source can be called new any more.
    let mut anew = without("anew", &vault).unwrap();
    anew.fold(&events).unwrap();
    let lost = |signal: &&Signal| signal.kind != SignalKind::NewSource;
    let expected: Vec<Signal> = later.iter().filter(lost).cloned().collect();
    assert_eq!(all(&anew), expected);
}

#[test]
fn where_the_services_month_is_destroyed_tries_are_told_without_sources_and_are_not_found_again() {
    let mut log = Log::new();
    log.tried(&vec![unknown(0, "203.0.113.1", 3); 100]);
    let told = |signals: &[Signal]| -> Vec<_> {
        signals.iter().map(|it| (it.uses, it.sources.len(), it.erased)).collect()
    };
    assert_eq!(told(&log.all()), [(100, 1, false)]);
    let vault = &log.ground.vault;
    assert_eq!(vault.data_keys.destroy(&[Scope::ServiceMonth(BASE.month())]).unwrap(), 1);
    assert_eq!(told(&log.all()), [(100, 0, true)]);
    let anew =
        UsageStore::make_beside(&log.ground.dir(), Arc::clone(vault), KEEP, Some(&log.store));
    let mut anew = anew.unwrap();
    anew.fold(&log.events).unwrap();
    assert_eq!(all(&anew), []);
    assert_eq!(log.store.difference(&anew).unwrap(), None, "no fault of what is kept");
}

#[test]
fn tries_that_lie_under_the_services_own_data_key_keep_their_sources() {
    let mut log = Log::new();
    let tries = vec![unknown(0, "203.0.113.1", 3); 100];
    log.add(log.ground.tried_under(&Scope::Service, 1, &tries));
    log.tried(&[unknown(1, "203.0.113.2", 3)]);
    let destroyed = log.ground.vault.data_keys.destroy(&[Scope::ServiceMonth(BASE.month())]);
    assert_eq!(destroyed.unwrap(), 1);
    let found = log.all();
    let [signal] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((signal.uses, signal.erased), (100, false));
    assert_eq!(Some(signal.sources[0]), address("203.0.113.1"));
}

#[test]
fn pages_have_each_signal_once_the_latest_first() {
    let mut log = Log::new();
    (0..25).for_each(|day| log.used(&[revoked(day * DAY, "::1")]));
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = log.store.reader().signals(None, ALWAYS, after, 10).unwrap().value;
        assert!(page.signals.len() <= 10);
        seen.extend(page.signals);
        after = page.next;
        if after.is_none() {
            break;
        }
        assert_eq!(after.and_then(|after| SignalPlace::read(&after.bytes())), after);
    }
    assert_eq!(seen, log.all());
    assert_eq!(seen.len(), 25);
    assert!(seen.is_sorted_by(|one, next| one.from > next.from));
    assert_eq!(SignalPlace::read(&[0; 15]), None);
}

#[test]
fn a_range_has_the_signals_whose_uses_reach_into_it() {
    let mut log = Log::new();
    log.used(&[revoked(60, "::1")]);
    log.used(&[revoked(120, "::1")]);
    let within = |from, until| {
        let range = Range { from: minute(from), until: minute(until) };
        log.store.reader().signals(None, range, None, 10).unwrap().value.signals.len()
    };
    assert_eq!([within(0, 60), within(121, 900)], [0, 0]);
    assert_eq!([within(60, 61), within(120, 121), within(90, 91), within(0, 900)], [1; 4]);
}

#[test]
fn signals_go_when_the_hours_of_their_time_go() {
    let mut log = busy_log();
    let before = log.all().len();
    let later = |days: u64| BASE.plus(Duration::from_hours(24 * days));
    while log.store.expire(later(90)).unwrap() {}
    assert_eq!(log.all().len(), before);
    while log.store.expire(later(99)).unwrap() {}
    assert_eq!(log.all(), []);
}
