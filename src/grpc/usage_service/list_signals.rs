//! ListSignals.

use prost::Message as _;
use tonic::Request;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::list_signals::FoundSignals;
use crate::app::page::PageRequest;
use crate::app::usage_question::Counted;
use crate::app::usage_range::AskedRange;
use crate::domain::ids::TenantId;
use crate::grpc::call::identity;
use crate::grpc::decode::{Violations, decode, when};
use crate::grpc::encode::{position, time};
use crate::grpc::usage_service::encode;
use crate::proto::v1::{ListSignalsRequest, ListSignalsResponse};

pub(super) async fn handle(
    app: &App,
    request: Request<ListSignalsRequest>,
) -> Result<ListSignalsResponse, AppError> {
    let identity = identity(&request)?;
    let (tenant, range, page) = decode(|bad| read(bad, request.into_inner()))?;
    let found = app.list_signals(&identity, tenant, range, page).await?;
    let Counted { value, position: at, complete_until } = found;
    let FoundSignals { page, detail, range, gaps } = value;
    Ok(ListSignalsResponse {
        signals: page.items.iter().map(|signal| encode::signal(signal, detail)).collect(),
        next_page_token: page.next.unwrap_or_default(),
        start_time: Some(time(range.from)),
        end_time: Some(time(range.until)),
        complete_until: Some(time(complete_until)),
        position: position(at),
        gaps: gaps.iter().map(encode::gap).collect(),
    })
}

fn read(
    bad: &mut Violations,
    mut message: ListSignalsRequest,
) -> Option<(Option<TenantId>, AskedRange, PageRequest)> {
    let tenant =
        when(!message.tenant_id.is_empty(), || bad.tenant("tenant_id", &message.tenant_id));
    let range = bad.range(message.start_time, message.end_time, None);
    let token = std::mem::take(&mut message.page_token);
    let size = std::mem::take(&mut message.page_size);
    let list = [b"ListSignals ".as_slice(), &message.encode_to_vec()].concat();
    let page = bad.page(size, token, list);
    Some((tenant?, range?, page?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::page::MAX_TOKEN_LEN;
    use crate::grpc::decode::tests::violated;

    #[test]
    fn each_field_is_held_to_its_bound_under_its_own_name() {
        let worst = ListSignalsRequest {
            tenant_id: "/".to_owned(),
            start_time: None,
            end_time: Some(prost_types::Timestamp { seconds: 0, nanos: -1 }),
            page_size: 1001,
            page_token: "0".repeat(MAX_TOKEN_LEN + 1),
        };
        let fields = ["tenant_id", "start_time", "end_time", "page_size", "page_token"];
        assert_eq!(violated(|bad| read(bad, worst)), fields);
        let start_time = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
        let least = ListSignalsRequest { start_time, ..Default::default() };
        let (tenant, _, page) = decode(|bad| read(bad, least)).expect("valid");
        assert_eq!((tenant, page.size), (None, 50));
    }
}
