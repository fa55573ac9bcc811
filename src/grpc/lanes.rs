//! Lines for the processor, one for each caller: who floods waits in its own connections.
//!
//! A call that has come and not begun waits for one of the server's threads. How long the next call of anybody waits
//! is how many of those there are: no bound on calls under way helps, since most take microseconds. So there is a
//! bound on how many of one caller's calls wait. While it is reached, connections of that caller are not read: its
//! calls stay in its own sockets, where they cost nothing, and in time its clients', and its connections are read in
//! turn as its calls begin. Nothing is refused, nobody else's calls wait behind them, and a caller that is alone has
//! the whole server.
//!
//! Calls that no caller stands behind share one line.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use arc_swap::ArcSwapOption;
use papaya::HashMap;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::domain::ids::CallerId;

/// How many calls of one caller wait for each thread of the server before its connections are not read: enough to
/// keep the thread busy until one has been read again, and some 100 µs of work.
const WAITING_PER_THREAD: usize = 8;

/// What there is of one caller's calls.
#[derive(Debug)]
pub struct Lane {
    /// None: no caller stands behind them.
    caller: Option<CallerId>,
    /// The most that wait before connections are not read.
    most: usize,
    /// Calls that have come and not begun.
    waiting: AtomicUsize,
    /// Calls that have begun and are not answered.
    pub(super) under_way: AtomicUsize,
    /// Connections that are not read.
    parked: AtomicUsize,
    begun: Arc<Notify>,
}

impl Lane {
    fn new(caller: Option<CallerId>, most: usize) -> Self {
        Lane {
            caller,
            most,
            waiting: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            parked: AtomicUsize::new(0),
            begun: Arc::default(),
        }
    }

    fn is_full(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) >= self.most
    }

    /// Has a connection that is not read look whether it may be. Who parks counts itself before it looks whether the
    /// lane is full, who begins a call looks for the parked after it: one of the two sees the other.
    fn wake_one(&self) {
        if self.parked.load(Ordering::SeqCst) > 0 {
            self.begun.notify_one();
        }
    }
}

/// A call that waits to begin. It has begun when this is dropped.
#[derive(Debug)]
pub struct Waiting(Arc<Lane>);

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::SeqCst) <= self.0.most {
            self.0.wake_one();
        }
    }
}

/// The lines of all callers.
pub(super) struct Lanes {
    most: usize,
    of_callers: HashMap<CallerId, Arc<Lane>>,
    of_nobody: Arc<Lane>,
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("callers", &self.of_callers.len()).finish_non_exhaustive()
    }
}

impl Lanes {
    /// Lines for the threads of the runtime that this is called in; for one, outside of any.
    pub(super) fn new() -> Self {
        let threads = Handle::try_current().map_or(1, |handle| handle.metrics().num_workers());
        let most = threads * WAITING_PER_THREAD;
        let of_nobody = Arc::new(Lane::new(None, most));
        Lanes { most, of_callers: HashMap::new(), of_nobody }
    }

    /// The line of a caller, in which the connection's calls wait from here on. There are as many as callers that ever
    /// called, each of some 100 bytes.
    pub(super) fn of(&self, caller: CallerId, connection: Option<&LaneOfConnection>) -> Arc<Lane> {
        if let Some(lane) = connection.and_then(LaneOfConnection::get)
            && lane.caller == Some(caller)
        {
            return lane;
        }
        let new = || Arc::new(Lane::new(Some(caller), self.most));
        let lane = Arc::clone(self.of_callers.pin().get_or_insert_with(caller, new));
        if let Some(connection) = connection {
            connection.0.store(Some(Arc::clone(&lane)));
        }
        lane
    }

    /// No caller stands behind a call of that connection. A line that it has been given before is kept.
    pub(super) fn of_nobody(&self, connection: Option<&LaneOfConnection>) {
        if let Some(connection) = connection.filter(|connection| connection.0.load().is_none()) {
            connection.0.store(Some(Arc::clone(&self.of_nobody)));
        }
    }
}

/// The line that a connection's calls wait in: the one of the caller that called on it last. The server puts it on
/// each call, the gate says whose it is.
#[derive(Clone, Debug, Default)]
pub struct LaneOfConnection(Arc<ArcSwapOption<Lane>>);

impl LaneOfConnection {
    fn get(&self) -> Option<Arc<Lane>> {
        self.0.load_full()
    }

    /// A call has come. None: nobody knows yet whose the connection is.
    #[must_use]
    pub fn enter(&self) -> Option<Waiting> {
        self.get().map(|lane| {
            lane.waiting.fetch_add(1, Ordering::SeqCst);
            Waiting(lane)
        })
    }

    /// Ready when the connection may be read. `parked` is kept by the reader between two polls.
    pub fn poll_read(&self, parked: &mut Option<Parked>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(waits) = parked {
                ready!(waits.begun.as_mut().poll(cx));
                let lane = Arc::clone(&waits.lane);
                *parked = None;
                if !lane.is_full() {
                    // Others may be read too, should this one bring no call.
                    lane.wake_one();
                    return Poll::Ready(());
                }
            }
            let Some(lane) = self.get().filter(|lane| lane.is_full()) else {
                return Poll::Ready(());
            };
            let waits = Parked::new(lane);
            if !waits.lane.is_full() {
                return Poll::Ready(());
            }
            *parked = Some(waits);
        }
    }
}

/// A connection that is not read until calls of its caller have begun.
#[derive(Debug)]
pub struct Parked {
    lane: Arc<Lane>,
    begun: Pin<Box<OwnedNotified>>,
}

impl Parked {
    fn new(lane: Arc<Lane>) -> Self {
        lane.parked.fetch_add(1, Ordering::SeqCst);
        let mut begun = Box::pin(Arc::clone(&lane.begun).notified_owned());
        begun.as_mut().enable();
        Parked { lane, begun }
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.lane.parked.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::task::{Wake, Waker};

    use super::*;

    const A: CallerId = CallerId([1; 12]);
    const B: CallerId = CallerId([2; 12]);

    /// A connection and what its reader keeps.
    #[derive(Default)]
    struct Connection(LaneOfConnection, Option<Parked>);

    impl Connection {
        fn of(lanes: &Lanes, caller: CallerId) -> Self {
            let connection = Connection::default();
            lanes.of(caller, Some(&connection.0));
            connection
        }

        fn is_read(&mut self) -> bool {
            let mut cx = Context::from_waker(Waker::noop());
            self.0.poll_read(&mut self.1, &mut cx).is_ready()
        }
    }

    fn fill(connection: &Connection) -> Vec<Waiting> {
        (0..WAITING_PER_THREAD).map(|_| connection.0.enter().expect("known")).collect()
    }

    #[test]
    fn a_connection_is_not_read_while_too_many_calls_of_its_caller_wait() {
        let lanes = Lanes::new();
        let mut one = Connection::of(&lanes, A);
        let (mut other, mut foreign) = (Connection::of(&lanes, A), Connection::of(&lanes, B));
        let mut new = Connection::default();
        let mut waiting = fill(&one);
        assert!(!one.is_read() && !other.is_read());
        assert!(foreign.is_read() && new.is_read(), "another caller's, and nobody knows whose");
        waiting.pop();
        assert!(one.is_read() && other.is_read());
        assert!(new.0.enter().is_none());
    }

    /// What a runtime does: those that were woken, in order.
    #[derive(Clone, Default)]
    struct Woken(Arc<Mutex<VecDeque<usize>>>);

    impl Woken {
        fn next(&self) -> Option<usize> {
            self.0.lock().expect("no panic").pop_front()
        }
    }

    struct WakesOne(Woken, usize);

    impl Wake for WakesOne {
        fn wake(self: Arc<Self>) {
            self.0.0.lock().expect("no panic").push_back(self.1);
        }
    }

    #[test]
    fn connections_of_a_caller_take_turns() {
        let lanes = Lanes::new();
        let woken = Woken::default();
        let mut connections: Vec<_> = (0..5).map(|_| Connection::of(&lanes, A)).collect();
        let mut waiting: VecDeque<_> = fill(&connections[0]).into();
        let mut reads = vec![0; connections.len()];
        let mut poll = |n: usize, waiting: &mut VecDeque<Waiting>| {
            let waker = Waker::from(Arc::new(WakesOne(woken.clone(), n)));
            let Connection(lane, parked) = &mut connections[n];
            // Each brings a call whenever it is read.
            while lane.poll_read(parked, &mut Context::from_waker(&waker)).is_ready() {
                reads[n] += 1;
                waiting.push_back(lane.enter().expect("known"));
            }
        };
        (0..5).for_each(|n| poll(n, &mut waiting));
        for _ in 0..500 {
            waiting.pop_front();
            while let Some(n) = woken.next() {
                poll(n, &mut waiting);
            }
        }
        assert_eq!(reads.iter().sum::<usize>(), 500, "one for each call that begins");
        assert!(reads.iter().all(|reads| *reads >= 50), "{reads:?}");
    }

    #[test]
    fn all_are_read_again_though_the_first_brings_no_call_or_is_gone() {
        let lanes = Lanes::new();
        let mut connections: Vec<_> = (0..4).map(|_| Connection::of(&lanes, A)).collect();
        let waiting = fill(&connections[0]);
        assert!(connections.iter_mut().all(|connection| !connection.is_read()));
        drop(waiting);
        drop(connections.remove(0));
        for connection in &mut connections {
            assert!(connection.is_read());
        }
        let lane = connections[0].0.get().expect("known");
        assert_eq!(lane.waiting.load(Ordering::SeqCst), 0);
        assert_eq!(lane.parked.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_connection_is_in_the_line_of_who_called_on_it_last() {
        let lanes = Lanes::new();
        let connection = Connection::of(&lanes, A);
        lanes.of_nobody(Some(&connection.0));
        assert_eq!(connection.0.get().expect("known").caller, Some(A));
        lanes.of(B, Some(&connection.0));
        assert_eq!(connection.0.get().expect("known").caller, Some(B));
        let anonymous = Connection::default();
        lanes.of_nobody(Some(&anonymous.0));
        assert_eq!(anonymous.0.get().expect("nobody's").caller, None);
    }
}
