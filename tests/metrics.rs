//! What a real server counts of its calls and decisions, whatever way they come.

mod common;

use common::process::get;
use common::{Client, TestServer};
use keyledger::proto::v1::authenticate_stream_response::Answer;
use keyledger::proto::v1::{AuthenticateRequest, AuthenticateStreamRequest};

/// The page of figures.
fn page(server: &TestServer) -> String {
    get(server.ops.as_deref().expect("served"), "/metrics").1
}

/// A sample of the page; none if it has none of that name and labels.
fn sample(page: &str, name: &str) -> Option<u64> {
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(value.parse().expect("a number"))
}

/// Asks about a key and without a question on one stream.
async fn stream(admin: &Client, secret: &str) {
    let about = AuthenticateRequest { api_key: secret.to_owned(), ..Default::default() };
    let questions = [Some(about), None];
    let asked = questions.map(|request| AuthenticateStreamRequest { tag: 0, request });
    let answers = admin.keys.clone().authenticate_stream(tokio_stream::iter(asked)).await;
    let mut answers = answers.expect("a stream").into_inner();
    let mut next = async || answers.message().await.expect("no error").expect("more").answer;
    assert!(matches!(next().await, Some(Answer::Response(_))));
    assert!(matches!(next().await, Some(Answer::Error(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_by_rpc_and_code_and_decisions_by_what_was_answered() {
    let server = TestServer::builder().ops().start().await;
    let admin = server.admin().await;
    let before = page(&server);
    assert_eq!(sample(&before, "keyledger_decisions_total{outcome=\"allowed\"}"), Some(0));
    assert!(!before.contains("KeyService/Authenticate"), "{before}");

    admin.put_account("billing", "standard", &[]).await;
    let (key, secret) = admin.create_key("billing", "ci").await;
    admin.verdict(&secret).await.expect("allowed");
    admin.verdict(&secret).await.expect("allowed");
    stream(&admin, &secret).await;
    admin.revoke(&key.key_id).await.expect("revoked");
    admin.verdict(&secret).await.expect_err("revoked");
    admin.verdict("").await.expect_err("missing");
    admin.get_key("key_00000000000000000").await.expect_err("no such key");

    let page = page(&server);
    let calls = |method: &str, code: &str| {
        sample(&page, &format!("keyledger_calls_total{{method=\"{method}\",code=\"{code}\"}}"))
    };
    assert_eq!(calls("KeyService/Authenticate", "OK"), Some(4));
    assert_eq!(calls("KeyService/AuthenticateStream", "OK"), Some(1));
    assert_eq!(calls("KeyService/CreateKey", "OK"), Some(1));
    assert_eq!(calls("KeyService/GetKey", "OK"), Some(0));
    assert_eq!(calls("KeyService/GetKey", "NOT_FOUND"), Some(1));
    let timed = |method: &str, outcome: &str| {
        let labels = format!("{{method=\"{method}\",outcome=\"{outcome}\"}}");
        sample(&page, &format!("keyledger_call_duration_seconds_count{labels}"))
    };
    assert_eq!(timed("KeyService/Authenticate", "ok"), Some(4));
    assert_eq!(timed("KeyService/Authenticate", "server_error"), Some(0));
    assert_eq!(timed("KeyService/GetKey", "client_error"), Some(1));
    assert_eq!(timed("KeyService/ListKeys", "ok"), None);
    let decided = |outcome: &str| {
        sample(&page, &format!("keyledger_decisions_total{{outcome=\"{outcome}\"}}"))
    };
    let counted = ["allowed", "revoked", "missing_key", "unknown_key"].map(decided);
    assert_eq!(counted, [Some(3), Some(1), Some(1), Some(0)]);
    let streamed =
        |code: &str| sample(&page, &format!("keyledger_stream_answers_total{{code=\"{code}\"}}"));
    assert_eq!((streamed("OK"), streamed("INVALID_ARGUMENT")), (Some(1), Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_frame_of_the_log_is_counted_with_its_records() {
    let server = TestServer::builder().ops().start().await;
    let admin = server.admin().await;
    let count = |page: &str, of: &str| sample(page, &format!("keyledger_ledger_commit_{of}"));
    let before = page(&server);
    admin.put_account("billing", "standard", &[]).await;
    admin.create_key("billing", "ci").await;
    let page = page(&server);
    let grown = |of| count(&page, of).expect("there") - count(&before, of).expect("there");
    assert!(grown("duration_seconds_count") >= 2);
    assert_eq!(grown("duration_seconds_count"), grown("records_count"));
    let head = |page: &str| sample(page, "keyledger_ledger_head").expect("there");
    assert_eq!(grown("records_sum"), head(&page) - head(&before));
    let snapshot = sample(&page, "keyledger_snapshot_position").expect("there");
    assert_eq!(sample(&page, "keyledger_snapshot_lag"), Some(head(&page) - snapshot));
    assert!(sample(&page, "keyledger_disk_free_bytes").is_some_and(|free| free > 0));
    for lane in ["commands", "background"] {
        let waiting = format!("keyledger_commands_waiting{{lane=\"{lane}\"}}");
        assert_eq!(sample(&page, &waiting), Some(0));
    }
}
