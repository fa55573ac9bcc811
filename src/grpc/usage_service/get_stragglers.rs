//! GetStragglers.

use tonic::Request;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::get_stragglers::Stragglers;
use crate::app::usage_question::Counted;
use crate::grpc::call::identity;
use crate::grpc::decode::decode;
use crate::grpc::encode::{key, position, time};
use crate::grpc::usage_service::encode;
use crate::proto::v1::{GetStragglersRequest, GetStragglersResponse};

pub(super) async fn handle(
    app: &App,
    request: Request<GetStragglersRequest>,
) -> Result<GetStragglersResponse, AppError> {
    let identity = identity(&request)?;
    let GetStragglersRequest { key_id, page_size, page_token } = request.into_inner();
    let (id, page) = decode(|bad| {
        let id = bad.key_id("key_id", &key_id);
        let page = bad.page(page_size, page_token, format!("GetStragglers {key_id}").into_bytes());
        Some((id?, page?))
    })?;
    let found = app.get_stragglers(&identity, id, page).await?;
    let Counted { value, position: at, complete_until } = found;
    let Stragglers { key: view, rotate_time, start, ways, detail, next } = value;
    Ok(GetStragglersResponse {
        stragglers: ways.into_iter().map(|way| encode::straggler(way, detail)).collect(),
        next_page_token: next.unwrap_or_default(),
        key: Some(key(view)),
        rotate_time: Some(time(rotate_time)),
        start_time: Some(time(start)),
        complete_until: Some(time(complete_until)),
        position: position(at),
    })
}
