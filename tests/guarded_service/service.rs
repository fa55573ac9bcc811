//! The guarded service of the example, on ports of its own, and clients of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hyper_util::rt::TokioIo;
use keyledger::client::{Bearer, Keyledger};
use tokio::net::{TcpListener, TcpStream};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::{grpc, http};

/// Serves until the test ends.
pub(crate) struct Service {
    http: String,
    grpc: Channel,
}

/// An answer over HTTP.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: ureq::http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }
}

impl Service {
    pub(crate) async fn start(keyledger: Keyledger) -> Service {
        let bind = async || TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let routes = http::routes(keyledger.clone());
        let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
        let (for_http, for_grpc) = (bind().await, bind().await);
        let http = format!("http://{}", for_http.local_addr().expect("bound"));
        let address = format!("http://{}", for_grpc.local_addr().expect("bound"));
        tokio::spawn(axum::serve(for_http, routes).into_future());
        let server = Server::builder().add_routes(grpc::services(keyledger));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(for_grpc)));
        let grpc = Channel::from_shared(address).expect("an address").connect_lazy();
        Service { http, grpc }
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let request = agent.get(format!("{}{path}", self.http));
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let got = tokio::task::spawn_blocking(move || request.call()).await.expect("no panic");
        let (parts, mut body) = got.expect("an answer").into_parts();
        let body = body.read_to_string().expect("text");
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(crate) async fn list(&self, key: Option<&str>) -> Result<String, Status> {
        let mut grpc = Grpc::new(self.grpc.clone());
        grpc.ready().await.expect("up");
        let mut request = Request::new(());
        if let Some(key) = key {
            let value = format!("Bearer {key}").parse().expect("a value");
            request.metadata_mut().insert("authorization", value);
        }
        let path = PathAndQuery::from_static("/example.Reports/List");
        let codec = ProstCodec::<(), String>::default();
        Ok(grpc.unary(request, path, codec).await?.into_inner())
    }
}

/// Where a keyledger is that moves.
pub(crate) struct Place(Arc<Mutex<String>>);

impl Place {
    pub(crate) fn to(&self, address: &str) {
        address.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A client of keyledger that looks where it is each time it connects.
pub(crate) fn that_moves(address: &str, credential: &str) -> (Keyledger, Place) {
    let place = Arc::new(Mutex::new(address.to_owned()));
    let looked = Arc::clone(&place);
    let connector = service_fn(move |_| {
        let address = looked.lock().unwrap_or_else(PoisonError::into_inner).replace("http://", "");
        async move { Ok::<_, std::io::Error>(TokioIo::new(TcpStream::connect(address).await?)) }
    });
    let channel = Endpoint::from_static("http://keyledger").connect_with_connector_lazy(connector);
    (Keyledger::over(channel, Bearer::new(credential).expect("one")), Place(place))
}
