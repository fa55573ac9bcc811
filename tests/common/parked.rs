//! Calls whose headers have been sent and whose message comes when a test says so.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::Service;

/// A body that says what it is told to say, when it is told.
struct Told(mpsc::UnboundedReceiver<Bytes>);

impl http_body::Body for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A call whose headers have been sent and whose message has not.
pub struct Parked {
    say: mpsc::UnboundedSender<Bytes>,
    pub answer: tokio::task::JoinHandle<Status>,
}

impl Parked {
    pub fn call(channel: Channel, path: &str, credential: &str) -> Parked {
        Parked::call_with(channel, path, credential, &[])
    }

    /// A call with headers besides those that every call has.
    pub fn call_with(
        mut channel: Channel,
        path: &str,
        credential: &str,
        headers: &[(&str, &str)],
    ) -> Parked {
        let (say, told) = mpsc::unbounded_channel();
        let mut request = http::Request::post(path)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {credential}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::new(Told(told))).expect("a request");
        let answer = tokio::spawn(async move {
            std::future::poll_fn(|cx| Service::poll_ready(&mut channel, cx)).await.expect("up");
            let answer = channel.call(request).await.expect("an answer");
            // A refusal and an answer without a message both end with the headers.
            Status::from_header_map(answer.headers()).unwrap_or_else(|| Status::ok("answered"))
        });
        Parked { say, answer }
    }

    /// Sends the message, as gRPC frames it, and waits for the answer.
    pub async fn finish(self, message: &[u8]) -> Status {
        let length = u32::try_from(message.len()).expect("small").to_be_bytes();
        self.finish_raw([&[0][..], &length, message].concat()).await
    }

    /// Sends these bytes and waits for the answer.
    pub async fn finish_raw(self, bytes: Vec<u8>) -> Status {
        // A call that is refused without its message takes none.
        let _ = self.say.send(bytes.into());
        drop(self.say);
        self.answer.await.expect("no panic")
    }
}
