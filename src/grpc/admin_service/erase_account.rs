//! EraseAccount.

use std::sync::Arc;

use tonic::Request;

use crate::app::App;
use crate::app::error::AppError;
use crate::domain::ids::{AccountRef, Position};
use crate::grpc::call::Incoming;
use crate::grpc::decode::{MAX_COMMENT, Violations};
use crate::proto::v1::{EraseAccountRequest, EraseAccountResponse};

pub(super) async fn handle(
    app: &Arc<App>,
    request: Request<EraseAccountRequest>,
) -> Result<EraseAccountResponse, AppError> {
    let (call, (account, expected, comment)) = Incoming::of(request)?.read(read)?;
    let erased = app.erase_account(call, account, expected, comment).await?;
    Ok(EraseAccountResponse {
        data_keys: u32::try_from(erased.data_keys).unwrap_or(u32::MAX),
        position: erased.position.get(),
        replayed: erased.replayed,
    })
}

fn read(
    bad: &mut Violations,
    message: EraseAccountRequest,
) -> Option<(AccountRef, Option<Position>, String)> {
    let account = bad.account("", &message.tenant_id, &message.account_id);
    let expected = bad.expected_position(message.expected_position);
    let comment = bad.prose("comment", MAX_COMMENT, message.comment);
    Some((account?, expected?, comment?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::decode::tests::violated;

    #[test]
    fn every_field_is_held_to_its_bound_under_its_own_path() {
        let message = EraseAccountRequest {
            tenant_id: "acme".to_owned(),
            account_id: "a/b".to_owned(),
            comment: "c".repeat(1001),
            expected_position: Some(0),
            ..Default::default()
        };
        let fields = ["account_id", "expected_position", "comment"];
        assert_eq!(violated(|bad| read(bad, message)), fields);
        let nothing = EraseAccountRequest::default();
        assert_eq!(violated(|bad| read(bad, nothing)), ["tenant_id", "account_id"]);
    }
}
