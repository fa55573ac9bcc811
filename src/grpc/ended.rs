//! Ends what is streamed to a caller the moment its credential works no more: woken by that, whatever the stream does.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::HeaderMap;
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;

use crate::app::error::AppError;
use crate::grpc::status;

/// Resolves when a caller's credential works no more.
pub type Ending = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A body that can be ended before its time.
pub trait Endable {
    /// The same, until `ending` resolves: then it ends with UNAUTHENTICATED, and what it still had is dropped.
    #[must_use]
    fn until(self, ending: Ending) -> Self;
}

impl Endable for Body {
    fn until(self, ending: Ending) -> Self {
        Body::new(UntilEnded(Some((self, ending))))
    }
}

/// A body and what ends it; none once it was ended.
struct UntilEnded(Option<(Body, Ending)>);

impl http_body::Body for UntilEnded {
    type Data = <Body as http_body::Body>::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let Some((body, ending)) = &mut self.0 else { return Poll::Ready(None) };
        if ending.as_mut().poll(context).is_pending() {
            return Pin::new(body).poll_frame(context);
        }
        self.0 = None;
        let ended = status::of(&AppError::CredentialInvalid, None);
        let mut trailers = HeaderMap::new();
        let written = ended.add_header(&mut trailers);
        Poll::Ready(Some(written.map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|(body, _)| http_body::Body::is_end_stream(body))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::sync::{mpsc, oneshot};
    use tokio_stream::wrappers::UnboundedReceiverStream;
    use tonic::Code;

    use super::*;

    /// A body of frames as they are sent.
    struct Sent(UnboundedReceiverStream<&'static str>);

    impl http_body::Body for Sent {
        type Data = <Body as http_body::Body>::Data;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
            let next = tokio_stream::Stream::poll_next(Pin::new(&mut self.0), context);
            next.map(|next| next.map(|text| Ok(Frame::data(text.into()))))
        }
    }

    async fn next(body: &mut Body) -> Option<Frame<<Body as http_body::Body>::Data>> {
        let frame = poll_fn(|context| http_body::Body::poll_frame(Pin::new(&mut *body), context));
        frame.await.map(|frame| frame.expect("no error"))
    }

    fn open() -> (mpsc::UnboundedSender<&'static str>, oneshot::Sender<()>, Body) {
        let (send, sent) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let ending: Ending = Box::pin(async move {
            let _ = ended.await;
        });
        (send, end, Body::new(Sent(sent.into())).until(ending))
    }

    #[tokio::test]
    async fn a_stream_that_waits_is_woken_and_ends_with_unauthenticated_and_no_more() {
        let (send, end, mut body) = open();
        send.send("one").expect("open");
        let frame = next(&mut body).await.expect("a frame");
        assert_eq!(frame.into_data().expect("data"), "one");
        let waits = tokio::spawn(async move {
            let last = next(&mut body).await.expect("a frame");
            (last, next(&mut body).await.is_none(), http_body::Body::is_end_stream(&body))
        });
        tokio::task::yield_now().await;
        end.send(()).expect("it waits");
        let (last, is_last, ended) = waits.await.expect("no panic");
        let status = Status::from_header_map(last.trailers_ref().expect("trailers"));
        assert_eq!(status.expect("a status").code(), Code::Unauthenticated);
        assert!(is_last && ended && send.is_closed());
    }

    #[tokio::test]
    async fn what_was_on_its_way_is_not_handed_out_behind_the_end() {
        let (send, end, mut body) = open();
        send.send("one").expect("open");
        end.send(()).expect("open");
        assert!(next(&mut body).await.expect("a frame").is_trailers());
    }

    #[tokio::test]
    async fn a_stream_whose_caller_stays_ends_as_it_would() {
        let (send, _end, mut body) = open();
        send.send("one").expect("open");
        drop(send);
        assert!(next(&mut body).await.expect("a frame").is_data());
        assert!(next(&mut body).await.is_none());
    }
}
