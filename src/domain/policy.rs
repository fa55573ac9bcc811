//! The policy: all plans and role definitions in force. Itself an event, so that the past can be
//! judged by the rules of its time.

use std::collections::BTreeMap;

use crate::domain::permission::{Permissions, PlanName, RoleName};

/// Limits by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The most keys an account may have active or disabled; none: no limit.
    pub active_keys: Option<u32>,
}

/// All plans and role definitions in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Every plan by name.
    pub plans: BTreeMap<PlanName, Plan>,
    /// The permission set of every role.
    pub roles: BTreeMap<RoleName, Permissions>,
}

impl Policy {
    /// What an account holds: its own permissions and those of its roles. A role that the policy
    /// does not define grants nothing.
    #[must_use]
    pub fn effective(&self, own: &Permissions, roles: &[RoleName]) -> Permissions {
        let granted =
            roles.iter().filter_map(|role| self.roles.get(role)).flat_map(Permissions::iter);
        let mut granted = granted.peekable();
        if granted.peek().is_none() {
            // Most accounts: one copy of their own will do.
            return own.clone();
        }
        Permissions::new(own.iter().chain(granted).cloned().collect())
    }
}
