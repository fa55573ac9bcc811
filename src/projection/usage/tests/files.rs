//! What is on disk: whole after a crash, nobody else's, sealed, kept for its time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::event::{Event, Recorded};
use crate::domain::ids::Position;
use crate::domain::subject::Subject;
use crate::domain::testing::{account, key_id};
use crate::domain::usage::used::{GapCause, UsageGap};
use crate::domain::usage::{Tried, Use};
use crate::projection::usage::testing::{Ground, KEEP, address, minute, plain_use};
use crate::projection::usage::{Gap, Granularity, Range, Retention, UsageStore, UsageStoreError};
use crate::vault::Scope;

fn uses(count: u64) -> impl Iterator<Item = Vec<Use>> {
    (0..count).map(|n| {
        let plain = plain_use(key_id(1), &account("a"), minute(n));
        vec![Use { source: address("198.51.100.77"), agent: "s3cret agent".to_owned(), ..plain }]
    })
}

fn events(ground: &Ground, count: u64) -> Vec<Recorded> {
    uses(count).zip(1..).map(|(uses, position)| ground.used(position, &uses)).collect()
}

fn counted(store: &UsageStore, granularity: Granularity) -> Vec<u64> {
    let range = Range { from: minute(0), until: minute(1440) };
    let buckets = store.reader().key_usage(&key_id(1), range, granularity).unwrap().value;
    buckets.iter().map(|bucket| bucket.counts.by_outcome[0].1).collect()
}

fn aside(ground: &Ground) -> PathBuf {
    ground.file().with_added_extension("unfit")
}

#[test]
fn what_is_folded_once_stays_and_is_not_folded_twice() {
    let ground = Ground::new();
    let events = events(&ground, 10);
    let mut store = ground.store();
    assert_eq!(store.reached(), None);
    store.fold(&events[..4]).unwrap();
    drop(store);
    let mut store = ground.store();
    assert_eq!(store.reached(), Position::new(4));
    store.fold(&events[4..]).unwrap();
    assert_eq!(store.reached_event(), Some((events[9].position, events[9].event_id)));
    assert_eq!(counted(&store, Granularity::Day), [10]);
}

#[test]
fn a_process_that_ends_between_transactions_leaves_the_last_one_whole() {
    let ground = Ground::new();
    let events = events(&ground, 10);
    let mut store = ground.store();
    store.fold(&events[..4]).unwrap();
    // As a kill leaves it: no connection is closed, the write-ahead log is there.
    let killed = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(ground.dir()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), killed.path().join(entry.file_name())).unwrap();
    }
    store.fold(&events[4..]).unwrap();
    let open = || UsageStore::open(killed.path(), Arc::clone(&ground.vault), KEEP).unwrap();
    let mut found = open();
    assert_eq!(found.reached(), Position::new(4));
    found.fold(&events[4..]).unwrap();
    assert_eq!(found.difference(&store).unwrap(), None);
    assert_eq!(counted(&found, Granularity::Minute), [1; 10]);
    // A write-ahead log that is cut anywhere is older, or empty, but never something else.
    drop(found);
    let wal = ground.file().with_file_name("usage.db-wal");
    let whole = fs::read(&wal).unwrap();
    for cut in (0..whole.len()).step_by(whole.len() / 20) {
        fs::copy(ground.file(), killed.path().join("usage.db")).unwrap();
        fs::write(killed.path().join("usage.db-wal"), &whole[..cut]).unwrap();
        let _ = fs::remove_file(killed.path().join("usage.db-shm"));
        let mut found = open();
        let reached = found.reached().map_or(0, Position::get);
        assert!([0, 4, 10].contains(&reached), "cut at {cut}: {reached}");
        found.fold(&events[usize::try_from(reached).unwrap()..]).unwrap();
        assert_eq!(counted(&found, Granularity::Minute), [1; 10], "cut at {cut}");
    }
}

#[test]
fn an_event_that_cannot_be_opened_leaves_nothing_of_its_batch() {
    let ground = Ground::new();
    let mut events = events(&ground, 3);
    let mut store = ground.store();
    let private = events[2].private.as_mut().unwrap();
    let mut altered = private.sealed.ciphertext.to_vec();
    altered[0] ^= 1;
    private.sealed.ciphertext = altered.into();
    assert!(store.fold(&events).is_err());
    assert_eq!((store.reached(), counted(&store, Granularity::Day)), (None, vec![]));
    store.fold(&events[..2]).unwrap();
    assert_eq!(counted(&store, Granularity::Day), [2]);
}

#[test]
fn the_files_are_the_owners_alone_and_hold_no_address_in_the_clear() {
    let ground = Ground::new();
    let mut store = ground.store();
    store.fold(&events(&ground, 50)).unwrap();
    let tried = Use { tried: Tried::Unknown(None), ..uses(1).next().unwrap().remove(0) };
    store.fold(&[ground.tried(51, &[tried])]).unwrap();
    let mut found = 0;
    for entry in fs::read_dir(ground.dir()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
        let bytes = fs::read(&path).unwrap();
        let octets = [198, 51, 100, 77];
        for clear in [&b"198.51.100.77"[..], b"s3cret", &octets, &[0xff, 0xff, 198, 51, 100, 77]] {
            let shows = bytes.windows(clear.len()).any(|window| window == clear);
            assert!(!shows, "{path:?} shows {clear:?}");
        }
        found += usize::from(bytes.windows(4).any(|window| window == b"acme"));
    }
    assert!(found > 0, "what is not personal is found where it is looked for");
}

#[test]
fn what_is_no_projection_of_this_version_is_set_aside_and_made_anew() {
    let garbage = |path: &PathBuf| fs::write(path, vec![0x5a; 8192]).unwrap();
    let change = |path: &PathBuf, sql: &str| {
        rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
    };
    let unfit: [&dyn Fn(&PathBuf); 4] = [
        &garbage,
        &|path| change(path, "PRAGMA user_version = 99"),
        &|path| change(path, "PRAGMA application_id = 1"),
        &|path| {
            fs::remove_file(path).unwrap();
            change(path, "CREATE TABLE theirs (id INTEGER)");
        },
    ];
    for (number, make_unfit) in unfit.iter().enumerate() {
        let ground = Ground::new();
        let mut store = ground.store();
        store.fold(&events(&ground, 3)).unwrap();
        drop(store);
        make_unfit(&ground.file());
        let bytes = fs::read(ground.file()).unwrap();
        let mut store = ground.store();
        assert_eq!(store.reached(), None, "{number}");
        assert!(fs::read(aside(&ground)).unwrap() == bytes, "{number}: as it was");
        store.fold(&events(&ground, 3)).unwrap();
        assert_eq!(counted(&store, Granularity::Day), [3], "{number}");
    }
}

#[test]
fn each_length_of_buckets_is_kept_for_its_own_time() {
    let ground = Ground::new();
    let keep = Retention {
        minutes: Duration::from_hours(24),
        hours: Duration::from_hours(48),
        days: Duration::from_hours(96),
    };
    let mut store = ground.store_that_keeps(keep);
    store.fold(&events(&ground, 120)).unwrap();
    let mut expire = |hours: u64| {
        while store.expire(minute(60 * hours)).unwrap() {}
        let of = |granularity| counted(&store, granularity).len();
        (of(Granularity::Minute), of(Granularity::Hour), of(Granularity::Day))
    };
    assert_eq!(expire(25), (120, 2, 1), "an hour more than was asked for");
    assert_eq!(expire(26), (60, 2, 1));
    assert_eq!(expire(51), (0, 0, 1));
    assert_eq!(expire(24 * 5), (0, 0, 1));
    let (database, _) = store.database();
    let sources = |sql| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(sources("SELECT count(*) FROM sources"), 1);
    while store.expire(minute(60 * (24 * 5 + 1))).unwrap() {}
    assert!(counted(&store, Granularity::Day).is_empty());
    let (database, _) = store.database();
    let sources = |sql| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(sources("SELECT count(*) FROM sources"), 0, "names go with the last line");
    // What comes late is not kept, and its name is new again.
    store.fold(&[ground.used(121, &uses(1).next().unwrap())]).unwrap();
    assert!(counted(&store, Granularity::Day).is_empty());
}

#[test]
fn what_a_clock_that_was_ahead_had_deleted_makes_the_file_unfit() {
    let ground = Ground::new();
    let mut store = ground.store();
    let hours = |hours: u64| minute(60 * hours);
    assert!(!store.expire(hours(100)).unwrap());
    assert!(!store.expire(hours(99)).unwrap(), "what is promised is there");
    assert!(!store.expire(hours(24 * 365)).unwrap());
    let error = store.expire(hours(100)).expect_err("too much is gone");
    assert!(error.is_of_the_file(), "{error}");
    let mut store = store.begin_anew("a test").unwrap();
    assert!(!store.expire(hours(100)).unwrap());
}

#[test]
fn an_answer_takes_into_account_what_it_must_or_fails() {
    let ground = Ground::new();
    let mut store = ground.store();
    store.fold(&events(&ground, 3)).unwrap();
    let ask = |position| store.reader().at_least(Position::new(position)).reached();
    assert_eq!(ask(3).unwrap(), Position::new(3));
    assert!(matches!(ask(4), Err(UsageStoreError::Behind)));
}

#[test]
fn figures_that_are_to_be_kept_for_longer_are_made_anew() {
    let ground = Ground::new();
    let mut store = ground.store();
    store.fold(&events(&ground, 3)).unwrap();
    drop(store);
    let longer = Retention { minutes: KEEP.minutes * 2, ..KEEP };
    assert_eq!(ground.store_that_keeps(KEEP).reached(), Position::new(3));
    assert_eq!(ground.store_that_keeps(longer).reached(), None);
}

#[test]
fn gaps_that_reach_into_a_range_are_told_the_last_ones_in_order() {
    let ground = Ground::new();
    let mut store = ground.store();
    let gap = |position: u64, from, to, lost| {
        let (from, to) = (minute(from), minute(to));
        let gap = UsageGap { journal: 1, part: 0, cause: GapCause::Shed, from, to, lost };
        let event = Event::UsageGap(gap);
        let event = ground.recorded(
            position,
            Subject::Service,
            event,
            &Scope::Service,
            &Default::default(),
        );
        let (cause, position) = (GapCause::Shed, event.position);
        (event, Gap { position, from, to, lost, cause })
    };
    let gaps = [
        gap(1, 0, 10, None),
        gap(2, 10, 20, Some(7)),
        gap(3, 15, 30, Some(1)),
        gap(4, 40, 50, None),
    ];
    let (events, gaps): (Vec<_>, Vec<_>) = gaps.into_iter().unzip();
    store.fold(&events).unwrap();
    let within = |from, until, limit| {
        let range = Range { from: minute(from), until: minute(until) };
        store.reader().gaps(range, limit).unwrap().value
    };
    assert_eq!(within(10, 40, 9), gaps[1..3]);
    assert_eq!(within(0, 60, 2), gaps[2..]);
}
