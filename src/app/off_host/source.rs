//! Which checkpoint is to be kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::app::checkpoint::{CheckpointSigner, SignedCheckpoint};
use crate::clock::Clock;
use crate::domain::ids::Position;
use crate::ledger::anchor::AnchorState;
use crate::projection::tiles::Tiles;

/// What is kept, and by which clock.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) signer: Arc<CheckpointSigner>,
    pub(super) anchored: watch::Receiver<AnchorState>,
    pub(super) clock: Arc<dyn Clock>,
    /// What has every place keep the same checkpoint; none: each keeps what is newest when its turn comes.
    pub(super) round: Option<Arc<Round>>,
}

/// A time in which one checkpoint is the one to be kept, so that all witnesses cosign the same.
pub(super) struct Round {
    length: Duration,
    /// What proofs are made from.
    tiles: Arc<Tiles>,
    /// When it began, and its checkpoint.
    chosen: Mutex<Option<(Duration, Arc<SignedCheckpoint>)>>,
}

impl Round {
    pub(super) fn new(length: Duration, tiles: Arc<Tiles>) -> Self {
        Round { length, tiles, chosen: Mutex::default() }
    }
}

impl Source {
    /// The checkpoint to be kept now; none before the first is possible.
    pub(super) fn newest(&self) -> Option<Arc<SignedCheckpoint>> {
        let AnchorState { position, root } = *self.anchored.borrow();
        let (position, now) = (position?, self.clock.monotonic());
        let sign = || self.signer.sign((position, root), now, Duration::ZERO);
        let Some(round) = &self.round else { return Some(sign()) };
        let mut chosen = round.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((begun, signed)) = &*chosen {
            let has_grown = position.get() > signed.checkpoint.size;
            if !has_grown || now.saturating_sub(*begun) < round.length {
                return Some(Arc::clone(signed));
            }
        }
        Some(Arc::clone(&chosen.insert((now, sign())).1))
    }

    /// How many records it covers.
    pub(super) fn size(&self) -> u64 {
        match &self.round {
            Some(_) => self.newest().map_or(0, |signed| signed.checkpoint.size),
            None => self.anchored.borrow().position.map_or(0, Position::get),
        }
    }

    /// Whether all is there that is needed to have a checkpoint of so many records kept: hash tiles come a moment
    /// after the records.
    pub(super) fn is_ready(&self, size: u64) -> bool {
        self.round.as_ref().is_none_or(|round| round.tiles.size() >= size)
    }
}
