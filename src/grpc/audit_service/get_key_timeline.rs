//! GetKeyTimeline.

use std::sync::Arc;

use prost::Message as _;
use tonic::Request;

use crate::app::App;
use crate::app::audit::TimelineAsk;
use crate::app::error::AppError;
use crate::grpc::call::identity;
use crate::grpc::decode::{Violations, decode};
use crate::grpc::event;
use crate::proto::v1::{GetKeyTimelineRequest, GetKeyTimelineResponse};

pub(super) async fn handle(
    app: &Arc<App>,
    request: Request<GetKeyTimelineRequest>,
) -> Result<GetKeyTimelineResponse, AppError> {
    let identity = identity(&request)?;
    let ask = decode(|bad| read(bad, request.into_inner()))?;
    let page = app.key_timeline(&identity, ask).await?;
    Ok(GetKeyTimelineResponse {
        events: page.items.iter().map(event::audit_event).collect(),
        next_page_token: page.next.unwrap_or_default(),
    })
}

fn read(bad: &mut Violations, mut message: GetKeyTimelineRequest) -> Option<TimelineAsk> {
    let key = bad.key_id("key_id", &message.key_id);
    let start = bad.time("start_time", message.start_time);
    let end = bad.time("end_time", message.end_time);
    let token = std::mem::take(&mut message.page_token);
    let size = std::mem::take(&mut message.page_size);
    let list = [b"GetKeyTimeline ".as_slice(), &message.encode_to_vec()].concat();
    let page = bad.page(size, token, list);
    let (start, end) = (start?, end?);
    if start.zip(end).is_some_and(|(start, end)| start >= end) {
        return bad.refuse("end_time", "must be later than start_time");
    }
    Some(TimelineAsk { key: key?, start, end, page: page? })
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;
    use crate::app::page::MAX_TOKEN_LEN;
    use crate::grpc::decode::tests::violated;

    #[test]
    fn every_field_is_held_to_its_bound_under_its_own_path() {
        let worst = GetKeyTimelineRequest {
            key_id: "key".to_owned(),
            start_time: Some(Timestamp { seconds: i64::MAX, nanos: 0 }),
            end_time: Some(Timestamp { seconds: 0, nanos: -1 }),
            page_size: 1001,
            page_token: "0".repeat(MAX_TOKEN_LEN + 1),
        };
        let fields = ["key_id", "start_time", "end_time", "page_size", "page_token"];
        assert_eq!(violated(|bad| read(bad, worst)), fields);
        let second = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let key_id = "key_00000000000000000".to_owned();
        let nothing = GetKeyTimelineRequest {
            key_id,
            start_time: second(5),
            end_time: second(5),
            ..Default::default()
        };
        assert_eq!(violated(|bad| read(bad, nothing)), ["end_time"]);
    }
}
