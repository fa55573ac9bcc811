//! Spans of calls, taken by a collector that the test runs.

mod common;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Client, TestServer};
use keyledger::proto::v1;
use keyledger::proto::v1::stream_events_response::Answer;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A collector, on a port of its own for as long as the test takes.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().expect("no panic").push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> (Self, SocketAddr) {
        let collector = Collector::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let service = TraceServiceServer::new(collector.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (collector, address)
    }

    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.0.lock().expect("no panic").clone()
    }

    /// All spans so far, as they came.
    fn spans(&self) -> Vec<Span> {
        let requests = self.requests().into_iter();
        let scopes = requests.flat_map(|request| request.resource_spans);
        scopes.flat_map(|of| of.scope_spans).flat_map(|scope| scope.spans).collect()
    }
}

fn config(address: SocketAddr, ratio: &str) -> String {
    format!("[tracing]\notlp_endpoint = \"http://{address}\"\nsample_ratio = {ratio}\n")
}

async fn server(config: &str) -> TestServer {
    TestServer::builder().config(config).ops().start().await
}

/// A request in the trace of its caller.
fn traced<M>(message: M, flags: &str) -> Request<M> {
    let mut request = Request::new(message);
    let traceparent = format!("00-{TRACE}-{PARENT}-{flags}");
    request.metadata_mut().insert("traceparent", traceparent.parse().expect("ascii"));
    request.metadata_mut().insert("tracestate", "vendor=a1,other=b2".parse().expect("ascii"));
    request
}

fn question(secret: &str) -> v1::AuthenticateRequest {
    v1::AuthenticateRequest { api_key: secret.to_owned(), ..Default::default() }
}

fn word(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Spans as a tree, by when they ended.
fn tree(spans: &[Span], parent: &[u8], depth: usize) -> String {
    let below = spans.iter().filter(|span| span.parent_span_id == parent);
    let lines = below.map(|span| {
        let told = ["keyledger.outcome", "keyledger.reason", "rpc.grpc.status_code"];
        let told = told.iter().filter_map(|name| {
            let word = word(&span.attributes, name).filter(|word| !word.is_empty());
            word.map(|word| format!(" {name}={word}"))
        });
        let line = format!("{}{}{}\n", "  ".repeat(depth), span.name, told.collect::<String>());
        line + &tree(spans, &span.span_id, depth + 1)
    });
    lines.collect()
}

#[expect(clippy::print_stdout, reason = "the tree is there to be looked at")]
fn say(text: &str) {
    println!("{text}");
}

/// Asks over HTTP, with a header, and waits for the end of the answer.
async fn get(address: &str, path: &str, header: &str) {
    let mut stream = TcpStream::connect(address).await.expect("up");
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{header}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 "));
}

async fn key(admin: &Client) -> String {
    admin.put_account("billing", "enterprise", &["reports:*"]).await;
    admin.create_key("billing", "s3cret-name").await.1
}

#[tokio::test]
async fn a_sampled_call_is_a_tree_of_spans_below_its_callers_and_holds_no_secret() {
    let (collector, address) = Collector::start().await;
    let server = server(&config(address, "0")).await;
    let mut admin = server.admin().await;
    let credential = server.admin_credential();
    let secret = key(&admin).await;
    let answer = admin.keys.authenticate(traced(question(&secret), "01")).await.expect("answered");
    assert_eq!(answer.into_inner().outcome(), v1::Outcome::Allowed);
    let unknown = traced(question("kl_live_unknown"), "01");
    admin.keys.authenticate(unknown).await.expect("answered");
    let create = common::new_key("acme", "billing", "s3cret-other");
    let created = admin.keys.create_key(traced(create, "01")).await.expect("created").into_inner();
    let refused = traced(v1::GetKeyRequest { key_id: secret.clone() }, "01");
    admin.keys.get_key(refused).await.expect_err("a secret is no id");
    server.stop().await;

    let spans = collector.spans();
    let parent: Vec<u8> = spans
        .iter()
        .map(|span| span.parent_span_id.clone())
        .find(|id| hex(id) == PARENT)
        .expect("ours");
    let tree = tree(&spans, &parent, 0);
    say(&format!("{TRACE}\n{tree}"));
    let expected = "\
keyledger.v1.KeyService/Authenticate keyledger.outcome=ALLOWED rpc.grpc.status_code=0
  keyledger.decide
  keyledger.usage.flush
keyledger.v1.KeyService/Authenticate keyledger.outcome=DENIED keyledger.reason=MALFORMED_KEY rpc.grpc.status_code=0
  keyledger.decide
  keyledger.usage.flush
keyledger.v1.KeyService/CreateKey rpc.grpc.status_code=0
  keyledger.commit
keyledger.v1.KeyService/GetKey keyledger.reason=INVALID_FIELD rpc.grpc.status_code=3
";
    assert_eq!(tree, expected);
    for span in &spans {
        assert_eq!(
            (hex(&span.trace_id).as_str(), span.trace_state.as_str()),
            (TRACE, "vendor=a1,other=b2")
        );
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    }
    let call = spans.iter().find(|span| span.parent_span_id == parent).expect("a call");
    assert_eq!(call.kind(), SpanKind::Server);
    let words =
        ["rpc.system", "rpc.service", "rpc.method"].map(|name| word(&call.attributes, name));
    assert_eq!(words.map(Option::unwrap), ["grpc", "keyledger.v1.KeyService", "Authenticate"]);
    let requests = collector.requests();
    let resource = requests[0].resource_spans[0].resource.clone().expect("a resource");
    assert_eq!(word(&resource.attributes, "service.name").as_deref(), Some("keyledger"));
    let bytes: Vec<u8> = requests.iter().flat_map(|request| request.encode_to_vec()).collect();
    let holds = |text: &str| bytes.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(holds("keyledger.decide"), "what is searched is what was sent");
    let [first, second] = [&secret, &created.secret].map(|secret| &secret[secret.len() - 20..]);
    for text in
        [first, second, &credential[8..28], "kl_live", "s3cret", "127.0.0.1", "acme", "billing"]
    {
        assert!(!holds(text), "{text}");
    }
}

#[tokio::test]
async fn a_caller_that_does_not_record_its_trace_has_no_spans_made() {
    let (collector, address) = Collector::start().await;
    let server = server(&config(address, "1")).await;
    let mut admin = server.admin().await;
    let secret = key(&admin).await;
    for _ in 0..20 {
        admin.keys.authenticate(traced(question(&secret), "00")).await.expect("answered");
    }
    server.stop().await;
    let spans = collector.spans();
    assert!(spans.iter().all(|span| hex(&span.trace_id) != TRACE), "{spans:?}");
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert!(
        names.contains(&"keyledger.v1.KeyService/CreateKey"),
        "without a caller's word: {names:?}"
    );
}

#[tokio::test]
async fn of_calls_without_a_trace_none_all_or_a_share_is_sampled() {
    for (ratio, least, most) in [("0", 0, 0), ("0.5", 20, 180), ("1.0", 200, 200)] {
        let (collector, address) = Collector::start().await;
        let server = server(&config(address, ratio)).await;
        let admin = server.admin().await;
        for _ in 0..200 {
            admin.authenticate("no key", &[]).await;
        }
        server.stop().await;
        let spans = collector.spans();
        let calls = spans.iter().filter(|span| span.name.ends_with("/Authenticate")).count();
        assert!((least..=most).contains(&calls), "{ratio}: {calls}");
    }
}

#[tokio::test]
async fn what_a_call_leaves_on_record_names_the_trace_that_its_span_begins() {
    let (collector, address) = Collector::start().await;
    let server = server(&config(address, "1")).await;
    let admin = server.admin().await;
    let account = admin.put_account("billing", "standard", &[]).await;
    let after_position = account.position - 1;
    let request = v1::StreamEventsRequest { after_position, ..Default::default() };
    let mut events =
        admin.audit.clone().stream_events(request).await.expect("a stream").into_inner();
    let first = events.message().await.expect("an answer").expect("not over");
    let Some(Answer::Event(told)) = first.answer else { panic!("{first:?}") };
    server.stop().await;
    let spans = collector.spans();
    let put = spans.iter().find(|span| span.name.ends_with("/PutAccount")).expect("traced");
    assert!(put.parent_span_id.is_empty(), "the first of its trace");
    assert_eq!(told.event.expect("told").trace_id, hex(&put.trace_id));
}

#[tokio::test]
async fn a_proxys_client_does_not_choose_what_is_recorded() {
    let (collector, address) = Collector::start().await;
    let server = server(&config(address, "0")).await;
    let (http, head) = (server.http.clone(), format!("traceparent: 00-{TRACE}-{PARENT}-01"));
    for path in ["/whoami", "/authz"] {
        get(&http, path, &head).await;
    }
    let mut anonymous = server.anonymous().await;
    anonymous.keys.who_am_i(traced(v1::WhoAmIRequest {}, "01")).await.expect_err("no key");
    server.stop().await;
    assert_eq!(collector.spans(), []);
}

/// As [`a_proxys_client_does_not_choose_what_is_recorded`].
#[tokio::test]
async fn who_shows_no_credential_does_not_choose_what_is_recorded() {
    let (collector, address) = Collector::start().await;
    let server = server(&config(address, "0")).await;
    let (admin, nobody) = (server.admin().await, server.anonymous().await);
    let get = || {
        let key_id = "key_00000000000000001".to_owned();
        traced(v1::GetKeyRequest { key_id }, "01")
    };
    nobody.keys.clone().get_key(get()).await.expect_err("nobody");
    let channel = server.channel().await;
    let check = traced(HealthCheckRequest::default(), "01");
    HealthClient::new(channel.clone()).check(check).await.expect("serving");
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("connected");
    let nothing = "/keyledger.v1.KeyService/Nothing".parse().expect("a path");
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
    let request = traced(HealthCheckRequest::default(), "01");
    client.unary(request, nothing, codec).await.expect_err("no such RPC");
    // Who is known does.
    admin.keys.clone().get_key(get()).await.expect_err("no such key");
    server.stop().await;
    let names: Vec<_> = collector.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["keyledger.v1.KeyService/GetKey"]);
}

#[tokio::test]
async fn a_request_of_a_proxy_is_a_span_of_http() {
    let (collector, address) = Collector::start().await;
    let server = server(&config(address, "1")).await;
    get(&server.http, "/whoami", "x: y").await;
    server.stop().await;
    let spans = collector.spans();
    let span = spans.iter().find(|span| span.name == "GET /whoami").expect("traced");
    let words =
        ["http.route", "http.response.status_code"].map(|name| word(&span.attributes, name));
    assert_eq!(words.map(Option::unwrap), ["/whoami", "401"]);
}

/// Calls a server that sends spans to `address`; how many were dropped.
async fn without_a_collector(address: SocketAddr) -> (TestServer, u64) {
    let server = server(&config(address, "1")).await;
    let admin = server.admin().await;
    let secret = key(&admin).await;
    assert_eq!(admin.verdict(&secret).await, Ok(()));
    let mut dropped = 0;
    while dropped == 0 {
        assert_eq!(admin.verdict(&secret).await, Ok(()));
        dropped = server.metric("keyledger_spans_dropped_total").await;
    }
    assert_eq!(server.metric("keyledger_spans_sent_total").await, 0);
    (server, dropped)
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_nothing_but_its_spans() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let (server, dropped) = without_a_collector(address).await;
    assert!(dropped > 0);
    server.stop().await;
}

#[tokio::test]
async fn a_collector_that_says_nothing_holds_up_neither_calls_nor_the_stop() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let silent = tokio::spawn(async move {
        let mut held: Vec<TcpStream> = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let (server, _) = without_a_collector(address).await;
    let stopped = tokio::time::timeout(Duration::from_secs(60), server.stop()).await;
    assert!(stopped.is_ok(), "it waits for the collector");
    silent.abort();
}
