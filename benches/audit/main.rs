//! Reading the history: events streamed to one client and to ten, verified on one core, a page of a key's timeline
//! anywhere in time, and what thousands who follow cost the writer.
//!
//! `TMPDIR=/dev/shm cargo bench --bench audit` takes some minutes, most of them to make a log in which one key has
//! 500,000 windows of uses, each in a commit of its own; `KEYLEDGER_BENCH_WINDOWS` makes another number. Clients are in
//! the same process and on the same cores. Talks only to this machine.

mod running;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyledger::app::startup;
use keyledger::clock::SystemClock;
use keyledger::config::Config;
use keyledger::domain::command::{Act, Command};
use keyledger::domain::event::{Actor, Mechanism};
use keyledger::domain::ids::{AccountId, AccountRef, KeyId, Position, TenantId};
use keyledger::domain::time::Time;
use keyledger::domain::usage::UseOutcome;
use keyledger::domain::usage::rules::RecordUses;
use keyledger::domain::usage::used::UsedWindow;
use keyledger::domain::usage::window::Total;
use keyledger::ledger::lanes::Lane;
use keyledger::merkle::leaf_hash;
use keyledger::progress::Silent;
use keyledger::proto::v1;
use keyledger::proto::v1::account_service_client::AccountServiceClient;
use keyledger::proto::v1::key_service_client::KeyServiceClient;
use keyledger::proto::v1::stream_events_response::Answer;
use keyledger::random::SystemRandom;
use keyledger::verify::History;
use running::{Audit, Running};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::Streaming;

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Windows of the key whose timeline is read.
const WINDOWS: u64 = 500_000;

/// Other keys, each with a window in every commit.
const OTHERS: usize = 2;

/// Pages that are read, each from an instant of its own.
const PAGES: usize = 2_000;

/// Events that each of ten clients is sent.
const EVENTS_FOR_EACH: u64 = 200_000;

/// Events that are verified, at most.
const VERIFIED: usize = 1_000_000;

/// Who follow, on so many connections.
const FOLLOWERS: usize = 5_000;
const CONNECTIONS: usize = 10;

/// Commits that are timed with and without followers.
const COMMITS: usize = 1_000;

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
fn say(line: &str) {
    println!("{line}");
}

/// An account and some keys of it.
async fn make_keys(server: &Running) -> Vec<KeyId> {
    let (channel, bearer) = (server.channel().await, server.bearer.clone());
    let mut accounts = AccountServiceClient::with_interceptor(channel.clone(), bearer.clone());
    accounts.put_account(put("busy")).await.expect("put");
    let mut keys = KeyServiceClient::with_interceptor(channel, bearer);
    let mut ids = Vec::new();
    for _ in 0..=OTHERS {
        let request = v1::CreateKeyRequest {
            tenant_id: "acme".to_owned(),
            account_id: "busy".to_owned(),
            name: "busy".to_owned(),
            environment: "live".to_owned(),
            ..Default::default()
        };
        let key = keys.create_key(request).await.expect("made").into_inner().key;
        ids.push(KeyId::parse(&key.expect("a key").key_id).expect("an id"));
    }
    ids
}

fn put(account: &str) -> v1::PutAccountRequest {
    let account = v1::Account {
        tenant_id: "acme".to_owned(),
        account_id: account.to_owned(),
        plan: "enterprise".to_owned(),
        ..Default::default()
    };
    v1::PutAccountRequest { account: Some(account), ..Default::default() }
}

/// Puts windows of uses on record, one of each key in each commit.
fn make_history(config: &Config, keys: &[KeyId], windows: u64) {
    let clock = Arc::new(SystemClock::new());
    let opened = startup::open_offline(config, clock, Arc::new(SystemRandom), &Silent);
    let opened = opened.expect("opens");
    let tenant = TenantId::parse("acme").expect("an id");
    let account = AccountId::parse("busy").expect("an id");
    let account = Arc::new(AccountRef { tenant, account });
    let actor = Actor { caller: None, mechanism: Mechanism::Service };
    for n in 0..windows {
        let start = Time::from_micros(i64::try_from(n).expect("few") * 60_000_000);
        let total = Total { outcome: UseOutcome::Allowed, count: 3, first: start, last: start };
        let window = UsedWindow {
            start,
            span: Duration::from_secs(60),
            totals: vec![total],
            positions: Some((Position::FIRST, Position::FIRST)),
            callers: Vec::new(),
            actions: Vec::new(),
            counts: Vec::new(),
            samples: Vec::new(),
        };
        let mut done = None;
        for key in keys {
            let act = Act::RecordUses(RecordUses {
                key: *key,
                account: Arc::clone(&account),
                journal: n + 1,
                part: 0,
                window: window.clone(),
                private: None,
            });
            let command = Command { act, actor, trace_id: None, request: None };
            done = Some(opened.app.writer().submit(Lane::Background, command).expect("taken"));
        }
        done.expect("some").blocking_recv().expect("it runs").expect("recorded");
    }
    drop(opened.app);
    opened.closing.close().expect("closed");
}

/// Reads `most` events, or all there are.
async fn read(mut audit: Audit, after_position: u64, most: u64) -> u64 {
    let request = v1::StreamEventsRequest { after_position, ..Default::default() };
    let mut answers = audit.stream_events(request).await.expect("a stream").into_inner();
    let mut count = 0;
    while count < most
        && let Some(answer) = answers.message().await.expect("no error")
    {
        count += u64::from(matches!(answer.answer, Some(Answer::Event(_))));
    }
    count
}

async fn streaming(server: &Running) {
    let begun = now();
    let count = read(server.audit().await, 0, u64::MAX).await;
    told("streamed to one client, from the beginning", count, begun.elapsed());
    let begun = now();
    let mut reading = JoinSet::new();
    for n in 0..10 {
        reading.spawn(read(server.audit().await, n * count / 20, EVENTS_FOR_EACH));
    }
    let count = reading.join_all().await.into_iter().sum();
    told("streamed to ten clients together", count, begun.elapsed());
}

fn told(what: &str, events: u64, took: Duration) {
    let rate = u128::from(events) * 1_000_000 / took.as_micros().max(1);
    say(&format!("{what}: {events} events in {took:.2?}, {rate} a second"));
}

/// Holds the history to what an auditor does, on this thread; beside it, the hashes of the same bytes alone.
async fn verifying(server: &Running) {
    let request = v1::StreamEventsRequest::default();
    let answers = server.audit().await.stream_events(request).await;
    let mut answers = answers.expect("a stream").into_inner();
    let mut events = Vec::new();
    while events.len() < VERIFIED
        && let Some(answer) = answers.message().await.expect("no error")
    {
        if let Some(Answer::Event(event)) = answer.answer {
            events.push((event.record, event.disclosure.map(|shown| shown.personal)));
        }
    }
    let count = u64::try_from(events.len()).expect("few");
    let begun = now();
    let mut history = History::default();
    for (record, clear) in &events {
        history.take(record, clear.as_deref()).expect("it is sound");
    }
    told("verified on one core", count, begun.elapsed());
    let begun = now();
    for (record, _) in &events {
        std::hint::black_box(leaf_hash(record));
    }
    told("hashed on one core, for comparison", count, begun.elapsed());
}

/// The value below which so many of a thousand are.
fn quantile(sorted: &[Duration], thousandths: usize) -> Duration {
    sorted[(sorted.len() - 1) * thousandths / 1000]
}

fn spread(what: &str, mut spans: Vec<Duration>) {
    spans.sort_unstable();
    let [median, high, most] = [500, 990, 1000].map(|part| quantile(&spans, part));
    say(&format!("{what}: median {median:.2?}, p99 {high:.2?}, most {most:.2?}"));
}

/// Pages of 50, each from an instant of its own, spread over the whole log.
async fn timeline(server: &Running, key: KeyId) {
    let mut audit = server.audit().await;
    let whole = async |audit: &mut Audit, end_time| {
        let request =
            v1::GetKeyTimelineRequest { key_id: key.to_string(), end_time, ..Default::default() };
        audit.get_key_timeline(request).await.expect("a page").into_inner().events
    };
    let newest = whole(&mut audit, None).await;
    let last = micros(&newest[0]);
    let first = read_first_time(server).await;
    let mut spans = Vec::with_capacity(PAGES);
    for n in 0..PAGES {
        // Spread evenly and in no order that caches like.
        let share = i64::try_from((n * 7919) % PAGES).expect("few");
        let micros = first + (last - first) / i64::try_from(PAGES).expect("few") * (share + 1);
        let nanos = i32::try_from(micros % 1_000_000 * 1000).expect("below a second");
        let end_time = Some(prost_types::Timestamp { seconds: micros / 1_000_000, nanos });
        let begun = now();
        let page = whole(&mut audit, end_time).await;
        spans.push(begun.elapsed());
        assert!(!page.is_empty(), "the key was used all the time");
    }
    spread("a page of 50 of the timeline, anywhere in time", spans);
}

/// When the first window was recorded.
async fn read_first_time(server: &Running) -> i64 {
    let kinds = vec![v1::EventKind::KeyUsed.into()];
    let filter = Some(v1::EventFilter { kinds, ..Default::default() });
    let request = v1::StreamEventsRequest { filter, ..Default::default() };
    let answers = server.audit().await.stream_events(request).await;
    let answer = answers.expect("a stream").into_inner().message().await.expect("no error");
    let Some(Answer::Event(event)) = answer.and_then(|answer| answer.answer) else {
        panic!("no window")
    };
    micros(&event)
}

/// When it was recorded.
fn micros(event: &v1::AuditEvent) -> i64 {
    let time = event.event.as_ref().and_then(|event| event.record_time).expect("a time");
    time.seconds * 1_000_000 + i64::from(time.nanos / 1000)
}

/// Times of commits, one after the other.
async fn commits(server: &Running, what: &str) {
    let (channel, bearer) = (server.channel().await, server.bearer.clone());
    let mut accounts = AccountServiceClient::with_interceptor(channel, bearer);
    let mut spans = Vec::with_capacity(COMMITS);
    for n in 0..COMMITS {
        let begun = now();
        accounts.put_account(put(&format!("{what}-{n}").replace(' ', "-"))).await.expect("put");
        spans.push(begun.elapsed());
    }
    spread(&format!("a commit {what}"), spans);
}

/// Resident bytes of this process, clients included.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("a number") * 4096
}

async fn followers(server: &Running, head: u64) {
    commits(server, "with nobody following").await;
    let before = resident();
    let mut following: Vec<Streaming<v1::StreamEventsResponse>> = Vec::new();
    for _ in 0..CONNECTIONS {
        let audit = server.audit().await;
        for _ in 0..FOLLOWERS / CONNECTIONS {
            let tenant_id = "nobody".to_owned();
            let filter = Some(v1::EventFilter { tenant_id, ..Default::default() });
            let request = v1::StreamEventsRequest { after_position: head, filter, follow: true };
            let answers = audit.clone().stream_events(request).await.expect("a stream");
            following.push(answers.into_inner());
        }
    }
    for answers in &mut following {
        answers.message().await.expect("no error").expect("at the head");
    }
    let each = resident().saturating_sub(before) / u64::try_from(FOLLOWERS).expect("few");
    say(&format!("{FOLLOWERS} who follow: {each} bytes each, both ends together"));
    commits(server, "with thousands following").await;
}

fn main() {
    let windows = std::env::var("KEYLEDGER_BENCH_WINDOWS").ok();
    let windows = windows.map_or(WINDOWS, |text| text.parse().expect("a number"));
    let dir = TempDir::new().expect("a directory");
    let config = config(dir.path());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let keys = runtime.block_on(async {
        let server = Running::start(&config).await;
        let keys = make_keys(&server).await;
        server.stop().await;
        keys
    });
    let begun = now();
    make_history(&config, &keys, windows);
    say(&format!(
        "{windows} windows of each of {} keys made in {:.0?}",
        keys.len(),
        begun.elapsed()
    ));
    runtime.block_on(async {
        let server = Running::start(&config).await;
        server.at_rest().await;
        streaming(&server).await;
        verifying(&server).await;
        timeline(&server, keys[0]).await;
        followers(&server, windows * u64::try_from(keys.len()).expect("few")).await;
        server.stop().await;
    });
}

fn config(dir: &Path) -> Config {
    Config { data_dir: dir.join("data"), ..Config::default() }
}
