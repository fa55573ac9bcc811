//! Verifying a history, as someone does who trusts nothing but a verifier key: records in, verdict out.
//!
//! Every record is held to what went before it: its place, the chain of its subject, a key's running totals,
//! and that no use of a key was allowed at or after its revocation. What is disclosed of it is held to its
//! commitment. The tree over all of them is then held to a signed checkpoint, which says that these are the
//! records, all of them, that others were shown.

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;

use std::collections::HashMap;

use thiserror::Error;

use crate::domain::event::{Event, Recorded};
use crate::domain::ids::{KeyId, Position};
use crate::domain::subject::Subject;
use crate::domain::usage::Used;
use crate::domain::usage::rules::used_after;
use crate::domain::usage::used::KeyUsed;
use crate::ledger::record::{self, RecordError};
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::{Frontier, leaf_hash};
use crate::vault::commitment;

/// What is wrong with a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unsound {
    /// What should be a record is none.
    #[error("the record at position {position} cannot be read: {reason}")]
    Unreadable {
        /// Where it should be.
        position: Position,
        /// Why.
        reason: RecordError,
    },
    /// A record is not where it says it is.
    #[error("the record at position {position} says it is at {said}")]
    Misplaced {
        /// Where it is.
        position: Position,
        /// Where it says it is.
        said: Position,
    },
    /// A record does not name its subject's record before it: one is missing, or of another history.
    #[error("the record at position {position} does not follow its subject's record before it")]
    BrokenChain {
        /// Where it is.
        position: Position,
    },
    /// A key's running totals are not the sum of its uses.
    #[error("the uses at position {position} do not add up to the key's totals")]
    BrokenTotals {
        /// Where they are.
        position: Position,
    },
    /// A use was allowed though the key was revoked.
    #[error(
        "the record at position {position} has a use allowed at or after the revocation at {revoked}"
    )]
    UsedAfterRevocation {
        /// Where it is.
        position: Position,
        /// Where the key was revoked.
        revoked: Position,
    },
    /// What was disclosed is not what the record commits to.
    #[error("what is disclosed of the record at position {position} is not what it commits to")]
    OtherDisclosure {
        /// Where it is.
        position: Position,
    },
    /// The checkpoint is of more or fewer records.
    #[error("there are {found} records, and the checkpoint is of {signed}")]
    OtherSize {
        /// How many there are.
        found: u64,
        /// How many were signed.
        signed: u64,
    },
    /// The records are not those that were signed.
    #[error("the records up to position {size} are not those of the checkpoint")]
    OtherRoot {
        /// How many there are.
        size: u64,
    },
}

/// What has been seen of a key.
#[derive(Clone, Debug, Default)]
struct KeySeen {
    used: Option<Used>,
    revoked: Option<Position>,
}

/// A history that holds so far.
#[derive(Clone, Debug, Default)]
pub struct History {
    tree: Frontier,
    last: HashMap<Subject, Position>,
    keys: HashMap<KeyId, KeySeen>,
}

impl History {
    /// Takes the next record, as it is stored, and the clear bytes of its personal fields if they were
    /// disclosed. Behind an error nothing is to be believed.
    ///
    /// # Errors
    /// [`Unsound`] if it cannot be the next record.
    pub fn take(&mut self, bytes: &[u8], disclosed: Option<&[u8]>) -> Result<(), Unsound> {
        let position = self.next();
        let fact =
            record::decode(bytes).map_err(|reason| Unsound::Unreadable { position, reason })?;
        if fact.position != position {
            return Err(Unsound::Misplaced { position, said: fact.position });
        }
        if self.last.insert(fact.subject.clone(), position) != fact.previous {
            return Err(Unsound::BrokenChain { position });
        }
        if let Some(clear) = disclosed
            && fact.private.as_ref().map(|private| private.commitment) != Some(commitment(clear))
        {
            return Err(Unsound::OtherDisclosure { position });
        }
        self.note(&fact)?;
        self.tree.push(leaf_hash(bytes));
        Ok(())
    }

    fn note(&mut self, fact: &Recorded) -> Result<(), Unsound> {
        let Subject::Key(_, id) = &fact.subject else { return Ok(()) };
        let seen = self.keys.entry(*id).or_default();
        match &fact.event {
            Event::KeyRevoked { .. } => seen.revoked = seen.revoked.or(Some(fact.position)),
            Event::KeyUsed(used) => seen.note_uses(used, fact.position)?,
            _ => {}
        }
        Ok(())
    }

    /// Holds all records taken so far to a checkpoint, which MUST have been opened with a verifier key.
    ///
    /// # Errors
    /// [`Unsound`] if they are not those that were signed.
    pub fn hold_to(&self, checkpoint: &Checkpoint) -> Result<(), Unsound> {
        let size = self.tree.size();
        if checkpoint.size != size {
            return Err(Unsound::OtherSize { found: size, signed: checkpoint.size });
        }
        if checkpoint.root == self.tree.root() { Ok(()) } else { Err(Unsound::OtherRoot { size }) }
    }

    /// Where the next record belongs.
    #[must_use]
    pub fn next(&self) -> Position {
        Position::new(self.tree.size() + 1).expect("one more than a size is no 0")
    }
}

impl KeySeen {
    fn note_uses(&mut self, used: &KeyUsed, position: Position) -> Result<(), Unsound> {
        let after = used_after(self.used.as_ref(), used, position);
        self.used = Some(after.ok_or(Unsound::BrokenTotals { position })?);
        let last_allowed = used.window.positions.map(|(_, last)| last);
        match self.revoked {
            Some(revoked) if last_allowed >= Some(revoked) => {
                Err(Unsound::UsedAfterRevocation { position, revoked })
            }
            _ => Ok(()),
        }
    }
}
