//! The policy: all plans and role definitions in force. Itself an event, so that the past can be
//! judged by the rules of its time.

use std::collections::BTreeMap;

use crate::domain::permission::{Permissions, PlanName, RoleName};

/// The highest `requests_per_minute`: sums of costs stay far from what a number holds.
pub const MAX_REQUESTS_PER_MINUTE: u32 = 1_000_000_000;

/// Limits by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The most keys an account may have active or disabled; none: no limit.
    pub active_keys: Option<u32>,
    /// The most costs that the uses of all an account's keys may have in any 60 seconds, from 1 to
    /// [`MAX_REQUESTS_PER_MINUTE`]; none: no limit.
    pub requests_per_minute: Option<u32>,
}

impl Plan {
    /// Whether its numbers are such as a plan may have.
    #[must_use]
    pub fn is_in_bounds(&self) -> bool {
        let bounds = 1..=MAX_REQUESTS_PER_MINUTE;
        self.requests_per_minute.is_none_or(|limit| bounds.contains(&limit))
    }
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
    /// The requests a minute of an account on this plan; none: no limit. A plan that the policy does not
    /// define limits nothing.
    #[must_use]
    pub fn requests_per_minute(&self, plan: &PlanName) -> Option<u32> {
        self.plans.get(plan).and_then(|plan| plan.requests_per_minute)
    }

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
