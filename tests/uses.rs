//! Uses: counted at once, on record in time, each exactly once, whatever happens in between.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::process::{Process, serve};
use common::usage::other_secret;
use common::{Client, START, TestServer, fields};
use keyledger::domain::event::Event;
use keyledger::domain::ids::Position;
use keyledger::domain::subject::Subject;
use keyledger::domain::usage::UseOutcome;
use keyledger::domain::usage::used::{GapCause, KeyUsed, UsageGap, UsedWindow};
use keyledger::ledger::engine::{Ledger, LedgerReader};
use keyledger::ledger::record;
use keyledger::ledger::volumes::VolumeLedger;
use keyledger::proto::v1::{self, DenialReason};

/// What the log of a stopped server says of uses.
#[derive(Debug, Default)]
struct OnRecord {
    keys: BTreeMap<String, Vec<KeyUsed>>,
    unknown: Vec<UsedWindow>,
    gaps: Vec<UsageGap>,
}

impl OnRecord {
    fn of(data_dir: &Path) -> Self {
        let ledger = VolumeLedger::open(&data_dir.join("ledger"), u64::MAX).expect("it opens");
        let reader: Arc<dyn LedgerReader> = ledger.reader();
        let mut found = OnRecord::default();
        for frame in reader.frames_from(Position::FIRST) {
            for (_, bytes) in frame.expect("it reads").records() {
                let fact = record::decode(bytes).expect("a record");
                match (fact.subject, fact.event) {
                    (Subject::Key(_, id), Event::KeyUsed(used)) => {
                        found.keys.entry(id.to_string()).or_default().push(*used);
                    }
                    (_, Event::UnknownKeyTried(tried)) => found.unknown.push(tried.window),
                    (_, Event::UsageGap(gap)) => found.gaps.push(gap),
                    _ => {}
                }
            }
        }
        drop(reader);
        ledger.close().expect("it closes");
        found
    }

    /// How often a key was allowed and denied.
    fn counts(&self, key: &v1::Key) -> (u64, u64) {
        let used = self.keys.get(&key.key_id).map(Vec::as_slice).unwrap_or_default();
        let counts = used.iter().map(|used| used.window.use_counts());
        let counts = counts.map(|counts| (counts.allowed, counts.denied));
        let sum = counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let totals = used.last().map(|last| (last.total_allowed, last.total_denied));
        assert_eq!(totals.unwrap_or_default(), sum, "the running totals are the sums");
        sum
    }
}

async fn use_key(client: &Client, secret: &str, context: v1::AuthenticateContext) -> bool {
    let request = v1::AuthenticateRequest {
        api_key: secret.to_owned(),
        context: Some(context),
        ..Default::default()
    };
    let answer = client.keys.clone().authenticate(request).await.expect("an answer").into_inner();
    answer.outcome() == v1::Outcome::Allowed
}

fn context(action: &str, source: &str) -> v1::AuthenticateContext {
    v1::AuthenticateContext {
        action: action.to_owned(),
        source_ip: source.to_owned(),
        user_agent: "unusual-agent/7".to_owned(),
    }
}

/// Whether any file below has these bytes.
fn anywhere(path: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(path).expect("a directory").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            anywhere(&path, needle)
        } else {
            let bytes = std::fs::read(&path).unwrap_or_default();
            bytes.windows(needle.len()).any(|found| found == needle)
        }
    })
}

#[tokio::test]
async fn a_use_shows_at_once_and_is_on_record_after_a_stop() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("a", "standard", &["reports:read"]).await;
    let (key, secret) = admin.create_key("a", "used").await;
    for n in 0..7 {
        server.clock.advance(Duration::from_secs(1));
        assert!(use_key(&admin, &secret, context("read", "192.0.2.1")).await, "{n}");
    }
    server.clock.advance(Duration::from_secs(1));
    let denied = admin.authenticate(&secret, &["admin:all"]).await;
    assert_eq!(denied.denial_reason(), DenialReason::PermissionMissing);

    let shown = admin.get_key(&key.key_id).await.expect("the key");
    assert_eq!((shown.use_count, shown.denied_count), (7, 1));
    let second = |micros: i64| micros / 1_000_000;
    let start = second(START.as_micros());
    assert_eq!(shown.last_use_time.map(|time| time.seconds), Some(start + 7));
    assert_eq!(shown.last_denied_time.map(|time| time.seconds), Some(start + 8));
    assert_eq!(shown.position, key.position, "a use is no change of the key");

    let server = server.restart().await;
    let after = server.admin().await.get_key(&key.key_id).await.expect("the key");
    assert_eq!(after, shown);
    let data_dir = server.data_dir();
    let dir = server.stop().await;
    let on_record = OnRecord::of(&data_dir);
    assert_eq!(on_record.counts(&key), (7, 1));
    assert!(on_record.gaps.is_empty());
    let window = &on_record.keys[&key.key_id][0].window;
    assert_eq!((window.start, window.span), (START, Duration::from_mins(1)));
    assert_eq!(window.actions, ["read"]);
    assert_eq!(window.callers.len(), 1);
    for personal in ["192.0.2.1", "unusual-agent"] {
        assert!(!anywhere(dir.path(), personal.as_bytes()), "{personal} is nowhere in the clear");
    }
}

#[tokio::test]
async fn a_wrong_secret_changes_no_figure_of_the_key_and_is_on_record() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("a", "standard", &[]).await;
    let (key, secret) = admin.create_key("a", "guessed at").await;
    for _ in 0..3 {
        assert!(!use_key(&admin, &other_secret(&secret), context("", "203.0.113.9")).await);
    }
    assert_eq!(admin.verdict("").await, Err(DenialReason::MissingKey));
    assert_eq!(admin.verdict("nonsense").await, Err(DenialReason::MalformedKey));
    let shown = admin.get_key(&key.key_id).await.expect("the key");
    assert_eq!((shown.use_count, shown.denied_count, shown.last_denied_time), (0, 0, None));
    let data_dir = server.data_dir();
    let _dir = server.stop().await;
    let on_record = OnRecord::of(&data_dir);
    assert_eq!(on_record.counts(&key), (0, 0));
    let [window] = on_record.unknown.as_slice() else { panic!("{on_record:?}") };
    let counts: Vec<_> = window.totals.iter().map(|total| (total.outcome, total.count)).collect();
    let expected =
        [(UseOutcome::MissingKey, 1), (UseOutcome::MalformedKey, 1), (UseOutcome::UnknownKey, 3)];
    assert_eq!(counts, expected);
    let of_guesses = |sample: &&keyledger::domain::usage::used::UsedSample| {
        sample.outcome == UseOutcome::UnknownKey
    };
    let guess = window.samples.iter().find(of_guesses).expect("a sample");
    assert_eq!(guess.presented.map(|id| id.to_string()), Some(key.key_id));
}

#[tokio::test]
async fn each_minute_is_a_window_of_its_own_and_a_clock_that_steps_misplaces_nothing() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("a", "standard", &[]).await;
    let (key, secret) = admin.create_key("a", "used").await;
    let hour = Duration::from_hours(1);
    // Forwards by hours, back to the minute it came from, and on.
    for step in [START, START.plus(hour * 5), START.plus(Duration::from_secs(30)), START.plus(hour)]
    {
        server.clock.step_wall_to(step);
        assert!(use_key(&admin, &secret, context("", "")).await);
    }
    let data_dir = server.data_dir();
    let _dir = server.stop().await;
    let on_record = OnRecord::of(&data_dir);
    assert_eq!(on_record.counts(&key), (4, 0));
    let mut by_start = BTreeMap::<i64, u64>::new();
    for used in &on_record.keys[&key.key_id] {
        *by_start.entry(used.window.start.as_micros()).or_default() +=
            used.window.use_counts().allowed;
    }
    let expected = [(START, 2), (START.plus(hour), 1), (START.plus(hour * 5), 1)];
    assert_eq!(by_start, expected.map(|(start, count)| (start.as_micros(), count)).into());
}

#[tokio::test]
async fn where_every_use_is_wanted_each_is_a_record_of_its_own() {
    let config = "[usage]\ndetail = \"denied\"\n[usage.tenants.acme]\ndetail = \"every\"\n";
    let server = TestServer::builder().config(config).start().await;
    let admin = server.admin().await;
    admin.put_account("a", "standard", &[]).await;
    admin.put_account_of("other", "a", "standard", &[]).await;
    let (key, secret) = admin.create_key("a", "every").await;
    let made = admin.keys.clone().create_key(common::new_key("other", "a", "denied")).await;
    let made = made.expect("made").into_inner();
    for secret in [&secret, &made.secret] {
        for required in [&[][..], &["no:way"], &[], &["no:way"]] {
            let _ = admin.authenticate(secret, required).await;
        }
    }
    let data_dir = server.data_dir();
    let _dir = server.stop().await;
    let on_record = OnRecord::of(&data_dir);
    let sizes = |key: &v1::Key| {
        let mut sizes: Vec<(u64, u64)> = on_record.keys[&key.key_id]
            .iter()
            .map(|used| used.window.use_counts())
            .map(|counts| (counts.allowed, counts.denied))
            .collect();
        sizes.sort_unstable();
        sizes
    };
    assert_eq!(sizes(&key), [(0, 1), (0, 1), (1, 0), (1, 0)]);
    assert_eq!(sizes(&made.key.expect("a key")), [(0, 1), (0, 1), (2, 0)]);
}

#[tokio::test]
async fn a_restart_hands_out_no_fresh_minute() {
    let server =
        TestServer::builder().config("[plans.ten]\nrequests_per_minute = 10\n").start().await;
    let admin = server.admin().await;
    admin.put_account("a", "ten", &[]).await;
    let (_, secret) = admin.create_key("a", "limited").await;
    for _ in 0..10 {
        assert_eq!(admin.verdict(&secret).await, Ok(()));
    }
    server.clock.advance(Duration::from_secs(30));
    let server = server.restart().await;
    let admin = server.admin().await;
    assert_eq!(admin.verdict(&secret).await, Err(DenialReason::RateLimited));
    server.clock.advance(Duration::from_secs(33));
    assert_eq!(admin.verdict(&secret).await, Ok(()));
}

#[tokio::test]
async fn what_describes_a_use_has_bounds() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let worst = v1::AuthenticateContext {
        action: "a".repeat(129),
        source_ip: "1".repeat(65),
        user_agent: "u".repeat(257),
    };
    let request =
        v1::AuthenticateRequest { context: Some(worst), ..v1::AuthenticateRequest::default() };
    let refused = admin.keys.clone().authenticate(request).await.expect_err("refused");
    let expected = ["context.action", "context.user_agent", "context.source_ip"];
    assert_eq!(fields(&refused), expected);
}

/// Uses a key `count` times against a process that is then killed; answers the key.
async fn use_and_kill(data_dir: &Path, config: &Path, count: usize) -> v1::Key {
    let mut command = serve(data_dir, "127.0.0.1:0");
    command.arg("--config").arg(config);
    let process = Process::spawn(command);
    let admin = process.admin(data_dir).await;
    admin.put_account("a", "enterprise", &[]).await;
    let (key, secret) = admin.create_key("a", "used").await;
    for _ in 0..count {
        assert_eq!(admin.verdict(&secret).await, Ok(()));
    }
    process.kill();
    key
}

#[tokio::test]
async fn no_answered_use_is_lost_by_a_crash_if_answers_wait() {
    let home = tempfile::tempdir().expect("a directory");
    let (data_dir, config) = (home.path().join("data"), home.path().join("keyledger.toml"));
    std::fs::write(&config, "[usage]\ndurability = \"before_reply\"\n").expect("written");
    let key = use_and_kill(&data_dir, &config, 50).await;
    // Killed again at once: what was left is left again, and counted once.
    let again = Process::start(&data_dir);
    let shown = again.admin(&data_dir).await.get_key(&key.key_id).await.expect("the key");
    assert_eq!(shown.use_count, 50);
    again.kill();
    let last = Process::start(&data_dir);
    let shown = last.admin(&data_dir).await.get_key(&key.key_id).await.expect("the key");
    assert_eq!(shown.use_count, 50);
    let (status, log) = last.terminate();
    assert!(status.success(), "{log}");
    assert_eq!(OnRecord::of(&data_dir).counts(&key), (50, 0));
}

#[tokio::test]
async fn what_a_crash_took_is_a_gap_on_record() {
    let home = tempfile::tempdir().expect("a directory");
    let (data_dir, config) = (home.path().join("data"), home.path().join("keyledger.toml"));
    // Nothing is flushed before the end.
    std::fs::write(&config, "[usage]\nflush_interval_ms = 10000\nmax_lag_ms = 60000\n")
        .expect("written");
    let key = use_and_kill(&data_dir, &config, 20).await;
    let process = Process::start(&data_dir);
    let shown = process.admin(&data_dir).await.get_key(&key.key_id).await.expect("the key");
    assert!(shown.use_count <= 20);
    let (status, log) = process.terminate();
    assert!(status.success(), "{log}");
    let on_record = OnRecord::of(&data_dir);
    assert_eq!(on_record.counts(&key).0, shown.use_count);
    let [gap] = on_record.gaps.as_slice() else { panic!("{on_record:?}") };
    assert!(gap.from < gap.to && gap.lost.is_none(), "{gap:?}");
    // A stop in order leaves no gap.
    let (status, _) = Process::start(&data_dir).terminate();
    assert!(status.success());
    assert_eq!(OnRecord::of(&data_dir).gaps.len(), 1);
}

/// The files of usage journals that hold frames, in order.
fn journals(data_dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(data_dir.join("usage")).expect("a directory");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    let is_journal = |path: &Path| path.extension().is_some_and(|ending| ending == "klj");
    paths.retain(|path| is_journal(path) && std::fs::metadata(path).expect("a file").len() > 36);
    paths.sort();
    paths
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("a file");
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

/// Starts on the directory and stops in order; answers what is on record then.
fn start_and_stop(data_dir: &Path) -> OnRecord {
    let (status, log) = Process::start(data_dir).terminate();
    assert!(status.success(), "{log}");
    OnRecord::of(data_dir)
}

#[tokio::test]
async fn a_damaged_frame_is_a_gap_on_record_and_the_others_count() {
    let home = tempfile::tempdir().expect("a directory");
    let (data_dir, config) = (home.path().join("data"), home.path().join("keyledger.toml"));
    std::fs::write(&config, "[usage]\ndurability = \"before_reply\"\n").expect("written");
    let key = use_and_kill(&data_dir, &config, 10).await;
    // In the payload of the first frame of the first journal.
    flip(&journals(&data_dir)[0], 36 + 50);
    let mut check = common::process::command();
    let check = check.args(["admin", "check", "--data-dir"]).arg(&data_dir).output();
    let told = String::from_utf8(check.expect("it runs").stdout).expect("text");
    assert!(told.contains("usage/usage-") && told.contains("is damaged at byte 36"), "{told}");
    let on_record = start_and_stop(&data_dir);
    assert_eq!(on_record.counts(&key).0, 9);
    let of_damage =
        |found: &OnRecord| found.gaps.iter().filter(|gap| gap.cause == GapCause::Damaged).count();
    assert_eq!(of_damage(&on_record), 1, "{on_record:?}");
    // The next starts find the same file, and say nothing new.
    assert_eq!(start_and_stop(&data_dir).gaps.len(), on_record.gaps.len());
}

#[tokio::test]
async fn a_damaged_last_frame_is_a_gap_even_if_answers_waited() {
    let home = tempfile::tempdir().expect("a directory");
    let (data_dir, config) = (home.path().join("data"), home.path().join("keyledger.toml"));
    std::fs::write(&config, "[usage]\ndurability = \"before_reply\"\n").expect("written");
    let key = use_and_kill(&data_dir, &config, 10).await;
    let last = journals(&data_dir).pop().expect("a journal");
    flip(&last, std::fs::read(&last).expect("a file").len() - 1);
    let on_record = start_and_stop(&data_dir);
    assert_eq!(on_record.counts(&key).0, 9);
    assert_eq!(on_record.gaps.len(), 1, "{on_record:?}");
}
