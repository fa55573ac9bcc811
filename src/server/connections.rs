//! Connections: accepted, served over HTTP/2, asked to reconnect at their age, drained at the end.
//!
//! Each connection has an age of its own, so that clients that came together do not all come back
//! together. At that age, or when the server stops, a connection is told GOAWAY: it takes no new
//! calls, and those under way have the drain time to finish.
//!
//! With TLS, a connection is one once its handshake is done.

use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tower::Service;

use crate::app::identify::certificate::ClientCertificate;
use crate::clock::Clock;
use crate::config::{Limits, TlsSettings};
use crate::grpc::arrival::Arrivals;
use crate::grpc::lanes::LaneOfConnection;
use crate::grpc::long_calls::LongCalls;
use crate::grpc::open_calls::OpenCalls;
use crate::grpc::remembered::Remembered;
use crate::process;
use crate::random::{self, Random};
use crate::server::pace::{Paced, Turns};
use crate::server::tls::{Handshakes, Loader, Secured, Tls, TlsError};

/// How often an idle connection is asked whether it is still there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// How long it may take to say so.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The most bytes of a call's headers: a credential, a trace context and a little more.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// The most bytes of answers that wait, in one call, for a client that does not read its socket.
const MAX_SEND_BUFFER: usize = 64 * 1024;

/// How many streams that a client has reset may lie there before their calls have been looked at; with one more the
/// connection is ended. Who opens streams only to reset them is past any bound on open ones (CVE-2023-44487).
const MAX_RESET_AT_ONCE: usize = 20;

/// How many streams of a connection are reset for its client's faults, or because their answer came before the end of
/// their message, before the connection is ended.
const MAX_FAULTY_STREAMS: usize = 1024;

/// How long accepting rests after it failed, so that a lack of file descriptors is not made worse.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// A tenth: how far a connection's age may be from the configured one, either way.
const AGE_SPREAD: u32 = 10;

/// Serves connections with one service.
#[derive(Debug)]
pub struct Connections<S> {
    service: S,
    limits: Limits,
    random: Arc<dyn Random>,
    tls: Option<Arc<Tls>>,
}

/// What a connection is read from and written to.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// How many there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    connections: usize,
    handshakes: usize,
}

impl Room {
    /// What is configured, as far as `files` that may be open let it: each connection and each handshake takes one,
    /// and a few handshakes are enough.
    fn within(limits: &Limits, with_tls: bool, files: usize) -> Self {
        if !with_tls {
            return Room { connections: limits.connections.min(files), handshakes: 0 };
        }
        let handshakes = limits.tls_handshakes.min((files / 4).max(1));
        let connections = limits.connections.min(files.saturating_sub(handshakes).max(1));
        Room { connections, handshakes }
    }
}

impl<S> Connections<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    /// Serves every connection with a clone of `service`, unencrypted.
    pub fn new(service: S, limits: Limits, random: Arc<dyn Random>) -> Self {
        Connections { service, limits, random, tls: None }
    }

    /// Encrypts every connection with what the files that are named hold now.
    ///
    /// # Errors
    /// [`TlsError`] if they cannot be used.
    pub fn encrypted(
        self,
        settings: TlsSettings,
        data_dir: PathBuf,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TlsError> {
        let loader = Loader { settings, data_dir, clock };
        let loaded = loader.load()?;
        Ok(self.with_tls(Some(Arc::new(Tls::begin(loader, loaded, Arc::default())))))
    }

    /// Encrypts every connection.
    pub(super) fn with_tls(self, tls: Option<Arc<Tls>>) -> Self {
        Connections { tls, ..self }
    }

    /// Accepts and serves until `stop` resolves, then drains: every connection is told to go, then
    /// `told` runs. Returns when every connection is gone.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
        told: impl Future<Output = ()>,
    ) {
        let (draining, drain) = watch::channel(());
        let (mut open, mut keeping) = (JoinSet::new(), JoinSet::new());
        self.tls.clone().map(|tls| keeping.spawn(tls.keep()));
        let mut stop = pin!(stop);
        let room = self.room();
        let most = room.connections;
        let mut handshakes = self
            .tls
            .clone()
            .map(|tls| Handshakes::new(tls, room.handshakes, self.limits.tls_handshake));
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(_) = open.join_next() => {}
                ended = next_of(&mut handshakes) => match ended {
                    Some(_) if open.len() >= most => refuse(),
                    Some(Secured { stream, certificate }) => {
                        let peer = Peer { tcp: stream.get_ref().0.connect_info(), certificate };
                        open.spawn(self.connection(Box::new(stream), peer, drain.clone()));
                    }
                    None => {}
                },
                accepted = listener.accept(), if has_room(handshakes.as_ref()) => match accepted {
                    Ok(_) if open.len() >= most => refuse(),
                    Ok((stream, _)) => {
                        if let Err(error) = stream.set_nodelay(true) {
                            tracing::debug!(%error, "TCP_NODELAY");
                        }
                        if let Some(handshakes) = &mut handshakes {
                            handshakes.begin(stream);
                        } else {
                            let peer = Peer { tcp: stream.connect_info(), certificate: None };
                            open.spawn(self.connection(Box::new(stream), peer, drain.clone()));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_REST).await;
                    }
                },
            }
        }
        // Closed before the drain: who comes now is refused at once and goes elsewhere.
        drop((listener, handshakes));
        drop(draining);
        told.await;
        while open.join_next().await.is_some() {}
    }

    fn room(&self) -> Room {
        let wanted = self.limits.connections + self.limits.tls_handshakes;
        let files = process::connections_within_limit(wanted);
        let room = Room::within(&self.limits, self.tls.is_some(), files);
        if room.connections < self.limits.connections {
            tracing::warn!(
                most = room.connections,
                "fewer connections are taken than configured: raise the limit of open files"
            );
        }
        room
    }

    fn connection(
        &self,
        socket: Box<dyn Socket>,
        peer: Peer,
        mut drain: watch::Receiver<()>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let long_calls = LongCalls::default();
        let service = self.service.clone();
        let (turns, lane) = (Turns::default(), LaneOfConnection::default());
        let remembered = Remembered::default();
        let (long, lane_of) = (long_calls.clone(), lane.clone());
        let open = OpenCalls::default();
        let service = WithPeer { service, peer, long_calls: long, remembered, lane: lane_of, open };
        let calls = Arrivals::new(TowerToHyperService::new(service), lane.clone());
        let stream = Paced::new(socket, turns.clone(), lane);
        let age = self.age();
        let grace = self.limits.drain;
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams_per_connection)
            .max_header_list_size(MAX_HEADER_BYTES)
            .max_send_buf_size(MAX_SEND_BUFFER)
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .max_pending_accept_reset_streams(MAX_RESET_AT_ONCE)
            .max_local_error_reset_streams(MAX_FAULTY_STREAMS)
            .serve_connection(TokioIo::new(stream), calls);
        async move {
            let mut connection = pin!(connection);
            tokio::select! {
                ended = turns.of(connection.as_mut()) => return note_end(ended),
                () = tokio::time::sleep(age) => {}
                _ = drain.changed() => {}
            }
            connection.as_mut().graceful_shutdown();
            loop {
                // A sender that is gone: the server stops.
                let stopping = drain.has_changed().is_err();
                tokio::select! {
                    ended = turns.of(connection.as_mut()) => return note_end(ended),
                    // Because of its age alone it is not cut while it carries a long call.
                    () = tokio::time::sleep(grace) => if stopping || !long_calls.any() { break },
                    _ = drain.changed(), if !stopping => {}
                }
            }
            tracing::debug!("a connection was cut after its drain time");
        }
    }

    fn age(&self) -> Duration {
        let share = u32::from_be_bytes(random::bytes(&*self.random));
        spread(self.limits.connection_age, share)
    }
}

/// An age moved by up to a tenth either way, as `share` of all 32-bit numbers says.
fn spread(age: Duration, share: u32) -> Duration {
    let most = age / AGE_SPREAD;
    age - most + (2 * most).mul_f64(f64::from(share) / f64::from(u32::MAX))
}

fn note_end(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

/// Closed at once: the client tries again, here or elsewhere.
fn refuse() {
    tracing::warn!("a connection over the bound was refused");
}

/// The next handshake that ends, with a connection if it is done; never, without TLS.
async fn next_of(handshakes: &mut Option<Handshakes>) -> Option<Secured> {
    match handshakes {
        Some(handshakes) => handshakes.next().await,
        None => std::future::pending().await,
    }
}

/// Whether another connection may come: what it is refused for, if it is, is told to it.
fn has_room(handshakes: Option<&Handshakes>) -> bool {
    handshakes.is_none_or(Handshakes::has_room)
}

/// Who is at the other end of a connection.
#[derive(Clone)]
struct Peer {
    tcp: TcpConnectInfo,
    /// What its certificate says, read once for the connection.
    certificate: Option<ClientCertificate>,
}

/// Tells each call where its connection comes from, where to say whose it is and that it lasts long, which
/// credentials were recognised on it, and how many calls it has that are open to anyone.
#[derive(Clone)]
struct WithPeer<S> {
    service: S,
    peer: Peer,
    long_calls: LongCalls,
    remembered: Remembered,
    lane: LaneOfConnection,
    open: OpenCalls,
}

impl<S> Service<Request<Incoming>> for WithPeer<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> S::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.peer.tcp.clone());
        if let Some(certificate) = &self.peer.certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        request.extensions_mut().insert(self.long_calls.clone());
        request.extensions_mut().insert(self.remembered.clone());
        request.extensions_mut().insert(self.lane.clone());
        request.extensions_mut().insert(self.open.clone());
        self.service.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_take_no_room_of_connections_while_there_are_files_enough() {
        let limits = Limits { connections: 100, tls_handshakes: 20, ..Limits::default() };
        for (with_tls, files, connections, handshakes) in [
            (false, 120, 100, 0),
            (false, 60, 60, 0),
            (true, 120, 100, 20),
            (true, 100, 80, 20),
            (true, 40, 30, 10),
            (true, 1, 1, 1),
        ] {
            let room = Room::within(&limits, with_tls, files);
            assert_eq!(room, Room { connections, handshakes }, "{with_tls} {files}");
        }
    }

    #[test]
    fn ages_are_spread_over_a_tenth_either_way() {
        let age = Duration::from_secs(300);
        assert_eq!(spread(age, 0), Duration::from_secs(270));
        assert_eq!(spread(age, u32::MAX), Duration::from_secs(330));
        let middle = spread(age, u32::MAX / 2);
        assert!((299..=301).contains(&middle.as_secs()), "{middle:?}");
    }
}
