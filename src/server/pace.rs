//! How fast a connection is read: a little in each turn, and nothing while too many calls of its caller wait to begin.
//!
//! A runtime polls what is ready in the order in which it became so. Read to its end, one connection with a thousand
//! calls would keep all others waiting for as long as those take.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::grpc::lanes::{LaneOfConnection, Parked};

/// The most bytes read in one turn: some 16 calls of Authenticate.
const TURN_BYTES: usize = 2048;

/// The turns of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<AtomicUsize>);

impl Turns {
    /// Polls a connection, whose stream is [`Paced`] by these turns: each poll is a turn.
    pub(super) fn of<C: Future>(
        &self,
        mut connection: Pin<&mut C>,
    ) -> impl Future<Output = C::Output> {
        poll_fn(move |cx| {
            self.0.store(TURN_BYTES, Ordering::Relaxed);
            connection.as_mut().poll(cx)
        })
    }
}

/// The stream of a connection, read in turns.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    turns: Turns,
    lane: LaneOfConnection,
    parked: Option<Parked>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, turns: Turns, lane: LaneOfConnection) -> Self {
        Paced { stream, turns, lane, parked: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let left = me.turns.0.load(Ordering::Relaxed);
        if left == 0 {
            // Behind all that is ready now.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(me.lane.poll_read(&mut me.parked, cx));
        let mut bytes = [0; TURN_BYTES];
        let mut part = ReadBuf::new(&mut bytes[..left.min(buffer.remaining())]);
        ready!(Pin::new(&mut me.stream).poll_read(cx, &mut part))?;
        buffer.put_slice(part.filled());
        me.turns.0.store(left - part.filled().len(), Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[test]
    fn a_stream_is_read_in_turns_and_to_its_end() {
        let sent: Vec<u8> = (0..=255).cycle().take(5 * TURN_BYTES + 1).collect();
        let (turns, lane) = (Turns::default(), LaneOfConnection::default());
        let mut stream = Paced::new(&sent[..], turns.clone(), lane);
        let mut received = Vec::new();
        let mut polls = 0;
        {
            let mut reading = pin!(stream.read_to_end(&mut received));
            let mut turn = pin!(turns.of(reading.as_mut()));
            let mut cx = Context::from_waker(Waker::noop());
            while turn.as_mut().poll(&mut cx).is_pending() {
                polls += 1;
            }
        }
        assert_eq!(polls, 5, "each of {TURN_BYTES} bytes, then the rest");
        assert_eq!(received, sent);
    }
}
