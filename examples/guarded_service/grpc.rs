//! Over gRPC, with tonic. A server that is generated from a proto is guarded in the same way; this one is written by
//! hand, so that the example needs no proto.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use keyledger::client::{Allowed, Guard, Keyledger};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::service::{LayerExt as _, Routes};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

/// The services of the server, of which those that are guarded are so by what they require.
pub(crate) fn services(keyledger: Keyledger) -> Routes {
    let guard = Guard::new(keyledger).require("reports:read");
    Routes::new(guard.named_layer(Reports))
}

/// Answers whose reports it would show.
#[derive(Clone)]
struct Reports;

async fn list(request: Request<()>) -> Result<Response<String>, Status> {
    let allowed = request.extensions().get::<Allowed>();
    let allowed = allowed.ok_or_else(|| Status::internal("nothing guards this"))?;
    Ok(Response::new(format!("reports of {}", allowed.principal.account_id)))
}

impl NamedService for Reports {
    const NAME: &'static str = "example.Reports";
}

impl Service<http::Request<Body>> for Reports {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async {
            let mut grpc = Grpc::new(ProstCodec::default());
            Ok(grpc.unary(service_fn(list), request).await)
        })
    }
}
