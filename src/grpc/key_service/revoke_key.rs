//! RevokeKey.

use tonic::Request;

use crate::app::App;
use crate::app::error::AppError;
use crate::domain::ids::KeyId;
use crate::domain::key::RevokeReason;
use crate::grpc::call::Incoming;
use crate::grpc::decode::{MAX_COMMENT, Violations};
use crate::grpc::encode;
use crate::proto::v1::{RevokeKeyRequest, RevokeKeyResponse};

pub(super) async fn handle(
    app: &App,
    request: Request<RevokeKeyRequest>,
) -> Result<RevokeKeyResponse, AppError> {
    let (call, (id, reason, comment)) = Incoming::of(request)?.read(read)?;
    let changed = app.revoke_key(&call, id, reason, comment).await?;
    Ok(RevokeKeyResponse {
        key: Some(encode::key(changed.resource)),
        position: changed.position.get(),
        replayed: changed.replayed,
    })
}

fn read(bad: &mut Violations, message: RevokeKeyRequest) -> Option<(KeyId, RevokeReason, String)> {
    let id = bad.key_id("key_id", &message.key_id);
    let reason = bad.revoke_reason(message.reason);
    let comment = bad.prose("comment", MAX_COMMENT, message.comment);
    Some((id?, reason?, comment?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::decode::tests::violated;

    #[test]
    fn a_revocation_needs_a_key_and_may_say_why() {
        let message = RevokeKeyRequest { key_id: KeyId([7; 12]).to_string(), ..Default::default() };
        assert_eq!(violated(|bad| read(bad, message)), [""; 0]);
        let message = RevokeKeyRequest {
            key_id: "caller_00000000000000000".to_owned(),
            reason: -1,
            comment: "c".repeat(1001),
            ..Default::default()
        };
        assert_eq!(violated(|bad| read(bad, message)), ["key_id", "reason", "comment"]);
    }
}
