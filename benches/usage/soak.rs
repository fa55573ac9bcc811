//! Full load on many keys, by several callers, each of which keeps its own tally of the answers; then a stop
//! in order and a start. What the server says of each key, before and after, and what is in the log between,
//! must be what the callers counted; so must what UsageService answers after the start. The real program, as a process of its own.
//!
//! Settings: seconds (60), keys (10,000), in_flight (256).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyledger::clock::{Clock as _, SystemClock};
use keyledger::domain::key_format::{self, KeyPrefix, SECRET_BYTES, Secret};
use keyledger::domain::usage::UseOutcome;
use keyledger::proto::v1::usage_service_client::UsageServiceClient;
use keyledger::proto::v1::{self, DenialReason};
use prost_types::Timestamp;
use tokio::runtime::Runtime;
use tonic::Status;
use tonic_types::StatusExt;

use super::calls::{self, GRANTED, Measured, Server, TENANT, Until, question};
use super::house::PLAN;
use super::on_record::{Counts, OnRecord, allowed_and_denied};
use super::program::{Process, serve};
use super::settings::Settings;
use super::{home, quantile, say};

/// Of most accounts, and of those that outrun theirs.
const PLANS: &str = "[plans.bench]\nrequests_per_minute = 1000000000\n\
                     [plans.narrow]\nrequests_per_minute = 1000\n";
const NARROW: &str = "narrow";
const CALLERS: usize = 4;
const KEYS_AN_ACCOUNT: usize = 100;
/// One key in so many is of an account that outruns its limit.
const NARROW_SHARE: usize = 20;
/// Keys shown when something is wrong.
const SHOWN: usize = 5;

const OUTCOMES: [UseOutcome; 3] =
    [UseOutcome::Allowed, UseOutcome::PermissionMissing, UseOutcome::RateLimited];

/// What one caller was answered.
struct Tally {
    /// By key, in the order of [`OUTCOMES`].
    keys: Vec<[AtomicU64; OUTCOMES.len()]>,
    unknown: AtomicU64,
    /// Refused because the disk was behind: no use.
    refused: AtomicU64,
}

impl Tally {
    fn new(keys: usize) -> Self {
        let keys = (0..keys).map(|_| Default::default()).collect();
        Tally { keys, unknown: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }

    /// # Panics
    /// If the call failed in a way that leaves open whether it was a use.
    fn note(&self, key: usize, answer: Result<v1::AuthenticateResponse, Status>) {
        let count = match answer {
            Ok(answer) => match (answer.outcome(), answer.denial_reason()) {
                (v1::Outcome::Allowed, _) => &self.keys[key][0],
                (_, DenialReason::PermissionMissing) => &self.keys[key][1],
                (_, DenialReason::RateLimited) => &self.keys[key][2],
                (_, DenialReason::UnknownKey) => &self.unknown,
                other => panic!("an answer that nothing asked for: {other:?}"),
            },
            Err(status) if is_behind(&status) => &self.refused,
            Err(status) => panic!("a call failed: {status:?}"),
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn is_behind(status: &Status) -> bool {
    let details = status.get_error_details();
    details.error_info().is_some_and(|info| info.reason == "USES_BEHIND")
}

/// What all callers counted together.
struct Counted {
    keys: BTreeMap<String, Counts>,
    unknown: u64,
    refused: u64,
}

impl Counted {
    fn of(ids: &[String], tallies: &[Arc<Tally>]) -> Self {
        let sum = |count: &dyn Fn(&Tally) -> &AtomicU64| -> u64 {
            tallies.iter().map(|tally| count(tally).load(Ordering::Relaxed)).sum()
        };
        let of_key = |key: usize| {
            let counts = OUTCOMES.iter().enumerate();
            let counts = counts.map(|(at, outcome)| (*outcome, sum(&|tally| &tally.keys[key][at])));
            counts.filter(|(_, count)| *count > 0).collect::<Counts>()
        };
        let keys = ids.iter().enumerate().map(|(key, id)| (id.clone(), of_key(key)));
        Counted {
            keys: keys.filter(|(_, counts)| !counts.is_empty()).collect(),
            unknown: sum(&|tally| &tally.unknown),
            refused: sum(&|tally| &tally.refused),
        }
    }
}

pub(crate) fn run(settings: &Settings) -> bool {
    let home = home();
    let (data_dir, config) = (home.path().join("data"), home.path().join("keyledger.toml"));
    std::fs::write(&config, PLANS).expect("written");
    let clients = calls::threads();
    let process = Process::start(&mut serve(&data_dir, &config));
    let admin = Server::new(&process.address, &data_dir);
    let keys = settings.count("keys", 10_000);
    let made = clients.block_on(make_keys(&admin, keys));
    let (ids, secrets): (Vec<String>, Vec<String>) = made.into_iter().unzip();
    let tallies: Vec<Arc<Tally>> = (0..CALLERS).map(|_| Arc::new(Tally::new(ids.len()))).collect();
    let measured = soak(&clients, &admin, &Arc::new(secrets), &tallies, settings);
    let counted = Counted::of(&ids, &tallies);
    let calls = measured.iter().map(|one| one.latencies.len()).sum::<usize>();
    let rate = measured.iter().map(|one| one.rate).sum::<f64>();
    let p99 = measured.iter().map(|one| quantile(&one.latencies, 0.99));
    say(&format!(
        "  {calls} calls, {rate:.0} a second, p99 {:.0} µs at most of a caller; {} wrong secrets; {} refused because the disk was behind",
        p99.fold(0.0, f64::max),
        counted.unknown,
        counted.refused
    ));

    let mut right = is_right("ListKeys at once", &listed(&clients, &admin), &counted);
    process.stop();
    right &= is_on_record(&data_dir, &counted);
    let process = Process::start(&mut serve(&data_dir, &config));
    let again = Server::new(&process.address, &data_dir);
    right &= is_right("ListKeys after a restart", &listed(&clients, &again), &counted);
    right &= is_right("QueryUsage after a restart", &queried(&clients, &again), &counted);
    process.stop();
    right
}

async fn make_keys(admin: &Server, keys: usize) -> Vec<(String, String)> {
    let narrow = keys / NARROW_SHARE;
    let accounts = |keys: usize| keys.div_ceil(KEYS_AN_ACCOUNT).max(1);
    let wide = keys - narrow;
    let mut made = admin.make_keys(("wide", PLAN), accounts(wide), wide).await;
    made.extend(admin.make_keys((NARROW, NARROW), accounts(narrow), narrow).await);
    made
}

/// All callers at once.
fn soak(
    clients: &Runtime,
    admin: &Server,
    secrets: &Arc<Vec<String>>,
    tallies: &[Arc<Tally>],
    settings: &Settings,
) -> Vec<Measured> {
    let wrong: Vec<String> = secrets.iter().map(|secret| with_wrong_secret(secret)).collect();
    let wrong = Arc::new(wrong);
    let until = Until::Passed(Duration::from_secs(settings.number("seconds", 60)));
    let in_flight = settings.count("in_flight", 256).div_ceil(CALLERS);
    let loads = tallies.iter().enumerate().map(|(caller, tally)| {
        let server = clients.block_on(admin.new_caller(&format!("caller {caller}")));
        let (secrets, wrong, tally) = (Arc::clone(secrets), Arc::clone(&wrong), Arc::clone(tally));
        // Each goes through the keys in an order of its own.
        let stride = [7919, 104_729, 1_299_709, 15_485_863][caller];
        let count = secrets.len();
        let key_of = move |n: usize| n * stride % count;
        let ask = move |n: usize| ask(n, &secrets[key_of(n)], &wrong[key_of(n)]);
        let note = move |n, answer| tally.note(key_of(n), answer);
        let load = async move { calls::load(&server, in_flight, (0, until), ask, note).await };
        clients.spawn(load)
    });
    let loads: Vec<_> = loads.collect();
    loads.into_iter().map(|load| clients.block_on(load).expect("no panic")).collect()
}

/// One in 50 with a wrong secret, one in 20 for what the key does not grant; 2 actions, 3 sources.
fn ask(n: usize, secret: &str, wrong: &str) -> v1::AuthenticateRequest {
    let secret = if n % 50 == 7 { wrong } else { secret };
    let permission = if n % 20 == 3 { "reports:write" } else { GRANTED };
    let context = v1::AuthenticateContext {
        action: ["reports.read", "reports.list"][n / 3 % 2].to_owned(),
        source_ip: format!("198.51.100.{}", n / 5 % 3),
        user_agent: "soak/1.0".to_owned(),
    };
    v1::AuthenticateRequest {
        required_permissions: vec![permission.to_owned()],
        context: Some(context),
        ..question(secret)
    }
}

/// The text of the same key id with another secret, its check as it must be.
fn with_wrong_secret(text: &str) -> String {
    let prefix = KeyPrefix::default();
    let presented = key_format::parse(&prefix, text).expect("a key");
    let secret = Secret::from_bytes([7; SECRET_BYTES]);
    key_format::render(&prefix, presented.environment, &presented.id, &secret).expose().to_owned()
}

/// How often each key was allowed and denied, by ListKeys.
fn listed(clients: &Runtime, admin: &Server) -> BTreeMap<String, (u64, u64)> {
    clients.block_on(async {
        let mut client = admin.keys().await;
        let mut found = BTreeMap::new();
        let mut page_token = String::new();
        loop {
            let request = v1::ListKeysRequest {
                tenant_id: TENANT.to_owned(),
                page_size: 1000,
                page_token,
                ..Default::default()
            };
            let page = client.list_keys(admin.with(request)).await.expect("listed").into_inner();
            let counts = page.keys.into_iter();
            let counts = counts.map(|key| (key.key_id, (key.use_count, key.denied_count)));
            found.extend(counts.filter(|(_, counts)| *counts != (0, 0)));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return found;
            }
        }
    })
}

/// How often each key was allowed and denied, by QueryUsage.
fn queried(clients: &Runtime, admin: &Server) -> BTreeMap<String, (u64, u64)> {
    clients.block_on(async {
        let mut client = UsageServiceClient::new(admin.channel().await);
        let mut found = BTreeMap::new();
        let mut page_token = String::new();
        // The bench has just made all uses.
        let yesterday = SystemClock::new().wall().minus(Duration::from_hours(24));
        let seconds = yesterday.as_micros() / 1_000_000;
        let start_time = Some(Timestamp { seconds, nanos: 0 });
        loop {
            let request = v1::QueryUsageRequest {
                start_time,
                group_by: vec![v1::GroupBy::Key.into()],
                page_size: 1000,
                page_token,
                ..Default::default()
            };
            let page =
                client.query_usage(admin.with(request)).await.expect("answered").into_inner();
            for row in page.rows {
                let counts = row.counts.expect("always set");
                found.insert(row.key_id, (counts.allowed, counts.denied));
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return found;
            }
        }
    })
}

/// Whether the log says of each key and outcome what was counted, and nothing of others.
fn is_on_record(data_dir: &Path, counted: &Counted) -> bool {
    let found = OnRecord::of(data_dir);
    let mut right = is_same("the log, by outcome", &found.keys, &counted.keys);
    let unknown = found.unknown.values().sum::<u64>();
    let whole = [
        ("wrong secrets", unknown, counted.unknown),
        ("gaps", found.gaps, 0),
        ("keys with a wrong running total", found.wrong_totals.len() as u64, 0),
    ];
    for (what, found, counted) in whole {
        if found != counted {
            say(&format!("  WRONG: the log has {found} {what}, the callers {counted}"));
            right = false;
        }
    }
    right
}

/// Whether these are the counts of all keys that were used, and of no others.
fn is_right(what: &str, found: &BTreeMap<String, (u64, u64)>, counted: &Counted) -> bool {
    let counted = counted.keys.iter().map(|(id, counts)| (id.clone(), allowed_and_denied(counts)));
    is_same(what, found, &counted.collect())
}

fn is_same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &BTreeMap<String, T>,
    counted: &BTreeMap<String, T>,
) -> bool {
    let ids = counted.keys().chain(found.keys().filter(|id| !counted.contains_key(*id)));
    let wrong: Vec<&String> = ids.filter(|id| found.get(*id) != counted.get(*id)).collect();
    if wrong.is_empty() {
        say(&format!("  {what}: all {} keys as the callers counted them", counted.len()));
        return true;
    }
    say(&format!("  WRONG: {what}: {} of {} keys", wrong.len(), counted.len()));
    for id in wrong.iter().take(SHOWN) {
        say(&format!("    {id}: {:?}, counted {:?}", found.get(*id), counted.get(*id)));
    }
    false
}
