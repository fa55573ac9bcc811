//! Whether a decision asks for memory. Alone in its program, whose allocator counts bytes.

mod common;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use common::{TestServer, credential_in};
use keyledger::app::App;
use keyledger::app::authenticate::{Decision, Outcome, Question, UseContext};
use keyledger::app::identify::Identity;
use keyledger::app::startup::{self, Opened};
use keyledger::config::Config;
use keyledger::progress::Silent;
use keyledger::random::SystemRandom;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Uses wait in memory for longer than the test takes, so that what writes them does not ask for memory meanwhile.
const CONFIG: &str = r#"
[plans.bench]
requests_per_minute = 1000000

[roles.reader]
permissions = ["reports:read"]

[usage]
flush_interval_ms = 10000
max_lag_ms = 60000
"#;

const DECISIONS: usize = 100;
const TURNS: usize = 30;

fn question(secret: &str, required: &str) -> Question<'static> {
    Question {
        api_key: Box::leak(secret.to_owned().into_boxed_str()),
        tenant: None,
        required: vec![required.to_owned()],
        context: UseContext {
            action: "reports.read".to_owned(),
            source: Some([192, 0, 2, 7].into()),
            agent: "test/1.0".to_owned(),
            trace_id: None,
        },
        cost: 1,
        min_position: None,
    }
}

fn decide(app: &App, identity: &Identity, question: Question<'_>) -> Decision {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(app.authenticate(identity, question)).poll(&mut cx) {
        Poll::Ready(decision) => decision.expect("decided"),
        Poll::Pending => panic!("it waits"),
    }
}

/// By how many bytes what is held grew at most while so many decisions were made, in the turn in which it grew least: in
/// others the buffer that uses wait in grows, or another thread asks. What a decision is made of goes into that buffer,
/// so nothing is given back meanwhile that would hide what is asked for.
fn growth(app: &App, identity: &Identity, secret: &str, required: &str, allowed: bool) -> usize {
    let turn = |_| {
        let questions: Vec<_> = (0..DECISIONS).map(|_| question(secret, required)).collect();
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        for question in questions {
            let decision = decide(app, identity, question);
            assert_eq!(matches!(decision.outcome, Outcome::Allowed(_)), allowed);
        }
        ALLOCATOR.peak_usage() - before
    };
    (0..TURNS).map(turn).min().expect("there are turns")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_on_a_key_that_was_asked_for_before_asks_for_no_memory() {
    let server = TestServer::builder().config(CONFIG).start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "bench", &["reports:*"]).await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    let clock = Arc::clone(&server.clock);
    let dir = server.stop().await;
    let mut config = Config::parse(CONFIG).expect("a configuration");
    config.data_dir = dir.path().join("data");
    let credential = credential_in(&config.data_dir);
    let open = move || {
        let random = Arc::new(SystemRandom);
        startup::open(&config, clock, random, &Silent).expect("it opens")
    };
    let Opened { app, closing, .. } = tokio::task::spawn_blocking(open).await.expect("no panic");
    let identity = app.identify(&credential).expect("the admin");
    // The key's name is read.
    app.authenticate(&identity, question(&secret, "reports:read")).await.expect("decided");
    let allowed = growth(&app, &identity, &secret, "reports:read", true);
    let denied = growth(&app, &identity, &secret, "ledgers:close", false);
    assert_eq!((allowed, denied), (0, 0), "bytes, of {DECISIONS} decisions");
    // What counts does count.
    let before = ALLOCATOR.current_usage();
    let asked = question(&secret, "reports:read");
    assert!(ALLOCATOR.current_usage() > before, "{asked:?}");
    drop(app);
    tokio::task::spawn_blocking(move || closing.close()).await.expect("no panic").expect("closed");
}
