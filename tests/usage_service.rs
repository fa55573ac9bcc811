//! UsageService on a real server: what was used is what is answered.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::usage::{
    MINUTE, after, at, context, end_minute, idle, of_all, of_key, of_tenant, other_secret,
    put_on_record, use_key,
};
use common::{Client, START, TestServer, new_key, reason};
use keyledger::proto::v1::{self, DenialReason, Granularity, GroupBy};
use tonic::Code;

const HOUR: Duration = Duration::from_hours(1);

async fn started() -> (TestServer, Client) {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &["reports:*"]).await;
    (server, admin)
}

fn allowed_and_denied(counts: Option<&v1::UsageCounts>) -> (u64, u64) {
    let counts = counts.expect("always set");
    let reasons: u64 = counts.denied_by_reason.iter().map(|one| one.count).sum();
    assert_eq!(counts.denied, reasons, "its reasons divide what was denied");
    (counts.allowed, counts.denied)
}

#[tokio::test]
async fn the_uses_of_a_key_are_counted_by_minute_hour_and_day() {
    let (server, admin) = started().await;
    let (key, secret) = admin.create_key("billing", "used").await;
    server.clock.advance(Duration::from_secs(10));
    use_key(&admin, &secret, 6, true, None).await;
    server.clock.advance(Duration::from_secs(20));
    use_key(&admin, &secret, 1, true, None).await;
    use_key(&admin, &secret, 2, false, None).await;
    server.clock.advance(MINUTE * 2);
    use_key(&admin, &secret, 3, true, None).await;
    end_minute(&server, &admin).await;

    let found = admin.key_usage(of_key(&key.key_id, Granularity::Minute)).await;
    let buckets: Vec<_> = found
        .buckets
        .iter()
        .map(|bucket| (bucket.start_time, allowed_and_denied(bucket.counts.as_ref())))
        .collect();
    assert_eq!(buckets, [(at(START), (7, 2)), (after(MINUTE * 2), (3, 0))]);
    let first = found.buckets[0].counts.clone().expect("counts");
    assert_eq!(first.first_use, after(Duration::from_secs(10)));
    assert_eq!(first.last_use, after(Duration::from_secs(30)));
    assert_eq!(first.denied_by_reason[0].reason(), DenialReason::PermissionMissing);
    let total = found.total.clone().expect("always set");
    assert_eq!(allowed_and_denied(Some(&total)), (10, 2));
    assert_eq!(total.first_use, first.first_use);
    assert_eq!(total.last_use, after(Duration::from_secs(150)));
    assert_eq!((found.start_time, found.end_time), (at(START), after(MINUTE * 4)));
    assert!(found.gaps.is_empty());

    for (granularity, span) in [(Granularity::Hour, HOUR), (Granularity::Day, HOUR * 24)] {
        let coarse = admin.key_usage(of_key(&key.key_id, granularity)).await;
        let [bucket] = coarse.buckets.as_slice() else { panic!("{coarse:?}") };
        assert_eq!(bucket.start_time, at(START));
        assert_eq!(bucket.counts, found.total);
        assert_eq!((coarse.start_time, coarse.end_time), (at(START), after(span)));
    }
    let part = v1::GetKeyUsageRequest {
        start_time: after(Duration::from_secs(61)),
        end_time: after(MINUTE * 2),
        ..of_key(&key.key_id, Granularity::Minute)
    };
    let part = admin.key_usage(part).await;
    assert_eq!((part.start_time, part.end_time), (after(MINUTE), after(MINUTE * 2)));
    assert_eq!((part.buckets.len(), allowed_and_denied(part.total.as_ref())), (0, (0, 0)));
}

/// What is answered, by the names of its groups.
fn rows(answer: &v1::QueryUsageResponse) -> BTreeMap<String, (u64, u64)> {
    let named = |row: &v1::UsageRow| {
        let texts = [
            &row.tenant_id,
            &row.account_id,
            &row.key_id,
            &row.caller_id,
            &row.action,
            &row.source,
        ];
        let mut name = texts.map(String::as_str).join("|");
        if row.reason != 0 {
            name += row.reason().as_str_name();
        }
        (name, allowed_and_denied(row.counts.as_ref()))
    };
    let rows: BTreeMap<_, _> = answer.rows.iter().map(named).collect();
    assert_eq!(rows.len(), answer.rows.len(), "each group has one row: {answer:?}");
    rows
}

/// Two tenants, two accounts of the first, three keys, two callers; ids of keys and callers.
async fn busy(server: &TestServer, admin: &Client) -> [String; 5] {
    admin.put_account("search", "enterprise", &[]).await;
    admin.put_account_of("globex", "billing", "enterprise", &[]).await;
    let (one, first) = admin.create_key("billing", "one").await;
    let (two, second) = admin.create_key("search", "two").await;
    let made = admin.keys.clone().create_key(new_key("globex", "billing", "three")).await;
    let made = made.expect("made").into_inner();
    let (three, third) = (made.key.expect("a key"), made.secret);
    let (reports, credential) = admin.create_caller(&[v1::Role::Authenticator], &[]).await;
    let (exports, other) = admin.create_caller(&[v1::Role::Authenticator], &[]).await;
    let (reports_client, exports_client) =
        (server.client(&credential).await, server.client(&other).await);
    use_key(&reports_client, &first, 5, true, context("read", "192.0.2.1", "a")).await;
    use_key(&reports_client, &first, 2, false, context("read", "192.0.2.1", "a")).await;
    use_key(&exports_client, &first, 4, true, context("write", "2001:db8::1", "")).await;
    use_key(&exports_client, &second, 3, true, context("", "192.0.2.1", "")).await;
    use_key(&reports_client, &third, 1, true, context("read", "", "")).await;
    [one.key_id, two.key_id, three.key_id, reports.caller_id, exports.caller_id]
}

#[tokio::test]
async fn uses_are_told_apart_and_filtered_by_each_of_what_is_known_of_them() {
    let (server, admin) = started().await;
    let [one, two, three, reports, exports] = busy(&server, &admin).await;
    end_minute(&server, &admin).await;
    let told = async |group_by: &[GroupBy]| rows(&admin.query(of_all(group_by)).await);
    let expect = |rows: &[(&str, (u64, u64))]| -> BTreeMap<String, (u64, u64)> {
        rows.iter().map(|(name, counts)| ((*name).to_owned(), *counts)).collect()
    };
    let tenants = [("acme|||||", (12, 2)), ("globex|||||", (1, 0))];
    assert_eq!(told(&[GroupBy::Tenant]).await, expect(&tenants));
    let accounts =
        [("acme|billing||||", (9, 2)), ("acme|search||||", (3, 0)), ("globex|billing||||", (1, 0))];
    assert_eq!(told(&[GroupBy::Account]).await, expect(&accounts));
    let keys = [
        (format!("acme|billing|{one}|||"), (9, 2)),
        (format!("acme|search|{two}|||"), (3, 0)),
        (format!("globex|billing|{three}|||"), (1, 0)),
    ];
    assert_eq!(told(&[GroupBy::Key]).await, BTreeMap::from(keys));
    let callers = [(format!("|||{reports}||"), (6, 2)), (format!("|||{exports}||"), (7, 0))];
    assert_eq!(told(&[GroupBy::Caller]).await, BTreeMap::from(callers));
    let actions = [("||||read|", (6, 2)), ("||||write|", (4, 0)), ("|||||", (3, 0))];
    assert_eq!(told(&[GroupBy::Action]).await, expect(&actions));
    let sources = [("|||||192.0.2.1", (8, 2)), ("|||||2001:db8::1", (4, 0)), ("|||||", (1, 0))];
    assert_eq!(told(&[GroupBy::Source]).await, expect(&sources));
    let reasons = [("|||||", (13, 0)), ("|||||DENIAL_REASON_PERMISSION_MISSING", (0, 2))];
    assert_eq!(told(&[GroupBy::Reason]).await, expect(&reasons));
    let three_ways = told(&[GroupBy::Tenant, GroupBy::Action, GroupBy::Source]).await;
    assert_eq!(three_ways["acme||||read|192.0.2.1"], (5, 2));
    assert_eq!(three_ways.len(), 4);

    let total = async |filter: v1::UsageFilter| {
        let question = v1::QueryUsageRequest { filter: Some(filter), ..of_all(&[GroupBy::Reason]) };
        let answer = admin.query(question).await;
        assert_eq!(answer.unattributed, 0);
        let rows = rows(&answer).into_values();
        rows.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    let filter = v1::UsageFilter::default;
    let acme = || "acme".to_owned();
    assert_eq!(total(v1::UsageFilter { tenant_id: acme(), ..filter() }).await, (12, 2));
    let search = v1::UsageFilter { tenant_id: acme(), account_id: "search".to_owned(), ..filter() };
    assert_eq!(total(search).await, (3, 0));
    assert_eq!(total(v1::UsageFilter { key_id: one, ..filter() }).await, (9, 2));
    assert_eq!(total(v1::UsageFilter { caller_id: exports, ..filter() }).await, (7, 0));
    let action = |action: &str| v1::UsageFilter { action: Some(action.to_owned()), ..filter() };
    assert_eq!(total(action("read")).await, (6, 2));
    assert_eq!(total(action("")).await, (3, 0));
    assert_eq!(total(action("never")).await, (0, 0));
    let mapped = v1::UsageFilter { source: "::ffff:192.0.2.1".to_owned(), ..filter() };
    assert_eq!(total(mapped).await, (8, 2));
    let allowed = v1::UsageFilter { reason: Some(0), ..filter() };
    assert_eq!(total(allowed).await, (13, 0));
    let missing = v1::UsageFilter {
        reason: Some(DenialReason::PermissionMissing.into()),
        caller_id: reports,
        ..filter()
    };
    assert_eq!(total(missing).await, (0, 2));
}

#[tokio::test]
async fn pages_show_each_row_once_and_the_top_is_their_largest() {
    let (server, admin) = started().await;
    let (_, secret) = admin.create_key("billing", "used").await;
    for minute in 0..3 {
        for action in 0..5 {
            let name = format!("action-{action}");
            use_key(&admin, &secret, 1 + action * (minute + 1), true, context(&name, "", "")).await;
        }
        server.clock.advance(MINUTE);
    }
    let (_server, admin) = put_on_record(server).await;
    let by_minute = v1::QueryUsageRequest {
        granularity: Granularity::Minute.into(),
        end_time: after(MINUTE * 3),
        ..of_all(&[GroupBy::Action])
    };
    let name = |row: &v1::UsageRow| (row.bucket_start.expect("set").seconds, row.action.clone());
    let whole = admin.query(v1::QueryUsageRequest { page_size: 1000, ..by_minute.clone() }).await;
    assert_eq!((whole.rows.len(), whole.next_page_token.as_str()), (15, ""));
    assert!(whole.rows.is_sorted_by_key(name), "by bucket, then action");
    for page_size in [1, 2, 7, 15] {
        let (mut rows, mut page_token) = (Vec::new(), String::new());
        loop {
            let asked = v1::QueryUsageRequest { page_size, page_token, ..by_minute.clone() };
            let page = admin.query(asked).await;
            assert!(page.rows.len() <= usize::try_from(page_size).expect("positive"));
            rows.extend(page.rows);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(rows, whole.rows, "page size {page_size}");
    }
    let first = admin.query(v1::QueryUsageRequest { page_size: 2, ..by_minute.clone() }).await;
    let other =
        v1::QueryUsageRequest { page_token: first.next_page_token, ..of_all(&[GroupBy::Action]) };
    let refused = admin.usage.clone().query_usage(other).await.expect_err("another question's");
    assert_eq!(common::fields(&refused), ["page_token"]);

    let top = admin.query(v1::QueryUsageRequest { top_n: 2, ..of_all(&[GroupBy::Action]) }).await;
    let top: Vec<_> = top
        .rows
        .iter()
        .map(|row| (row.action.as_str(), allowed_and_denied(row.counts.as_ref()).0))
        .collect();
    assert_eq!(top, [("action-4", 3 + 4 * 6), ("action-3", 3 + 3 * 6)]);
}

#[tokio::test]
async fn more_ways_than_are_told_apart_are_counted_as_others() {
    let (server, admin) = started().await;
    let (_, secret) = admin.create_key("billing", "attacked").await;
    for n in 0..70 {
        use_key(&admin, &secret, 1, true, context(&format!("action-{n:02}"), "", "")).await;
    }
    end_minute(&server, &admin).await;
    let asked = v1::QueryUsageRequest { page_size: 100, ..of_all(&[GroupBy::Action]) };
    let answer = admin.query(asked).await;
    let (other, known): (Vec<_>, Vec<_>) = answer.rows.into_iter().partition(|row| row.other);
    assert_eq!((known.len(), other.len()), (64, 1));
    assert_eq!(allowed_and_denied(other[0].counts.as_ref()), (6, 0));
    assert_eq!(other[0].action, "");
    let filter = v1::UsageFilter { action: Some("action-00".to_owned()), ..Default::default() };
    let asked = v1::QueryUsageRequest { filter: Some(filter), ..of_all(&[GroupBy::Key]) };
    let answer = admin.query(asked).await;
    assert_eq!(allowed_and_denied(answer.rows[0].counts.as_ref()), (1, 0));
    assert_eq!(answer.unattributed, 6);
    let all = admin.query(of_all(&[GroupBy::Key])).await;
    assert_eq!(allowed_and_denied(all.rows[0].counts.as_ref()), (70, 0), "none is lost");
}

#[tokio::test]
async fn a_wrong_secret_is_no_use_of_the_key() {
    let (server, admin) = started().await;
    let (key, secret) = admin.create_key("billing", "guessed at").await;
    assert_eq!(admin.verdict(&other_secret(&secret)).await, Err(DenialReason::UnknownKey));
    use_key(&admin, &secret, 1, true, None).await;
    end_minute(&server, &admin).await;
    let found = admin.key_usage(of_key(&key.key_id, Granularity::Minute)).await;
    assert_eq!(allowed_and_denied(found.total.as_ref()), (1, 0));
}

#[tokio::test]
async fn to_a_caller_bound_to_a_tenant_there_are_no_other_uses() {
    let (server, admin) = started().await;
    let [_, _, three, ..] = busy(&server, &admin).await;
    end_minute(&server, &admin).await;
    let (_, credential) = admin.create_caller(&[v1::Role::Analyst], &["acme"]).await;
    let bound = server.client(&credential).await;
    let own = rows(&bound.query(of_all(&[GroupBy::Tenant])).await);
    assert_eq!(own.into_keys().collect::<Vec<_>>(), ["acme|||||"]);
    let foreign = v1::UsageFilter { key_id: three.clone(), ..Default::default() };
    let asked = v1::QueryUsageRequest { filter: Some(foreign), ..of_all(&[GroupBy::Key]) };
    assert!(bound.query(asked).await.rows.is_empty());
    let asked = of_tenant("globex", &[GroupBy::Key]);
    let refused = bound.usage.clone().query_usage(asked).await.expect_err("foreign");
    assert_eq!(reason(&refused).0, "TENANT_NOT_ALLOWED");
    let asked = of_key(&three, Granularity::Hour);
    let hidden = bound.usage.clone().get_key_usage(asked).await.expect_err("hidden");
    let none = of_key("key_00000000000000000", Granularity::Hour);
    let none = bound.usage.clone().get_key_usage(none).await.expect_err("none");
    assert_eq!((hidden.code(), hidden.message()), (none.code(), none.message()));
    assert_eq!((none.code(), reason(&none).0.as_str()), (Code::NotFound, "KEY_NOT_FOUND"));
}

#[tokio::test]
async fn an_answer_takes_into_account_all_that_was_in_the_log_when_it_was_asked_for() {
    let (_server, admin) = started().await;
    for n in 0..20 {
        let (key, _) = admin.create_key("billing", &format!("key {n}")).await;
        let found = admin.key_usage(of_key(&key.key_id, Granularity::Hour)).await;
        assert!(found.position >= key.position, "{} after {}", found.position, key.position);
    }
}

#[tokio::test]
async fn it_is_said_up_to_when_uses_are_counted_and_a_restart_changes_no_answer() {
    let (server, admin) = started().await;
    let (key, secret) = admin.create_key("billing", "used").await;
    server.clock.advance(Duration::from_secs(90));
    use_key(&admin, &secret, 3, true, context("read", "192.0.2.1", "")).await;
    let open = admin.key_usage(of_key(&key.key_id, Granularity::Minute)).await;
    assert_eq!(open.complete_until, after(MINUTE), "the minute it is used in is not");
    assert_eq!(open.buckets, []);
    end_minute(&server, &admin).await;
    let questions = [of_all(&[GroupBy::Key, GroupBy::Source]), of_all(&[GroupBy::Caller])];
    let mut before = Vec::new();
    for question in &questions {
        before.push(admin.query(question.clone()).await.rows);
    }
    assert_eq!(allowed_and_denied(before[0][0].counts.as_ref()), (3, 0));
    let server = server.restart().await;
    let admin = server.admin().await;
    for (question, before) in questions.iter().zip(before) {
        assert_eq!(admin.query(question.clone()).await.rows, before);
    }
}

#[tokio::test]
async fn idle_keys_are_those_that_could_be_used_and_are_not() {
    let (server, admin) = started().await;
    let (idle_key, _) = admin.create_key("billing", "idle").await;
    let (_, secret) = admin.create_key("billing", "used").await;
    let (disabled, _) = admin.create_key("billing", "disabled").await;
    let (revoked, _) = admin.create_key("billing", "revoked").await;
    let (rotated, _) = admin.create_key("billing", "rotated").await;
    let key_id = disabled.key_id;
    let disable = v1::DisableKeyRequest { key_id, ..Default::default() };
    admin.keys.clone().disable_key(disable).await.expect("disabled");
    admin.revoke(&revoked.key_id).await.expect("revoked");
    server.clock.advance(HOUR);
    use_key(&admin, &secret, 1, true, None).await;
    let overlap = Some(prost_types::Duration { seconds: 86_400, nanos: 0 });
    let rotate =
        v1::RotateKeyRequest { key_id: rotated.key_id.clone(), overlap, ..Default::default() };
    admin.keys.clone().rotate_key(rotate).await.expect("rotated");
    server.clock.advance(Duration::from_secs(600));

    let names = async |seconds, page_size| {
        let (mut names, mut page_token) = (Vec::new(), String::new());
        loop {
            let asked = v1::ListIdleKeysRequest { page_size, page_token, ..idle("acme", seconds) };
            let page =
                admin.usage.clone().list_idle_keys(asked).await.expect("a page").into_inner();
            let since =
                START.plus(HOUR + Duration::from_secs(600)).as_micros() / 1_000_000 - seconds;
            assert_eq!(page.unused_since.map(|time| time.seconds), Some(since));
            names.extend(page.keys.into_iter().map(|key| key.key_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return names;
            }
        }
    };
    // Made at one instant, so by their ids.
    let mut expected = [idle_key.key_id, rotated.key_id];
    expected.sort_unstable();
    assert_eq!(names(1800, 0).await, expected, "used, unusable or young ones are not idle");
    assert_eq!(names(1800, 1).await, expected);
    assert_eq!(names(4201, 0).await, [] as [String; 0], "none is that old");
    assert_eq!(names(300, 0).await.len(), 4);
}
