//! The data keys that are on disk.

use std::collections::HashMap;

use crate::domain::sealed::DataKeyId;
use crate::vault::error::VaultError;
use crate::vault::slot::{ScopeName, Slot, Wanted};

/// The slots that are on disk.
#[derive(Default)]
pub(super) struct Durable {
    pub(super) slots: Vec<Slot>,
    pub(super) by_scope: HashMap<ScopeName, DataKeyId>,
    /// A write or sync has failed: nothing more is answered.
    pub(super) poisoned: bool,
}

impl Durable {
    pub(super) fn new(slots: Vec<Slot>) -> Result<Self, VaultError> {
        let mut durable = Durable::default();
        for slot in slots {
            if durable.by_scope.contains_key(&slot.scope()) {
                return Err(VaultError::RepeatedScope { slot: slot.id().0 });
            }
            durable.add(slot);
        }
        Ok(durable)
    }

    pub(super) fn add(&mut self, slot: Slot) {
        self.by_scope.insert(slot.scope(), slot.id());
        self.slots.push(slot);
    }

    pub(super) fn slot(&self, id: DataKeyId) -> Option<&Slot> {
        self.slots.get(usize::try_from(id.0.checked_sub(1)?).ok()?)
    }

    /// Takes note that a data key is destroyed; answers its slot as it is from now on.
    pub(super) fn destroy(&mut self, id: DataKeyId) -> Option<Slot> {
        let at = usize::try_from(id.0.checked_sub(1)?).ok()?;
        let slot = self.slots.get_mut(at)?;
        *slot = slot.destroyed();
        Some(slot.clone())
    }

    /// The data key of a scope, if it has one that is not destroyed.
    pub(super) fn live(&self, scope: &ScopeName) -> Option<DataKeyId> {
        let id = *self.by_scope.get(scope)?;
        self.slot(id).is_some_and(|slot| !slot.is_destroyed()).then_some(id)
    }

    /// Whether the data key of a scope is destroyed.
    fn is_destroyed(&self, scope: &ScopeName) -> bool {
        self.by_scope.contains_key(scope) && self.live(scope).is_none()
    }

    /// Whether a scope is never to have a data key again.
    pub(super) fn is_over(&self, wanted: &Wanted) -> bool {
        let Wanted { scope, within } = wanted;
        self.is_destroyed(scope) || within.is_some_and(|within| self.is_destroyed(&within))
    }

    /// Leaves the scopes that have no data key and may have one.
    pub(super) fn retain_missing(&self, scopes: &mut Vec<Wanted>) -> Result<(), VaultError> {
        if self.poisoned {
            return Err(VaultError::Poisoned);
        }
        scopes.retain(|wanted| !self.by_scope.contains_key(&wanted.scope) && !self.is_over(wanted));
        Ok(())
    }

    pub(super) fn find(&self, wanted: &Wanted) -> Result<Option<DataKeyId>, VaultError> {
        if self.poisoned {
            return Err(VaultError::Poisoned);
        }
        if self.is_over(wanted) {
            return Err(VaultError::Destroyed);
        }
        Ok(self.live(&wanted.scope))
    }
}
