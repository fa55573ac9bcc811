//! Room for the calls of one connection that are open to anyone, which nothing else bounds: no caller stands behind them,
//! and Watch of the health service lasts as long as its client wants.

use std::future;
use std::sync::Arc;

use crate::grpc::ended::Ending;
use crate::grpc::room::Room;

/// The most at once: a client watches a service or two, a proxy the six that have a health.
const MOST: usize = 16;

/// The open calls of a connection. The server puts one of these on each call of the connection.
#[derive(Clone, Debug)]
pub struct OpenCalls(Arc<Room>);

impl Default for OpenCalls {
    fn default() -> Self {
        OpenCalls(Arc::new(Room::new(MOST)))
    }
}

impl OpenCalls {
    /// Takes a place, which is free again when what this answers is dropped: with the call, or the stream that it is
    /// answered with. It ends neither. None if there is no room.
    pub(super) fn begin(&self) -> Option<Ending> {
        let place = self.0.enter()?;
        Some(Box::pin(async move {
            let _place = place;
            future::pending().await
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_taken_until_its_call_is_dropped() {
        let calls = OpenCalls::default();
        let mut held: Vec<_> = (0..MOST).filter_map(|_| calls.begin()).collect();
        assert_eq!(held.len(), MOST);
        assert!(calls.clone().begin().is_none(), "one bound for the connection");
        assert!(OpenCalls::default().begin().is_some(), "another connection");
        held.pop();
        assert!(calls.begin().is_some());
    }
}
