//! The run of uses: keys are asked about by several services at once, allowed and denied, over several usage
//! journals that end, are put on record and removed meanwhile, and over kills and an orderly stop.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyledger::proto::v1;
use tokio::task::JoinSet;

use super::answers::verdicts;
use super::gate::Trace;
use super::hand::Hand;
use super::journal::{Counts, Journals, Uses, journal_of, name_of};
use super::recorder::Recorder;
use super::trace::Op;
use super::verify_uses::no_more;
use super::workloads::{ONE_VOLUME, Run, stop};

/// A minute, after which a journal ends, is over in one and a half seconds.
const SPEED: u32 = 40;

/// Between the uses of one service: what matters is when they come, not how many.
const PAUSE: Duration = Duration::from_millis(15);

/// How long the run may wait for what must come, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ten flushes a second, as the machine's clock has it, and no refusals where that is slow.
const BOUNDED: &str = "[usage]\nflush_interval_ms = 4000\nmax_lag_ms = 60000\n";
const BEFORE_REPLY: &str = "[usage]\ndurability = \"before_reply\"\nmax_lag_ms = 60000\n";

/// What a service asks, again and again, and what it must be answered.
#[derive(Clone, Debug)]
struct Asks {
    api_key: String,
    required: Vec<String>,
    name: String,
}

/// What was asked.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Counts>>);

pub async fn bounded(shim: &Path) -> Trace {
    uses("uses, bounded", BOUNDED, shim).await
}

pub async fn before_reply(shim: &Path) -> Trace {
    uses("uses, before_reply", BEFORE_REPLY, shim).await
}

async fn uses(name: &'static str, config: &'static str, shim: &Path) -> Trace {
    let mut run = Run::new(name, shim, ONE_VOLUME).faster(SPEED);
    run.config = config;
    let usage = run.data_dir().join("usage");
    let (sent, mut asks) = (Sent::default(), Vec::new());
    for start in 0..3 {
        let (server, hand) = run.start().await;
        if start == 0 {
            asks = what_is_asked(&hand).await;
        }
        let over = Arc::new(AtomicBool::new(false));
        let mut asking = JoinSet::new();
        for asks in &asks {
            asking.spawn(ask_until(hand.clone(), asks.clone(), sent.clone(), Arc::clone(&over)));
        }
        let before = journals(&usage);
        if start == 0 {
            // The first has ended, is on record, and is gone; uses go on.
            until(|| !journals(&usage).contains(&before[0])).await;
        } else {
            until(|| journals(&usage).last() > before.last().map(|last| last + 1).as_ref()).await;
        }
        if start < 2 {
            Recorder::kill(server);
            over.store(true, Ordering::SeqCst);
            asking.join_all().await;
        } else {
            over.store(true, Ordering::SeqCst);
            asking.join_all().await;
            stop(server);
        }
    }
    let read = Journals::of(&run.data_dir()).expect("its keys are there");
    let trace = run.finish();
    let uses = Uses {
        before_reply: config == BEFORE_REPLY,
        verdicts: verdicts(&trace.ops),
        flushes: read.flushes(&trace.ops),
    };
    check(&trace, &uses, &sent.0.lock().expect("no panic"), asks.len());
    Trace { uses: Some(uses), ..trace }
}

/// Keys that are allowed and denied, and one that is none.
async fn what_is_asked(hand: &Hand) -> Vec<Asks> {
    let mut asks = Vec::new();
    for name in ["one", "other"] {
        let (id, api_key) = hand.create_with_secret(name).await;
        for (required, outcome) in
            [(vec![], "Allowed"), (vec!["no:way".to_owned()], "PermissionMissing")]
        {
            asks.push(Asks { api_key: api_key.clone(), required, name: name_of(&id, outcome) });
        }
    }
    let (id, api_key) = hand.create_with_secret("revoked").await;
    hand.revoke(&id).await;
    asks.push(Asks { api_key, required: vec![], name: name_of(&id, "Revoked") });
    let api_key = "kl_live_no_such_key".to_owned();
    asks.push(Asks { api_key, required: vec![], name: name_of("", "MalformedKey") });
    asks
}

/// One use after the other. An error is no answer: the use may be on record or not.
async fn ask_until(hand: Hand, asks: Asks, sent: Sent, over: Arc<AtomicBool>) {
    while !over.load(Ordering::SeqCst) {
        *sent.0.lock().expect("no panic").entry(asks.name.clone()).or_default() += 1;
        let request = v1::AuthenticateRequest {
            api_key: asks.api_key.clone(),
            required_permissions: asks.required.clone(),
            ..Default::default()
        };
        let _ = hand.client.keys.clone().authenticate(request).await;
        tokio::time::sleep(PAUSE).await;
    }
}

/// The numbers of the journals that are there.
fn journals(usage: &Path) -> Vec<u64> {
    let entries = std::fs::read_dir(usage).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let number = |name: &str| journal_of(&format!("{}{name}", super::journal::USAGE));
    let mut numbers: Vec<_> = names.filter_map(|name| number(&name.to_string_lossy())).collect();
    numbers.sort_unstable();
    numbers
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the run goes on");
}

/// The run is about what it is meant to be about.
fn check(trace: &Trace, uses: &Uses, sent: &Counts, asked: usize) {
    let last = trace.ops.len();
    let bounds = uses.at(last, &[]);
    no_more(&bounds.written, sent, "were journaled, and only", "were sent").expect("no use twice");
    no_more(&bounds.answered, sent, "were answered, and only", "were sent")
        .expect("no answer twice");
    assert_eq!(bounds.answered.len(), asked, "all outcomes came: {:?}", bounds.answered);
    let removed = |op: &&Op| matches!(op, Op::Remove { path } if journal_of(path).is_some());
    assert!(trace.ops.iter().any(|op| removed(&op)), "no journal was removed");
}
