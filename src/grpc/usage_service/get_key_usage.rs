//! GetKeyUsage.

use tonic::Request;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::get_key_usage::KeyUsage;
use crate::app::usage_question::{Counted, Granularity};
use crate::app::usage_range::AskedRange;
use crate::domain::ids::KeyId;
use crate::grpc::call::identity;
use crate::grpc::decode::{Violations, decode};
use crate::grpc::encode::{position, time};
use crate::grpc::usage_service::encode;
use crate::proto::v1::{GetKeyUsageRequest, GetKeyUsageResponse};

pub(super) async fn handle(
    app: &App,
    request: Request<GetKeyUsageRequest>,
) -> Result<GetKeyUsageResponse, AppError> {
    let identity = identity(&request)?;
    let (id, range, granularity) = decode(|bad| read(bad, request.get_ref()))?;
    let found = app.get_key_usage(&identity, id, range, granularity).await?;
    Ok(answer(&found))
}

fn read(
    bad: &mut Violations,
    message: &GetKeyUsageRequest,
) -> Option<(KeyId, AskedRange, Granularity)> {
    let id = bad.key_id("key_id", &message.key_id);
    let granularity = bad.granularity(message.granularity);
    let granularity = granularity.and_then(|named| bad.required("granularity", named));
    let range = bad.range(message.start_time, message.end_time, granularity);
    Some((id?, range?, granularity?))
}

fn answer(found: &Counted<KeyUsage>) -> GetKeyUsageResponse {
    let KeyUsage { buckets, total, range, gaps } = &found.value;
    GetKeyUsageResponse {
        buckets: buckets.iter().map(encode::bucket).collect(),
        total: Some(encode::counts(total)),
        start_time: Some(time(range.from)),
        end_time: Some(time(range.until)),
        complete_until: Some(time(found.complete_until)),
        position: position(found.position),
        gaps: gaps.iter().map(encode::gap).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::decode::tests::violated;

    #[test]
    fn key_range_and_granularity_are_required() {
        let nothing = GetKeyUsageRequest::default();
        let fields = ["key_id", "granularity", "start_time"];
        assert_eq!(violated(|bad| read(bad, &nothing)), fields);
        let unknown = GetKeyUsageRequest { granularity: 4, ..Default::default() };
        assert_eq!(violated(|bad| read(bad, &unknown)), fields);
    }
}
