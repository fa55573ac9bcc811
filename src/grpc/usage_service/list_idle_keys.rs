//! ListIdleKeys.

use std::time::Duration;

use prost::Message as _;
use tonic::Request;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::list_idle_keys::{IdleKeys, UNUSED_FOR};
use crate::app::page::PageRequest;
use crate::app::usage_question::Counted;
use crate::domain::ids::TenantId;
use crate::grpc::call::identity;
use crate::grpc::decode::{Violations, decode};
use crate::grpc::encode::{key, position, time};
use crate::proto::v1::{ListIdleKeysRequest, ListIdleKeysResponse};

pub(super) async fn handle(
    app: &App,
    request: Request<ListIdleKeysRequest>,
) -> Result<ListIdleKeysResponse, AppError> {
    let identity = identity(&request)?;
    let (tenant, unused_for, page) = decode(|bad| read(bad, request.into_inner()))?;
    let found = app.list_idle_keys(&identity, &tenant, unused_for, &page).await?;
    let Counted { value: IdleKeys { page, unused_since }, position: at, complete_until } = found;
    Ok(ListIdleKeysResponse {
        keys: page.items.into_iter().map(key).collect(),
        next_page_token: page.next.unwrap_or_default(),
        unused_since: Some(time(unused_since)),
        complete_until: Some(time(complete_until)),
        position: position(at),
    })
}

fn read(
    bad: &mut Violations,
    mut message: ListIdleKeysRequest,
) -> Option<(TenantId, Duration, PageRequest)> {
    let tenant = bad.tenant("tenant_id", &message.tenant_id);
    let unused_for =
        bad.span("unused_for", message.unused_for, UNUSED_FOR, "1 minute to 3650 days");
    let token = std::mem::take(&mut message.page_token);
    let size = std::mem::take(&mut message.page_size);
    let list = [b"ListIdleKeys ".as_slice(), &message.encode_to_vec()].concat();
    let page = bad.page(size, token, list);
    Some((tenant?, unused_for?, page?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::page::MAX_TOKEN_LEN;
    use crate::grpc::decode::tests::violated;

    #[test]
    fn tenant_and_span_are_required_and_the_span_is_bounded() {
        let of = |unused_for: Option<(i64, i32)>| {
            let unused_for =
                unused_for.map(|(seconds, nanos)| prost_types::Duration { seconds, nanos });
            ListIdleKeysRequest { tenant_id: "acme".to_owned(), unused_for, ..Default::default() }
        };
        let days = 3650 * 86_400;
        for bad_span in [None, Some((59, 0)), Some((days, 1)), Some((-60, 0)), Some((60, -1))] {
            assert_eq!(violated(|bad| read(bad, of(bad_span))), ["unused_for"]);
        }
        for span in [(60, 0), (days, 0)] {
            assert!(decode(|bad| read(bad, of(Some(span)))).is_ok());
        }
        let worst = ListIdleKeysRequest {
            page_size: -1,
            page_token: "0".repeat(MAX_TOKEN_LEN + 1),
            ..ListIdleKeysRequest::default()
        };
        let fields = ["tenant_id", "unused_for", "page_size", "page_token"];
        assert_eq!(violated(|bad| read(bad, worst)), fields);
    }
}
