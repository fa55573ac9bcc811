//! Sources whose data key is destroyed.

use std::sync::Arc;

use crate::domain::testing::{account, key_id};
use crate::domain::usage::Use;
use crate::projection::usage::testing::{Ground, KEEP, address, minute, plain_use};
use crate::projection::usage::{
    Dimension, Order, Range, Row, Rows, UsageFilter, UsageQuery, UsageStore,
};

fn by_source(store: &UsageStore, source: Option<&str>) -> Rows {
    let question = UsageQuery {
        range: Range { from: minute(0), until: minute(60) },
        granularity: None,
        filter: UsageFilter { source: source.and_then(address), ..UsageFilter::default() },
        group_by: vec![Dimension::Source],
        order: Order::Page { after: None, size: 10 },
    };
    store.reader().query(&question).unwrap().value
}

fn shown(rows: &[Row]) -> Vec<(Option<String>, bool, u64)> {
    let of = |row: &Row| {
        let source = row.source.map(|source| source.to_string());
        (source, row.erased, row.counts.by_outcome[0].1)
    };
    rows.iter().map(of).collect()
}

#[test]
fn sources_whose_data_key_is_destroyed_are_counted_and_not_told() {
    let ground = Ground::new();
    let used = |source: &str| {
        let plain = plain_use(key_id(1), &account("a"), minute(0));
        vec![Use { source: address(source), ..plain }]
    };
    let events = [
        ground.used(1, &used("192.0.2.1")),
        ground.used(2, &used("192.0.2.2")),
        ground.used(3, &[plain_use(key_id(1), &account("a"), minute(0))]),
        ground.used(4, &used("192.0.2.1")),
    ];
    let mut store = ground.store();
    store.fold(&events).unwrap();
    let (one, two) = (Some("192.0.2.1".to_owned()), Some("192.0.2.2".to_owned()));
    let rows = by_source(&store, None).rows;
    assert_eq!(shown(&rows), [(None, false, 1), (one.clone(), false, 2), (two, false, 1)]);
    drop(store);

    // Destroyed behind the fold.
    let vault = ground.vault_without_keys_of(&[&account("a")]);
    let store = UsageStore::open(&ground.dir(), Arc::clone(&vault), KEEP).unwrap();
    assert_eq!(store.reached().map(|at| at.get()), Some(4));
    let erased = [(None, false, 1), (None, true, 3)];
    assert_eq!(shown(&by_source(&store, None).rows), erased);
    let filtered = by_source(&store, Some("192.0.2.1"));
    assert_eq!((filtered.rows, filtered.unattributed), (vec![], 3), "it is not known");
    let ways = store.reader().ways(&key_id(1), minute(0), None, 9).unwrap().value.ways;
    let told = ways.iter().map(|way| (way.source, way.erased, way.allowed));
    assert_eq!(told.collect::<Vec<_>>(), [(None, true, 3), (None, false, 1)]);

    // Destroyed before it: the same is made of the log.
    let mut later = UsageStore::make_beside(&ground.dir(), vault, KEEP, Some(&store)).unwrap();
    later.fold(&events).unwrap();
    assert_eq!(shown(&by_source(&later, None).rows), erased);
    assert_eq!(later.difference(&store).unwrap(), None);
}
