//! Over HTTP, with axum: each route says what it requires.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::routing::get;
use axum::{Extension, Router};
use keyledger::client::{Allowed, Guard, Keyledger};

/// The routes of the service.
pub(crate) fn routes(keyledger: Keyledger) -> Router {
    let guard = Guard::new(keyledger).source(peer);
    let reports = get(reports).layer(guard.clone().require("reports:read"));
    let invoices = get(invoices).layer(guard.require("invoices:write"));
    Router::new()
        .route("/reports", reports)
        .route("/invoices", invoices)
        .route("/health", get(|| async { "open to all\n" }))
}

/// Who connected. Behind a proxy that is the proxy: read the header that it sets, and no client can.
fn peer(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.ip())
}

async fn reports(Extension(allowed): Extension<Allowed>) -> String {
    format!("reports of {}\n", allowed.principal.account_id)
}

async fn invoices(Extension(allowed): Extension<Allowed>) -> String {
    format!("invoices of {}\n", allowed.principal.account_id)
}
