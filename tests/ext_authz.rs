//! What Envoy is answered about requests, on a real server. With a real Envoy: `tests/peers/proxies`.

mod common;

use common::check::check;
use common::{Client, TestServer, wire};
use envoy_types::ext_authz::v3::pb::{
    CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValueOption, HttpResponse,
    OkHttpResponse,
};
use envoy_types::pb::envoy::config::core::v3::{
    Address, HeaderMap, HeaderValue, SocketAddress, address,
};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::Peer;
use envoy_types::pb::google::protobuf::value::Kind;
use keyledger::grpc::access::CHECK;
use keyledger::grpc::authorization::MAX_CHECK_BYTES;
use keyledger::proto::v1::{self, Role};
use prost::Message as _;
use tonic::Code;
use tonic::transport::Channel;

/// An Envoy with the credential of a caller.
struct Envoy {
    channel: Channel,
    credential: String,
}

impl Envoy {
    async fn of(server: &TestServer, admin: &Client) -> Self {
        let (_, credential) = admin.create_caller(&[Role::Authenticator], &[]).await;
        Envoy { channel: server.channel().await, credential }
    }

    async fn ask_with(&self, message: Vec<u8>) -> wire::Answer {
        wire::call(&self.channel, CHECK, Some(&self.credential), message).await
    }

    async fn ask(&self, message: Vec<u8>) -> CheckResponse {
        let answer = self.ask_with(message).await;
        assert_eq!(answer.code, Code::Ok, "{answer:?}");
        let answer = answer.first.expect("an answer");
        CheckResponse::decode(answer.as_slice()).expect("one of these")
    }

    async fn lets_through(&self, message: Vec<u8>) -> OkHttpResponse {
        match self.ask(message).await.http_response {
            Some(HttpResponse::OkResponse(ok)) => ok,
            other => panic!("{other:?}"),
        }
    }

    /// The status of HTTP that a request is refused with, and why.
    async fn refuses(&self, message: Vec<u8>) -> (i32, String) {
        let answer = self.ask(message).await;
        let reason = told(&answer, "reason");
        (denied(answer).status.expect("a status").code, reason)
    }
}

fn denied(answer: CheckResponse) -> DeniedHttpResponse {
    match answer.http_response {
        Some(HttpResponse::DeniedResponse(denied)) => denied,
        other => panic!("{other:?}"),
    }
}

fn told(answer: &CheckResponse, name: &str) -> String {
    let told = &answer.dynamic_metadata.as_ref().expect("told").fields;
    match told[name].kind.as_ref() {
        Some(Kind::StringValue(text)) => text.clone(),
        other => panic!("{other:?}"),
    }
}

fn value(headers: &[HeaderValueOption], name: &str) -> Option<String> {
    let headers = headers.iter().filter_map(|option| option.header.as_ref());
    headers.filter(|header| header.key == name).map(|header| header.value.clone()).next()
}

/// As [`check`], with the headers as bytes.
fn check_raw(headers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut request = CheckRequest::decode(check(&[], &[]).as_slice()).expect("a request");
    let attributes = request.attributes.as_mut().expect("attributes");
    let http = attributes.request.as_mut().and_then(|request| request.http.as_mut());
    let raw = |(name, value): &(&str, &[u8])| HeaderValue {
        key: (*name).to_owned(),
        value: String::new(),
        raw_value: (*value).to_owned(),
    };
    let headers = headers.iter().map(raw).collect();
    http.expect("a request").header_map = Some(HeaderMap { headers });
    request.encode_to_vec()
}

/// As [`check`], of a client at an address.
fn check_from(address: &str, key: &str) -> Vec<u8> {
    let request = check(&[("x-api-key", key)], &[("action", "list")]);
    let mut request = CheckRequest::decode(request.as_slice()).expect("a request");
    let socket = SocketAddress { address: address.to_owned(), ..Default::default() };
    let address = Address { address: Some(address::Address::SocketAddress(socket)) };
    let source = Peer { address: Some(address), ..Default::default() };
    request.attributes.as_mut().expect("attributes").source = Some(source);
    request.encode_to_vec()
}

#[tokio::test]
async fn a_request_with_a_key_is_let_through_with_who_it_is_from_and_without_the_key() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &["reports:*"]).await;
    let (key, secret) = admin.create_key("billing", "dépôt, 1").await;
    let envoy = Envoy::of(&server, &admin).await;
    let bearer = format!("Bearer {secret}");
    let settings = [("permission", "reports:read reports:list"), ("tenant", "acme")];
    for message in [
        check(&[("authorization", &bearer)], &settings),
        check(&[("x-api-key", &secret)], &settings),
        check_raw(&[("authorization", bearer.as_bytes()), ("x-api-key", b"another")]),
    ] {
        let ok = envoy.lets_through(message).await;
        let expected = [
            ("x-keyledger-key-id", key.key_id.as_str()),
            ("x-keyledger-key-name", "d%C3%A9p%C3%B4t%2C%201"),
            ("x-keyledger-tenant", "acme"),
            ("x-keyledger-account", "billing"),
            ("x-keyledger-environment", "live"),
            ("x-keyledger-plan", "enterprise"),
            ("x-keyledger-permissions", "reports:*"),
        ];
        for (name, expected) in expected {
            assert_eq!(value(&ok.headers, name).as_deref(), Some(expected), "{name}");
        }
        for name in ["authorization", "x-api-key", "x-keyledger-roles"] {
            assert!(ok.headers_to_remove.iter().any(|removed| removed == name), "{name}");
        }
    }
}

#[tokio::test]
async fn what_is_no_key_is_refused_as_missing_or_malformed_and_nothing_breaks() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &[]).await;
    let (_, secret) = admin.create_key("billing", "k").await;
    let envoy = Envoy::of(&server, &admin).await;
    let bearer = format!("Bearer {secret}");
    let joined = format!("{bearer},{bearer}");
    let long = "k".repeat(64 * 1024);
    let missing = (401, "MISSING_KEY".to_owned());
    for message in [
        check(&[], &[]),
        check(&[("authorization", "Bearer")], &[]),
        check(&[("authorization", "Bearer ")], &[]),
        check_raw(&[]),
    ] {
        assert_eq!(envoy.refuses(message).await, missing);
    }
    let malformed = (401, "MALFORMED_KEY".to_owned());
    for message in [
        check(&[("authorization", &joined)], &[]),
        check(&[("authorization", &secret)], &[]),
        check(&[("authorization", "Basic YTpi")], &[]),
        check(&[("x-api-key", &bearer)], &[]),
        check(&[("authorization", &long)], &[]),
        check(&[("x-api-key", &long)], &[]),
        check_raw(&[("authorization", bearer.as_bytes()), ("authorization", bearer.as_bytes())]),
        check_raw(&[("authorization", b"Bearer \xff\xfe")]),
        check_raw(&[("x-api-key", b"\0")]),
    ] {
        assert_eq!(envoy.refuses(message).await, malformed);
    }
    let most = "k".repeat(MAX_CHECK_BYTES);
    let answer = envoy.ask_with(check(&[("authorization", &most)], &[])).await;
    assert_eq!((answer.code, &*answer.reason()), (Code::InvalidArgument, "REQUEST_TOO_LARGE"));
    envoy.lets_through(check(&[("authorization", &bearer)], &[])).await;
}

#[tokio::test]
async fn each_denial_has_its_status_and_the_client_no_more_than_the_public_message() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &["reports:read"]).await;
    let (_, secret) = admin.create_key("billing", "used").await;
    let (revoked, over) = admin.create_key("billing", "revoked").await;
    admin.revoke(&revoked.key_id).await.expect("revoked");
    let envoy = Envoy::of(&server, &admin).await;
    let asked = |key: &str, settings: &[(&str, &str)]| check(&[("x-api-key", key)], settings);
    let unknown = common::usage::other_id(&secret);
    for (message, status, reason) in [
        (asked(&unknown, &[]), 401, "UNKNOWN_KEY"),
        (asked(&over, &[]), 401, "REVOKED"),
        (asked(&secret, &[("permission", "reports:write")]), 403, "PERMISSION_MISSING"),
        (asked(&secret, &[("tenant", "globex")]), 403, "TENANT_MISMATCH"),
    ] {
        let answer = envoy.ask(message).await;
        assert_eq!(told(&answer, "reason"), reason);
        let denied = denied(answer);
        assert_eq!(denied.status.as_ref().expect("a status").code, status, "{reason}");
        assert!(!format!("{denied:?}").contains(reason), "{denied:?}");
    }
    envoy.lets_through(asked(&secret, &[("cost", "100")])).await;
    let denied = denied(envoy.ask(asked(&secret, &[])).await);
    assert_eq!(denied.status.as_ref().expect("a status").code, 429);
    assert_eq!(denied.body, "Rate limit exceeded\n");
    let again: u64 = value(&denied.headers, "retry-after").expect("told").parse().expect("seconds");
    assert!((1..=61).contains(&again), "{again}");
}

#[tokio::test]
async fn an_anonymous_route_lets_through_who_has_no_key_and_nobody_whose_key_does_not_work() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let envoy = Envoy::of(&server, &admin).await;
    let anonymous = [("anonymous", "true")];
    let claimed =
        [("x-keyledger-tenant", "acme"), ("X_Keyledger_Key_Id", "key_1"), ("accept", "*")];
    let ok = envoy.lets_through(check(&claimed, &anonymous)).await;
    assert!(ok.headers.is_empty());
    for name in ["x-keyledger-tenant", "x_keyledger_key_id", "x-keyledger-plan", "x-api-key"] {
        assert!(ok.headers_to_remove.iter().any(|removed| removed == name), "{name}");
    }
    assert!(!ok.headers_to_remove.iter().any(|removed| removed == "accept"));
    let broken = check(&[("x-api-key", "kl_live_x")], &anonymous);
    assert_eq!(envoy.refuses(broken).await, (401, "MALFORMED_KEY".to_owned()));
}

#[tokio::test]
async fn a_route_that_is_not_understood_is_an_error_and_no_answer() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (_, secret) = admin.create_key("billing", "k").await;
    let envoy = Envoy::of(&server, &admin).await;
    for (name, set, field) in [
        ("permision", "s3cret-words", ""),
        ("permission", "", "permission"),
        ("tenant", "s3cret words", "tenant"),
        ("cost", "s3cret", "cost"),
        ("anonymous", "s3cret", "anonymous"),
        ("action", "s3cret\n", "action"),
    ] {
        let answer = envoy.ask_with(check(&[("x-api-key", &secret)], &[(name, set)])).await;
        assert_eq!((answer.code, &*answer.reason()), (Code::InvalidArgument, "INVALID_FIELD"));
        let named = format!("attributes.context_extensions[{field}]");
        assert!(answer.message.contains(&named), "{answer:?}");
        assert!(!answer.message.contains("s3cret") && !answer.message.contains("permision"));
    }
    // More than the plan has: nobody could ever come through.
    let dear = envoy.ask_with(check(&[("x-api-key", &secret)], &[("cost", "101")])).await;
    assert_eq!(dear.code, Code::InvalidArgument);
    let nothing = envoy.ask_with(Vec::new()).await;
    assert_eq!((nothing.code, &*nothing.reason()), (Code::InvalidArgument, "INVALID_FIELD"));
}

#[tokio::test]
async fn where_a_request_comes_from_is_what_envoy_says() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let mut request = common::new_key("acme", "billing", "bound");
    request.allowed_cidrs = vec!["192.0.2.0/24".to_owned()];
    let secret = admin.keys.clone().create_key(request).await.expect("made").into_inner().secret;
    let envoy = Envoy::of(&server, &admin).await;
    envoy.lets_through(check_from("192.0.2.7", &secret)).await;
    let refused = (403, "SOURCE_NOT_ALLOWED".to_owned());
    for address in ["198.51.100.1", "", "@unix"] {
        assert_eq!(envoy.refuses(check_from(address, &secret)).await, refused, "{address}");
    }
    let forwarded = [("x-api-key", secret.as_str()), ("x-forwarded-for", "192.0.2.7")];
    assert_eq!(envoy.refuses(check(&forwarded, &[])).await, refused);
}

#[tokio::test]
async fn a_check_is_a_use_of_the_key_by_the_caller_whose_envoy_it_is() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (key, secret) = admin.create_key("billing", "k").await;
    let envoy = Envoy::of(&server, &admin).await;
    envoy.lets_through(check_from("192.0.2.7", &secret)).await;
    let used = admin.get_key(&key.key_id).await.expect("there");
    assert_eq!((used.use_count, used.denied_count), (1, 0));
    assert_eq!(admin.verdict(&secret).await, Ok::<(), v1::DenialReason>(()));
}
