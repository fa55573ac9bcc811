//! The relay: reads what has just been written once, for all who follow, and wakes them together.
//!
//! It runs only while somebody follows. The writer tells it of each group, which costs next to nothing;
//! between two looks it rests, the longer the more follow, so that waking them takes a small part of a core
//! however many they are. Its recent records are opened and decoded once and shared.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::entry::AuditEntry;
use crate::app::App;
use crate::app::error::AppError;
use crate::domain::ids::Position;

/// Bytes of recent records that are kept. Who falls behind them reads the log.
const RECENT_BYTES: usize = 8 * 1024 * 1024;

/// How long the relay rests after each look.
const REST: Duration = Duration::from_millis(2);

/// How much longer for each who follows: waking one takes a few microseconds.
const REST_FOR_EACH: Duration = Duration::from_micros(20);

/// Records that were read together.
#[derive(Debug)]
pub(super) struct Batch {
    first: u64,
    last: u64,
    bytes: usize,
    entries: Vec<Arc<AuditEntry>>,
}

/// The last batches, without a gap between them.
#[derive(Debug, Default)]
struct Recent {
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
}

impl Recent {
    fn push(&mut self, batch: Batch) {
        self.bytes += batch.bytes;
        self.batches.push_back(Arc::new(batch));
        while self.bytes > RECENT_BYTES
            && let Some(oldest) = self.batches.pop_front()
        {
            self.bytes -= oldest.bytes;
        }
    }

    /// The batch that holds `position`.
    fn at(&self, position: u64) -> Option<Arc<Batch>> {
        let behind = self.batches.partition_point(|batch| batch.first <= position);
        let batch = self.batches.get(behind.checked_sub(1)?)?;
        (position <= batch.last).then(|| Arc::clone(batch))
    }
}

#[derive(Debug, Default)]
struct Followers {
    count: u32,
    served: bool,
}

/// What the relay and all who follow share.
#[derive(Debug)]
pub(crate) struct Relay {
    followers: Mutex<Followers>,
    recent: RwLock<Recent>,
    head: watch::Sender<u64>,
    /// Told when somebody no longer follows.
    left: Notify,
}

impl Default for Relay {
    fn default() -> Self {
        Relay {
            followers: Mutex::default(),
            recent: RwLock::default(),
            head: watch::Sender::new(0),
            left: Notify::new(),
        }
    }
}

/// Somebody who follows, until it is dropped.
#[derive(Debug)]
pub(super) struct Following {
    relay: Arc<Relay>,
    head: watch::Receiver<u64>,
}

impl Following {
    /// Begins to follow; starts the relay if nobody did.
    pub(super) fn begin(app: &Arc<App>) -> Self {
        let relay = Arc::clone(&app.audit.relay);
        let head = relay.head.subscribe();
        let mut followers = relay.followers();
        followers.count += 1;
        if !followers.served {
            followers.served = true;
            tokio::spawn(serve(Arc::clone(app)));
        }
        drop(followers);
        Following { relay, head }
    }

    /// The head that the relay has reached; changes behind it resolve [`Following::moved`].
    pub(super) fn head(&mut self) -> u64 {
        *self.head.borrow_and_update()
    }

    /// Resolves when the head has moved.
    pub(super) async fn moved(&mut self) {
        // The relay that is held here has the sender.
        let _ = self.head.changed().await;
    }

    /// The batch of recent records that holds `position`, if it is kept.
    pub(super) fn recent(&self, position: u64) -> Option<Arc<Batch>> {
        self.relay.recent.read().unwrap_or_else(PoisonError::into_inner).at(position)
    }
}

impl Batch {
    /// The records in order.
    pub(super) fn entries(&self) -> &[Arc<AuditEntry>] {
        &self.entries
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.relay.followers().count -= 1;
        self.relay.left.notify_one();
    }
}

impl Relay {
    fn followers(&self) -> MutexGuard<'_, Followers> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many follow; none: whoever asked has ended.
    fn count(&self) -> Option<u32> {
        let mut followers = self.followers();
        if followers.count == 0 {
            followers.served = false;
            self.forget();
            return None;
        }
        Some(followers.count)
    }

    fn forget(&self) {
        *self.recent.write().unwrap_or_else(PoisonError::into_inner) = Recent::default();
    }

    fn keep(&self, batch: Batch) {
        self.recent.write().unwrap_or_else(PoisonError::into_inner).push(batch);
    }
}

/// Serves those who follow until nobody does.
async fn serve(app: Arc<App>) {
    let relay = Arc::clone(&app.audit.relay);
    let published = app.writer.published();
    let mut next = app.table.head().map_or(1, |head| head.get() + 1);
    while let Some(count) = relay.count() {
        let looking = Arc::clone(&app);
        let looked = tokio::task::spawn_blocking(move || looking.look_from(next)).await;
        next = looked.unwrap_or_else(|_| {
            // Its panic has been told. Who follows reads the log itself then.
            relay.forget();
            app.table.head().map_or(next, |head| head.get() + 1)
        });
        relay.head.send_replace(next - 1);
        tokio::time::sleep(REST + REST_FOR_EACH * count).await;
        tokio::select! {
            () = published.notified() => {}
            () = relay.left.notified() => {}
        }
    }
}

impl App {
    /// Reads what was written from `next` on; answers where the next look begins. What cannot be kept, for
    /// its size or because it fails its check, is left to be read by who follows.
    fn look_from(&self, next: u64) -> u64 {
        let Some(head) = self.table.head() else { return next };
        let Some(first) = Position::new(next).filter(|first| *first <= head) else { return next };
        match self.read_recent(first, head) {
            Ok(Some(batch)) => self.audit.relay.keep(batch),
            Ok(None) | Err(_) => self.audit.relay.forget(),
        }
        head.get() + 1
    }

    /// The records from `first` to `head`; none if they are too many or not all there.
    fn read_recent(&self, first: Position, head: Position) -> Result<Option<Batch>, AppError> {
        let mut batch =
            Batch { first: first.get(), last: head.get(), bytes: 0, entries: Vec::new() };
        for frame in self.reader.frames_from(first) {
            let frame = frame.map_err(|error| self.audit.unreadable(first, &error))?;
            let wanted = |(position, _): &(Position, &[u8])| (first..=head).contains(position);
            for (position, bytes) in frame.records().filter(wanted) {
                let entry = self.audit_entry(position, bytes, true)?;
                batch.bytes += entry.weight();
                batch.entries.push(Arc::new(entry));
            }
            if batch.bytes > RECENT_BYTES {
                return Ok(None);
            }
            if frame.last() >= head {
                return Ok(Some(batch));
            }
        }
        // A log that ends before its head has lost a frame: who reads it tells.
        Ok(None)
    }
}
