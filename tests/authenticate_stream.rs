//! AuthenticateStream: what holds for one question holds for each of many on one call, and they are answered in order.

mod common;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use common::{Client, TestServer, fields, reason};
use keyledger::proto::v1::authenticate_stream_response::Answer;
use keyledger::proto::v1::{
    self, AuthenticateRequest, AuthenticateStreamRequest, AuthenticateStreamResponse, DenialReason,
    Outcome, Role,
};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status, Streaming};

/// A stream that is open: questions go in at one end, answers come out at the other.
struct Conversation {
    questions: mpsc::UnboundedSender<AuthenticateStreamRequest>,
    answers: Streaming<AuthenticateStreamResponse>,
}

impl Conversation {
    async fn open(client: &Client) -> Self {
        let (questions, asked) = mpsc::unbounded_channel();
        let asked = UnboundedReceiverStream::new(asked);
        let answers = client.keys.clone().authenticate_stream(asked).await.expect("a stream");
        Conversation { questions, answers: answers.into_inner() }
    }

    fn ask(&self, tag: u64, request: AuthenticateRequest) {
        let question = AuthenticateStreamRequest { tag, request: Some(request) };
        self.questions.send(question).expect("it is open");
    }

    async fn next(&mut self) -> (u64, Answer) {
        let answer = self.answers.message().await.expect("no error").expect("more");
        (answer.tag, answer.answer.expect("always set"))
    }

    async fn answer(&mut self, request: AuthenticateRequest) -> Answer {
        self.ask(7, request);
        let (tag, answer) = self.next().await;
        assert_eq!(tag, 7);
        answer
    }

    /// How it ends, whatever comes before.
    async fn end(mut self) -> Status {
        loop {
            match self.answers.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ends as if nothing were wrong"),
                Err(status) => return status,
            }
        }
    }
}

fn about(api_key: &str) -> AuthenticateRequest {
    AuthenticateRequest { api_key: api_key.to_owned(), ..Default::default() }
}

/// The verdict; for an error, the status that it is.
fn verdict(answer: Answer) -> Result<v1::AuthenticateResponse, Status> {
    match answer {
        Answer::Response(response) => Ok(response),
        Answer::Error(error) => {
            let details = error.encode_to_vec().into();
            Err(Status::with_details(Code::from_i32(error.code), error.message, details))
        }
    }
}

fn denial(answer: Answer) -> Option<DenialReason> {
    let response = verdict(answer).expect("a verdict");
    (response.outcome() == Outcome::Denied).then(|| response.denial_reason())
}

async fn started(durability: &str) -> (TestServer, Client) {
    let config = format!("[plans.unlimited]\n[usage]\ndurability = \"{durability}\"\n");
    let server = TestServer::builder().config(&config).start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "unlimited", &["reports:read"]).await;
    (server, admin)
}

#[tokio::test]
async fn questions_are_answered_in_their_order_however_many_are_under_way() {
    for durability in ["bounded", "before_reply"] {
        let (_server, admin) = started(durability).await;
        let (_, secret) = admin.create_key("billing", "ci").await;
        let mut stream = Conversation::open(&admin).await;
        // Some can be answered before those in front of them are on the disk.
        let kinds = [about(&secret), about("nonsense"), AuthenticateRequest::default()];
        for tag in 0..3000 {
            stream.ask(tag, kinds[usize::try_from(tag % 3).expect("small")].clone());
        }
        let expected = [None, Some(DenialReason::MalformedKey), Some(DenialReason::MissingKey)];
        for tag in 0..3000 {
            let (answered, answer) = stream.next().await;
            let denial = denial(answer);
            // So many malformed ones are answered as guesses from here on.
            let denial = denial.map(|why| match why {
                DenialReason::RateLimited => DenialReason::MalformedKey,
                other => other,
            });
            let kind = usize::try_from(tag % 3).expect("small");
            assert_eq!((answered, denial), (tag, expected[kind]), "{durability}");
        }
        drop(stream.questions);
        assert!(stream.answers.message().await.expect("no error").is_none(), "it ends in order");
    }
}

#[tokio::test]
async fn a_stream_answers_what_single_calls_do() {
    let (_server, admin) = started("before_reply").await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    let mut stream = Conversation::open(&admin).await;
    for required in [vec![], vec!["reports:read".to_owned()], vec!["reports:write".to_owned()]] {
        let ask = AuthenticateRequest { required_permissions: required, ..about(&secret) };
        let alone = admin.keys.clone().authenticate(ask.clone()).await.expect("an answer");
        assert_eq!(verdict(stream.answer(ask).await).expect("a verdict"), alone.into_inner());
    }
}

#[tokio::test]
async fn a_question_that_cannot_be_answered_is_told_why_and_ends_nothing() {
    let (_server, admin) = started("before_reply").await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    let mut stream = Conversation::open(&admin).await;
    let bad = AuthenticateRequest { api_key: "k".repeat(513), ..Default::default() };
    let refused = verdict(stream.answer(bad).await).expect_err("too long");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(fields(&refused), ["api_key"]);
    let beyond = AuthenticateRequest { min_position: 1 << 40, ..about(&secret) };
    let refused = verdict(stream.answer(beyond).await).expect_err("no such position");
    assert_eq!(reason(&refused).0, "POSITION_BEYOND_HEAD");
    stream.questions.send(AuthenticateStreamRequest { tag: 1, request: None }).expect("open");
    let refused = verdict(stream.next().await.1).expect_err("no question");
    assert_eq!(fields(&refused), ["request"]);
    assert_eq!(denial(stream.answer(about(&secret)).await), None);
}

#[tokio::test]
async fn what_is_too_large_ends_the_stream_behind_the_answers_to_what_came_before() {
    let (_server, admin) = started("before_reply").await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    let mut stream = Conversation::open(&admin).await;
    stream.ask(1, about(&secret));
    stream.ask(2, about(&"k".repeat(70_000)));
    assert_eq!(stream.next().await.0, 1);
    let ended = stream.end().await;
    assert_eq!(
        (ended.code(), reason(&ended).0.as_str()),
        (Code::InvalidArgument, "REQUEST_TOO_LARGE")
    );
}

#[tokio::test]
async fn no_question_behind_a_revocation_is_allowed() {
    for durability in ["bounded", "before_reply"] {
        let (_server, admin) = started(durability).await;
        let mut stream = Conversation::open(&admin).await;
        for _ in 0..20 {
            let (key, secret) = admin.create_key("billing", "ci").await;
            // A burst is under way when the key is revoked.
            for tag in 0..50 {
                stream.ask(tag, about(&secret));
            }
            admin.revoke(&key.key_id).await.expect("revoked");
            stream.ask(50, about(&secret));
            for tag in 0..50 {
                assert_eq!(stream.next().await.0, tag);
            }
            let (tag, last) = stream.next().await;
            assert_eq!((tag, denial(last)), (50, Some(DenialReason::Revoked)), "{durability}");
        }
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_credential_of_its_caller() {
    let (server, admin) = started("bounded").await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    let (caller, credential) = admin.create_caller(&[Role::Authenticator], &[]).await;
    let mut stream = Conversation::open(&server.client(&credential).await).await;
    assert_eq!(denial(stream.answer(about(&secret)).await), None);
    let caller_id = caller.caller_id;
    let request = v1::RevokeCallerRequest { caller_id, ..Default::default() };
    admin.admin.clone().revoke_caller(request).await.expect("revoked");
    // It may be told before it is ended, and no key is allowed in between.
    let _ =
        stream.questions.send(AuthenticateStreamRequest { tag: 8, request: Some(about(&secret)) });
    loop {
        match stream.answers.message().await {
            Ok(Some(answer)) => {
                let refused = verdict(answer.answer.expect("set")).expect_err("it is revoked");
                assert_eq!(reason(&refused).0, "CALLER_CREDENTIAL_INVALID");
            }
            Ok(None) => panic!("it ends as if nothing were wrong"),
            Err(ended) => {
                assert_eq!(reason(&ended).0, "CALLER_CREDENTIAL_INVALID");
                break;
            }
        }
    }
}

#[tokio::test]
async fn each_question_keeps_to_the_tenants_of_the_caller() {
    let (server, admin) = started("before_reply").await;
    admin.put_account_of("globex", "billing", "unlimited", &[]).await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    let (_, credential) = admin.create_caller(&[Role::Authenticator], &["globex"]).await;
    let mut stream = Conversation::open(&server.client(&credential).await).await;
    assert_eq!(denial(stream.answer(about(&secret)).await), Some(DenialReason::UnknownKey));
    let foreign = AuthenticateRequest { tenant_id: Some("acme".to_owned()), ..about(&secret) };
    let refused = verdict(stream.answer(foreign).await).expect_err("another tenant's");
    assert_eq!(reason(&refused).0, "TENANT_NOT_ALLOWED");
    assert_eq!(denial(stream.answer(about("")).await), Some(DenialReason::MissingKey));
}

#[tokio::test]
async fn a_stream_is_told_that_the_server_stops_and_is_answered_what_was_read() {
    let (server, admin) = started("before_reply").await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    let mut stream = Conversation::open(&admin).await;
    assert_eq!(denial(stream.answer(about(&secret)).await), None);
    let stopping = tokio::spawn(server.stop());
    let ended = stream.end().await;
    assert_eq!((ended.code(), reason(&ended).0.as_str()), (Code::Unavailable, "DRAINING"));
    stopping.await.expect("it stops");
}

/// The same question for ever, counted when it is taken to be sent.
struct Endless {
    taken: Arc<AtomicU64>,
    request: AuthenticateRequest,
}

impl Stream for Endless {
    type Item = AuthenticateStreamRequest;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let tag = self.taken.fetch_add(1, Ordering::SeqCst);
        let request = Some(self.request.clone());
        Poll::Ready(Some(AuthenticateStreamRequest { tag, request }))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_not_read_while_answers_are_not() {
    let (server, admin) = started("bounded").await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    let taken = Arc::new(AtomicU64::new(0));
    let endless = Endless { taken: Arc::clone(&taken), request: about(&secret) };
    let reader = server.admin().await;
    let answers = reader.keys.clone().authenticate_stream(endless).await.expect("a stream");
    let mut answers = answers.into_inner();
    // What the windows and buffers of both sides hold; a server that read on would pass it.
    let most = 500_000;
    let mut before = u64::MAX;
    while before != taken.load(Ordering::SeqCst) {
        before = taken.load(Ordering::SeqCst);
        assert!(before < most, "the server reads on");
        for _ in 0..500 {
            assert_eq!(admin.verdict(&secret).await, Ok(()), "others are answered");
        }
    }
    for tag in 0..before + 1000 {
        let answer = answers.message().await.expect("no error").expect("more");
        assert_eq!(answer.tag, tag);
    }
}
