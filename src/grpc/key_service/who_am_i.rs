//! WhoAmI: the key is the credential of the call.

use tonic::Request;
use tonic::metadata::MetadataValue;

use crate::app::App;
use crate::app::authenticate::UseContext;
use crate::app::error::AppError;
use crate::domain::proxied::context;
use crate::grpc::arrival::peer_of;
use crate::grpc::call::trace_id;
use crate::grpc::{encode, layer};
use crate::proto::v1::{WhoAmIRequest, WhoAmIResponse};

pub(super) async fn handle(
    app: &App,
    request: &Request<WhoAmIRequest>,
) -> Result<WhoAmIResponse, AppError> {
    // A key that is sent in another form counts as none: it is charged to its source all the same.
    let api_key = layer::bearer(request.metadata().as_ref()).ok().flatten().unwrap_or_default();
    let agent = request.metadata().get("user-agent").map(MetadataValue::as_encoded_bytes);
    let context = UseContext {
        action: String::new(),
        source: peer_of(request.extensions()),
        agent: context::agent(agent),
        trace_id: trace_id(request.metadata()),
    };
    let (principal, rate_limit) = app.who_am_i(api_key, context).await?;
    Ok(WhoAmIResponse {
        principal: Some(encode::principal(&principal)),
        notices: encode::notices(&principal.notices),
        rate_limit: rate_limit.as_ref().map(encode::rate_limit),
    })
}
