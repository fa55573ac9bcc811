//! TLS: who is let in, what is refused at the start, files that change under way, and handshakes that lead nowhere.

mod common;

use std::time::Duration;

use common::certificates::{Authority, Files, Pair, dns};
use common::place::status;
use common::{Client, TestServer, process};
use keyledger::proto::v1;
use keyledger::proto::v1::stream_events_response::Answer;
use keyledger::server::{ServeError, TlsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn serving(config: &str) -> TestServer {
    TestServer::builder().config(config).ops().start().await
}

/// A client with the first admin's credential; none if it is not let in.
async fn admin(server: &TestServer, trusted: &Authority, shown: Option<&Pair>) -> Option<Client> {
    let channel = trusted.connect(&server.address, shown).await.ok()?;
    let client = Client::new(channel, Some(&server.admin_credential()));
    // With TLS 1.3 a client learns only after its own handshake that its certificate is refused.
    client.admin.clone().get_status(v1::GetStatusRequest {}).await.ok()?;
    Some(client)
}

/// The sample of a metric as it is written.
async fn sample(server: &TestServer, name: &str) -> String {
    let address = server.ops.clone().expect("served");
    let got = tokio::task::spawn_blocking(move || process::get(&address, "/metrics").1);
    let page = got.await.expect("no panic");
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in\n{page}")).to_owned()
}

/// Asks until a metric has this value.
async fn until(server: &TestServer, name: &str, value: &str) {
    while sample(server, name).await != value {}
}

#[tokio::test]
async fn a_server_is_spoken_to_by_who_trusts_its_authority_and_by_nobody_else() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let files = Files::new(&ours.server(), None);
    let server = serving(&files.config()).await;
    let client = admin(&server, &ours, None).await.expect("let in");
    client.put_account("billing", "standard", &[]).await;
    let (_, secret) = client.create_key("billing", "ci").await;
    assert_eq!(client.verdict(&secret).await, Ok(()));
    assert!(other.connect(&server.address, None).await.is_err());
    assert!(status(&client).await.warnings.iter().all(|warning| !warning.contains("TLS")));
    let expires = sample(&server, "keyledger_tls_certificate_expiry_timestamp_seconds").await;
    assert_eq!(expires, "4070908800.000");
}

#[tokio::test]
async fn who_speaks_no_tls_or_no_http2_is_closed_and_the_others_are_served() {
    let ours = Authority::new("ours");
    let files = Files::new(&ours.server(), None);
    let server = serving(&files.config()).await;
    let address = server.address.strip_prefix("http://").expect("a scheme");
    for said in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 512]] {
        let mut plain = TcpStream::connect(address).await.expect("accepted");
        plain.write_all(said).await.expect("sent");
        // It ends, whatever is said before it does.
        let _ = plain.read_to_end(&mut Vec::new()).await;
    }
    assert!(admin(&server, &ours, None).await.is_some());
    until(&server, "keyledger_tls_handshakes_failed_total", "3").await;
}

#[tokio::test]
async fn a_client_that_speaks_tls_to_a_server_that_does_not_is_refused() {
    let server = TestServer::start().await;
    assert!(Authority::new("ours").connect(&server.address, None).await.is_err());
    server.admin().await.put_account("billing", "standard", &[]).await;
}

#[tokio::test]
async fn certificates_are_asked_of_clients_as_configured() {
    let (ours, clients, other) =
        (Authority::new("ours"), Authority::new("clients"), Authority::new("other"));
    let known = clients.client(vec![dns("gateway.example")]);
    let forged = other.client(vec![dns("gateway.example")]);
    for (asked, without) in [("optional", true), ("required", false)] {
        let files = Files::new(&ours.server(), Some(&clients));
        let server = serving(&files.config_asking(asked)).await;
        assert!(admin(&server, &ours, Some(&known)).await.is_some(), "{asked}");
        assert!(admin(&server, &ours, Some(&forged)).await.is_none(), "{asked}");
        assert_eq!(admin(&server, &ours, None).await.is_some(), without, "{asked}");
    }
    let files = Files::new(&ours.server(), None);
    let server = serving(&files.config()).await;
    assert!(admin(&server, &ours, Some(&forged)).await.is_some(), "not asked for, not looked at");
}

#[tokio::test]
async fn files_that_cannot_be_used_stop_the_start_before_anything_is_made() {
    let ours = Authority::new("ours");
    let (pair, other) = (ours.server(), ours.server());
    let refused = async |spoil: &dyn Fn(&Files)| {
        let files = Files::new(&pair, Some(&ours));
        spoil(&files);
        let config = files.config_asking("required");
        let dir = std::sync::Arc::new(tempfile::TempDir::new().expect("a directory"));
        let started = TestServer::builder().dir(&dir).config(&config).try_start().await;
        assert!(!dir.path().join("data").exists());
        match started {
            Err(ServeError::Tls(error)) => error,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it started"),
        }
    };
    let loose = refused(&|files| files.write("server.key", &pair.key, 0o644)).await;
    assert!(matches!(loose, TlsError::LooseKey), "{loose}");
    let mismatch = refused(&|files| files.write("server.key", &other.key, 0o600)).await;
    assert!(matches!(mismatch, TlsError::Mismatch), "{mismatch}");
    for (name, wrong) in [
        ("server.pem", TlsError::NoCertificate("tls.certificate")),
        ("clients.pem", TlsError::NoCertificate("tls.client_ca")),
        ("server.key", TlsError::NoKey),
    ] {
        let found = refused(&|files| files.write(name, "nothing in PEM\n", 0o600)).await;
        assert_eq!(found.to_string(), wrong.to_string());
        let gone = |files: &Files| std::fs::remove_file(files.path(name)).expect("removed");
        assert!(matches!(refused(&gone).await, TlsError::Unreadable { .. }), "{name}");
    }
}

#[tokio::test]
async fn new_files_are_taken_for_new_connections_and_those_there_are_go_on() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = Files::new(&old.server(), None);
    let server = serving(&files.config()).await;
    let client = admin(&server, &old, None).await.expect("let in");
    let request = v1::StreamEventsRequest { follow: true, ..Default::default() };
    let mut stream = client.audit.clone().stream_events(request).await.expect("a stream");
    files.put(&new.server());
    until(&server, "keyledger_tls_reloads_total", "1").await;
    assert!(old.connect(&server.address, None).await.is_err());
    let later = admin(&server, &new, None).await.expect("let in");
    later.put_account("billing", "standard", &[]).await;
    let mut came = false;
    while !came {
        let answer = stream.get_mut().message().await.expect("it goes on").expect("and on");
        came = matches!(answer.answer, Some(Answer::Event(event))
            if event.event.as_ref().is_some_and(|event| event.account_id == "billing"));
    }
    client.put_account("payroll", "standard", &[]).await;
}

#[tokio::test]
async fn new_files_that_cannot_be_used_are_told_of_and_those_before_stay() {
    let ours = Authority::new("ours");
    let (pair, other) = (ours.server(), ours.server());
    let files = Files::new(&pair, Some(&ours));
    let server = serving(&files.config_asking("optional")).await;
    let client = admin(&server, &ours, None).await.expect("let in");
    let failing = "keyledger_tls_reload_failing";
    let spoiled: [(&str, &str, u32); 4] = [
        ("server.pem", "nothing in PEM\n", 0o644),
        ("server.key", &other.key, 0o600),
        ("server.key", &pair.key, 0o644),
        ("clients.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0o644),
    ];
    for (name, text, mode) in spoiled {
        files.write(name, text, mode);
        until(&server, failing, "1").await;
        assert!(admin(&server, &ours, None).await.is_some(), "{name}");
        let warnings = status(&client).await.warnings;
        assert!(
            warnings.iter().any(|told| told.contains("the TLS files cannot be used")),
            "{name}"
        );
        files.put(&pair);
        files.write("clients.pem", &ours.pem(), 0o644);
        until(&server, failing, "0").await;
    }
    assert_eq!(server.metric("keyledger_tls_reloads_total").await, 0);
}

#[tokio::test]
async fn who_may_vouch_for_clients_changes_with_the_file() {
    let (ours, before, after) =
        (Authority::new("ours"), Authority::new("before"), Authority::new("after"));
    let files = Files::new(&ours.server(), Some(&before));
    let server = serving(&files.config_asking("required")).await;
    let [one, other] = [&before, &after].map(|authority| authority.client(vec![dns("gateway")]));
    assert!(admin(&server, &ours, Some(&one)).await.is_some());
    assert!(admin(&server, &ours, Some(&other)).await.is_none());
    files.write("clients.pem", &after.pem(), 0o644);
    until(&server, "keyledger_tls_reloads_total", "1").await;
    assert!(admin(&server, &ours, Some(&one)).await.is_none());
    assert!(admin(&server, &ours, Some(&other)).await.is_some());
}

#[tokio::test]
async fn a_handshake_that_is_not_finished_in_time_is_cut() {
    let ours = Authority::new("ours");
    let files = Files::new(&ours.server(), None);
    let server = serving(&format!("{}[limits]\ntls_handshake_seconds = 1\n", files.config())).await;
    let address = server.address.strip_prefix("http://").expect("a scheme");
    let mut silent = TcpStream::connect(address).await.expect("accepted");
    assert_eq!(silent.read(&mut [0; 16]).await.expect("closed in order"), 0);
    until(&server, "keyledger_tls_handshakes_cut_total", "1").await;
}

#[tokio::test]
async fn clients_that_begin_handshakes_and_do_not_go_on_keep_nobody_out() {
    let ours = Authority::new("ours");
    let files = Files::new(&ours.server(), None);
    let limits = "[limits]\nconnections = 3\ntls_handshakes = 4\ntls_handshake_seconds = 60\n";
    let server = serving(&format!("{}{limits}", files.config())).await;
    let first = admin(&server, &ours, None).await.expect("let in");
    let address = server.address.strip_prefix("http://").expect("a scheme");
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(TcpStream::connect(address).await.expect("the kernel takes it"));
    }
    // Served while they wait, though they are more than there is room for of either kind.
    first.put_account("billing", "standard", &[]).await;
    let second = admin(&server, &ours, None).await.expect("let in");
    second.put_account("payroll", "standard", &[]).await;
    let cut = server.metric("keyledger_tls_handshakes_cut_total").await;
    assert!(cut >= 9, "they gave way: {cut}");
    drop(silent);
}

#[tokio::test]
async fn a_client_certificate_that_ends_ends_what_it_speaks_for() {
    let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
    let files = Files::new(&ours.server(), Some(&clients));
    let server = serving(&files.config_asking("optional")).await;
    let bearer = admin(&server, &ours, None).await.expect("let in");
    let request = v1::CreateCallerRequest {
        name: "gateway".to_owned(),
        roles: vec![v1::Role::Operator.into()],
        san: "gateway".to_owned(),
        ..Default::default()
    };
    bearer.admin.clone().create_caller(request).await.expect("made");
    // The server's clock, not the client's, stands in January 2026.
    let short = clients.client_until(vec![dns("gateway")], (2026, 1, 2));
    let channel = ours.connect(&server.address, Some(&short)).await.expect("let in");
    let gateway = Client::new(channel, None);
    let ask = async || gateway.admin.clone().get_status(v1::GetStatusRequest {}).await;
    ask().await.expect("recognised");
    server.clock.advance(Duration::from_hours(25));
    let refused = ask().await.expect_err("over");
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    assert!(admin(&server, &ours, Some(&short)).await.is_none(), "nor is it let in again");
    assert!(admin(&server, &ours, None).await.is_some());
}
