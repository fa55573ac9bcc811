//! Calls that may last longer than a connection's age: the connection waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many long calls a connection carries. The server puts one of these on each call of the
/// connection, and asks it before it cuts the connection because of its age.
#[derive(Clone, Debug, Default)]
pub struct LongCalls(Arc<AtomicUsize>);

/// A long call; it is over when this is dropped.
#[derive(Debug)]
pub struct LongCall(Arc<AtomicUsize>);

impl LongCalls {
    /// A long call begins.
    #[must_use]
    pub fn begin(&self) -> LongCall {
        self.0.fetch_add(1, Ordering::AcqRel);
        LongCall(Arc::clone(&self.0))
    }

    /// Whether there are any.
    #[must_use]
    pub fn any(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

impl Drop for LongCall {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_call_counts_until_it_is_dropped() {
        let calls = LongCalls::default();
        assert!(!calls.any());
        let (one, other) = (calls.begin(), calls.clone().begin());
        drop(one);
        assert!(calls.any());
        drop(other);
        assert!(!calls.any());
    }
}
