//! Envoy's authorization service, `envoy.service.auth.v3.Authorization`, of Envoy and whatever else speaks it.
//!
//! What its proto does not say and Envoy does: any status in an answer but OK is a denial, UNAVAILABLE too, so that
//! what failed here is a status of the call; and a header without `append` is added to those of its name by new
//! versions and put in their place by old ones, so that it is always said.

mod answer;
mod sent;

use std::sync::Arc;

use envoy_types::ext_authz::v3::pb::{
    Address, Authorization, AuthorizationServer, CheckRequest, CheckResponse,
};
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use tonic::server::NamedService;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::app::authenticate::UseContext;
use crate::app::error::AppError;
use crate::app::proxied::Proxied;
use crate::domain::proxied::route::Route;
use crate::domain::proxied::{context, credential};
use crate::domain::source::parse_source;
use crate::domain::trace_context::{TRACEPARENT, trace_of_all};
use crate::grpc::authorization::sent::Sent;
use crate::grpc::call::{identity, trace_id};
use crate::grpc::status;

/// The name of the service.
pub const SERVICE: &str = AuthorizationServer::<()>::NAME;

/// The most bytes of a request. Envoy takes 60 KiB of headers of a request by default, which come with their names.
pub const MAX_CHECK_BYTES: usize = 128 * 1024;

/// Serves Authorization.
#[derive(Debug)]
pub(super) struct AuthorizationApi {
    app: Arc<App>,
}

impl AuthorizationApi {
    pub(super) fn new(app: Arc<App>) -> Self {
        AuthorizationApi { app }
    }
}

#[tonic::async_trait]
impl Authorization for AuthorizationApi {
    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        status::answer(handle(&self.app, request).await, None)
    }
}

async fn handle(app: &App, request: Request<CheckRequest>) -> Result<CheckResponse, AppError> {
    let identity = identity(&request)?;
    let trace_id = trace_id(request.metadata());
    let mut attributes = request.into_inner().attributes.unwrap_or_default();
    let http = attributes.request.take().and_then(|request| request.http);
    let http = http.ok_or_else(|| AppError::field("attributes.request.http", "must be set"))?;
    let sent = Sent::of(http);
    let route = route(&attributes)?;
    let context = UseContext {
        action: String::new(),
        source: source(&attributes).and_then(parse_source),
        agent: context::agent(sent.one("user-agent")),
        trace_id: trace_id.or_else(|| trace_of_all(sent.all(TRACEPARENT))),
    };
    let [authorization, x_api_key] = credential::HEADERS.map(|name| sent.all(name));
    let api_key = credential::presented(&authorization, &x_api_key);
    let passage = app.pass(&identity, Proxied { api_key, route, context }).await?;
    Ok(answer::of(passage, &sent))
}

/// What the configuration of Envoy asks of keys, where the request goes.
fn route(attributes: &AttributeContext) -> Result<Route, AppError> {
    let settings = attributes.context_extensions.iter();
    Route::read(settings.map(|(name, value)| (name.as_str(), value.as_str()))).map_err(|error| {
        AppError::field(format!("attributes.context_extensions[{}]", error.name), error.must)
    })
}

/// The client's address as Envoy has it.
fn source(attributes: &AttributeContext) -> Option<&str> {
    match attributes.source.as_ref()?.address.as_ref()?.address.as_ref()? {
        Address::SocketAddress(address) => Some(&address.address),
        _ => None,
    }
}
