//! A whole history, from its first record on.

use super::Unsound;
use super::chains::{Chains, Tally};
use crate::domain::ids::Position;
use crate::ledger::record;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::{Frontier, Hash, leaf_hash};

/// A history that holds so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub(super) tree: Frontier,
    pub(super) chains: Chains,
    /// What the root must be at some size.
    expected: Option<(u64, Hash)>,
}

impl History {
    pub(super) fn resumed(tree: Frontier, chains: Chains) -> Self {
        History { tree, chains, expected: None }
    }

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
        self.chains.follow(&fact, disclosed)?;
        self.tree.push(leaf_hash(bytes));
        match self.expected {
            Some((size, root)) if size == self.size() && root != self.tree.root() => {
                Err(Unsound::OtherRoot { size })
            }
            _ => Ok(()),
        }
    }

    /// Expects that the records up to the size of a checkpoint are those that were signed: the one that
    /// completes them is refused if not. The checkpoint MUST have been opened with a verifier key; of those
    /// expected so the last counts.
    pub fn expect(&mut self, checkpoint: &Checkpoint) {
        self.expected = Some((checkpoint.size, checkpoint.root));
    }

    /// Holds all records taken so far to a checkpoint, which MUST have been opened with a verifier key.
    ///
    /// # Errors
    /// [`Unsound`] if they are not those that were signed.
    pub fn hold_to(&self, checkpoint: &Checkpoint) -> Result<(), Unsound> {
        let size = self.size();
        if checkpoint.size != size {
            return Err(Unsound::OtherSize { found: size, signed: checkpoint.size });
        }
        if checkpoint.root == self.tree.root() { Ok(()) } else { Err(Unsound::OtherRoot { size }) }
    }

    /// Where the next record belongs.
    #[must_use]
    pub fn next(&self) -> Position {
        Position::new(self.size() + 1).expect("one more than a size is no 0")
    }

    /// How many records have been taken.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// What has been taken, in numbers.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.chains.tally()
    }
}
