//! The configuration of the program that serves: what it is told to be, and what it takes of a file that changes.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use common::process::{self, Process, refused, serve};
use common::{Client, TestServer, new_key};
use keyledger::proto::v1;
use keyledger::proto::v1::event::Kind;
use keyledger::proto::v1::stream_events_response::Answer;
use tempfile::TempDir;

/// A directory for a server and its configuration file.
struct Place(TempDir);

impl Place {
    fn new(config: &str) -> Self {
        let place = Place(TempDir::new().expect("a directory"));
        place.put(config);
        place
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("keyledger.toml")
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Replaces the file whole.
    fn put(&self, config: &str) {
        let aside = self.0.path().join("aside");
        fs::write(&aside, config).expect("written");
        fs::rename(&aside, self.file()).expect("renamed");
    }

    fn serve(&self) -> Command {
        let mut command = serve(&self.data(), "127.0.0.1:0");
        command.arg("--config").arg(self.file());
        command
    }

    fn start(&self) -> Process {
        Process::spawn(self.serve())
    }
}

/// What the program prints with these arguments, which it must take.
fn printed(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

/// The lines without where their values come from.
fn values(page: &str) -> Vec<&str> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split("  # ").next().expect("one"))
        .collect()
}

#[test]
fn the_configuration_is_printed_with_its_sources_and_nothing_is_touched() {
    let place = Place::new("grpc_addr = \"127.0.0.1:1\"\n[plans.tiny]\nactive_keys = 1\n");
    let mut command = place.serve();
    command.arg("--print-config").env("KEYLEDGER_OPS_ADDR", "off");
    let page = printed(command);
    let file = place.file();
    for line in [
        format!("data_dir = \"{}\"  # flag --data-dir", place.data().display()),
        "grpc_addr = \"127.0.0.1:0\"  # flag --grpc-addr".to_owned(),
        "ops_addr = \"127.0.0.1:0\"  # flag --ops-addr".to_owned(),
        "http_addr = \"off\"  # environment KEYLEDGER_HTTP_ADDR".to_owned(),
        "danger_serve_plaintext_beyond_loopback = false  # default".to_owned(),
        "drain_seconds = 10  # default".to_owned(),
        format!("active_keys = 1  # file {}", file.display()),
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
    assert!(!place.data().exists());

    let other = Place::new(&page);
    let mut command = process::command();
    command.args(["serve", "--print-config", "--config"]).arg(other.file());
    let again = printed(command);
    assert_eq!(values(&again), values(&page));
    assert!(
        again.contains(&format!("drain_seconds = 10  # file {}", other.file().display())),
        "{again}"
    );
}

#[test]
fn a_configuration_that_would_not_be_served_is_not_printed() {
    for (config, said_of) in [
        ("[limits]\ndrain_seconds = 0\n", "limits.drain_seconds"),
        ("http_addr = \"0.0.0.0:0\"\n", "--http-addr: only loopback"),
        ("nonsense = 1\n", "line 1"),
    ] {
        let place = Place::new(config);
        let as_served = |more: &[&str]| {
            let mut command = place.serve();
            command.env_remove("KEYLEDGER_HTTP_ADDR").args(more);
            refused(command)
        };
        let (status, said) = as_served(&["--print-config"]);
        assert!(status.code() == Some(1) && said.contains(said_of), "{said}");
        assert_eq!(said, as_served(&[]).1);
        assert!(!place.data().exists());
    }
}

/// A figure of a server.
fn figure(server: &Process, name: &str) -> String {
    let (_, page) = process::get(&server.ops, "/metrics");
    let found = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    found.unwrap_or_else(|| panic!("no {name} in\n{page}")).to_owned()
}

const TAKEN: &str = "keyledger_configuration_reloads_total";
const FAILING: &str = "keyledger_configuration_reload_failing";
const WAITING: &str = "keyledger_configuration_waiting";

/// Asks until a figure has this value.
fn until(server: &Process, name: &str, value: &str) {
    while figure(server, name) != value {}
}

async fn warnings(client: &Client) -> String {
    let status = client.admin.clone().get_status(v1::GetStatusRequest {}).await;
    status.expect("up").into_inner().warnings.join("\n")
}

/// The limit that an answer to this key tells.
async fn limit(client: &Client, secret: &str) -> u32 {
    client.authenticate(secret, &[]).await.rate_limit.expect("a limit").limit
}

/// Who put each policy in force that is on record, and how many plans it has.
async fn policies(client: &Client) -> Vec<(v1::Mechanism, usize)> {
    let request = v1::StreamEventsRequest::default();
    let mut answers =
        client.audit.clone().stream_events(request).await.expect("a stream").into_inner();
    let mut found = Vec::new();
    while let Some(answer) = answers.message().await.expect("no error") {
        let Some(Answer::Event(event)) = answer.answer else { continue };
        let event = event.event.expect("an event");
        let mechanism = event.actor.as_ref().expect("an actor").mechanism();
        if let Some(Kind::PolicyChanged(policy)) = event.kind {
            found.push((mechanism, policy.plans.len()));
        }
    }
    found
}

const SMALL: &str = "[plans.small]\nrequests_per_minute = 2\n";

/// A server with a key of an account on the plan `small`.
async fn with_small() -> (Place, Process, Client, String) {
    let place = Place::new(SMALL);
    let server = place.start();
    let admin = server.admin(&place.data()).await;
    admin.put_account("billing", "small", &[]).await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    (place, server, admin, secret)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_plan_is_in_force_after_a_sighup_and_what_needs_a_restart_is_named() {
    let (place, server, admin, secret) = with_small().await;
    assert_eq!(limit(&admin, &secret).await, 2);
    place.put(
        "key_prefix = \"acme\"\n[plans.small]\nrequests_per_minute = 1000\n[plans.other]\n\
         [limits]\ndrain_seconds = 5\n",
    );
    server.hang_up();
    until(&server, TAKEN, "1");
    assert_eq!(limit(&admin, &secret).await, 1000);
    assert_eq!(figure(&server, WAITING), "2");
    let warned = warnings(&admin).await;
    assert!(
        warned.contains("restart") && warned.contains("key_prefix, limits.drain_seconds"),
        "{warned}"
    );
    admin.put_account("payroll", "other", &[]).await;
    let by = v1::Mechanism::Service;
    assert_eq!(policies(&admin).await, [(by, 3), (by, 4)], "who did it is on record");
    let (status, log) = server.terminate();
    assert!(status.success(), "{log}");
    for said in ["plans.small.requests_per_minute", "key_prefix, limits.drain_seconds"] {
        assert!(log.contains(said), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_accounts_use_is_not_taken_away_and_nothing_beside_it_is_taken() {
    let (place, server, admin, secret) = with_small().await;
    place.put("[plans.other]\n");
    server.hang_up();
    until(&server, FAILING, "1");
    let warned = warnings(&admin).await;
    assert!(
        warned.contains("configuration file") && warned.contains("plan small by 1"),
        "{warned}"
    );
    assert_eq!(limit(&admin, &secret).await, 2);
    assert_eq!(policies(&admin).await.len(), 1);

    // A start takes it: a server that is down would deny every key.
    let (status, log) = server.terminate();
    assert!(status.success() && log.contains("plan small by 1"), "{log}");
    let server = place.start();
    let admin = server.admin(&place.data()).await;
    assert!(admin.keys.clone().create_key(new_key("acme", "billing", "more")).await.is_err());
    let (_, log) = server.terminate();
    assert!(
        log.contains("accounts use plans or roles") && log.contains("plan small by 1"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_fault_changes_nothing_until_it_is_mended() {
    let (place, server, admin, secret) = with_small().await;
    let spoiled = "[plans.small]\nrequests_per_minute = 1000\n[limits]\ndrain_seconds = 31337\n";
    // Nobody says that it has changed.
    place.put(spoiled);
    until(&server, FAILING, "1");
    let warned = warnings(&admin).await;
    assert!(warned.contains("limits.drain_seconds") && !warned.contains("31337"), "{warned}");
    fs::remove_file(place.file()).expect("removed");
    server.hang_up();
    until_warned(&admin, "cannot be read").await;
    assert_eq!(limit(&admin, &secret).await, 2);
    place.put(SMALL);
    server.hang_up();
    until(&server, FAILING, "0");
    assert_eq!(figure(&server, TAKEN), "0");
    assert!(!warnings(&admin).await.contains("configuration file"));
    let (status, log) = server.terminate();
    assert!(status.success() && !log.contains("31337"), "{log}");
}

/// Asks until something is warned of.
async fn until_warned(client: &Client, what: &str) {
    while !warnings(client).await.contains(what) {}
}

#[tokio::test]
async fn a_server_without_a_configuration_file_shows_that_nothing_fails() {
    let server = TestServer::builder().ops().start().await;
    assert_eq!((server.metric(TAKEN).await, server.metric(FAILING).await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_of_the_log_changes_while_it_runs_unless_the_environment_sets_it() {
    for (variable, told) in [(None, true), (Some("error"), false)] {
        let place = Place::new("[log]\nlevel = \"warn\"\n");
        let mut command = place.serve();
        command.env_remove("KEYLEDGER_LOG").envs(variable.map(|level| ("KEYLEDGER_LOG", level)));
        let server = Process::spawn(command);
        place.put("[log]\nlevel = \"warn,keyledger::cli=info\"\n[plans.other]\n");
        server.hang_up();
        until(&server, TAKEN, "1");
        let (status, log) = server.terminate();
        assert!(status.success(), "{log}");
        assert_eq!(log.contains("stopping: calls under way may finish"), told, "{log}");
        assert!(
            !log.contains("making a new data directory") && !log.contains("are in force"),
            "{log}"
        );
    }
}

#[test]
fn each_line_of_a_json_log_is_an_object_with_time_level_module_and_message() {
    let place = Place::new("[log]\nformat = \"json\"\n");
    let mut command = place.serve();
    command.env_remove("KEYLEDGER_LOG");
    let (_, log) = Process::spawn(command).terminate();
    let mut told = Vec::new();
    for line in log.lines().filter(|line| !line.starts_with("the first admin")) {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "{field}: {line}");
        }
        told.push(line["message"].as_str().expect("text").to_owned());
    }
    assert!(told.iter().any(|message| message == "making a new data directory"), "{log}");
}
