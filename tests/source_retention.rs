//! Where calls came from can be read until its time is over; that there were calls can be read for ever.

mod common;

use std::time::Duration;

use common::desk::events;
use common::erasure::{opened, vault_of};
use common::usage::{at, context, of_all, other_id, put_on_record, use_key};
use common::{Client, START, TestServer};
use keyledger::clock::Clock as _;
use keyledger::proto::v1::event::Kind;
use keyledger::proto::v1::{self, AuditEvent, GroupBy};
use keyledger::vault::{OpenError, Scope};

const SOURCE: &str = "203.0.113.77";
const DAY: Duration = Duration::from_hours(24);

/// The sources of an answer, whether they are erased, and how many uses came from there.
fn sources(answer: &v1::QueryUsageResponse) -> Vec<(&str, bool, u64)> {
    let allowed = |row: &v1::UsageRow| row.counts.as_ref().expect("always set").allowed;
    answer.rows.iter().map(|row| (row.source.as_str(), row.erased, allowed(row))).collect()
}

const SHOWN: [(&str, bool, u64); 1] = [(SOURCE, false, 3)];
const ERASED: [(&str, bool, u64); 1] = [("", true, 3)];

#[tokio::test(flavor = "multi_thread")]
async fn sources_are_erased_when_their_retention_is_over_and_counts_stay() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &[]).await;
    let (_, secret) = admin.create_key("billing", "used").await;
    use_key(&admin, &secret, 3, true, context("read", SOURCE, "an-agent/1")).await;
    let (server, admin) = put_on_record(server).await;
    let question = of_all(&[GroupBy::Source]);
    assert_eq!(sources(&admin.query(question.clone()).await), SHOWN);

    // Nearly over: the month has 30 days at least, and the retention is 400 days after its end.
    server.clock.advance(DAY * 399);
    let (server, admin) = put_on_record(server).await;
    assert_eq!(sources(&admin.query(question.clone()).await), SHOWN);

    server.clock.advance(DAY * 33);
    let (server, admin) = put_on_record(server).await;
    // It is looked for when a start is over, beside the calls.
    loop {
        let answer = admin.query(question.clone()).await;
        if sources(&answer) == ERASED {
            break;
        }
        assert_eq!(sources(&answer), SHOWN);
        tokio::task::yield_now().await;
    }
    // A projection that is folded anew says the same.
    let projections = server.data_dir().join("projections");
    let (clock, dir) = (std::sync::Arc::clone(&server.clock), server.stop().await);
    std::fs::remove_dir_all(&projections).expect("removed");
    let server = TestServer::builder().dir(&dir).clock(&clock).start().await;
    let admin = server.admin().await;
    assert_eq!(sources(&admin.query(question).await), ERASED);
}

/// The records of tries with unknown keys and of refused calls: how often, from where, and whether that is erased.
fn of_nobody(events: &[AuditEvent]) -> Vec<(u64, Vec<&str>, bool)> {
    let told = |event: &AuditEvent| -> Option<u64> {
        match event.event.as_ref()?.kind.as_ref()? {
            Kind::UnknownKeyTried(tried) => Some(tried.window.as_ref()?.totals[0].count),
            Kind::CallsRefused(calls) => Some(calls.count),
            _ => None,
        }
    };
    let told = events.iter().filter_map(|event| Some((told(event)?, event)));
    let shown = told.map(|(count, event)| {
        let sources = event.disclosure.iter().flat_map(|shown| &shown.sources).map(String::as_str);
        (count, sources.collect(), event.erased)
    });
    shown.collect()
}

/// The signals: how many tries, from where, and whether that is erased.
async fn signals(admin: &Client) -> Vec<(u64, Vec<String>, bool)> {
    let request = v1::ListSignalsRequest { start_time: at(START), ..Default::default() };
    let signals = admin.usage.clone().list_signals(request).await.expect("an answer").into_inner();
    signals.signals.into_iter().map(|it| (it.uses, it.sources, it.erased)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_of_unknown_keys_and_of_refused_calls_are_erased_too_and_those_of_later_months_stay()
 {
    const CALLER: &str = "127.0.0.1";
    let config = "[privacy]\nsource_retention_days = 1\n";
    let server = TestServer::builder().config(config).start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &[]).await;
    let (_, secret) = admin.create_key("billing", "used").await;
    let unknown = other_id(&secret);
    use_key(&admin, &unknown, 100, false, context("read", SOURCE, "an-agent/1")).await;
    use_key(&admin, &secret, 3, true, context("read", SOURCE, "an-agent/1")).await;
    admin.revoke("key_00000000000000001").await.expect_err("no such key");
    let (server, admin) = put_on_record(server).await;
    let first = events(&admin).await;
    let mut told = of_nobody(&first);
    told.sort_unstable();
    assert_eq!(told, [(1, vec![CALLER], false), (100, vec![SOURCE], false)]);
    assert_eq!(signals(&admin).await, [(100, vec![SOURCE.to_owned()], false)]);

    // January is over, its day of retention is not.
    server.clock.advance(DAY * 31);
    let (server, admin) = put_on_record(server).await;
    assert_eq!(of_nobody(&events(&admin).await), of_nobody(&first));

    server.clock.advance(DAY);
    use_key(&admin, &unknown, 2, false, context("read", "198.51.100.7", "an-agent/1")).await;
    admin.revoke("key_00000000000000001").await.expect_err("no such key");
    let (server, admin) = put_on_record(server).await;
    // What is the accounts' goes last.
    while sources(&admin.query(of_all(&[GroupBy::Source])).await) != ERASED {
        tokio::task::yield_now().await;
    }
    let found = events(&admin).await;
    let mut told = of_nobody(&found);
    told.sort_unstable();
    let later = [(1, vec![CALLER], false), (2, vec!["198.51.100.7"], false)];
    assert_eq!(told[1..3], later);
    assert_eq!([&told[0], &told[3]], [&(1, vec![], true), &(100, vec![], true)]);
    assert_eq!(signals(&admin).await, [(100, vec![], true)]);
    let of = |events: &[AuditEvent], at: usize| events[at].record.clone();
    assert!((0..first.len()).all(|at| of(&first, at) == of(&found, at)), "records stay");

    let dir = server.stop().await;
    let vault = vault_of(&dir.path().join("data"));
    for (event, was) in found.iter().zip(&first) {
        let shut = opened(&vault, event) == Some(Err(OpenError::Erased));
        let is_due = was.disclosure.as_ref().is_some_and(|shown| !shown.sources.is_empty());
        assert_eq!(shut, is_due, "{}", event.position);
    }
    for event in &found {
        let text = opened(&vault, event).and_then(Result::ok).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&text).contains(SOURCE), "{}", event.position);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_late_of_an_erased_month_goes_on_record_without_sources() {
    let config = "[privacy]\nsource_retention_days = 1\n";
    let server = TestServer::builder().config(config).start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &[]).await;
    let (_, secret) = admin.create_key("billing", "used").await;
    let unknown = other_id(&secret);
    use_key(&admin, &unknown, 3, false, context("read", SOURCE, "an-agent/1")).await;
    server.clock.advance(DAY * 32);
    let (server, admin) = put_on_record(server).await;
    while of_nobody(&events(&admin).await) != [(3, vec![], true)] {
        tokio::task::yield_now().await;
    }

    // The clock is set back into January for a while.
    let february = server.clock.wall();
    server.clock.step_wall_to(START);
    use_key(&admin, &unknown, 2, false, context("read", SOURCE, "an-agent/1")).await;
    admin.revoke("key_00000000000000001").await.expect_err("no such key");
    server.clock.step_wall_to(february);
    let (server, admin) = put_on_record(server).await;
    let found = events(&admin).await;
    let mut told = of_nobody(&found);
    told.sort_unstable();
    assert_eq!(told, [(1, vec![], false), (2, vec![], false), (3, vec![], true)]);

    let vault = vault_of(&server.stop().await.path().join("data"));
    let january = Scope::ServiceMonth(START.month());
    assert_eq!(
        (vault.data_keys.find(&january), vault.data_keys.is_destroyed(&january)),
        (None, true)
    );
}
