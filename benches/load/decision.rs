//! The decision itself, in this process and on one thread: from the text of a key to the verdict, with the use handed to
//! the recorder, whose own thread folds and writes it as it does in the server. Beside it the bare HMAC of a tag, in the
//! same turns.

use std::hint::black_box;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use keyledger::app::App;
use keyledger::app::authenticate::{Outcome, Question, UseContext};
use keyledger::app::identify::Identity;
use keyledger::app::startup::{self, Opened};
use keyledger::clock::SystemClock;
use keyledger::config::Config;
use keyledger::domain::ids::PepperVersion;
use keyledger::domain::key_format::Secret;
use keyledger::domain::permission::PlanName;
use keyledger::domain::policy::Plan;
use keyledger::domain::tag::{Pepper, Purpose};
use keyledger::progress::Silent;
use keyledger::random::SystemRandom;
use tokio::runtime::Runtime;

use crate::asks::{Dice, GRANTED, Secrets, Zipf};
use crate::table::spread;
use crate::{now, say};

/// Turns, and decisions in each: as many questions as a processor keeps at hand.
const TURNS: usize = 500;
const DECISIONS: usize = 1_000;

/// Between turns, so that no use waits for the recorder.
const REST: Duration = Duration::from_millis(2);

/// Keys that are asked for: as many as their names are kept at hand for.
const KEYS: usize = 10_000;

fn question(secret: &str) -> Question<'_> {
    Question {
        api_key: secret,
        tenant: None,
        required: vec![GRANTED.to_owned()],
        context: UseContext {
            action: "reports.read".to_owned(),
            source: Some([192, 0, 2, 7].into()),
            agent: "bench/1.0".to_owned(),
            trace_id: None,
        },
        cost: 1,
        min_position: None,
    }
}

/// Asks, for the first time, so that the key's name is at hand.
fn acquaint(runtime: &Runtime, app: &App, identity: &Identity, secret: &str) {
    let decision = runtime.block_on(app.authenticate(identity, question(secret)));
    assert!(matches!(decision.expect("decided").outcome, Outcome::Allowed(_)), "it is allowed");
}

/// What a decision takes, in nanoseconds.
fn decide(app: &App, identity: &Identity, secrets: &[&String]) -> f64 {
    let questions: Vec<_> = secrets.iter().map(|secret| question(secret)).collect();
    let (count, mut allowed) = (questions.len(), 0);
    let mut cx = Context::from_waker(Waker::noop());
    let began = now();
    for question in questions {
        let decided = pin!(app.authenticate(identity, question)).poll(&mut cx);
        if let Poll::Ready(Ok(decision)) = decided {
            allowed += usize::from(matches!(decision.outcome, Outcome::Allowed(_)));
        }
    }
    let took = began.elapsed();
    assert_eq!(allowed, count, "every key is allowed, at once");
    took.as_secs_f64() * 1e9 / count as f64
}

/// What a bare HMAC of a tag's length takes, in nanoseconds.
fn hmac() -> f64 {
    let pepper = Pepper::new(PepperVersion(1), &[7; 32]);
    let secret = Secret::from_bytes([9; 32]);
    let began = now();
    for _ in 0..DECISIONS {
        black_box(pepper.tag(Purpose::Key, black_box(&[3; 12]), black_box(&secret)));
    }
    began.elapsed().as_secs_f64() * 1e9 / DECISIONS as f64
}

pub(crate) fn run(data_dir: &Path, secrets: &Secrets, credential: &str) {
    let mut config = Config { data_dir: data_dir.to_owned(), ..Config::default() };
    let plan = Plan { active_keys: None, requests_per_minute: Some(1_000_000_000) };
    config.policy.plans.insert(PlanName::parse("bench").expect("a name"), plan);
    let (clock, random) = (Arc::new(SystemClock::new()), Arc::new(SystemRandom));
    let opened = startup::open(&config, clock, random, &Silent).expect("it opens");
    let Opened { app, closing, .. } = opened;
    let identity = app.identify(credential).expect("a caller");
    let runtime = Runtime::new().expect("threads");
    let known = &secrets.working[..KEYS.min(secrets.working.len())];
    known.iter().for_each(|secret| acquaint(&runtime, &app, &identity, secret));
    let (mut dice, zipf) = (Dice::new(), Zipf::of(known.len()));
    let mut rows = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        let some: Vec<_> = (0..DECISIONS).map(|_| &known[zipf.draw(&mut dice)]).collect();
        rows[0].push(decide(&app, &identity, &some));
        rows[1].push(decide(&app, &identity, &[&known[0]; DECISIONS]));
        rows[2].push(hmac());
        std::thread::sleep(REST);
    }
    drop(app);
    closing.close().expect("it closes");
    let names = ["10,000 keys, by Zipf", "always the same key", "bare HMAC"];
    say("\nThe decision itself, from the text of a key to the verdict, its use with the recorder");
    for (name, row) in names.into_iter().zip(rows) {
        let [middle, least, most] = spread(row);
        say(&format!("{name:<24} {middle:>10.0} ns ({least:.0}-{most:.0})"));
    }
}
