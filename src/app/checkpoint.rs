//! GetCheckpoint and GetVerifierKey, and the checkpoints of heartbeats: what the log is, signed.
//!
//! What is signed is what the head anchor says, once it is durable. Nothing less will do: a later start
//! finds every record that the anchor names, under the same root, or is refused. So there are never two
//! roots for one size under one origin, whatever ends the process and whenever; and since the anchor only
//! advances, no checkpoint is of a smaller tree than one before. A restore that may have lost records goes
//! on as another generation, under another origin. What none of this finds is a whole directory put back
//! to an earlier state, anchor included: that is for those who keep a checkpoint elsewhere.

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::domain::ids::Position;
use crate::ledger::anchor::AnchorState;
use crate::merkle::Hash;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::note::{KeyName, VerifierKey};
use crate::vault::SigningRing;

/// How long a checkpoint that covers a durable position may take: the anchor is some milliseconds behind.
const PATIENCE: Duration = Duration::from_secs(5);

/// When to come back if it took longer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// For how long one checkpoint does for all who follow: the log may grow with each commit, and thousands may
/// be told of it.
const DOES_FOR: Duration = Duration::from_secs(1);

/// A checkpoint and its note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: String,
}

/// Signs checkpoints, each once.
#[derive(Debug)]
pub(crate) struct CheckpointSigner {
    origin: KeyName,
    ring: SigningRing,
    /// Those of the ring, in its order.
    keys: Vec<VerifierKey>,
    last: Mutex<Option<Made>>,
}

/// The checkpoint that was made last, and when by the monotonic clock.
#[derive(Debug)]
struct Made {
    signed: Arc<SignedCheckpoint>,
    at: Duration,
}

/// The name that checkpoints of a log have: the one it is given, or one of its first record; and behind it
/// the generation, if it is not the first. None if that is too long for a name.
pub(crate) fn origin_of(given: Option<&KeyName>, first: &Hash, generation: u64) -> Option<KeyName> {
    let [own @ .., _, _] = first.0.as_chunks::<8>().0 else { return None };
    let own = own.as_flattened().iter().map(|byte| format!("{byte:02x}"));
    let origin =
        given.map_or_else(|| format!("keyledger/{}", own.collect::<String>()), KeyName::to_string);
    match generation {
        1 => KeyName::parse(&origin),
        _ => KeyName::parse(&format!("{origin}/generation-{generation}")),
    }
}

impl CheckpointSigner {
    /// Signs as `origin` with every key of the ring.
    pub(crate) fn new(origin: KeyName, ring: SigningRing) -> Self {
        let keys = ring.public().filter_map(|public| VerifierKey::of(origin.clone(), &public));
        CheckpointSigner { keys: keys.collect(), origin, ring, last: Mutex::default() }
    }

    pub(crate) fn origin(&self) -> &KeyName {
        &self.origin
    }

    /// What verifies the signatures, the newest key first.
    pub(crate) fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// The checkpoint of a tree, which MUST be one that no later start does without; or the last one made, if
    /// that is of a larger tree or was made within `fresh`.
    pub(crate) fn sign(
        &self,
        (size, root): (Position, Hash),
        now: Duration,
        fresh: Duration,
    ) -> Arc<SignedCheckpoint> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let does = |made: &&Made| {
            made.signed.checkpoint.size >= size.get() || now.saturating_sub(made.at) < fresh
        };
        if let Some(made) = last.as_ref().filter(does) {
            return Arc::clone(&made.signed);
        }
        let checkpoint = Checkpoint { origin: self.origin.clone(), size: size.get(), root };
        let text = checkpoint.text();
        let signatures = self.keys.iter().zip(self.ring.sign(text.as_bytes()));
        let lines: String =
            signatures.map(|(key, signature)| key.signature_line(&signature)).collect();
        let note = format!("{text}\n{lines}");
        let signed = Arc::new(SignedCheckpoint { checkpoint, note });
        Arc::clone(&last.insert(Made { signed, at: now }).signed)
    }
}

impl App {
    /// GetCheckpoint: one that covers `min_size` records, none of which is beyond the head.
    ///
    /// # Errors
    /// [`AppError`]: `min_size` is beyond the head.
    pub async fn checkpoint(
        &self,
        identity: &Identity,
        min_size: u64,
    ) -> Result<Arc<SignedCheckpoint>, AppError> {
        self.confirm(identity)?;
        self.require_within_head(min_size)?;
        let mut anchored = self.anchored.clone();
        let covers =
            |state: &AnchorState| state.position.is_some_and(|position| position.get() >= min_size);
        let state = match timeout(PATIENCE, anchored.wait_for(covers)).await {
            Ok(Ok(state)) => *state,
            Ok(Err(_)) => return Err(AppError::Draining),
            Err(_) => {
                let made = self.anchored.borrow().position.map_or(0, Position::get);
                return Err(AppError::ProofsBehind { made, retry_after: RETRY_AFTER });
            }
        };
        let position = state.position.ok_or(AppError::Internal)?;
        let now = self.clock.monotonic();
        Ok(self.proofs()?.signer.sign((position, state.root), now, Duration::ZERO))
    }

    /// The checkpoint for who follows the log: one for all of them, at most so old as [`DOES_FOR`] says. None
    /// while nothing is proved.
    pub(crate) fn recent_checkpoint(&self) -> Option<Arc<SignedCheckpoint>> {
        let signer = &self.proofs.get()?.signer;
        let AnchorState { position, root } = *self.anchored.borrow();
        Some(signer.sign((position?, root), self.clock.monotonic(), DOES_FOR))
    }

    /// GetVerifierKey: what verifies checkpoints, the newest key first.
    ///
    /// # Errors
    /// [`AppError`]: nothing is proved here.
    pub fn verifier_keys(&self, identity: &Identity) -> Result<&[VerifierKey], AppError> {
        self.confirm(identity)?;
        Ok(self.proofs()?.signer.keys())
    }

    /// Refuses a position beyond the head.
    pub(crate) fn require_within_head(&self, asked: u64) -> Result<(), AppError> {
        let head = self.table.head().map_or(0, Position::get);
        if asked > head { Err(AppError::BeyondHead { asked, head }) } else { Ok(()) }
    }
}
