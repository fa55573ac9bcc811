//! A server in this process, and clients of it.

use std::sync::Arc;
use std::time::Duration;

use keyledger::clock::SystemClock;
use keyledger::config::Config;
use keyledger::proto::v1;
use keyledger::proto::v1::admin_service_client::AdminServiceClient;
use keyledger::proto::v1::audit_service_client::AuditServiceClient;
use keyledger::random::SystemRandom;
use keyledger::server::{self, Sources};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

#[derive(Clone)]
pub(crate) struct Bearer(String);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = format!("Bearer {}", self.0).parse().expect("ascii");
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

pub(crate) type Audit = AuditServiceClient<InterceptedService<Channel, Bearer>>;

pub(crate) struct Running {
    address: String,
    pub(crate) bearer: Bearer,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), server::ServeError>>,
}

impl Running {
    pub(crate) async fn start(config: &Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let (stop, stopped) = oneshot::channel::<()>();
        let (up, is_up) = oneshot::channel();
        let stopped = async {
            let _ = stopped.await;
        };
        let sources =
            Sources { clock: Arc::new(SystemClock::new()), random: Arc::new(SystemRandom) };
        let task = tokio::spawn(server::run(config.clone(), listener, sources, stopped, |_| {
            let _ = up.send(());
        }));
        is_up.await.expect("started");
        let credential = std::fs::read_to_string(config.data_dir.join("admin.credential"));
        let bearer = Bearer(credential.expect("a credential").trim_end().to_owned());
        Running { address, bearer, stop, task }
    }

    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(self.address.clone()).expect("an address").connect().await.expect("up")
    }

    pub(crate) async fn audit(&self) -> Audit {
        AuditServiceClient::with_interceptor(self.channel().await, self.bearer.clone())
    }

    /// Until what is folded in the background has reached the head: its work is no part of what is measured.
    pub(crate) async fn at_rest(&self) {
        let (channel, bearer) = (self.channel().await, self.bearer.clone());
        let mut admin = AdminServiceClient::with_interceptor(channel, bearer);
        loop {
            let status = admin.get_status(v1::GetStatusRequest {}).await.expect("a status");
            if status.into_inner().projections.iter().all(|projection| projection.lag == 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.expect("no panic").expect("stopped in order");
    }
}
