//! The account: owns keys, has a plan, permissions, roles and a status. Keys inherit from it, live.

use crate::domain::ids::Position;
use crate::domain::permission::{Permissions, PlanName, RoleName};
use crate::domain::time::Time;

/// Whether an account's keys work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountStatus {
    /// They work.
    Active,
    /// They do not, until it is active again.
    Suspended,
    /// They do not, ever again.
    Closed,
}

/// An account's state as one event leaves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountState {
    /// The plan that limits it.
    pub plan: PlanName,
    /// What it holds directly.
    pub permissions: Permissions,
    /// The roles whose permissions it holds besides, sorted.
    pub roles: Vec<RoleName>,
    /// Whether its keys work.
    pub status: AccountStatus,
}

/// An account as folded from its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Plan, permissions, roles and status in force.
    pub state: AccountState,
    /// When it was registered.
    pub create_time: Time,
    /// When it last changed.
    pub update_time: Time,
    /// The record of its last change, which also holds its sealed display name.
    pub position: Position,
    /// The record that gave it its present status.
    pub status_position: Position,
    /// Whether it is erased: closed, and the keys to its personal fields destroyed or about to be.
    pub erased: bool,
}
