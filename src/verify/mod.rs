//! Verifying a history, as someone does who trusts nothing but a verifier key: records in, verdict out.
//!
//! Every record is held to what went before it: its place, the chain of its subject, a key's running totals,
//! and that no use of a key was allowed at or after its revocation. What is disclosed of it is held to its
//! commitment. A whole history ([`History`]) is then held to a signed checkpoint by the tree over all of it,
//! which says that these are the records, all of them, that others were shown. Of a part of it ([`Part`])
//! each record is, by a proof of its own.
//!
//! Pure, and in a room of its own beside `app`: the service verifies nothing, and who verifies, on the command
//! line, shares no code with the service but the reading of records.

mod chains;
mod history;
mod kept;
mod part;
mod single;
#[cfg(test)]
mod tests;

use thiserror::Error;

use crate::domain::ids::Position;
use crate::ledger::record::RecordError;

pub use chains::Tally;
pub use history::History;
pub use kept::MOST_BYTES;
pub use part::{Leaf, Part, Scope};
pub use single::Single;

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
    /// A record says that time ran backwards.
    #[error("the record at position {position} is older than the one before it")]
    OutOfTime {
        /// Where it is.
        position: Position,
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
    /// Uses of a key are said of what is no key.
    #[error("the uses at position {position} are of no key")]
    UsesOfNoKey {
        /// Where they are.
        position: Position,
    },
    /// Uses were allowed, and it is not said at which position that was decided.
    #[error("the uses at position {position} were allowed at no position")]
    UsedNowhere {
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
    #[error("the records up to position {size} are not those that were signed")]
    OtherRoot {
        /// How many there are.
        size: u64,
    },
    /// A record of a part does not come behind the one before it.
    #[error("a record at position {said} comes behind position {reached}")]
    OutOfOrder {
        /// Where it is said to be.
        said: u64,
        /// How far the part had come.
        reached: u64,
    },
    /// A record of a part is of none of its subjects.
    #[error("the record at position {position} is not of what was asked for")]
    NotAsked {
        /// Where it is.
        position: Position,
    },
    /// A record is not among those that were signed.
    #[error("the record at position {position} is not among the {size} of the checkpoint")]
    NotIncluded {
        /// Where it says it is.
        position: Position,
        /// How many were signed.
        size: u64,
    },
}
