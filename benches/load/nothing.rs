//! The server to compare with: tonic as it comes, whose handlers do nothing. It reads the messages that keyledger reads,
//! and answers an answer of keyledger's, always the same: so what reading and writing them takes is in both, and what
//! differs is who calls, what the key may do, and the record of it. There is nothing in front of it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::Read as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use keyledger::proto::v1;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

/// Serves until standard input ends.
pub(crate) fn serve(answer: &Path) {
    let answer = std::fs::read(answer).expect("an answer");
    let answer = v1::AuthenticateResponse::decode(&answer[..]).expect("an answer");
    let runtime = Runtime::new().expect("threads");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    crate::say(&format!("grpc={}", listener.local_addr().expect("bound")));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = tonic::transport::Server::builder().add_service(Nothing(Arc::new(answer)));
    runtime.spawn(server.serve_with_incoming(incoming));
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    runtime.shutdown_background();
}

/// What it answers.
#[derive(Clone)]
struct Nothing(Arc<v1::AuthenticateResponse>);

impl NamedService for Nothing {
    const NAME: &'static str = "keyledger.v1.KeyService";
}

impl UnaryService<v1::AuthenticateRequest> for Nothing {
    type Response = v1::AuthenticateResponse;
    type Future = Ready<Result<tonic::Response<Self::Response>, Status>>;

    fn call(&mut self, _: tonic::Request<v1::AuthenticateRequest>) -> Self::Future {
        ready(Ok(tonic::Response::new((*self.0).clone())))
    }
}

/// Answers each question of a stream, under its tag.
struct Answers {
    questions: Streaming<v1::AuthenticateStreamRequest>,
    answer: Arc<v1::AuthenticateResponse>,
}

impl Stream for Answers {
    type Item = Result<v1::AuthenticateStreamResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.questions).poll_next(cx);
        next.map_ok(|question| v1::AuthenticateStreamResponse {
            tag: question.tag,
            answer: Some(v1::authenticate_stream_response::Answer::Response(
                (*self.answer).clone(),
            )),
        })
    }
}

impl StreamingService<v1::AuthenticateStreamRequest> for Nothing {
    type Response = v1::AuthenticateStreamResponse;
    type ResponseStream = Answers;
    type Future = Ready<Result<tonic::Response<Answers>, Status>>;

    fn call(
        &mut self,
        request: tonic::Request<Streaming<v1::AuthenticateStreamRequest>>,
    ) -> Self::Future {
        let (questions, answer) = (request.into_inner(), Arc::clone(&self.0));
        ready(Ok(tonic::Response::new(Answers { questions, answer })))
    }
}

impl Service<Request<Body>> for Nothing {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let handler = self.clone();
        match request.uri().path() {
            "/keyledger.v1.KeyService/Authenticate" => Box::pin(async move {
                Ok(Grpc::new(ProstCodec::default()).unary(handler, request).await)
            }),
            "/keyledger.v1.KeyService/AuthenticateStream" => Box::pin(async move {
                Ok(Grpc::new(ProstCodec::default()).streaming(handler, request).await)
            }),
            _ => Box::pin(async { Ok(Status::new(Code::Unimplemented, "").into_http()) }),
        }
    }
}
