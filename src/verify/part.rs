//! A part of a history: all records of some subjects. What is not of them is not seen, so there is no tree to
//! compute: each record is proved to be in that of a checkpoint.

use super::Unsound;
use super::chains::{Chains, Tally};
use crate::domain::event::Recorded;
use crate::domain::ids::{AccountId, KeyId, Position, TenantId};
use crate::domain::subject::Subject;
use crate::ledger::record;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::proof::verify_inclusion;
use crate::merkle::{Hash, leaf_hash};

/// Whose records are asked for: those that fit all that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    pub(super) tenant: Option<TenantId>,
    pub(super) account: Option<AccountId>,
    pub(super) key: Option<KeyId>,
}

/// A record by its leaf of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    position: Position,
    hash: Hash,
}

/// A part of a history that holds so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub(super) scope: Scope,
    pub(super) chains: Chains,
    pub(super) reached: u64,
    /// Size and root of the tree that its records were proved to be in; none before the first are.
    pub(super) proved_in: Option<(u64, Hash)>,
}

impl Scope {
    /// The scope that these texts name, each empty if it leaves nothing out; none if one is no such id.
    #[must_use]
    pub fn parse(tenant: &str, account: &str, key: &str) -> Option<Self> {
        let scope = Scope {
            tenant: TenantId::parse(tenant).ok(),
            account: AccountId::parse(account).ok(),
            key: KeyId::parse(key),
        };
        let read = [scope.tenant.is_some(), scope.account.is_some(), scope.key.is_some()];
        (read == [tenant, account, key].map(|text| !text.is_empty())).then_some(scope)
    }

    fn fits(&self, fact: &Recorded) -> bool {
        let (account, key) = match &fact.subject {
            Subject::Key(account, key) => (Some(account), Some(*key)),
            Subject::Account(account) => (Some(account), None),
            Subject::Caller(_) | Subject::Service => (None, None),
        };
        self.tenant.as_ref().is_none_or(|asked| account.is_some_and(|of| of.tenant == *asked))
            && self
                .account
                .as_ref()
                .is_none_or(|asked| account.is_some_and(|of| of.account == *asked))
            && (self.key.is_none() || self.key == key)
    }
}

impl Leaf {
    /// The leaf of the record at a position.
    pub(super) fn of(position: Position, record: &[u8]) -> Self {
        Leaf { position, hash: leaf_hash(record) }
    }

    /// Where the record is.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position.get()
    }

    /// Holds the record to a checkpoint, which MUST have been opened with a verifier key.
    ///
    /// # Errors
    /// [`Unsound::NotIncluded`] if the proof does not show that it is among those that were signed.
    pub fn hold_to(&self, checkpoint: &Checkpoint, proof: &[Hash]) -> Result<(), Unsound> {
        let Leaf { position, hash } = self;
        let Checkpoint { size, root, .. } = checkpoint;
        verify_inclusion(hash, position.get() - 1, *size, proof, root)
            .map_err(|_| Unsound::NotIncluded { position: *position, size: *size })
    }
}

impl Part {
    /// Nothing of a part so far.
    #[must_use]
    pub fn of(scope: Scope) -> Self {
        Part { scope, chains: Chains::default(), reached: 0, proved_in: None }
    }

    /// Takes the next record, as it is stored and where it is said to be, and the clear bytes of its personal
    /// fields if they were disclosed. It MUST then be held to a checkpoint by the leaf that is answered.
    /// Behind an error nothing is to be believed.
    ///
    /// # Errors
    /// [`Unsound`] if it cannot be the next record of the part.
    pub fn take(
        &mut self,
        said: u64,
        bytes: &[u8],
        disclosed: Option<&[u8]>,
    ) -> Result<Leaf, Unsound> {
        let reached = self.reached;
        let position = Position::new(said).filter(|position| position.get() > reached);
        let position = position.ok_or(Unsound::OutOfOrder { said, reached })?;
        let fact =
            record::decode(bytes).map_err(|reason| Unsound::Unreadable { position, reason })?;
        if fact.position != position {
            return Err(Unsound::Misplaced { position, said: fact.position });
        }
        if !self.scope.fits(&fact) {
            return Err(Unsound::NotAsked { position });
        }
        self.chains.follow(&fact, disclosed)?;
        self.reached = said;
        Ok(Leaf::of(position, bytes))
    }

    /// Notes that all records of the part up to here have been taken, and proved to be in the tree of a
    /// checkpoint.
    pub fn proved(&mut self, reached: u64, checkpoint: &Checkpoint) {
        self.reached = self.reached.max(reached);
        self.proved_in = Some((checkpoint.size, checkpoint.root));
    }

    /// Up to where all records of the part have been taken.
    #[must_use]
    pub fn reached(&self) -> u64 {
        self.reached
    }

    /// Size and root of the tree that they were proved to be in, if any were.
    #[must_use]
    pub fn proved_in(&self) -> Option<(u64, Hash)> {
        self.proved_in
    }

    /// What has been taken, in numbers.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.chains.tally()
    }
}
