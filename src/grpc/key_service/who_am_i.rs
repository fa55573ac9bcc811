//! WhoAmI: the key is the credential of the call.

use tonic::Request;
use tonic::metadata::MetadataMap;

use crate::app::App;
use crate::app::authenticate::UseContext;
use crate::app::error::AppError;
use crate::domain::usage::MAX_AGENT;
use crate::grpc::call::trace_id;
use crate::grpc::{encode, layer};
use crate::proto::v1::{WhoAmIRequest, WhoAmIResponse};

pub(super) async fn handle(
    app: &App,
    request: &Request<WhoAmIRequest>,
) -> Result<WhoAmIResponse, AppError> {
    // A key that is sent in another form counts as none: it is charged to its source all the same.
    let api_key = layer::bearer(request.metadata().as_ref()).ok().flatten().unwrap_or_default();
    let source = request.remote_addr().map(|address| address.ip().to_canonical());
    let context = UseContext {
        action: String::new(),
        source,
        agent: agent(request.metadata()),
        trace_id: trace_id(request.metadata()),
    };
    let (principal, rate_limit) = app.who_am_i(api_key, context).await?;
    Ok(WhoAmIResponse {
        principal: Some(encode::principal(&principal)),
        notices: encode::notices(&principal.notices),
        rate_limit: rate_limit.as_ref().map(encode::rate_limit),
    })
}

/// What the holder's program calls itself; as much of it as is kept.
fn agent(metadata: &MetadataMap) -> String {
    let agent = metadata.get("user-agent").and_then(|agent| agent.to_str().ok());
    let agent = agent.unwrap_or_default();
    // Visible ASCII and spaces only: any place is one between characters.
    agent.get(..MAX_AGENT).unwrap_or(agent).to_owned()
}
