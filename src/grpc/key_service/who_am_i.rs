//! WhoAmI: the key is the credential of the call.

use tonic::Request;

use crate::app::App;
use crate::app::error::AppError;
use crate::grpc::{encode, layer};
use crate::proto::v1::{WhoAmIRequest, WhoAmIResponse};

pub(super) async fn handle(
    app: &App,
    request: &Request<WhoAmIRequest>,
) -> Result<WhoAmIResponse, AppError> {
    // A key that is sent in another form counts as none: it is charged to its source all the same.
    let api_key = layer::bearer(request.metadata().as_ref()).ok().flatten().unwrap_or_default();
    let source = request.remote_addr().map(|address| address.ip().to_canonical());
    let principal = app.who_am_i(api_key, source).await?;
    Ok(WhoAmIResponse { principal: Some(encode::principal(&principal)) })
}
