//! A server in this process: the real use cases behind the real gate, router and connections, opened so that
//! uses are recorded one way or another, with its figures at hand.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use keyledger::app::App;
use keyledger::app::closing::Closing;
use keyledger::app::startup::{self, Opened};
use keyledger::app::uses::UseFigures;
use keyledger::clock::Clock;
use keyledger::config::{Config, Durability, Limits, UsageSettings};
use keyledger::domain::permission::PlanName;
use keyledger::domain::policy::Plan;
use keyledger::grpc::{self, layer::AccessLayer};
use keyledger::progress::Silent;
use keyledger::proto::v1;
use keyledger::random::SystemRandom;
use keyledger::server::connections::Connections;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use tower::{Layer, Service};

/// The plan of all accounts: a limit that is judged and never reached.
pub(crate) const PLAN: &str = "bench";
const LIMITS: Plan = Plan { active_keys: None, requests_per_minute: Some(1_000_000_000) };

/// What becomes of uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uses {
    Recorded(Durability),
    /// All else is done, but the recorder takes nothing.
    NotRecorded,
}

/// A running server.
pub(crate) struct House {
    pub(crate) address: String,
    app: Arc<App>,
    closing: Closing,
    runtime: Runtime,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

fn config(data_dir: &Path, uses: Uses) -> Config {
    let mut config = Config { data_dir: data_dir.to_owned(), ..Config::default() };
    config.policy.plans.insert(PlanName::parse(PLAN).expect("a name"), LIMITS);
    config.ledger.scrub_bytes_per_second = None;
    if let Uses::Recorded(durability) = uses {
        config.usage = UsageSettings { durability, ..UsageSettings::default() };
    }
    config
}

impl House {
    /// Opens a data directory, or makes it, and serves it.
    pub(crate) fn open(data_dir: &Path, uses: Uses, clock: &Arc<dyn Clock>) -> Self {
        let config = config(data_dir, uses);
        let clock = || Arc::clone(clock);
        let random = Arc::new(SystemRandom);
        let open = || startup::open(&config, clock(), random.clone(), &Silent).expect("it opens");
        let Opened { app, closing, .. } = match uses {
            Uses::Recorded(_) => open(),
            Uses::NotRecorded => {
                // The first records are made by a start that records.
                let Opened { app, closing, .. } = open();
                drop(app);
                closing.close().expect("it closes");
                let opened = startup::open_offline(&config, clock(), random.clone(), &Silent);
                let opened = opened.expect("it opens");
                opened.app.record_nothing();
                opened
            }
        };
        let runtime = Runtime::new().expect("threads");
        runtime.spawn(app.sweep_rate_windows());
        let (address, stop, serving) = serve(&runtime, &app, grpc::routes(&app));
        House { address, app, closing, runtime, stop, serving }
    }

    /// How the recording goes.
    pub(crate) fn uses(&self) -> UseFigures {
        self.app.figures().uses
    }

    /// Waits until so many uses are durable.
    pub(crate) fn wait_for_uses(&self, count: usize) {
        while self.uses().recorder.entries < count as u64 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops in order.
    pub(crate) fn close(self) {
        self.close_during(|_| ());
    }

    /// Closes as a server does that stops, but lets calls in until `meanwhile` has returned. It is given a
    /// look at the figures.
    pub(crate) fn close_during<T>(self, meanwhile: impl FnOnce(&dyn Fn() -> UseFigures) -> T) -> T {
        let House { app, closing, runtime, stop, serving, .. } = self;
        let closed = std::thread::spawn(move || closing.close());
        let answer = meanwhile(&|| app.figures().uses);
        let _ = stop.send(());
        runtime.block_on(serving).expect("no panic");
        drop((app, runtime));
        closed.join().expect("no panic").expect("it closes");
        answer
    }
}

/// An RPC that does nothing, at the address of Authenticate, behind the same gate and router as the server of
/// `house`, on a runtime of its own.
pub(crate) struct Nothing {
    pub(crate) address: String,
    runtime: Runtime,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Nothing {
    pub(crate) fn beside(house: &House) -> Self {
        let runtime = Runtime::new().expect("threads");
        let (address, stop, serving) = serve(&runtime, &house.app, Routes::new(Empty));
        Nothing { address, runtime, stop, serving }
    }

    pub(crate) fn close(self) {
        let _ = self.stop.send(());
        self.runtime.block_on(self.serving).expect("no panic");
    }
}

/// Serves as `server::run` does.
fn serve(
    runtime: &Runtime,
    app: &Arc<App>,
    routes: Routes,
) -> (String, oneshot::Sender<()>, JoinHandle<()>) {
    let limits = Limits { drain: Duration::from_secs(1), ..Limits::default() };
    let access = AccessLayer::new(Arc::clone(app), limits.calls_in_flight);
    let service = access.layer(routes.prepare());
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        let _ = stopped.await;
    };
    let connections = Connections::new(service, limits, Arc::new(SystemRandom));
    let serving = runtime.spawn(connections.serve(listener, stopped, async {}));
    (address, stop, serving)
}

/// Decodes a question and answers an empty answer.
#[derive(Clone)]
struct Empty;

impl NamedService for Empty {
    const NAME: &'static str = "keyledger.v1.KeyService";
}

impl tonic::server::UnaryService<v1::AuthenticateRequest> for Empty {
    type Response = v1::AuthenticateResponse;
    type Future = Ready<Result<tonic::Response<Self::Response>, Status>>;

    fn call(&mut self, _: tonic::Request<v1::AuthenticateRequest>) -> Self::Future {
        ready(Ok(tonic::Response::new(v1::AuthenticateResponse::default())))
    }
}

impl Service<Request<Body>> for Empty {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != "/keyledger.v1.KeyService/Authenticate" {
            let refused = Status::new(Code::Unimplemented, "").into_http();
            return Box::pin(async move { Ok(refused) });
        }
        let mut grpc = tonic::server::Grpc::new(ProstCodec::default());
        Box::pin(async move { Ok(grpc.unary(Empty, request).await) })
    }
}
