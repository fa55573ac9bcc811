//! RotateKey.

use tonic::Request;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::rotate_key::OldKeyEnds;
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
    let (call, (id, ends, reason)) = Incoming::of(request)?.read(read)?;
    let rotated = app.rotate_key(&call, id, ends, reason).await?;
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
) -> Option<(KeyId, OldKeyEnds, RevokeReason)> {
    let id = bad.key_id("key_id", &message.key_id);
    let overlap = bad.overlap(message.overlap);
    let when_idle_for = bad.idle(message.retire_when_idle_for, overlap);
    let reason = bad.revoke_reason(message.reason);
    let ends = OldKeyEnds { overlap: overlap?, when_idle_for: when_idle_for? };
    Some((id?, ends, reason?))
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

    #[test]
    fn a_key_retires_early_after_a_minute_at_least_and_not_after_its_overlap() {
        let span = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
        let refused = |overlap, idle| {
            let message = RotateKeyRequest {
                key_id: KeyId([7; 12]).to_string(),
                overlap,
                retire_when_idle_for: idle,
                ..Default::default()
            };
            violated(|bad| read(bad, message))
        };
        let bad = ["retire_when_idle_for"];
        assert_eq!(refused(span(600, 0), span(60, 0)), [""; 0]);
        assert_eq!(refused(span(600, 0), span(600, 0)), [""; 0]);
        assert_eq!(refused(span(600, 0), span(59, 999_999_999)), bad);
        assert_eq!(refused(span(600, 0), span(600, 1_000)), bad);
        assert_eq!(refused(span(59, 0), span(60, 0)), bad);
        assert_eq!(refused(span(600, 0), span(-60, 0)), bad);
        assert_eq!(refused(span(600, 0), span(60, 1_000_000_000)), bad);
        // Without an overlap that can be read, the most there may be is its bound.
        assert_eq!(refused(None, span(60, 0)), ["overlap"]);
        assert_eq!(refused(None, span(90 * 86_400 + 1, 0)), ["overlap", "retire_when_idle_for"]);
    }
}
