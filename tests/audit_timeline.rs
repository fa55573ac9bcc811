//! GetKeyTimeline: all that happened to one key, newest first, entered anywhere in time.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Client, START, TestServer, fields, new_key, reason};
use keyledger::domain::time::Time;
use keyledger::proto::v1::event::Kind;
use keyledger::proto::v1::{self, AuditEvent, GetKeyTimelineRequest, Role, StreamEventsRequest};
use prost_types::Timestamp;
use tonic::{Code, Status};

fn of(key_id: &str) -> GetKeyTimelineRequest {
    GetKeyTimelineRequest { key_id: key_id.to_owned(), ..Default::default() }
}

fn second(after_start: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: START.as_micros() / 1_000_000 + after_start, nanos: 0 })
}

/// A whole timeline, page by page; each page but the last has as many as were asked for.
async fn timeline(
    client: &Client,
    request: GetKeyTimelineRequest,
) -> Result<Vec<AuditEvent>, Status> {
    let (mut events, mut token) = (Vec::new(), String::new());
    loop {
        let request = GetKeyTimelineRequest { page_token: token, ..request.clone() };
        let size = request.page_size;
        let page = client.audit.clone().get_key_timeline(request).await?.into_inner();
        let count = i32::try_from(page.events.len()).expect("few");
        assert!(page.next_page_token.is_empty() || count == size, "{count} of {size}");
        events.extend(page.events);
        token = page.next_page_token;
        if token.is_empty() {
            return Ok(events);
        }
    }
}

/// Every event of a key from the stream, newest first.
async fn streamed(client: &Client, key_id: &str) -> Vec<AuditEvent> {
    let filter = v1::EventFilter { key_id: key_id.to_owned(), ..Default::default() };
    let request = StreamEventsRequest { filter: Some(filter), ..Default::default() };
    let mut answers =
        client.audit.clone().stream_events(request).await.expect("a stream").into_inner();
    let mut events = Vec::new();
    while let Some(answer) = answers.message().await.expect("no error") {
        if let Some(v1::stream_events_response::Answer::Event(event)) = answer.answer {
            events.push(*event);
        }
    }
    events.reverse();
    events
}

fn positions(events: &[AuditEvent]) -> Vec<u64> {
    events.iter().map(|event| event.position).collect()
}

fn record_time(event: &AuditEvent) -> Timestamp {
    event.event.as_ref().expect("decoded").record_time.expect("a time")
}

/// A server whose log has some sealed volumes and a live one, in which two keys have a history among much
/// else: one a record in many, one a record in each few. Records are a second apart.
async fn with_history() -> (TestServer, Client, [v1::Key; 2]) {
    let config = "[ledger]\nvolume_bytes = 65536\n";
    let server = TestServer::builder().config(config).start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &["reports:*"]).await;
    let (rare, _) = admin.create_key("billing", "rare").await;
    let (busy, _) = admin.create_key("billing", "busy").await;
    let update = async |key: &v1::Key, name: String| {
        let key = v1::Key { key_id: key.key_id.clone(), name, ..Default::default() };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["name".to_owned()] });
        let request = v1::UpdateKeyRequest { key: Some(key), update_mask, ..Default::default() };
        admin.keys.clone().update_key(request).await.expect("updated");
    };
    let fourth = server.data_dir().join("ledger/volume-00000003");
    for n in 0.. {
        server.clock.advance(Duration::from_secs(1));
        admin
            .put_account(&format!("other-{}", n % 7), "standard", &[&format!("reports:r{n}")])
            .await;
        if n % 3 == 0 {
            update(&busy, format!("busy {n}")).await;
        }
        if n % 50 == 49 {
            update(&rare, format!("rare {n}")).await;
        }
        if fourth.exists() && n % 50 > 10 {
            break;
        }
    }
    (server, admin, [rare, busy])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeline_is_every_event_of_the_key_newest_first_whatever_the_pages() {
    let (server, admin, keys) = with_history().await;
    for key in &keys {
        let expected = streamed(&admin, &key.key_id).await;
        assert!(expected.len() > 3, "{}", expected.len());
        for page_size in [1, 7, 1000] {
            let request = GetKeyTimelineRequest { page_size, ..of(&key.key_id) };
            assert_eq!(timeline(&admin, request).await.expect("a timeline"), expected);
        }
    }
    let server = server.restart().await;
    let admin = server.admin().await;
    let [rare, _] = &keys;
    let request = GetKeyTimelineRequest { page_size: 2, ..of(&rare.key_id) };
    let events = timeline(&admin, request).await.expect("a timeline");
    assert_eq!(events, streamed(&admin, &rare.key_id).await);
    let last = events.last().expect("some").event.as_ref().expect("decoded");
    assert!(matches!(last.kind, Some(Kind::KeyCreated(_))) && last.previous_position == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_span_of_time_holds_what_was_recorded_in_it() {
    let (server, admin, keys) = with_history().await;
    let end = (server.clock_time().as_micros() - START.as_micros()) / 1_000_000;
    for key in &keys {
        let all = streamed(&admin, &key.key_id).await;
        for from in (-2..end + 3).step_by(37) {
            for to in [from + 1, from + 20, from + 400] {
                let request = GetKeyTimelineRequest {
                    start_time: second(from),
                    end_time: second(to),
                    page_size: 50,
                    ..of(&key.key_id)
                };
                let found = timeline(&admin, request).await.expect("a timeline");
                let within = |event: &&AuditEvent| {
                    let seconds = record_time(event).seconds - second(0).expect("a time").seconds;
                    (from..to).contains(&seconds)
                };
                let expected: Vec<_> = all.iter().filter(within).cloned().collect();
                assert_eq!(positions(&found), positions(&expected), "{from} to {to}");
            }
        }
    }
}

#[tokio::test]
async fn auditors_are_shown_personal_fields_and_issuers_are_not() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (key, _) = admin.create_key("billing", "nightly").await;
    for (role, shown) in [(Role::Auditor, true), (Role::Issuer, false)] {
        let (_, credential) = admin.create_caller(&[role], &["acme"]).await;
        let client = server.client(&credential).await;
        let events = timeline(&client, of(&key.key_id)).await.expect("a timeline");
        assert_eq!(events[0].disclosure.is_some(), shown, "{role:?}");
    }
}

#[tokio::test]
async fn a_key_that_is_not_there_and_one_of_a_foreign_tenant_are_not_found() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account_of("globex", "billing", "standard", &[]).await;
    let made = admin.keys.clone().create_key(new_key("globex", "billing", "g")).await;
    let key = made.expect("created").into_inner().key.expect("a key");
    let (_, credential) = admin.create_caller(&[Role::Auditor], &["acme"]).await;
    let bound = server.client(&credential).await;
    for key_id in ["key_00000000000000000", &key.key_id] {
        let refused = timeline(&bound, of(key_id)).await.expect_err("hidden");
        assert_eq!(
            (refused.code(), reason(&refused).0.as_str()),
            (Code::NotFound, "KEY_NOT_FOUND")
        );
    }
}

#[tokio::test]
async fn a_token_of_another_timeline_or_one_that_is_made_up_is_refused() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (one, _) = admin.create_key("billing", "one").await;
    let (other, _) = admin.create_key("billing", "other").await;
    for key in [&one, &other] {
        let request = v1::DisableKeyRequest { key_id: key.key_id.clone(), ..Default::default() };
        admin.keys.clone().disable_key(request).await.expect("disabled");
    }
    let first = GetKeyTimelineRequest { page_size: 1, ..of(&one.key_id) };
    let page =
        admin.audit.clone().get_key_timeline(first.clone()).await.expect("a page").into_inner();
    let token = page.next_page_token;
    let of_other = GetKeyTimelineRequest { page_token: token.clone(), ..of(&other.key_id) };
    let made_up =
        GetKeyTimelineRequest { page_token: pointing_to(&token, other.position), ..first.clone() };
    for request in [of_other, made_up] {
        let refused = admin.audit.clone().get_key_timeline(request).await.expect_err("foreign");
        assert_eq!(fields(&refused), ["page_token"]);
    }
    let whole = GetKeyTimelineRequest { page_token: pointing_to(&token, one.position), ..first };
    let page = admin.audit.clone().get_key_timeline(whole).await.expect("its own").into_inner();
    assert_eq!(positions(&page.events), [one.position]);
}

/// The token, changed to lead to another position, its checksum made good.
fn pointing_to(token: &str, position: u64) -> String {
    let byte = |at: usize| u8::from_str_radix(&token[at..at + 2], 16).expect("hex");
    let mut bytes: Vec<u8> = (0..token.len()).step_by(2).map(byte).collect();
    let cursor = bytes.len() - 12;
    bytes[cursor..cursor + 8].copy_from_slice(&position.to_be_bytes());
    let check = crc32fast::hash(&bytes[..cursor + 8]).to_be_bytes();
    bytes[cursor + 8..].copy_from_slice(&check);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

trait ClockTime {
    fn clock_time(&self) -> Time;
}

impl ClockTime for TestServer {
    fn clock_time(&self) -> Time {
        keyledger::clock::Clock::wall(&*Arc::clone(&self.clock))
    }
}
