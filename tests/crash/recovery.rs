//! The child: opens a state by the program's own recovery, looks at it, uses it, and closes it or
//! waits to be killed. It runs apart, so that an abort, a panic or a hang is the state's.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyledger::app::App;
use keyledger::app::authenticate::{Outcome, Question};
use keyledger::app::call::Call;
use keyledger::app::create_key::NewKey;
use keyledger::app::identify::Identity;
use keyledger::app::list_keys::KeyFilter;
use keyledger::app::page::PageRequest;
use keyledger::app::put_account::AccountChange;
use keyledger::app::startup::{self, Opened};
use keyledger::clock::SystemClock;
use keyledger::config::{Config, Durability, LedgerSettings};
use keyledger::domain::ids::{AccountId, AccountRef, KeyId, Position, TenantId};
use keyledger::domain::key::RevokeReason;
use keyledger::domain::key_format::Environment;
use keyledger::domain::permission::PlanName;
use keyledger::domain::requests::Method;
use keyledger::progress::Silent;
use keyledger::random::SystemRandom;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::backups::check_tidied;
use super::control_frames;
use super::journal::Journals;
use super::truth::{GivenKey, Truth, read_log};
use super::verify::{Act, Change, Demand, Seen, verify};
use super::verify_uses::{UseBounds, verify_uses};

/// The most keys asked about at one opening.
const MOST_ASKED: usize = 48;

/// One opening of a state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The root; the data directory is `data` in it.
    pub root: PathBuf,
    pub truth: PathBuf,
    /// The last position answered before the crash.
    pub answered: u64,
    /// Whether the server had said that it was ready before the crash.
    pub ready: bool,
    /// Seen and done at the openings before.
    pub seen: Vec<Seen>,
    pub acts: Vec<Act>,
    pub keys: Vec<GivenKey>,
    /// Whether to end in order; if not, the parent kills.
    pub close: bool,
    /// Whether the ledger alone is opened, and its log and all that was seen and done held to each
    /// other.
    pub verify: bool,
    /// The setting of the server.
    pub volume_bytes: u64,
    /// Not 0: this is a database of bare sled with frames of this length.
    pub frame_bytes: u64,
    /// If the run was about uses of keys: what must be on record of them.
    pub uses: Option<UseBounds>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub problem: Option<String>,
    pub seen: Option<Seen>,
    pub acts: Vec<Act>,
    pub keys: Vec<GivenKey>,
}

/// What a line of the child's output begins with.
pub const MARK: &str = "gate: ";

/// Does one job after the other, as they come on standard input.
pub fn serve_jobs() {
    keyledger::telemetry::start(Some("error")).expect("a filter");
    startup::stop_on_engine_panic();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let mut truths = BTreeMap::new();
    for line in std::io::stdin().lock().lines() {
        let job: Job = serde_json::from_str(&line.expect("a line")).expect("a job");
        let truth = truths.entry(job.truth.clone()).or_insert_with(|| {
            let text = fs::read(&job.truth).expect("the truth is there");
            serde_json::from_slice::<Truth>(&text).expect("a truth")
        });
        let mut report = Report::default();
        let result = if job.frame_bytes > 0 {
            control_frames::open_and_verify(&job)
        } else if job.verify {
            verify_log(&job, truth)
        } else {
            use_it(&runtime, &job, truth, &mut report)
        };
        report.problem = result.err();
        say(&report);
    }
}

fn say(report: &Report) {
    let line = serde_json::to_string(report).expect("a report");
    writeln!(std::io::stdout(), "{MARK}{line}").expect("the parent listens");
}

fn verify_log(job: &Job, truth: &Truth) -> Result<(), String> {
    let data_dir = job.root.join("data");
    if job.uses.is_some() {
        // Whatever was left of uses is on record after this.
        let Opened { app, closing, .. } = open(job)?;
        drop(app);
        closing.close().map_err(|error| format!("closing: {error}"))?;
    }
    let log = read_log(&data_dir, job.volume_bytes)?;
    let Job { answered, seen, acts, .. } = job;
    verify(&log, &Demand { truth, answered: *answered, seen, acts })?;
    let Some(bounds) = &job.uses else { return Ok(()) };
    let left = Journals::of(&data_dir)?.left(&data_dir)?;
    verify_uses(&log, bounds, seen, &left)
}

fn open(job: &Job) -> Result<Opened, String> {
    let ledger = LedgerSettings {
        volume_bytes: job.volume_bytes,
        scrub_bytes_per_second: None,
        ..LedgerSettings::default()
    };
    let mut config = Config { data_dir: job.root.join("data"), ledger, ..Config::default() };
    if job.uses.as_ref().is_some_and(|uses| uses.before_reply) {
        config.usage.durability = Durability::BeforeReply;
    }
    let (clock, random) = (Arc::new(SystemClock::new()), Arc::new(SystemRandom));
    let opened = startup::open(&config, clock, random, &Silent);
    opened.map_err(|error| format!("refused: {error}"))
}

/// Opens the service, looks at it, uses it, closes it.
fn use_it(runtime: &Runtime, job: &Job, truth: &Truth, report: &mut Report) -> Result<(), String> {
    let data_dir = job.root.join("data");
    let Opened { app, closing, .. } = open(job)?;
    check_tidied(&job.root)?;
    let identity = identify(&app, &data_dir, job.ready.then_some(truth))?;
    let seen = runtime.block_on(look(&app, &identity, job, truth))?;
    report.seen = Some(seen.clone());
    if seen.head < job.answered {
        let answered = job.answered;
        return Err(format!("position {answered} was acknowledged, the head is {}", seen.head));
    }
    runtime.block_on(work(&app, &identity, &seen, report))?;
    if !job.close {
        say(report);
        loop {
            std::thread::park();
        }
    }
    drop(app);
    closing.close().map_err(|error| format!("closing: {error}"))
}

/// The admin. Once the server had been ready it must be the one of the trace.
fn identify(app: &App, data_dir: &Path, known: Option<&Truth>) -> Result<Arc<Identity>, String> {
    let file = fs::read_to_string(data_dir.join("admin.credential"));
    let found = file.map_err(|error| format!("the admin's credential: {error}"))?;
    let found = found.trim_end();
    if known.is_some_and(|truth| truth.credential != found) {
        return Err("the admin's credential is another than was announced".to_owned());
    }
    let identity = app.identify(found);
    identity.map(Arc::new).map_err(|error| format!("the admin's credential: {error:?}"))
}

fn account() -> AccountRef {
    let tenant = TenantId::parse("acme").expect("a constant");
    AccountRef { tenant, account: AccountId::parse("gate").expect("a constant") }
}

async fn look(
    app: &Arc<App>,
    identity: &Identity,
    job: &Job,
    truth: &Truth,
) -> Result<Seen, String> {
    let status = app.status(identity).await.map_err(|error| format!("status: {error:?}"))?;
    let mut verdicts = Vec::new();
    let keys = truth.keys.len() + job.keys.len();
    let known = truth.keys.iter().chain(&job.keys);
    for key in known.step_by(keys.div_ceil(MOST_ASKED).max(1)) {
        let question = Question {
            api_key: &key.secret,
            tenant: None,
            required: Vec::new(),
            context: Default::default(),
            cost: 0,
            min_position: None,
        };
        let decision = app.authenticate(identity, question).await;
        let decision = decision.map_err(|error| format!("authenticating {}: {error:?}", key.id))?;
        let verdict = match decision.outcome {
            Outcome::Allowed(_) => None,
            Outcome::Denied(_, denied) => {
                let evidence = denied.evidence.map_or(0, Position::get);
                Some((format!("{:?}", denied.denial), evidence))
            }
            other => Some((format!("{other:?}"), 0)),
        };
        verdicts.push((key.id.clone(), verdict));
    }
    let head = status.figures.head.map_or(0, Position::get);
    Ok(Seen { head, root: status.tree_root.0, verdicts, listed: list(app, identity).await? })
}

async fn list(app: &App, identity: &Identity) -> Result<BTreeMap<String, String>, String> {
    let tenant = account().tenant;
    let mut page = PageRequest { size: 1000, token: String::new(), list: Vec::new() };
    let mut listed = BTreeMap::new();
    loop {
        let found = app.list_keys(identity, &tenant, None, &KeyFilter::default(), &page).await;
        let found = found.map_err(|error| format!("listing: {error:?}"))?;
        let keys = found.items.iter().map(|key| (key.id.to_string(), format!("{:?}", key.state)));
        listed.extend(keys);
        match found.next {
            Some(token) => page.token = token,
            None => return Ok(listed),
        }
    }
}

/// A few commands: an account, a new key, its use, the end of an older one.
async fn work(
    app: &App,
    identity: &Arc<Identity>,
    seen: &Seen,
    report: &mut Report,
) -> Result<(), String> {
    let call = |method| Call {
        identity: Arc::clone(identity),
        method,
        trace_id: None,
        request: None,
        on_behalf_of: None,
    };
    let failed = |doing: &'static str| move |error| format!("{doing}: {error:?}");
    let plan = PlanName::parse("enterprise").ok();
    let change = AccountChange { plan, ..AccountChange::default() };
    let put = app.put_account(&call(Method::PutAccount), account(), &change).await;
    let position = put.map_err(failed("putting an account"))?.position.get();
    report.acts.push(Act { position, key: String::new(), what: Change::Account });
    let made = app.create_key(&call(Method::CreateKey), new_key()).await;
    let (made, _, position) = made.map_err(failed("creating a key"))?;
    let id = made.view.id.to_string();
    let secret = made.secret.ok_or("a new key without a secret")?.expose().to_owned();
    report.acts.push(Act { position: position.get(), key: id.clone(), what: Change::Created });
    report.keys.push(GivenKey { id, secret });
    let active = seen.listed.iter().find(|(_, state)| *state == "Active");
    let Some(id) = active.and_then(|(id, _)| KeyId::parse(id)) else { return Ok(()) };
    let revoke = call(Method::RevokeKey);
    let revoked = app.revoke_key(&revoke, id, RevokeReason::Superseded, String::new()).await;
    let position = revoked.map_err(failed("revoking a key"))?.position.get();
    report.acts.push(Act { position, key: id.to_string(), what: Change::Revoked });
    Ok(())
}

fn new_key() -> NewKey {
    NewKey {
        account: account(),
        name: "made after a crash".to_owned(),
        scopes: None,
        environment: Environment::Live,
        expire_time: None,
        allowed_cidrs: Vec::new(),
        metadata: BTreeMap::new(),
    }
}
