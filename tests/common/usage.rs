//! Uses of keys, and questions on them.

use std::time::Duration;

use keyledger::clock::Clock as _;
use keyledger::domain::time::Time;
use keyledger::proto::v1;
use prost_types::Timestamp;

use super::{Client, START, TestServer};

pub const MINUTE: Duration = Duration::from_mins(1);

/// How long after the end of a minute it is known that none of its uses is still on its way.
const SETTLED: Duration = Duration::from_secs(2);

/// A time as the API has it.
pub fn at(time: Time) -> Option<Timestamp> {
    let micros = time.as_micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).expect("under a second");
    Some(Timestamp { seconds: micros.div_euclid(1_000_000), nanos })
}

/// So long after test clocks start.
pub fn after(span: Duration) -> Option<Timestamp> {
    at(START.plus(span))
}

/// What a use is for and where it comes from.
pub fn context(action: &str, source: &str, agent: &str) -> Option<v1::AuthenticateContext> {
    Some(v1::AuthenticateContext {
        action: action.to_owned(),
        source_ip: source.to_owned(),
        user_agent: agent.to_owned(),
    })
}

/// Uses a key so often, each time alike; requires what it has, or what no key has.
pub async fn use_key(
    client: &Client,
    secret: &str,
    times: usize,
    allowed: bool,
    context: Option<v1::AuthenticateContext>,
) {
    for _ in 0..times {
        let required = if allowed { vec![] } else { vec!["not:held".to_owned()] };
        let request = v1::AuthenticateRequest {
            api_key: secret.to_owned(),
            required_permissions: required,
            context: context.clone(),
            ..Default::default()
        };
        let answer =
            client.keys.clone().authenticate(request).await.expect("an answer").into_inner();
        assert_eq!(answer.outcome() == v1::Outcome::Allowed, allowed, "{answer:?}");
    }
}

/// Lets the first minute with uses end, and waits until all of them are counted.
pub async fn end_minute(server: &TestServer, client: &Client) {
    let micros = 60_000_000;
    let end = (server.clock.wall().as_micros() / micros + 1) * micros;
    let settled = Time::from_micros(end).plus(SETTLED);
    server.clock.advance(settled.since(server.clock.wall()));
    let end = at(Time::from_micros(end)).expect("a time").seconds;
    let question = v1::QueryUsageRequest {
        start_time: at(START),
        group_by: vec![v1::GroupBy::Tenant.into()],
        top_n: 1,
        ..Default::default()
    };
    loop {
        let answer = client.usage.clone().query_usage(question.clone()).await.expect("an answer");
        if answer.into_inner().complete_until.expect("always set").seconds >= end {
            return;
        }
    }
}

/// Restarts the server, which puts all uses on record: at once, where minutes that follow each other would be spread
/// over the machine's time.
pub async fn put_on_record(server: TestServer) -> (TestServer, Client) {
    let server = server.restart().await;
    let admin = server.admin().await;
    (server, admin)
}

/// The uses of a key since test clocks start.
pub fn of_key(key_id: &str, granularity: v1::Granularity) -> v1::GetKeyUsageRequest {
    v1::GetKeyUsageRequest {
        key_id: key_id.to_owned(),
        start_time: at(START),
        end_time: None,
        granularity: granularity.into(),
    }
}

/// All uses since test clocks start, told apart.
pub fn of_all(group_by: &[v1::GroupBy]) -> v1::QueryUsageRequest {
    v1::QueryUsageRequest {
        start_time: at(START),
        group_by: group_by.iter().copied().map(i32::from).collect(),
        ..Default::default()
    }
}

/// As [`of_all`], of one tenant.
pub fn of_tenant(tenant: &str, group_by: &[v1::GroupBy]) -> v1::QueryUsageRequest {
    let filter = v1::UsageFilter { tenant_id: tenant.to_owned(), ..Default::default() };
    v1::QueryUsageRequest { filter: Some(filter), ..of_all(group_by) }
}

/// The keys of a tenant that are idle for so many seconds.
pub fn idle(tenant: &str, seconds: i64) -> v1::ListIdleKeysRequest {
    v1::ListIdleKeysRequest {
        tenant_id: tenant.to_owned(),
        unused_for: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..Default::default()
    }
}

impl Client {
    pub async fn query(&self, question: v1::QueryUsageRequest) -> v1::QueryUsageResponse {
        self.usage.clone().query_usage(question).await.expect("an answer").into_inner()
    }

    pub async fn key_usage(&self, question: v1::GetKeyUsageRequest) -> v1::GetKeyUsageResponse {
        self.usage.clone().get_key_usage(question).await.expect("an answer").into_inner()
    }
}

/// A text in which only the random part of a key differs: the right form, the wrong secret.
pub fn other_secret(secret: &str) -> String {
    let start = secret.len() - 6 - 43;
    checked(format!("{}{}", &secret[..start], "0".repeat(43)))
}

/// A text that differs from a key in its id: the right form, and no key.
pub fn other_id(secret: &str) -> String {
    let start = secret.len() - 6 - 43 - 17;
    let rest = &secret[start + 17..secret.len() - 6];
    checked(format!("{}{}{rest}", &secret[..start], "0".repeat(17)))
}

/// The body of a key, with its check.
fn checked(body: String) -> String {
    let check = crc32(body.as_bytes());
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let digit = |at: u32| char::from(digits[(check / 62_u32.pow(at) % 62) as usize]);
    body + &(0..6).rev().map(digit).collect::<String>()
}

/// CRC-32 (ISO-HDLC), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 }
        })
    })
}
