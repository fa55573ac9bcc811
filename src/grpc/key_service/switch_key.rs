//! DisableKey and EnableKey.

use tonic::Request;

use crate::app::App;
use crate::app::error::AppError;
use crate::domain::ids::KeyId;
use crate::grpc::call::Incoming;
use crate::grpc::decode::{MAX_COMMENT, Violations};
use crate::grpc::encode;
use crate::proto::v1::{
    DisableKeyRequest, DisableKeyResponse, EnableKeyRequest, EnableKeyResponse,
};

pub(super) async fn disable(
    app: &App,
    request: Request<DisableKeyRequest>,
) -> Result<DisableKeyResponse, AppError> {
    let read = |bad: &mut Violations, message: DisableKeyRequest| {
        read(bad, &message.key_id, message.comment)
    };
    let (call, (id, comment)) = Incoming::of(request)?.read(read)?;
    let changed = app.disable_key(&call, id, comment).await?;
    Ok(DisableKeyResponse {
        key: Some(encode::key(changed.resource)),
        position: changed.position.get(),
        replayed: changed.replayed,
    })
}

pub(super) async fn enable(
    app: &App,
    request: Request<EnableKeyRequest>,
) -> Result<EnableKeyResponse, AppError> {
    let read = |bad: &mut Violations, message: EnableKeyRequest| {
        read(bad, &message.key_id, message.comment)
    };
    let (call, (id, comment)) = Incoming::of(request)?.read(read)?;
    let changed = app.enable_key(&call, id, comment).await?;
    Ok(EnableKeyResponse {
        key: Some(encode::key(changed.resource)),
        position: changed.position.get(),
        replayed: changed.replayed,
    })
}

fn read(bad: &mut Violations, key_id: &str, comment: String) -> Option<(KeyId, String)> {
    let id = bad.key_id("key_id", key_id);
    let comment = bad.prose("comment", MAX_COMMENT, comment);
    Some((id?, comment?))
}
