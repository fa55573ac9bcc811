//! Plans and roles: those as shipped, and those of the configuration file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ConfigError, setting};
use crate::domain::permission::{MAX_PERMISSIONS, Permission, Permissions, PlanName, RoleName};
use crate::domain::policy::{MAX_REQUESTS_PER_MINUTE, Plan, Policy};

/// The most plans and the most roles.
const MAX_NAMES: usize = 64;

/// The most bytes of all plan names, role names and permissions together: a policy is one record.
const MAX_POLICY_BYTES: usize = 24 * 1024;

/// The plans as shipped: `standard`, 5 active keys and 100 requests a minute; `enterprise`, no cap on keys
/// and 60,000 requests a minute.
#[must_use]
pub fn shipped_policy() -> Policy {
    let plan = |name, active_keys, requests| {
        let name = PlanName::parse(name).expect("a constant of the right form");
        (name, Plan { active_keys, requests_per_minute: Some(requests) })
    };
    let plans = BTreeMap::from([plan("standard", Some(5), 100), plan("enterprise", None, 60_000)]);
    Policy { plans, roles: BTreeMap::new() }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilePlan {
    active_keys: Option<u32>,
    requests_per_minute: Option<u32>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileRole {
    permissions: Vec<String>,
}

impl FilePlan {
    pub(super) fn of(plan: &Plan) -> Self {
        let &Plan { active_keys, requests_per_minute } = plan;
        FilePlan { active_keys, requests_per_minute }
    }
}

impl FileRole {
    pub(super) fn of(granted: &Permissions) -> Self {
        FileRole { permissions: granted.iter().map(|word| word.as_str().to_owned()).collect() }
    }
}

/// Adds plans and roles; one of the same name takes the place of another.
pub(super) fn add_policy(
    policy: &mut Policy,
    plans: &BTreeMap<String, FilePlan>,
    roles: &BTreeMap<String, FileRole>,
) -> Result<(), ConfigError> {
    for (name, plan) in plans {
        let name = PlanName::parse(name).map_err(|error| setting("plans", error))?;
        let &FilePlan { active_keys, requests_per_minute } = plan;
        let plan = Plan { active_keys, requests_per_minute };
        if !plan.is_in_bounds() {
            let at = format!("plans.{name}.requests_per_minute");
            return Err(setting(at, format!("must be from 1 to {MAX_REQUESTS_PER_MINUTE}")));
        }
        policy.plans.insert(name, plan);
    }
    for (name, role) in roles {
        let at = format!("roles.{name}.permissions");
        let name = RoleName::parse(name).map_err(|error| setting("roles", error))?;
        if role.permissions.len() > MAX_PERMISSIONS {
            return Err(setting(at, format!("must be at most {MAX_PERMISSIONS}")));
        }
        let words = role.permissions.iter().map(|word| Permission::parse(word));
        let words = words.collect::<Result<_, _>>().map_err(|error| setting(at, error))?;
        policy.roles.insert(name, Permissions::new(words));
    }
    if policy.plans.len() > MAX_NAMES || policy.roles.len() > MAX_NAMES {
        return Err(setting("plans, roles", format!("must be at most {MAX_NAMES} each")));
    }
    let plan_bytes = policy.plans.keys().map(|name| name.as_str().len() + 16).sum::<usize>();
    let role_bytes = policy.roles.iter().map(|(name, granted)| {
        name.as_str().len() + 16 + granted.iter().map(|word| word.as_str().len() + 4).sum::<usize>()
    });
    if plan_bytes + role_bytes.sum::<usize>() > MAX_POLICY_BYTES {
        return Err(setting("roles", format!("must be at most {MAX_POLICY_BYTES} bytes together")));
    }
    Ok(())
}
