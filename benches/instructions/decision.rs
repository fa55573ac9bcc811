//! The decision on a key, from its text to the verdict and the use in the recorder's buffer: how many instructions it
//! takes, held to the figure that is kept beside this file.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use keyledger::app::App;
use keyledger::app::authenticate::{Outcome, Question, UseContext};
use keyledger::app::identify::Identity;
use keyledger::app::startup::{self, Opened};
use keyledger::clock::{Clock as _, ManualClock, SystemClock};
use keyledger::config::Config;
use keyledger::progress::Silent;
use keyledger::proto::v1;
use keyledger::random::SystemRandom;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use super::{collected, say};

/// What a run is told in which decisions are counted: then the directory, the key and the caller's credential follow.
pub(crate) const ARGUMENT: &str = "--count-decisions";

const DECISIONS: u64 = 1_000;

/// The figure of an earlier run.
const KEPT: &str = include_str!("decision.kept");

/// In a hundred of the kept figure: what a decision may grow by before this ends with an error.
const GROWTH: u64 = 5;

/// Nothing is written while decisions are counted.
const CONFIG: &str = "[plans.bench]\nrequests_per_minute = 1000000\n\n[usage]\nflush_interval_ms = 10000\nmax_lag_ms = 60000\n";

/// Killed when it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The only function whose instructions are counted, with what it calls.
#[inline(never)]
fn counted_decision(app: &App, identity: &Identity, question: Question<'_>) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    let decided = pin!(app.authenticate(identity, question)).poll(&mut cx);
    matches!(decided, Poll::Ready(Ok(decision)) if matches!(decision.outcome, Outcome::Allowed(_)))
}

fn question(secret: &str) -> Question<'_> {
    Question {
        api_key: secret,
        tenant: None,
        required: vec!["reports:read".to_owned()],
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

/// Makes an account and a key with the real program; answers the key's text.
fn furnish(dir: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let (data_dir, config) = (dir.join("data"), dir.join("keyledger.toml"));
    std::fs::write(&config, CONFIG)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyledger"));
    command.args([
        "serve",
        "--ops-addr",
        "off",
        "--http-addr",
        "off",
        "--grpc-addr",
        "127.0.0.1:0",
        "--data-dir",
    ]);
    command.arg(&data_dir).arg("--config").arg(&config).stderr(Stdio::null());
    let mut server = Server(command.stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let address = line.split_whitespace().find_map(|word| word.strip_prefix("grpc="));
    let address = format!("http://{}", address.ok_or("it is not ready")?);
    let bearer = format!("Bearer {}", credential(&data_dir)?);
    let runtime = Runtime::new()?;
    let secret = runtime.block_on(make_key(address, &bearer))?;
    Ok(secret)
}

fn credential(data_dir: &Path) -> std::io::Result<String> {
    Ok(std::fs::read_to_string(data_dir.join("admin.credential"))?.trim().to_owned())
}

async fn make_key(address: String, bearer: &str) -> Result<String, Box<dyn std::error::Error>> {
    let channel = Channel::from_shared(address)?.connect().await?;
    let account = v1::Account {
        tenant_id: "acme".to_owned(),
        account_id: "bench".to_owned(),
        plan: "bench".to_owned(),
        permissions: vec!["reports:*".to_owned()],
        ..Default::default()
    };
    let account = v1::PutAccountRequest { account: Some(account), ..Default::default() };
    let mut account = tonic::Request::new(account);
    account.metadata_mut().insert("authorization", bearer.parse()?);
    let mut accounts = v1::account_service_client::AccountServiceClient::new(channel.clone());
    accounts.put_account(account).await?;
    let key = v1::CreateKeyRequest {
        tenant_id: "acme".to_owned(),
        account_id: "bench".to_owned(),
        name: "bench".to_owned(),
        environment: "live".to_owned(),
        ..Default::default()
    };
    let mut key = tonic::Request::new(key);
    key.metadata_mut().insert("authorization", bearer.parse()?);
    let mut keys = v1::key_service_client::KeyServiceClient::new(channel);
    Ok(keys.create_key(key).await?.into_inner().secret)
}

/// Decides so many times.
///
/// # Panics
/// If the key is not allowed.
pub(crate) fn decide(data_dir: &Path, secret: &str) {
    let mut config = Config::parse(CONFIG).expect("a configuration");
    config.data_dir = data_dir.to_owned();
    let (now, random) = (SystemClock::new().wall(), Arc::new(SystemRandom));
    let clock = Arc::new(ManualClock::new(now));
    let opened = startup::open(&config, clock, random, &Silent).expect("it opens");
    let Opened { app, closing, .. } = opened;
    let credential = credential(data_dir).expect("it was made");
    let identity = app.identify(&credential).expect("the admin");
    // The key's name is read, and what is made at a first use is made.
    let runtime = Runtime::new().expect("threads");
    runtime.block_on(app.authenticate(&identity, question(secret))).expect("decided");
    let questions: Vec<_> = (0..DECISIONS).map(|_| question(secret)).collect();
    for question in questions {
        assert!(counted_decision(&app, &identity, question), "it is allowed, at once");
    }
    drop(app);
    closing.close().expect("it closes");
}

/// Counts, and holds the figure to the kept one.
pub(crate) fn check() -> Result<(), String> {
    let dir = TempDir::new().map_err(|error| error.to_string())?;
    let secret = furnish(dir.path()).map_err(|error| error.to_string())?;
    let data_dir = dir.path().join("data");
    let data_dir = data_dir.to_str().ok_or("a directory that is no text")?;
    let count = collected("*counted_decision*", &[ARGUMENT, data_dir, &secret])? / DECISIONS;
    let kept: u64 = KEPT.trim().parse().map_err(|_| "the kept figure is no number".to_owned())?;
    let change = 100.0 * (count as f64 / kept as f64 - 1.0);
    say(&format!("a decision: {count} instructions; kept {kept}, so {change:+.1} %"));
    let most = kept * (100 + GROWTH) / 100;
    if count > most {
        return Err(format!(
            "a decision takes over {most} instructions, {GROWTH} % above what is kept in \
             benches/instructions/decision.kept: take away what it does more, or keep the new figure and say why"
        ));
    }
    Ok(())
}
