//! Random windows and questions, held to a list of all windows.

use std::sync::Arc;

use proptest::prelude::*;

use super::model::{self, Line};
use crate::domain::ids::{AccountRef, CallerId, KeyId, TenantId};
use crate::domain::testing::{account, caller_id, key_id};
use crate::domain::time::Time;
use crate::domain::usage::{Use, UseOutcome};
use crate::projection::usage::testing::{Ground, address, minute, plain_use};
use crate::projection::usage::{
    Dimension, Granularity, Order, Range, Rows, UsageFilter, UsageQuery, UsageReader,
};

/// Whose key that number is: three of two tenants, the second of which has an account of the same name.
fn owner(key: u8) -> Arc<AccountRef> {
    let tenant = |name| TenantId::parse(name).unwrap();
    match key % 3 {
        0 => account("ann"),
        1 => account("bob"),
        _ => {
            let AccountRef { account, .. } = &*account("ann");
            Arc::new(AccountRef { tenant: tenant("zeta"), account: account.clone() })
        }
    }
}

/// What is random of a use.
type Drawn = (u8, u8, u8, u8, u64);

fn a_use(key: u8, of_minute: u64, (outcome, caller, action, source, second): Drawn) -> Use {
    let time = minute(of_minute).plus(std::time::Duration::from_secs(second));
    let sources = [None, address("192.0.2.1"), address("192.0.2.2"), address("2001:db8::1")];
    let actions = ["", "read", "write", "write\0"];
    let outcomes =
        [UseOutcome::Allowed, UseOutcome::Allowed, UseOutcome::Revoked, UseOutcome::RateLimited];
    Use {
        outcome: outcomes[usize::from(outcome % 4)],
        caller: (!caller.is_multiple_of(3)).then(|| caller_id(caller % 3)),
        action: actions[usize::from(action % 4)].to_owned(),
        source: sources[usize::from(source % 4)],
        ..plain_use(key_id(key), &owner(key), time)
    }
}

/// A window of a key, with more ways than are told apart if `broad`.
fn window(key: u8, of_minute: u64, drawn: &[Drawn], broad: bool) -> Vec<Use> {
    let mut uses: Vec<Use> = drawn.iter().map(|drawn| a_use(key, of_minute, *drawn)).collect();
    if broad {
        let new = |n: u64| Use {
            action: format!("new-{n}"),
            ..a_use(key, of_minute, (0, 1, 1, 1, n % 60))
        };
        uses.extend((0..70).map(new));
    }
    uses
}

fn windows() -> impl Strategy<Value = Vec<Vec<Use>>> {
    // Three days and a few minutes, so that there are whole days within and parts at both ends; few enough minutes
    // that windows repeat.
    let at = prop_oneof![0..4_u64, 1438..1442_u64, 2000..2002_u64, 4310..4330_u64];
    let drawn = (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>(), 0..60_u64);
    let drawn = prop::collection::vec(drawn, 1..6);
    let broad = prop::bool::weighted(0.05);
    let window = (0..5_u8, at, drawn, broad)
        .prop_map(|(key, at, drawn, broad)| window(key, at, &drawn, broad));
    prop::collection::vec(window, 1..30)
}

fn dimensions() -> impl Strategy<Value = Vec<Dimension>> {
    use Dimension::{Account, Action, Caller, Key, Reason, Source, Tenant};
    let all = vec![Tenant, Account, Key, Caller, Action, Source, Reason];
    prop::sample::subsequence(all, 1..=3).prop_shuffle()
}

fn filters() -> impl Strategy<Value = UsageFilter> {
    let rarely = |keys: std::ops::Range<u8>| prop::option::weighted(0.25, keys);
    let tenants = prop::option::weighted(0.25, prop::sample::select(vec![0_u8, 2, 9]));
    let tenants = tenants.prop_map(|key| {
        key.map(|key| match key {
            9 => vec![TenantId::parse("nobody").unwrap(), owner(2).tenant.clone()],
            key => vec![owner(key).tenant.clone()],
        })
    });
    let account = rarely(0..3_u8).prop_map(|key| key.map(|key| owner(key).account.clone()));
    let key = rarely(0..6_u8).prop_map(|key| key.map(key_id));
    let caller = rarely(0..5_u8).prop_map(|caller| caller.map(caller_id));
    let actions = vec![String::new(), "read".to_owned(), "write\0".to_owned(), "none".to_owned()];
    let action = prop::option::weighted(0.25, prop::sample::select(actions));
    let sources = vec!["192.0.2.1", "::ffff:192.0.2.2", "2001:db8::2"];
    let source = prop::option::weighted(0.25, prop::sample::select(sources));
    let outcomes = vec![UseOutcome::Allowed, UseOutcome::Revoked, UseOutcome::Expired];
    let outcome = prop::option::weighted(0.25, prop::sample::select(outcomes));
    (tenants, account, key, caller, action, source, outcome).prop_map(
        |(tenants, account, key, caller, action, source, outcome)| UsageFilter {
            tenants,
            account,
            key,
            caller,
            action,
            source: source.and_then(crate::domain::source::parse_source),
            outcome,
        },
    )
}

fn granularity() -> impl Strategy<Value = Option<Granularity>> {
    prop::option::of(prop::sample::select(Granularity::ALL.to_vec()))
}

fn questions() -> impl Strategy<Value = UsageQuery> {
    let minutes = prop_oneof![Just(0_u64), Just(1440), 0..4400_u64];
    let lengths = prop_oneof![Just(1440_u64), Just(2880), 1..4400_u64];
    (minutes, lengths, granularity(), filters(), dimensions()).prop_map(
        |(from, long, granularity, filter, group_by)| {
            let span = granularity.unwrap_or(Granularity::Minute).span();
            let aligned = |time: Time| crate::domain::usage::window_start(time, span);
            let range = Range {
                from: aligned(minute(from)),
                until: aligned(minute(from + long)).plus(span),
            };
            UsageQuery { range, granularity, filter, group_by, order: Order::Top(0) }
        },
    )
}

fn ask(reader: &UsageReader, question: &UsageQuery, order: Order) -> Rows {
    reader.query(&UsageQuery { order, ..question.clone() }).unwrap().value
}

/// All pages of so many rows, joined.
fn pages(reader: &UsageReader, question: &UsageQuery, size: usize) -> Rows {
    let mut all = Rows::default();
    loop {
        let order = Order::Page { after: all.next.take(), size };
        let page = ask(reader, question, order);
        assert!(page.rows.len() <= size && (page.next.is_none() || page.rows.len() == size));
        assert!(all.unattributed == page.unattributed || all.rows.is_empty());
        all.rows.extend(page.rows);
        all.unattributed = page.unattributed;
        all.next = page.next;
        if all.next.is_none() {
            return all;
        }
    }
}

/// Folds the windows some at a time and opens the database again in between.
fn folded(ground: &Ground, windows: &[Vec<Use>]) -> UsageReader {
    let mut position = 0;
    for some in windows.chunks(7) {
        let mut store = ground.store();
        let events = some.iter().map(|uses| {
            position += 1;
            ground.used(position, uses)
        });
        store.fold(&events.collect::<Vec<_>>()).unwrap();
    }
    ground.store().reader()
}

fn check(reader: &UsageReader, lines: &[Line], question: &UsageQuery, size: usize) {
    let (expected, unattributed) = model::answer(lines, question);
    let all = pages(reader, question, size);
    let rows = |rows: &Rows| {
        let row = |row: &_| (model::values_of(row, question), row.counts.clone());
        rows.rows.iter().map(row).collect::<Vec<_>>()
    };
    assert_eq!(rows(&all), expected, "{question:?}");
    assert_eq!(all.unattributed, unattributed, "{question:?}");
    let mut most = expected;
    let total = |counts: &crate::projection::usage::Counts| {
        counts.by_outcome.iter().map(|(_, count)| count).sum::<u64>()
    };
    most.sort_by_key(|(_, counts)| std::cmp::Reverse(total(counts)));
    most.truncate(size);
    let top = ask(reader, question, Order::Top(size));
    assert_eq!(rows(&top), most, "{question:?}");
    assert_eq!((top.unattributed, top.next), (unattributed, None), "{question:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_question_is_answered_as_a_list_of_all_windows_answers_it(
        windows in windows(),
        questions in prop::collection::vec((questions(), 1..9_usize), 12),
    ) {
        let ground = Ground::new();
        let reader = folded(&ground, &windows);
        let lines = windows.iter().flat_map(|uses| model::lines(uses)).collect::<Vec<_>>();
        for (question, size) in &questions {
            check(&reader, &lines, question, *size);
        }
    }

    #[test]
    fn a_key_is_counted_by_bucket(
        windows in windows(),
        key in 0..6_u8,
        from in 0..4400_u64,
        long in 1..4400_u64,
        granularity in prop::sample::select(Granularity::ALL.to_vec()),
    ) {
        let ground = Ground::new();
        let reader = folded(&ground, &windows);
        let lines = windows.iter().flat_map(|uses| model::lines(uses)).collect::<Vec<_>>();
        let start = |time| crate::domain::usage::window_start(time, granularity.span());
        let range = Range { from: start(minute(from)), until: start(minute(from + long)).plus(granularity.span()) };
        let found = reader.key_usage(&key_id(key), range, granularity).unwrap();
        let found = found.value.into_iter().map(|bucket| (bucket.start, bucket.counts));
        let expected = model::buckets(&lines, key_id(key), (range.from, range.until), granularity);
        prop_assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_ways_of_a_key_add_up_to_its_uses_latest_first(
        windows in windows(), key in 0..6_u8, since in 0..4400_u64, size in 1..5_usize,
    ) {
        let ground = Ground::new();
        let reader = folded(&ground, &windows);
        let mut expected = std::collections::BTreeMap::<_, (Time, u64, u64)>::new();
        let lines = windows.iter().flat_map(|uses| model::lines(uses));
        for line in lines.filter(|line| line.key == key_id(key) && line.minute >= minute(since)) {
            let way = (line.caller, line.action, line.source);
            let (last, allowed, denied) = expected.entry(way).or_default();
            *last = line.minute.max(*last);
            let count = if line.outcome == UseOutcome::Allowed { allowed } else { denied };
            *count += line.count;
        }
        let mut expected = expected.into_iter().collect::<Vec<_>>();
        expected.sort_by_key(|(_, (last, allowed, denied))| {
            (std::cmp::Reverse(*last), std::cmp::Reverse(allowed + denied))
        });
        let (mut found, mut after) = (Vec::new(), None::<Vec<u8>>);
        loop {
            let page = reader.ways(&key_id(key), minute(since), after.as_deref(), size).unwrap().value;
            prop_assert!(page.ways.len() <= size);
            found.extend(page.ways);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let found = found.into_iter().map(|way| {
            let caller = model::known(way.caller, way.other);
            let (action, source) = (model::known(way.action, way.other), model::known(way.source, way.other));
            ((caller, action, source), (way.last_bucket, way.allowed, way.denied))
        });
        prop_assert_eq!(found.collect::<Vec<(_, _)>>(), expected);
    }
}

#[test]
fn an_empty_projection_answers_nothing() {
    let ground = Ground::new();
    let reader = ground.store().reader();
    let range = Range { from: minute(0), until: minute(1) };
    assert_eq!(reader.reached().unwrap(), None);
    assert_eq!(reader.key_usage(&KeyId([1; 12]), range, Granularity::Minute).unwrap().value, []);
    let question = UsageQuery {
        range,
        granularity: None,
        filter: UsageFilter { caller: Some(CallerId([1; 12])), ..UsageFilter::default() },
        group_by: vec![Dimension::Caller],
        order: Order::Top(5),
    };
    assert_eq!(reader.query(&question).unwrap().value, Rows::default());
    assert_eq!(reader.ways(&KeyId([1; 12]), minute(0), None, 5).unwrap().value.ways, []);
    assert_eq!(reader.gaps(range, 5).unwrap().value, []);
}
