//! The data keys that are on disk.

use std::collections::HashMap;

use crate::domain::sealed::DataKeyId;
use crate::vault::error::VaultError;
use crate::vault::slot::{ScopeName, Slot};

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

    /// Leaves the scopes that have no data key.
    pub(super) fn retain_missing(&self, scopes: &mut Vec<ScopeName>) -> Result<(), VaultError> {
        if self.poisoned {
            return Err(VaultError::Poisoned);
        }
        scopes.retain(|scope| !self.by_scope.contains_key(scope));
        Ok(())
    }

    pub(super) fn find(&self, scope: &ScopeName) -> Result<Option<DataKeyId>, VaultError> {
        if self.poisoned {
            return Err(VaultError::Poisoned);
        }
        Ok(self.by_scope.get(scope).copied())
    }
}
