//! Which plans and roles may be put in force, and what follows.

use std::collections::BTreeMap;
use std::fmt;

use crate::domain::account::AccountStatus;
use crate::domain::event::{Event, Proposal};
use crate::domain::facts::Facts;
use crate::domain::permission::{PlanName, RoleName};
use crate::domain::policy::Policy;
use crate::domain::refusal::Refusal;
use crate::domain::subject::Subject;

/// Plans and roles that a policy has no more, and how many accounts that are not closed use each; those that none
/// uses are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Plans by name.
    pub plans: BTreeMap<String, u64>,
    /// Roles by name.
    pub roles: BTreeMap<String, u64>,
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plans = self.plans.iter().map(|used| ("plan", used));
        let roles = self.roles.iter().map(|used| ("role", used));
        for (nth, (what, (name, accounts))) in plans.chain(roles).enumerate() {
            let behind = if nth == 0 { "" } else { ", " };
            write!(f, "{behind}{what} {name} by {accounts}")?;
        }
        Ok(())
    }
}

/// Decides that these plans and roles are in force, whatever accounts use; does nothing if they are.
pub fn decide_set(facts: &impl Facts, policy: &Policy) -> Vec<Proposal> {
    if *facts.policy() == *policy {
        return Vec::new();
    }
    let event = Event::PolicyChanged(policy.clone());
    vec![Proposal { subject: Subject::Service, event, private: None }]
}

/// As [`decide_set`], but takes no plan and no role away that accounts use.
///
/// # Errors
/// [`Refusal::PolicyInUse`].
pub fn decide_change(facts: &impl Facts, policy: &Policy) -> Result<Vec<Proposal>, Refusal> {
    let used = taken_away(facts, policy);
    if used == InUse::default() {
        Ok(decide_set(facts, policy))
    } else {
        Err(Refusal::PolicyInUse(used))
    }
}

/// What accounts use that the policy in force has and this one has not. Looks at accounts only if there is such a name.
fn taken_away(facts: &impl Facts, policy: &Policy) -> InUse {
    let before = facts.policy();
    let gone =
        |plan: &PlanName| before.plans.contains_key(plan) && !policy.plans.contains_key(plan);
    let gone_role =
        |role: &RoleName| before.roles.contains_key(role) && !policy.roles.contains_key(role);
    let mut used = InUse::default();
    if !before.plans.keys().any(gone) && !before.roles.keys().any(gone_role) {
        return used;
    }
    facts.each_account(&mut |_, account| {
        let state = &account.state;
        if state.status == AccountStatus::Closed {
            return;
        }
        if gone(&state.plan) {
            *used.plans.entry(state.plan.to_string()).or_default() += 1;
        }
        for role in state.roles.iter().filter(|role| gone_role(role)) {
            *used.roles.entry(role.to_string()).or_default() += 1;
        }
    });
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::Account;
    use crate::domain::account_rules::PutAccount;
    use crate::domain::command::Act;
    use crate::domain::facts::FactsMut as _;
    use crate::domain::overlay::Overlay;
    use crate::domain::testing::*;

    /// The policy of tests without the plan `tiny` and the role `reader`.
    fn smaller() -> Policy {
        let mut smaller = policy();
        smaller.plans.remove(&plan_name("tiny"));
        smaller.roles.remove(&role_name("reader"));
        smaller
    }

    fn on_tiny(name: &str) -> PutAccount {
        let (plan, roles) = (Some(plan_name("tiny")), Some(vec![role_name("reader")]));
        PutAccount { plan, roles, ..put(name) }
    }

    fn with(plan: &str, by: u64, role: &str, and_by: u64) -> InUse {
        InUse { plans: [(plan.to_owned(), by)].into(), roles: [(role.to_owned(), and_by)].into() }
    }

    #[test]
    fn a_plan_or_role_that_accounts_use_is_not_taken_away_and_how_many_do_is_told() {
        let mut world = World::new();
        let change = || Act::ChangePolicy(smaller());
        assert_eq!(world.when(change()), Ok(vec![Event::PolicyChanged(smaller())]), "unused");
        world.does(Act::PutAccount(on_tiny("a")));
        world.does(Act::PutAccount(PutAccount { plan: Some(plan_name("tiny")), ..put("b") }));
        world.does(Act::PutAccount(put("c")));
        let used = with("tiny", 2, "reader", 1);
        assert_eq!(world.when(change()), Err(Refusal::PolicyInUse(used.clone())));
        assert_eq!(used.to_string(), "plan tiny by 2, role reader by 1");
        let mut other = policy();
        other.roles.insert(role_name("writer"), permissions(&["reports:write"]));
        assert_eq!(
            world.when(Act::ChangePolicy(other.clone())),
            Ok(vec![Event::PolicyChanged(other)])
        );
        assert_eq!(world.when(Act::ChangePolicy(policy())), Ok(Vec::new()), "the same");
    }

    #[test]
    fn closed_accounts_and_names_that_are_gone_already_keep_nothing_in_force() {
        let mut world = World::new();
        world.does(Act::PutAccount(on_tiny("a")));
        world.does(Act::SetPolicy(smaller()));
        let mut other = smaller();
        other.plans.remove(&plan_name("enterprise"));
        assert!(world.when(Act::ChangePolicy(other)).is_ok(), "tiny is gone already");
        world.does(Act::SetPolicy(policy()));
        let status = Some(AccountStatus::Closed);
        world.does(Act::PutAccount(PutAccount { status, ..world.change("a") }));
        assert!(world.when(Act::ChangePolicy(smaller())).is_ok());
    }

    #[test]
    fn accounts_of_the_same_group_of_commands_count_as_they_will_be() {
        let mut world = World::new();
        world.does(Act::PutAccount(on_tiny("a")));
        let used = Account::clone(&world.accounts[&*account("a")]);
        let mut changed = used.clone();
        changed.state.plan = plan_name("standard");
        let mut overlay = Overlay::new(&world);
        overlay.put_account(&account("a"), changed);
        overlay.put_account(&account("b"), used);
        assert_eq!(taken_away(&overlay, &smaller()), with("tiny", 1, "reader", 2));
    }
}
