//! RotateKey.

use std::time::Duration;

use tonic::Request;

use crate::app::App;
use crate::app::error::AppError;
use crate::domain::ids::KeyId;
use crate::domain::key::RevokeReason;
use crate::grpc::call::Incoming;
use crate::grpc::decode::Violations;
use crate::grpc::encode;
use crate::proto::v1::{RotateKeyRequest, RotateKeyResponse};

pub(super) async fn handle(
    app: &App,
    request: Request<RotateKeyRequest>,
) -> Result<RotateKeyResponse, AppError> {
    let (call, (id, overlap, reason)) = Incoming::of(request)?.read(read)?;
    let rotated = app.rotate_key(&call, id, overlap, reason).await?;
    Ok(RotateKeyResponse {
        secret: encode::shown_once(rotated.new.secret.as_ref()),
        new_key: Some(encode::key(rotated.new.view)),
        old_key: Some(encode::key(rotated.old)),
        position: rotated.position.get(),
        replayed: rotated.replayed,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "the form of all readers of a message")]
fn read(
    bad: &mut Violations,
    message: RotateKeyRequest,
) -> Option<(KeyId, Duration, RevokeReason)> {
    let id = bad.key_id("key_id", &message.key_id);
    let overlap = bad.overlap(message.overlap);
    let reason = bad.revoke_reason(message.reason);
    Some((id?, overlap?, reason?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::decode::tests::violated;

    #[test]
    fn a_rotation_needs_a_key_and_an_overlap_even_of_nothing() {
        let message = RotateKeyRequest { reason: 99, ..Default::default() };
        assert_eq!(violated(|bad| read(bad, message)), ["key_id", "overlap", "reason"]);
        let message = RotateKeyRequest {
            key_id: KeyId([7; 12]).to_string(),
            overlap: Some(prost_types::Duration::default()),
            ..Default::default()
        };
        assert_eq!(violated(|bad| read(bad, message)), [""; 0]);
    }
}
