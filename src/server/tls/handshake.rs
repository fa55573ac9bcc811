//! TLS handshakes: how many are under way, how long each may take, and what comes out.
//!
//! They are bounded apart from connections, so that clients which begin one and do not go on take no room of those
//! that are served, and hardly any of each other: one that has had a moment gives way to the next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{HTTP2, Tls, certificate};
use crate::app::identify::certificate::ClientCertificate;

/// How long a handshake may take whoever else waits: far more than two round trips around the world and a
/// signature.
const MOMENT: Duration = Duration::from_secs(1);

/// A connection whose handshake is done.
pub(in crate::server) struct Secured {
    pub(in crate::server) stream: TlsStream<TcpStream>,
    /// What its client's certificate says; none if it has shown none.
    pub(in crate::server) certificate: Option<ClientCertificate>,
}

/// Those under way.
pub(in crate::server) struct Handshakes {
    tls: Arc<Tls>,
    most: usize,
    patience: Duration,
    under_way: JoinSet<Option<Secured>>,
    /// Those under way in the order in which they began, and some that have ended.
    begun: VecDeque<(Instant, AbortHandle)>,
}

impl Handshakes {
    /// At most so many at once, each for at most so long.
    pub(in crate::server) fn new(tls: Arc<Tls>, most: usize, patience: Duration) -> Self {
        let (under_way, begun) = (JoinSet::new(), VecDeque::new());
        Handshakes { tls, most, patience, under_way, begun }
    }

    /// Whether one more can begin.
    pub(in crate::server) fn has_room(&self) -> bool {
        self.under_way.len() < self.most
    }

    /// Begins one.
    pub(in crate::server) fn begin(&mut self, stream: TcpStream) {
        self.forget_ended();
        let handshake = handshake(Arc::clone(&self.tls), stream, self.patience);
        let handle = self.under_way.spawn(handshake);
        self.begun.push_back((Instant::now(), handle));
    }

    /// The next that ends, if it is done; none if it failed or was cut: there may be room for another then. Waits for
    /// ever if none ends; may be dropped at any time.
    pub(in crate::server) async fn next(&mut self) -> Option<Secured> {
        loop {
            self.forget_ended();
            let oldest = self.begun.front().map(|(begun, _)| *begun + MOMENT);
            let gives_way = oldest.filter(|_| !self.has_room());
            tokio::select! {
                Some(ended) = self.under_way.join_next() => match ended {
                    // One that failed was told of where it did.
                    Ok(ended) => return ended,
                    Err(error) if error.is_cancelled() => {
                        self.tls.state.handshake_cut();
                        return None;
                    }
                    Err(error) => {
                        tracing::error!(%error, "internal fault: a TLS handshake");
                        return None;
                    }
                },
                () = until(gives_way) => if let Some((_, handle)) = self.begun.pop_front() {
                    tracing::debug!("a TLS handshake gave way to the next");
                    handle.abort();
                },
            }
        }
    }

    fn forget_ended(&mut self) {
        while self.begun.front().is_some_and(|(_, handle)| handle.is_finished()) {
            self.begun.pop_front();
        }
    }
}

/// That instant; never, if there is none.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// One handshake; none if it failed, which is counted and told here.
async fn handshake(tls: Arc<Tls>, stream: TcpStream, patience: Duration) -> Option<Secured> {
    let accepted = TlsAcceptor::from(tls.current()).accept(stream);
    let stream = match tokio::time::timeout(patience, accepted).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            tls.state.handshake_failed();
            return None;
        }
        Err(_) => {
            tracing::debug!("a TLS handshake took too long");
            tls.state.handshake_cut();
            return None;
        }
    };
    let (_, connection) = stream.get_ref();
    if connection.alpn_protocol() != Some(HTTP2) {
        tracing::debug!("a client did not agree on HTTP/2");
        tls.state.handshake_failed();
        return None;
    }
    let shown = connection.peer_certificates().and_then(|chain| chain.first());
    let certificate = shown.map(certificate::of_client);
    Some(Secured { stream, certificate })
}
