//! AuthenticateStream: as Authenticate, many questions on one call, answered in their order.
//!
//! Nothing runs beside the stream: whoever writes the answers reads the questions. So questions are read only as fast
//! as answers are taken, and what may wait in a stream is bounded by [`MOST_UNDER_WAY`].

use std::collections::VecDeque;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use prost::Message as _;
use tokio_stream::Stream;
use tonic::{Code, Request, Status};

use crate::app::App;
use crate::app::drain::Drain;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::domain::ids::TraceId;
use crate::grpc::access::AUTHENTICATE_STREAM;
use crate::grpc::arrival::peer_of;
use crate::grpc::call::{identity, trace_id};
use crate::grpc::key_service::authenticate;
use crate::grpc::layer;
use crate::grpc::long_calls::{LongCall, LongCalls};
use crate::grpc::measured::number_of;
use crate::grpc::status;
use crate::proto::v1::authenticate_stream_response::Answer;
use crate::proto::v1::{
    AuthenticateRequest, AuthenticateResponse, AuthenticateStreamRequest,
    AuthenticateStreamResponse,
};

/// Questions that have been read and are not answered, at most: what `before_reply` takes between two writes to a disk
/// of a millisecond, at 250,000 a second.
const MOST_UNDER_WAY: usize = 256;

type Answering = Pin<Box<dyn Future<Output = Result<AuthenticateResponse, AppError>> + Send>>;

/// A question that has been read.
enum UnderWay {
    Waits(Answering),
    /// Behind one that waits.
    Done(Box<Result<AuthenticateResponse, AppError>>),
}

impl UnderWay {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<AuthenticateResponse, AppError>> {
        match self {
            UnderWay::Waits(answering) => answering.as_mut().poll(cx),
            // Taken out of the line with its answer: asked once.
            UnderWay::Done(done) => {
                Poll::Ready(std::mem::replace(&mut **done, Err(AppError::Internal)))
            }
        }
    }
}

/// How a stream goes on.
enum Course {
    Reads,
    /// No more questions are read; behind the answers to those that were, it ends with this.
    Ends(Option<Status>),
}

/// Who asks, and what is known of all its questions.
struct Asker {
    app: Arc<App>,
    identity: Arc<Identity>,
    trace_id: Option<TraceId>,
    source: Option<IpAddr>,
}

impl Asker {
    fn ask(self: &Arc<Self>, request: Option<AuthenticateRequest>) -> Answering {
        let asker = Arc::clone(self);
        Box::pin(async move {
            let Asker { app, identity, trace_id, .. } = &*asker;
            app.note_call(identity);
            let request = request.ok_or_else(|| AppError::field("request", "must be set"))?;
            authenticate::ask(app, identity, *trace_id, request).await
        })
    }

    fn answer(
        &self,
        tag: u64,
        answered: Result<AuthenticateResponse, AppError>,
    ) -> AuthenticateStreamResponse {
        let mut code = Code::Ok;
        let answer = answered.map(Answer::Response).unwrap_or_else(|error| {
            let refused = status::of(&error, None);
            code = refused.code();
            layer::note_of_stream(
                &*self.app,
                AUTHENTICATE_STREAM,
                self.identity.id,
                (self.trace_id, self.source),
                &refused,
            );
            // Every status of ours has its whole self among its details.
            Answer::Error(tonic_types::Status::decode(refused.details()).unwrap_or_default())
        });
        self.app.decisions().note_in_stream(number_of(code));
        AuthenticateStreamResponse { tag, answer: Some(answer) }
    }
}

/// The answers of a stream, in the order of its questions.
pub(in crate::grpc) struct Answers<Q> {
    questions: Q,
    course: Course,
    /// In the order in which they came, with their tags.
    under_way: VecDeque<(u64, UnderWay)>,
    asker: Arc<Asker>,
    drain: Drain,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The connection is not cut for its age under who asks on and on.
    _long_call: Option<LongCall>,
}

pub(super) fn handle<Q>(app: &Arc<App>, request: Request<Q>) -> Result<Answers<Q>, AppError> {
    let asker = Asker {
        app: Arc::clone(app),
        identity: identity(&request)?,
        trace_id: trace_id(request.metadata()),
        source: peer_of(request.extensions()),
    };
    let long_call = request.extensions().get::<LongCalls>().map(LongCalls::begin);
    let drain = app.drain();
    let begun = drain.clone();
    Ok(Answers {
        questions: request.into_inner(),
        course: Course::Reads,
        under_way: VecDeque::new(),
        asker: Arc::new(asker),
        drain,
        draining: Box::pin(async move { begun.begun().await }),
        _long_call: long_call,
    })
}

impl<Q> Answers<Q>
where
    Q: Stream<Item = Result<AuthenticateStreamRequest, Status>> + Unpin,
{
    /// Reads what questions there are and room is for, and begins to answer them; the first, if it is the only one and
    /// answered at once, is what it returns.
    fn read(&mut self, cx: &mut Context<'_>) -> Option<AuthenticateStreamResponse> {
        while matches!(self.course, Course::Reads) && self.under_way.len() < MOST_UNDER_WAY {
            if self.drain.has_begun() {
                self.course = Course::Ends(Some(status::of(&AppError::Draining, None)));
                break;
            }
            let question = match Pin::new(&mut self.questions).poll_next(cx) {
                Poll::Ready(Some(Ok(question))) => question,
                Poll::Ready(Some(Err(broken))) => {
                    self.course = Course::Ends(Some(status::completed(broken)));
                    break;
                }
                Poll::Ready(None) => {
                    self.course = Course::Ends(None);
                    break;
                }
                Poll::Pending => break,
            };
            let mut answering = self.asker.ask(question.request);
            match answering.as_mut().poll(cx) {
                Poll::Ready(done) if self.under_way.is_empty() => {
                    return Some(self.asker.answer(question.tag, done));
                }
                Poll::Ready(done) => {
                    self.under_way.push_back((question.tag, UnderWay::Done(Box::new(done))));
                }
                Poll::Pending => {
                    self.under_way.push_back((question.tag, UnderWay::Waits(answering)));
                }
            }
        }
        None
    }
}

impl<Q> Stream for Answers<Q>
where
    Q: Stream<Item = Result<AuthenticateStreamRequest, Status>> + Unpin,
{
    type Item = Result<AuthenticateStreamResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(answer) = this.read(cx) {
                return Poll::Ready(Some(Ok(answer)));
            }
            // Each was polled when it was read, and the first is whenever the stream is: so the first wakes it.
            if let Some((tag, first)) = this.under_way.front_mut() {
                let Poll::Ready(done) = first.poll(cx) else { return Poll::Pending };
                let answer = this.asker.answer(*tag, done);
                this.under_way.pop_front();
                return Poll::Ready(Some(Ok(answer)));
            }
            if let Course::Ends(why) = &mut this.course {
                return Poll::Ready(why.take().map(Err));
            }
            if this.draining.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
