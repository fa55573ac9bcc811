//! GetKey.

use tonic::Request;

use crate::app::App;
use crate::app::error::AppError;
use crate::grpc::call::identity;
use crate::grpc::decode::decode;
use crate::grpc::encode;
use crate::proto::v1::{GetKeyRequest, GetKeyResponse};

pub(super) async fn handle(
    app: &App,
    request: Request<GetKeyRequest>,
) -> Result<GetKeyResponse, AppError> {
    let identity = identity(&request)?;
    let id = decode(|bad| bad.key_id("key_id", &request.get_ref().key_id))?;
    let view = app.get_key(&identity, id).await?;
    Ok(GetKeyResponse { key: Some(encode::key(view)) })
}
