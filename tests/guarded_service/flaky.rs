//! A server of Authenticate that says what it is told to, one answer after the other.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use keyledger::proto::v1;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

/// One answer.
pub(crate) enum Says {
    Allowed,
    Fails(Status),
}

/// Serves until the test ends.
#[derive(Clone)]
pub(crate) struct Flaky {
    pub(crate) address: String,
    says: Arc<Mutex<VecDeque<Says>>>,
}

impl Flaky {
    pub(crate) async fn start(says: impl IntoIterator<Item = Says>) -> Flaky {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let flaky = Flaky { address, says: Arc::new(Mutex::new(says.into_iter().collect())) };
        let server = Server::builder().add_service(flaky.clone());
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        flaky
    }

    /// How many answers were not asked for.
    pub(crate) fn left(&self) -> usize {
        self.says.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn next(&self) -> Ready<Result<Response<v1::AuthenticateResponse>, Status>> {
        let next = self.says.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        ready(match next.expect("no more is asked than there is an answer to") {
            Says::Allowed => Ok(Response::new(v1::AuthenticateResponse {
                outcome: v1::Outcome::Allowed.into(),
                principal: Some(v1::Principal::default()),
                ..Default::default()
            })),
            Says::Fails(status) => Err(status),
        })
    }
}

impl NamedService for Flaky {
    const NAME: &'static str = "keyledger.v1.KeyService";
}

impl Service<::http::Request<Body>> for Flaky {
    type Response = ::http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ::http::Request<Body>) -> Self::Future {
        let flaky = self.clone();
        Box::pin(async move {
            let answer = service_fn(|_: Request<v1::AuthenticateRequest>| flaky.next());
            Ok(Grpc::new(ProstCodec::default()).unary(answer, request).await)
        })
    }
}
