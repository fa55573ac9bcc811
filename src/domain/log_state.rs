//! What the log itself is: which generation, and what restores of it may have lost.
//!
//! A log that is restored from a backup short of its last known head goes on as a new generation, so
//! that there are never two roots for one size under one name. What was recorded behind the backup is
//! a loss: keys may have been revoked there. Until each loss is resolved no key is authenticated.

use thiserror::Error;

use crate::domain::event::{Event, Proposal};
use crate::domain::facts::Facts;
use crate::domain::ids::Position;
use crate::domain::refusal::Refusal;
use crate::domain::signing::SigningKey;
use crate::domain::subject::Subject;

/// The root of the tree over all records up to some position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeRoot(pub [u8; 32]);

/// A log was restored short of its last known head and goes on as another generation: the first
/// record of that generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRestored {
    /// What names the log in all its generations: the root of the tree over its first record alone.
    pub origin: TreeRoot,
    /// The generation from here on: one more than before.
    pub generation: u64,
    /// The last position of the generation before that was restored.
    pub restored_to: Position,
    /// The root of the tree over all records up to it.
    pub root: TreeRoot,
    /// The last position of the generation before that is known of; none: not known.
    pub lost_to: Option<Position>,
}

/// What is known of the records that a restore lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// They were read, and what they denied was recorded again.
    Replayed {
        /// The root of the tree of the lost generation over all records up to the last one read.
        root: TreeRoot,
    },
    /// An operator accepts that what they denied may be allowed again.
    Accepted,
}

/// A loss, or its first part, was resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossResolved {
    /// The generation that began with the loss.
    pub generation: u64,
    /// The first lost position this is about.
    pub first: Position,
    /// The last one; none: however many there were.
    pub last: Option<Position>,
    /// How.
    pub resolution: Resolution,
}

/// Records of an earlier generation that a restore lost and nobody has accounted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The generation that began with it.
    pub generation: u64,
    /// The first of the positions, in the generation before.
    pub first: Position,
    /// The last one; none: not known.
    pub last: Option<Position>,
    /// The root of the tree of that generation over all records before the first.
    pub root: TreeRoot,
}

/// What the log itself is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    /// The generation in force: 1, and one more for each restore that began another.
    pub generation: u64,
    /// The losses that are not resolved, oldest first.
    pub losses: Vec<Loss>,
    /// The highest number of a usage journal that a record names; 0 before the first.
    pub last_journal: u64,
    /// The keys that sign its checkpoints, in the order in which they came.
    pub signing_keys: Vec<SigningKey>,
}

impl Default for LogState {
    fn default() -> Self {
        LogState { generation: 1, losses: Vec::new(), last_journal: 0, signing_keys: Vec::new() }
    }
}

/// A record about the log does not follow from what the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the log is not what the record says")]
pub struct OtherLog;

impl LogState {
    /// The log after it was restored.
    ///
    /// # Errors
    /// [`OtherLog`] if the generation is not the next one.
    pub fn restored(&self, restored: &LogRestored) -> Result<Self, OtherLog> {
        if Some(restored.generation) != self.generation.checked_add(1) {
            return Err(OtherLog);
        }
        let mut losses = self.losses.clone();
        losses.push(Loss {
            generation: restored.generation,
            first: restored.restored_to.next(),
            last: restored.lost_to,
            root: restored.root,
        });
        Ok(LogState { generation: restored.generation, losses, ..self.clone() })
    }

    /// The log after a loss, or the first part of it, was resolved.
    ///
    /// # Errors
    /// [`OtherLog`] if there is no such loss, or not this part of it.
    pub fn resolved(&self, resolved: &LossResolved) -> Result<Self, OtherLog> {
        let mut losses = self.losses.clone();
        let same = |loss: &Loss| (loss.generation, loss.first);
        let at = losses.iter().position(|loss| same(loss) == (resolved.generation, resolved.first));
        let at = at.ok_or(OtherLog)?;
        match (resolved.resolution, resolved.last, losses[at].last) {
            (Resolution::Accepted, last, lost) if last == lost => {
                losses.remove(at);
            }
            (Resolution::Replayed { .. }, Some(last), _) if last < resolved.first => {
                return Err(OtherLog);
            }
            // Nobody knows that there was no more, if the end is not known: that is to be accepted.
            (Resolution::Replayed { root }, Some(last), lost)
                if lost.is_none_or(|lost| last < lost) =>
            {
                losses[at] = Loss { first: last.next(), root, ..losses[at] };
            }
            (Resolution::Replayed { .. }, Some(_), _) => {
                losses.remove(at);
            }
            _ => return Err(OtherLog),
        }
        Ok(LogState { losses, ..self.clone() })
    }
}

/// Decides that the log goes on as another generation.
///
/// # Errors
/// [`Refusal::OtherLog`] if it is not the next one.
pub fn decide_restored(
    facts: &impl Facts,
    restored: &LogRestored,
) -> Result<Vec<Proposal>, Refusal> {
    facts.log_state().restored(restored).map_err(|OtherLog| Refusal::OtherLog)?;
    Ok(vec![about_the_log(Event::LogRestored(*restored))])
}

/// Decides that a loss, or the first part of it, is resolved.
///
/// # Errors
/// [`Refusal::OtherLog`] if there is no such loss, or not this part of it.
pub fn decide_resolved(
    facts: &impl Facts,
    resolved: &LossResolved,
) -> Result<Vec<Proposal>, Refusal> {
    facts.log_state().resolved(resolved).map_err(|OtherLog| Refusal::OtherLog)?;
    Ok(vec![about_the_log(Event::LossResolved(*resolved))])
}

fn about_the_log(event: Event) -> Proposal {
    Proposal { subject: Subject::Service, event, private: None }
}

#[cfg(test)]
#[path = "log_state_tests.rs"]
mod tests;
