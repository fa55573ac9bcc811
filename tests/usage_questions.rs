//! Questions on uses that cannot be answered, and who still uses a rotated key.

mod common;

use std::time::Duration;

use common::usage::{
    MINUTE, after, at, context, end_minute, idle, of_all, of_key, put_on_record, use_key,
};
use common::{Client, START, TestServer, fields, reason};
use keyledger::proto::v1::{self, DenialReason, Granularity, GroupBy};
use prost_types::Timestamp;
use tonic::{Code, Status};

const DAY: Duration = Duration::from_hours(24);

async fn started() -> (TestServer, Client) {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &["reports:*"]).await;
    (server, admin)
}

/// So long before test clocks start.
fn before(span: Duration) -> Option<Timestamp> {
    at(START.minus(span))
}

/// The one field that a question is refused for, and what it must be.
fn told<T: std::fmt::Debug>(answer: Result<tonic::Response<T>, Status>) -> (String, String) {
    let refused = answer.expect_err("refused");
    assert_eq!(
        (refused.code(), reason(&refused).0.as_str()),
        (Code::InvalidArgument, "INVALID_FIELD")
    );
    let text = refused.message().split_once(": ").expect("field and bound");
    assert_eq!(fields(&refused), [text.0]);
    (text.0.to_owned(), text.1.to_owned())
}

#[tokio::test]
async fn ranges_that_cannot_be_name_their_field_and_bound() {
    let (_server, admin) = started().await;
    let (key, _) = admin.create_key("billing", "k").await;
    let ask = async |start, end, granularity: Granularity| {
        let question = v1::GetKeyUsageRequest {
            start_time: start,
            end_time: end,
            ..of_key(&key.key_id, granularity)
        };
        told(admin.usage.clone().get_key_usage(question).await)
    };
    let hour = Granularity::Hour;
    let expect = |field: &str, must: &str| (field.to_owned(), must.to_owned());
    assert_eq!(ask(None, None, hour).await, expect("start_time", "must be set"));
    let future = after(Duration::from_secs(1));
    let must = "must not be in the future";
    assert_eq!(ask(future, None, hour).await, expect("start_time", must));
    let must = "must be later than start_time";
    assert_eq!(ask(before(MINUTE), before(MINUTE * 2), hour).await, expect("end_time", must));
    assert_eq!(ask(before(MINUTE), before(MINUTE), hour).await, expect("end_time", must));
    let must = "must be at most 7 days (usage.keep_minutes_days) ago, or the granularity be HOUR";
    let found = ask(before(DAY * 8), before(DAY * 7), Granularity::Minute).await;
    assert_eq!(found, expect("start_time", must));
    let must = "must be at most 90 days (usage.keep_hours_days) ago, or the granularity be DAY";
    assert_eq!(ask(before(DAY * 91), None, hour).await, expect("start_time", must));
    let must = "must be at most 1100 days (usage.keep_days_days) ago";
    assert_eq!(ask(before(DAY * 1101), None, Granularity::Day).await, expect("start_time", must));
    let must = "must be at most 1100 days (usage.keep_days_days) after start_time";
    let found = ask(before(DAY), after(DAY * 1100), Granularity::Day).await;
    assert_eq!(found, expect("end_time", must));
    let must = "must give at most 1500 buckets, here it gives 1501";
    let found = ask(before(MINUTE * 1500), after(MINUTE), Granularity::Minute).await;
    assert_eq!(found, expect("granularity", must));
    let found = ask(at(START), None, Granularity::Unspecified).await;
    assert_eq!(found, expect("granularity", "must be set"));
    // As many as there may be, and as old as is kept.
    for (start, granularity) in [
        (MINUTE * 1500, Granularity::Minute),
        (DAY * 62, Granularity::Hour),
        (DAY * 1100, Granularity::Day),
    ] {
        let (start_time, end_time) = (before(start), at(START));
        let question =
            v1::GetKeyUsageRequest { start_time, end_time, ..of_key(&key.key_id, granularity) };
        assert_eq!(admin.key_usage(question).await.buckets, []);
    }
}

#[tokio::test]
async fn a_query_that_cannot_be_names_its_field_and_records_nothing() {
    let (_server, admin) = started().await;
    let good = || of_all(&[GroupBy::Key]);
    let filtered = |filter| v1::QueryUsageRequest { filter: Some(filter), ..good() };
    let filter = v1::UsageFilter::default;
    let text = str::to_owned;
    let cases = [
        ("group_by", v1::QueryUsageRequest { group_by: vec![], ..good() }),
        ("group_by[0]", v1::QueryUsageRequest { group_by: vec![99], ..good() }),
        ("group_by[1]", v1::QueryUsageRequest { group_by: vec![3, 3], ..good() }),
        ("group_by", v1::QueryUsageRequest { group_by: vec![1, 2, 3, 4], ..good() }),
        ("granularity", v1::QueryUsageRequest { granularity: 4, ..good() }),
        ("top_n", v1::QueryUsageRequest { top_n: 1001, ..good() }),
        ("top_n", v1::QueryUsageRequest { top_n: -1, ..good() }),
        ("top_n", v1::QueryUsageRequest { top_n: 1, page_size: 1, ..good() }),
        ("top_n", v1::QueryUsageRequest { top_n: 1, page_token: text("00"), ..good() }),
        ("page_size", v1::QueryUsageRequest { page_size: 1001, ..good() }),
        ("page_token", v1::QueryUsageRequest { page_token: text("00"), ..good() }),
        ("filter.source", filtered(v1::UsageFilter { source: text("10.0.0.0/8"), ..filter() })),
        ("filter.source", filtered(v1::UsageFilter { source: text("010.1.1.1"), ..filter() })),
        ("filter.account_id", filtered(v1::UsageFilter { account_id: text("a"), ..filter() })),
        ("filter.action", filtered(v1::UsageFilter { action: Some("a".repeat(129)), ..filter() })),
        ("filter.key_id", filtered(v1::UsageFilter { key_id: text("k"), ..filter() })),
        ("filter.caller_id", filtered(v1::UsageFilter { caller_id: text("c"), ..filter() })),
        ("filter.reason", filtered(v1::UsageFilter { reason: Some(99), ..filter() })),
        (
            "filter.reason",
            filtered(v1::UsageFilter { reason: Some(DenialReason::UnknownKey.into()), ..filter() }),
        ),
    ];
    let head = async || {
        let status = admin.admin.clone().get_status(v1::GetStatusRequest {}).await;
        status.expect("a status").into_inner().head
    };
    let before = head().await;
    for (field, question) in cases {
        let refused = admin.usage.clone().query_usage(question).await;
        assert_eq!(told(refused).0, field);
    }
    for seconds in [0, 59, 3650 * 86_400 + 1] {
        let refused = admin.usage.clone().list_idle_keys(idle("acme", seconds)).await;
        let must = "must be set, 1 minute to 3650 days".to_owned();
        assert_eq!(told(refused), ("unused_for".to_owned(), must));
    }
    assert_eq!(head().await, before, "a question records nothing");
}

#[tokio::test]
async fn a_range_without_buckets_reaches_back_as_far_as_days_are_kept() {
    let (server, admin) = started().await;
    let (_, secret) = admin.create_key("billing", "old").await;
    use_key(&admin, &secret, 2, true, None).await;
    end_minute(&server, &admin).await;
    let two = |answer: v1::QueryUsageResponse| {
        let counts = answer.rows[0].counts.clone().expect("counts");
        assert_eq!((answer.rows.len(), counts.allowed), (1, 2));
        (answer.start_time, answer.end_time)
    };
    assert_eq!(two(admin.query(of_all(&[GroupBy::Key])).await), (at(START), after(MINUTE * 2)));
    server.clock.advance(DAY * 8);
    let hours = two(admin.query(of_all(&[GroupBy::Key])).await);
    assert_eq!(hours, (at(START), after(DAY * 8 + Duration::from_hours(1))));
    server.clock.advance(DAY * 90);
    let days = two(admin.query(of_all(&[GroupBy::Key])).await);
    assert_eq!(days, (at(START), after(DAY * 99)));
}

async fn stragglers(
    client: &Client,
    key_id: &str,
    page_size: i32,
    page_token: &str,
) -> Result<v1::GetStragglersResponse, Status> {
    let request = v1::GetStragglersRequest {
        key_id: key_id.to_owned(),
        page_size,
        page_token: page_token.to_owned(),
    };
    Ok(client.usage.clone().get_stragglers(request).await?.into_inner())
}

#[tokio::test]
async fn who_uses_a_key_after_its_rotation_is_told_and_who_did_before_is_not() {
    let (server, admin) = started().await;
    let (key, secret) = admin.create_key("billing", "old").await;
    let refused = stragglers(&admin, &key.key_id, 0, "").await.expect_err("not rotated");
    assert_eq!(
        (refused.code(), reason(&refused).0.as_str()),
        (Code::FailedPrecondition, "KEY_NOT_ROTATED")
    );
    let unknown = stragglers(&admin, "key_00000000000000000", 0, "").await.expect_err("none");
    assert_eq!(reason(&unknown).0, "KEY_NOT_FOUND");
    use_key(&admin, &secret, 4, true, context("before", "192.0.2.9", "early/1")).await;
    end_minute(&server, &admin).await;

    server.clock.advance(Duration::from_secs(10));
    use_key(&admin, &secret, 1, true, context("just before", "192.0.2.8", "")).await;
    server.clock.advance(Duration::from_secs(10));
    let overlap = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
    let rotate = v1::RotateKeyRequest { key_id: key.key_id.clone(), overlap, ..Default::default() };
    let rotated = admin.keys.clone().rotate_key(rotate).await.expect("rotated").into_inner();
    let none = stragglers(&admin, &key.key_id, 0, "").await.expect("an answer");
    assert_eq!((none.stragglers.len(), none.complete_until), (0, after(MINUTE)));
    assert_eq!(
        (none.start_time, none.rotate_time),
        (after(MINUTE), after(Duration::from_secs(82)))
    );
    assert_eq!(none.key.expect("the key").use_count, 5);

    use_key(&admin, &secret, 2, true, context("read", "192.0.2.1", "late/1")).await;
    use_key(&admin, &secret, 1, true, context("read", "192.0.2.1", "late/2")).await;
    server.clock.advance(MINUTE);
    use_key(&admin, &secret, 3, true, context("write", "2001:db8::1", "")).await;
    use_key(&admin, &secret, 1, false, context("write", "2001:db8::1", "bot/3")).await;
    let new = rotated.secret;
    use_key(&admin, &new, 9, true, context("write", "192.0.2.7", "new/1")).await;
    let (_server, admin) = put_on_record(server).await;

    let found = stragglers(&admin, &key.key_id, 0, "").await.expect("an answer");
    let admin_id = rotated.old_key.expect("the old key").created_by;
    let straggler =
        |action: &str, source: &str, agents: &[&str], uses: (u64, u64), minute| v1::Straggler {
            caller_id: admin_id.clone(),
            action: action.to_owned(),
            source: source.to_owned(),
            user_agents: agents.iter().map(|&agent| agent.to_owned()).collect(),
            allowed: uses.0,
            denied: uses.1,
            last_bucket: after(MINUTE * minute),
            other: false,
            erased: false,
        };
    let mut first = found.stragglers.clone();
    first.iter_mut().for_each(|one| one.user_agents.sort());
    let expected = [
        straggler("write", "2001:db8::1", &["bot/3"], (3, 1), 2),
        straggler("read", "192.0.2.1", &["late/1", "late/2"], (3, 0), 1),
        // In the minute of the rotation, which is whole.
        straggler("just before", "192.0.2.8", &[], (1, 0), 1),
    ];
    assert_eq!(first, expected);
    let key_now = found.key.expect("the key");
    assert_eq!((key_now.state(), key_now.use_count), (v1::KeyState::Retiring, 11));
    assert_eq!(found.next_page_token, "");

    let page = stragglers(&admin, &key.key_id, 2, "").await.expect("a page");
    assert_eq!(page.stragglers, found.stragglers[..2]);
    let rest = stragglers(&admin, &key.key_id, 2, &page.next_page_token).await.expect("a page");
    assert_eq!(
        (rest.stragglers.as_slice(), rest.next_page_token.as_str()),
        (&found.stragglers[2..], "")
    );
    let foreign = stragglers(&admin, &key_now.replaced_by, 2, &page.next_page_token).await;
    assert_eq!(reason(&foreign.expect_err("not rotated")).0, "KEY_NOT_ROTATED");
}
