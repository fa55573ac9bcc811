//! What proxies that speak HTTP are answered, and who asks with a key alone, on a real server. With real proxies:
//! `tests/peers/proxies`.

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use common::check::check;
use common::requests::may;
use common::usage::other_id;
use common::{Client, TestServer, wire};
use keyledger::grpc::access::{self, Bound, CHECK, Rule};
use keyledger::proto::v1::{self, Role};
use tonic::Code;

/// An answer over HTTP.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// Sends a request with these lines of headers, on a connection of its own.
fn send(server: &TestServer, request: &str, headers: &[&[u8]]) -> Answer {
    let mut stream = TcpStream::connect(&server.http).expect("connected");
    let mut bytes = format!("{request} HTTP/1.1\r\nhost: k\r\nconnection: close\r\n").into_bytes();
    for header in headers {
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    // One that refuses a head may close before it has read all of it.
    let _ = stream.write_all(&bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// A proxy with the credential of a caller.
struct Proxy<'a> {
    server: &'a TestServer,
    caller: String,
}

impl<'a> Proxy<'a> {
    async fn of(server: &'a TestServer, admin: &Client, tenants: &[&str]) -> Self {
        let (_, credential) = admin.create_caller(&[Role::Authenticator], tenants).await;
        Proxy { server, caller: format!("x-keyledger-caller: {credential}") }
    }

    fn asks(&self, query: &str, headers: &[&[u8]]) -> Answer {
        let all = [&[self.caller.as_bytes()], headers].concat();
        send(self.server, &format!("GET /authz?{query}"), &all)
    }
}

#[tokio::test]
async fn a_proxy_is_told_who_calls_and_a_client_that_it_is_refused() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &["reports:read"]).await;
    let (key, secret) = admin.create_key("billing", "a b").await;
    let proxy = Proxy::of(&server, &admin, &[]).await;
    let bearer = format!("authorization: Bearer {secret}");
    let answer = proxy.asks("permission=reports:read&tenant=acme", &[bearer.as_bytes()]);
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    for (name, value) in [
        ("x-keyledger-key-id", key.key_id.as_str()),
        ("x-keyledger-key-name", "a%20b"),
        ("x-keyledger-tenant", "acme"),
        ("x-keyledger-account", "billing"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{answer:?}");
    }
    let alone = format!("x-api-key: {secret}");
    assert_eq!(proxy.asks("", &[alone.as_bytes()]).status, 200);
    let unknown = format!("x-api-key: {}", other_id(&secret));
    for (query, header, status, reason) in [
        ("", &b"accept: *"[..], 401, "invalid-key"),
        ("", b"x-api-key: \xff", 401, "invalid-key"),
        ("", b"authorization: Basic YTpi", 401, "invalid-key"),
        ("", unknown.as_bytes(), 401, "invalid-key"),
        ("permission=reports%3Awrite", alone.as_bytes(), 403, "unauthorized"),
        ("tenant=globex", alone.as_bytes(), 403, "unauthorized"),
    ] {
        let answer = proxy.asks(query, &[header]);
        assert_eq!((answer.status, answer.header("x-keyledger-reason")), (status, Some(reason)));
        assert_eq!(answer.header("www-authenticate"), (status == 401).then_some("Bearer"));
    }
    let twice = [bearer.as_bytes(), bearer.as_bytes()];
    assert_eq!(proxy.asks("", &twice).status, 401);
    assert_eq!(proxy.asks("anonymous=true", &[]).status, 200);
    assert_eq!(proxy.asks("anonymous=true", &[unknown.as_bytes()]).status, 401);
}

#[tokio::test]
async fn a_limit_that_is_used_up_is_told_as_the_proxy_can_carry_it() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (_, secret) = admin.create_key("billing", "k").await;
    let proxy = Proxy::of(&server, &admin, &[]).await;
    let key = format!("x-api-key: {secret}");
    assert_eq!(proxy.asks("cost=100", &[key.as_bytes()]).status, 200);
    for (query, status) in [("", 429), ("limit_status=403", 403)] {
        let answer = proxy.asks(query, &[key.as_bytes()]);
        assert_eq!(
            (answer.status, answer.header("x-keyledger-reason")),
            (status, Some("rate-limited"))
        );
        let again: u64 = answer.header("retry-after").expect("told").parse().expect("seconds");
        assert!((1..=61).contains(&again), "{again}");
    }
}

/// nginx would take 401 and 403 for denials of the client.
#[tokio::test]
async fn a_proxy_that_may_not_ask_or_asks_nonsense_is_never_answered_with_a_denial() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (_, secret) = admin.create_key("billing", "k").await;
    let (_, analyst) = admin.create_caller(&[Role::Analyst], &[]).await;
    let key = format!("authorization: Bearer {secret}");
    let as_admin = format!("authorization: Bearer {}", server.admin_credential());
    let as_key = format!("x-keyledger-caller: {secret}");
    let as_analyst = format!("x-keyledger-caller: {analyst}");
    let good = Proxy::of(&server, &admin, &[]).await.caller;
    for headers in [
        vec![key.as_bytes()],
        // A client's authorization is never the proxy's.
        vec![as_admin.as_bytes()],
        vec![key.as_bytes(), as_key.as_bytes()],
        vec![key.as_bytes(), as_analyst.as_bytes()],
        vec![key.as_bytes(), good.as_bytes(), good.as_bytes()],
        vec![key.as_bytes(), b"x-keyledger-caller: \xff"],
    ] {
        assert_eq!(send(&server, "GET /authz", &headers).status, 500);
    }
    let bound = Proxy::of(&server, &admin, &["globex"]).await;
    assert_eq!(bound.asks("tenant=acme", &[key.as_bytes()]).status, 500, "its caller may not");
    assert_eq!(bound.asks("", &[key.as_bytes()]).status, 401, "a foreign key is unknown");
    let proxy = Proxy::of(&server, &admin, &[]).await;
    for query in ["permision=a", "permission=", "cost=x", "cost=101", "a", "limit_status=200"] {
        let answer = proxy.asks(query, &[key.as_bytes()]);
        assert_eq!(answer.status, 500, "{query}");
    }
    assert_eq!(proxy.asks("", &[key.as_bytes()]).status, 200);
    let without = send(&server, "GET /authz", &[key.as_bytes()]);
    assert!(without.body.contains("X-Keyledger-Caller: <credential>"), "{without:?}");
}

#[tokio::test]
async fn what_is_refused_to_a_proxy_is_on_record_as_a_refused_check() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let (bound, credential) = admin.create_caller(&[Role::Authenticator], &["globex"]).await;
    let (analyst, without_role) = admin.create_caller(&[Role::Analyst], &[]).await;
    let ask = |credential: &str| {
        let caller = format!("x-keyledger-caller: {credential}");
        send(&server, "GET /authz?tenant=acme", &[caller.as_bytes(), b"x-api-key: k"]).status
    };
    assert_eq!((ask(&credential), ask(&without_role)), (500, 500));
    // By gRPC the same.
    let channel = server.channel().await;
    for credential in [&credential, &without_role] {
        let message = check(&[("x-api-key", "k")], &[("tenant", "acme")]);
        let answer = wire::call(&channel, CHECK, Some(credential), message).await;
        assert_eq!(answer.code, Code::PermissionDenied);
    }

    let server = server.restart().await;
    let admin = server.admin().await;
    let filter =
        v1::EventFilter { kinds: vec![v1::EventKind::CallsRefused.into()], ..Default::default() };
    let request = v1::StreamEventsRequest { filter: Some(filter), ..Default::default() };
    let mut answers =
        admin.audit.clone().stream_events(request).await.expect("a stream").into_inner();
    let mut found = Vec::new();
    while let Some(answer) = answers.message().await.expect("no error") {
        if let Some(v1::stream_events_response::Answer::Event(event)) = answer.answer
            && let Some(v1::event::Kind::CallsRefused(calls)) = event.event.expect("decoded").kind
        {
            found.push((calls.caller_id.clone(), calls.rpc.clone(), calls.reason(), calls.count));
        }
    }
    let check = "envoy.service.auth.v3.Authorization/Check".to_owned();
    let expected = [
        (bound.caller_id, check.clone(), v1::ErrorReason::TenantNotAllowed, 2),
        (analyst.caller_id, check, v1::ErrorReason::RoleMissing, 2),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for one in expected {
        assert!(found.contains(&one), "{one:?} in {found:?}");
    }
}

/// As the table of access has it for the RPC that `/authz` stands for.
#[tokio::test]
async fn each_role_and_binding_is_answered_as_a_check_of_it_is() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &[]).await;
    let (_, secret) = admin.create_key("billing", "k").await;
    let key = format!("x-api-key: {secret}");
    let never_was = format!("x-api-key: {}", other_id(&secret));
    let row = access::table().find(|(path, ..)| *path == access::CHECK);
    let Some((_, Rule::Roles(allowed), Bound::Unknown)) = row else {
        panic!("Check is asked by roles, and foreign keys are unknown: {row:?}");
    };
    for role in (1..=7).map(|role| Role::try_from(role).expect("a role")) {
        for (tenants, status) in [(&["acme"][..], 200), (&[], 200), (&["globex"], 401)] {
            let (_, credential) = admin.create_caller(&[role], tenants).await;
            let caller = format!("x-keyledger-caller: {credential}");
            let proxy = Proxy { server: &server, caller };
            let (there, absent) =
                (proxy.asks("", &[key.as_bytes()]), proxy.asks("", &[never_was.as_bytes()]));
            let expected = if may(role, allowed) { (status, 401) } else { (500, 500) };
            assert_eq!((there.status, absent.status), expected, "{role:?} of {tenants:?}");
            if there.status == 401 {
                assert_eq!(there.body, absent.body, "what is there, and what never was");
            }
        }
    }
}

#[tokio::test]
async fn a_source_is_what_the_configured_header_says_from_the_right() {
    let config = "[proxies]\nclient_address_header = \"x-forwarded-for\"\ntrusted_hops = 2\n";
    let server = TestServer::builder().config(config).start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &[]).await;
    let mut request = common::new_key("acme", "billing", "bound");
    request.allowed_cidrs = vec!["192.0.2.0/24".to_owned()];
    let secret = admin.keys.clone().create_key(request).await.expect("made").into_inner().secret;
    let proxy = Proxy::of(&server, &admin, &[]).await;
    let key = format!("x-api-key: {secret}");
    let status = |forwarded: &str| proxy.asks("", &[key.as_bytes(), forwarded.as_bytes()]).status;
    assert_eq!(status("x-forwarded-for: 198.51.100.1, 192.0.2.7, 127.0.0.1"), 200);
    assert_eq!(status("x-forwarded-for: 192.0.2.7, 198.51.100.1, 127.0.0.1"), 403);
    assert_eq!(status("x-forwarded-for: 192.0.2.7"), 403);
    assert_eq!(status("x-real-ip: 192.0.2.7"), 403);
}

#[tokio::test]
async fn what_is_too_much_or_nowhere_is_refused_and_nothing_breaks() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (_, secret) = admin.create_key("billing", "k").await;
    let proxy = Proxy::of(&server, &admin, &[]).await;
    let long = format!("authorization: Bearer {}", "k".repeat(64 * 1024));
    assert_eq!(proxy.asks("", &[long.as_bytes()]).status, 401);
    let longer = format!("authorization: Bearer {}", "k".repeat(256 * 1024));
    assert_eq!(proxy.asks("", &[longer.as_bytes()]).status, 431);
    let many = vec![&b"a: b"[..]; 400];
    assert_eq!(proxy.asks("", &many).status, 431);
    assert_eq!(send(&server, "GET /", &[]).status, 404);
    assert_eq!(send(&server, "GET /keyledger.v1.KeyService/Authenticate", &[]).status, 404);
    let posted = send(&server, "POST /authz", &[proxy.caller.as_bytes(), b"content-length: 0"]);
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")));
    let key = format!("x-api-key: {secret}");
    assert_eq!(proxy.asks("", &[key.as_bytes()]).status, 200);
}

#[tokio::test]
async fn a_key_alone_asks_what_it_is() {
    let config = "[limits]\nwho_am_i_per_source_per_minute = 3\n";
    let server = TestServer::builder().config(config).start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &["reports:read"]).await;
    let (key, secret) = admin.create_key("billing", "k").await;
    let who = |header: &str| send(&server, "GET /whoami", &[header.as_bytes()]);
    let bearer = format!("authorization: Bearer {secret}");
    let answer = who(&bearer);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let told: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(told["key_id"], key.key_id.as_str());
    assert_eq!(told["permissions"], serde_json::json!(["reports:read"]));
    assert_eq!(told["rate_limit"]["remaining"], 99);
    assert_eq!(told["expire_time"], serde_json::Value::Null);
    let nobody = who("accept: *");
    assert_eq!((nobody.status, nobody.header("www-authenticate")), (401, Some("Bearer")));
    let suspend = v1::Account {
        tenant_id: "acme".to_owned(),
        account_id: "billing".to_owned(),
        status: v1::AccountStatus::Suspended.into(),
        ..Default::default()
    };
    let mask = prost_types::FieldMask { paths: vec!["status".to_owned()] };
    let request = v1::PutAccountRequest {
        account: Some(suspend),
        update_mask: Some(mask),
        ..Default::default()
    };
    admin.accounts.clone().put_account(request).await.expect("suspended");
    assert_eq!(who(&bearer).status, 403);
    assert_eq!(who("x-api-key: nonsense").status, 401);
    let limited = who("x-api-key: nonsense");
    assert_eq!(limited.status, 429, "its source has tried enough");
    assert!(limited.header("retry-after").is_some());
}
