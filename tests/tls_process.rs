//! TLS as operators see it: the program that serves, and the program that calls it.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::certificates::{Authority, Day, Files, Pair, spiffe};
use common::process::{self, Process, refused, serve};
use keyledger::clock::{Clock, SystemClock};
use tempfile::TempDir;

/// A directory for a server and its configuration.
struct Place(TempDir);

impl Place {
    fn new(config: &str) -> Self {
        let place = Place(TempDir::new().expect("a directory"));
        fs::write(place.0.path().join("keyledger.toml"), config).expect("written");
        place
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn credential(&self) -> PathBuf {
        self.data().join("admin.credential")
    }

    fn serve(&self, address: &str) -> Command {
        let mut command = serve(&self.data(), address);
        command.arg("--config").arg(self.0.path().join("keyledger.toml"));
        command
    }

    /// A file of a client's.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("written");
        path
    }
}

/// A client command for a server, over TLS.
fn call(address: &str, ca: &Path, arguments: &[&str]) -> Command {
    let mut command = process::command();
    let address = address.replace("http://", "https://");
    command.args(arguments).args(["--output", "json", "--server", &address, "--ca"]).arg(ca);
    command
}

/// How a command ended, and what it said.
fn run(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let said = [stdout, stderr].concat();
    (status.code(), String::from_utf8(said).expect("text"))
}

/// The day this long from now.
fn in_days(days: i64) -> Day {
    let seconds = SystemClock::new().wall().as_micros() / 1_000_000 + days * 86_400;
    let time =
        jiff::Timestamp::from_second(seconds).expect("in range").to_zoned(jiff::tz::TimeZone::UTC);
    let number = |number: i8| u8::try_from(number).expect("a part of a date");
    (time.year().into(), number(time.month()), number(time.day()))
}

#[test]
fn plaintext_beyond_this_machine_is_served_only_where_the_danger_is_named() {
    let place = Place::new("");
    let (status, said) = refused(place.serve("0.0.0.0:0"));
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("--danger-serve-plaintext-beyond-loopback"), "{said}");
    assert!(!place.data().exists());
    let mut named = place.serve("0.0.0.0:0");
    named.arg("--danger-serve-plaintext-beyond-loopback");
    let configured = Place::new("danger_serve_plaintext_beyond_loopback = true\n");
    for command in [named, configured.serve("0.0.0.0:0")] {
        let (status, log) = Process::spawn(command).terminate();
        assert!(status.success() && log.contains("DANGER: gRPC"), "{log}");
        assert!(!log.contains("DANGER: HTTP"), "{log}");
    }
    let mut http = configured.serve("127.0.0.1:0");
    http.args(["--http-addr", "0.0.0.0:0"]);
    let (status, log) = Process::spawn(http).terminate();
    assert!(status.success() && log.contains("DANGER: HTTP"), "{log}");
    assert!(!log.contains("DANGER: gRPC"), "{log}");
    let (status, log) = Process::spawn(place.serve("127.0.0.1:0")).terminate();
    assert!(status.success() && !log.contains("DANGER"), "{log}");
}

#[test]
fn with_tls_any_address_is_served_and_the_command_line_calls_it() {
    let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
    let files = Files::new(&ours.server(), Some(&clients));
    let place = Place::new(&files.config_asking("optional"));
    let server = Process::spawn(place.serve("0.0.0.0:0"));
    let address = server.address.replace("0.0.0.0", "127.0.0.1");
    let ca = place.file("ca.pem", &ours.pem());
    let token = place.credential().display().to_string();
    let made = [
        "admin",
        "caller",
        "create",
        "--name",
        "gateway",
        "--role",
        "operator",
        "--spiffe-id",
        "spiffe://example.org/gateway",
        "--token-file",
        &token,
    ];
    let (code, said) = run(call(&address, &ca, &made));
    assert!(code == Some(0) && said.contains("spiffe://example.org/gateway"), "{said}");
    let Pair { certificate, key } = clients.client(vec![spiffe("spiffe://example.org/gateway")]);
    let mut status = call(&address, &ca, &["admin", "status"]);
    status.arg("--client-certificate").arg(place.file("client.pem", &certificate));
    status.arg("--client-key").arg(place.file("client.key", &key));
    let (code, said) = run(status);
    assert_eq!(code, Some(0), "{said}");
    let other = place.file("other.pem", &clients.pem());
    let (code, said) = run(call(&address, &other, &["admin", "status", "--token-file", &token]));
    assert!(code == Some(3) && said.contains("--ca"), "{said}");
    let (status, log) = server.terminate();
    assert!(status.success() && !log.contains("DANGER"), "{log}");
}

#[test]
fn who_calls_a_server_in_the_wrong_way_is_told_the_right_one() {
    let ours = Authority::new("ours");
    let files = Files::new(&ours.own(), None);
    let place = Place::new(&files.config());
    let server = Process::spawn(place.serve("127.0.0.1:0"));
    let ca = place.file("ca.pem", &ours.pem());
    let token = place.credential().display().to_string();
    let status = ["admin", "status", "--token-file", &token];
    let (code, said) = run(call(&server.address, &ca, &status));
    assert!(code == Some(3) && said.contains("an authority's own certificate"), "{said}");
    let mut unencrypted = process::command();
    unencrypted.args(status).args(["--server", &server.address]);
    let (code, said) = run(unencrypted);
    assert!(code == Some(3) && said.contains("https://"), "{said}");
}

#[test]
fn a_credential_is_not_sent_unencrypted_to_another_machine() {
    let place = Place::new("");
    let token = place.file("token", "kl_svc_secret\n").display().to_string();
    // An address that nobody has (RFC 5737): were it called, the answer would be another.
    let elsewhere =
        ["admin", "status", "--server", "http://192.0.2.1:50051", "--token-file", &token];
    let mut command = process::command();
    command.args(elsewhere);
    let (code, said) = run(command);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--danger-plaintext-beyond-loopback"), "{said}");
}

#[test]
fn a_certificate_near_its_end_is_warned_of_and_one_behind_it_served_all_the_same() {
    let ours = Authority::new("ours");
    let files = Files::new(&ours.server_until(in_days(20)), None);
    let place = Place::new(&files.config());
    let server = Process::spawn(place.serve("127.0.0.1:0"));
    let (ca, token) = (place.file("ca.pem", &ours.pem()), place.credential().display().to_string());
    let (code, said) =
        run(call(&server.address, &ca, &["admin", "status", "--token-file", &token]));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the TLS certificate is valid only until"), "{said}");
    let (_, log) = server.terminate();
    assert!(log.contains("the TLS certificate is valid only until"), "{log}");
    files.put(&ours.server_until((2021, 1, 1)));
    let server = Process::spawn(place.serve("127.0.0.1:0"));
    let (_, metrics) = process::get(&server.ops, "/metrics");
    let expired = "keyledger_tls_certificate_expiry_timestamp_seconds 1609459200.000";
    assert!(metrics.contains(expired), "{metrics}");
    let (status, log) = server.terminate();
    assert!(status.success(), "{log}");
    assert!(log.contains("has not been valid since 2021-01-01T00:00:00Z"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_has_the_files_looked_at_without_delay() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = Files::new(&old.server(), None);
    let config =
        files.config().replace("check_interval_seconds = 1", "check_interval_seconds = 3600");
    let place = Place::new(&config);
    let server = Process::spawn(place.serve("127.0.0.1:0"));
    old.connect(&server.address, None).await.expect("let in");
    files.put(&new.server());
    server.hang_up();
    while new.connect(&server.address, None).await.is_err() {}
    assert!(old.connect(&server.address, None).await.is_err());
    let (status, log) = server.terminate();
    assert!(status.success(), "{log}");
    assert!(log.contains("the TLS files were taken for new connections"), "{log}");
}

#[test]
fn a_key_that_others_can_read_stops_the_start_without_being_shown() {
    let pair = Authority::new("ours").server();
    let files = Files::new(&pair, None);
    files.write("server.key", &pair.key, 0o644);
    let place = Place::new(&files.config());
    let (status, said) = refused(place.serve("127.0.0.1:0"));
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("tls.private_key") && said.contains("chmod"), "{said}");
    let secret = pair.key.lines().nth(1).expect("some of it");
    assert!(!said.contains(secret) && !place.data().exists(), "{said}");
}
