//! StreamEvents.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio_stream::Stream;
use tonic::{Request, Status};

use crate::app::App;
use crate::app::audit::{self, Answer, EventFilter, StreamAsk};
use crate::app::error::AppError;
use crate::domain::event::EventKind;
use crate::domain::ids::{AccountId, Position};
use crate::grpc::call::{NamedByCall, identity, named_account};
use crate::grpc::decode::{Violations, decode};
use crate::grpc::encode::position;
use crate::grpc::ended::Ending;
use crate::grpc::event;
use crate::grpc::long_calls::LongCalls;
use crate::grpc::status;
use crate::proto::v1::stream_events_response::Answer as WireAnswer;
use crate::proto::v1::{self, Heartbeat, Progress, StreamEventsRequest, StreamEventsResponse};

/// The most kinds of a filter; there are fewer different ones.
const MAX_KINDS: usize = 32;

/// The answers of a stream, one by one.
pub(in crate::grpc) struct Answers {
    lots: audit::Answers,
    lot: std::vec::IntoIter<Answer>,
    /// Resolves when the credential of who reads works no more: what waits is not handed out then. None once it has.
    ending: Option<Ending>,
    /// The position of the last answer that was handed out, or behind which the stream began.
    handed: u64,
}

pub(super) fn handle(
    app: &Arc<App>,
    request: &Request<StreamEventsRequest>,
) -> Result<Answers, AppError> {
    let identity = identity(request)?;
    if let Some(filter) = &request.get_ref().filter {
        let named = || named_account(&filter.tenant_id, &filter.account_id);
        NamedByCall::tell(request.extensions(), named);
    }
    let ask = decode(|bad| read(bad, request.get_ref()))?;
    // The connection is not cut for its age while anything is sent: a client that does not read what is
    // left does not hold it.
    let long_call = request.extensions().get::<LongCalls>().map(LongCalls::begin);
    let handed = position(ask.after);
    let lots = app.stream_events(&identity, ask, long_call)?;
    let ending: Ending = Box::pin(app.ended(&identity));
    Ok(Answers { lots, lot: Vec::new().into_iter(), ending: Some(ending), handed })
}

fn read(bad: &mut Violations, message: &StreamEventsRequest) -> Option<StreamAsk> {
    let filter = message
        .filter
        .as_ref()
        .map_or_else(|| Some(EventFilter::default()), |filter| read_filter(bad, filter));
    let after = Position::new(message.after_position);
    Some(StreamAsk { after, filter: filter?, follow: message.follow })
}

fn read_filter(bad: &mut Violations, filter: &v1::EventFilter) -> Option<EventFilter> {
    let tenant = match filter.tenant_id.as_str() {
        "" => Some(None),
        text => bad.tenant("filter.tenant_id", text).map(Some),
    };
    let account = match filter.account_id.as_str() {
        "" => Some(None),
        _ if filter.tenant_id.is_empty() => {
            bad.refuse("filter.account_id", "must be empty if filter.tenant_id is")
        }
        text => bad.parsed("filter.account_id", AccountId::parse(text)).map(Some),
    };
    let key = match filter.key_id.as_str() {
        "" => Some(None),
        text => bad.key_id("filter.key_id", text).map(Some),
    };
    let known = |number: &i32| {
        let number = u64::try_from(*number).ok();
        let kind = number.and_then(EventKind::from_number);
        kind.ok_or("must be an EventKind that this server knows, not UNSPECIFIED")
    };
    let kinds = bad.each("filter.kinds", MAX_KINDS, &filter.kinds, known);
    Some(EventFilter { tenant: tenant?, account: account?, key: key?, kinds: kinds? })
}

fn answer(answer: &Answer) -> StreamEventsResponse {
    let answer = match answer {
        Answer::Event(entry) => WireAnswer::Event(Box::new(event::audit_event(entry))),
        Answer::Heartbeat { head, checkpoint } => {
            let checkpoint = checkpoint.as_ref().map(|signed| signed.note.clone());
            let checkpoint = checkpoint.unwrap_or_default();
            WireAnswer::Heartbeat(Heartbeat { head: *head, checkpoint })
        }
        Answer::Progress { position } => WireAnswer::Progress(Progress { position: *position }),
    };
    StreamEventsResponse { answer: Some(answer) }
}

impl Stream for Answers {
    type Item = Result<StreamEventsResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(ending) = &mut self.ending else { return Poll::Ready(None) };
        if ending.as_mut().poll(context).is_ready() {
            self.ending = None;
            let cause = Box::new(AppError::CredentialInvalid);
            let ended = AppError::Interrupted { cause, resume_after: self.handed };
            return Poll::Ready(Some(Err(status::of(&ended, None))));
        }
        loop {
            if let Some(next) = self.lot.next() {
                self.handed = next.position();
                return Poll::Ready(Some(Ok(answer(&next))));
            }
            match ready!(self.lots.poll_recv(context)) {
                Some(Ok(lot)) => self.lot = lot.into_iter(),
                Some(Err(error)) => return Poll::Ready(Some(Err(status::of(&error, None)))),
                None => return Poll::Ready(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::decode::tests::violated;

    #[test]
    fn every_kind_of_event_can_be_asked_for_by_its_number() {
        let kinds: Vec<i32> = (1..100).filter(|n| v1::EventKind::try_from(*n).is_ok()).collect();
        let filter = v1::EventFilter { kinds, ..Default::default() };
        let request = StreamEventsRequest { filter: Some(filter), ..Default::default() };
        let ask = decode(|bad| read(bad, &request)).expect("valid");
        assert_eq!(ask.filter.kinds, EventKind::ALL);
    }

    #[test]
    fn every_field_is_held_to_its_bound_under_its_own_path() {
        let filter = v1::EventFilter {
            tenant_id: "/".to_owned(),
            account_id: "a".repeat(129),
            key_id: "key_".to_owned(),
            kinds: vec![30, 0, 1],
        };
        let request = StreamEventsRequest { filter: Some(filter), ..Default::default() };
        let fields = [
            "filter.tenant_id",
            "filter.account_id",
            "filter.key_id",
            "filter.kinds[1]",
            "filter.kinds[2]",
        ];
        assert_eq!(violated(|bad| read(bad, &request)), fields);
        let filter = v1::EventFilter { account_id: "a".to_owned(), ..Default::default() };
        let request = StreamEventsRequest { filter: Some(filter), ..Default::default() };
        assert_eq!(violated(|bad| read(bad, &request)), ["filter.account_id"]);
        let filter = v1::EventFilter { kinds: vec![30; 33], ..Default::default() };
        let request = StreamEventsRequest { filter: Some(filter), ..Default::default() };
        assert_eq!(violated(|bad| read(bad, &request)), ["filter.kinds"]);
    }
}
