//! What holds whatever is asked in whatever order: deciding and applying never break an invariant,
//! and an overlay answers as its base would once the group is applied to it.

use std::collections::{BTreeSet, HashMap};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::domain::account::AccountStatus;
use crate::domain::apply::apply;
use crate::domain::caller::Role;
use crate::domain::ids::{KeyId, Position};
use crate::domain::key::{Key, KeyState, Rotation};
use crate::domain::overlay::Overlay;
use crate::domain::permission::Permissions;
use crate::domain::requests::Method;
use crate::domain::testing::play::*;
use crate::domain::testing::*;

const WORDS: [&str; 6] = ["a:x", "a:y", "a:*", "b:z", "c", "*"];

/// How many keys of an account count to its cap, counted from the keys themselves.
fn recount(world: &World, name: &str) -> u32 {
    let counts = |key: &&Key| {
        let life = key.life.as_deref();
        key.account == account(name)
            && life.is_none_or(|life| life.rotation.is_none() && life.revocation.is_none())
            && key.expire_time().is_none_or(|time| world.now < time)
    };
    u32::try_from(world.keys.values().filter(counts).count()).unwrap()
}

fn cap(world: &World, name: &str) -> Option<u32> {
    let plan = &world.accounts[&*account(name)].state.plan;
    world.policy().plans.get(plan).and_then(|plan| plan.active_keys)
}

/// That `after` allows nothing that `before` did not.
fn narrower(before: Option<&Permissions>, after: Option<&Permissions>) -> bool {
    let allows = |set: Option<&Permissions>, word| set.is_none_or(|set| set.cover_text(word));
    WORDS.iter().all(|word| allows(before, word) || !allows(after, word))
}

/// What one step may do to the keys, accounts and callers there were.
fn check_step(before: &World, after: &World) -> Result<(), TestCaseError> {
    for (id, old) in &before.keys {
        let new = &after.keys[id];
        prop_assert!(narrower(old.scopes(), new.scopes()), "scopes of {id} widened");
        if let Some(expire_time) = old.expire_time() {
            prop_assert!(new.expire_time().is_some_and(|time| time <= expire_time));
        }
        let (old_life, new_life) = (old.life.as_deref(), new.life.as_deref());
        if let Some(revocation) = old_life.and_then(|life| life.revocation.as_ref()) {
            prop_assert_eq!(new_life.and_then(|life| life.revocation.as_ref()), Some(revocation));
            prop_assert_eq!(new.state_at(after.now), KeyState::Revoked);
        }
        if let Some(rotation) = old.rotation() {
            let mut now = new.rotation().cloned().expect("for ever");
            if rotation.retired_at.is_none() && now.retired_at.is_some() {
                prop_assert!(now.retire_time < rotation.retire_time, "an early end is earlier");
                now = Rotation { retire_time: rotation.retire_time, retired_at: None, ..now };
            }
            prop_assert_eq!(&now, rotation);
        }
    }
    for (name, old) in &before.accounts {
        let (new, closed) = (&after.accounts[name], old.state.status == AccountStatus::Closed);
        let erased = new.erased && !old.erased && new.state.status == AccountStatus::Closed;
        prop_assert!(!closed || new == old || erased, "a closed account changed");
    }
    for name in ACCOUNTS {
        prop_assert_eq!(after.open_keys(&account(name), after.now), recount(after, name));
    }
    let governs = |(_, caller): &(_, std::sync::Arc<crate::domain::caller::Caller>)| {
        caller.holds(crate::domain::caller::Roles::of(&[Role::Admin]), &[])
            && caller.works_at(after.now)
    };
    prop_assert!(after.callers().iter().any(governs), "no admin is left");
    Ok(())
}

/// That every key has one successor and every successor one predecessor, which know each other.
fn check_succession(world: &World) -> Result<(), TestCaseError> {
    let mut successors = BTreeSet::new();
    for (id, key) in &world.keys {
        let Some(rotation) = key.life.as_ref().and_then(|life| life.rotation.as_ref()) else {
            continue;
        };
        prop_assert!(successors.insert(rotation.successor), "a key has two predecessors");
        let successor = &world.keys[&rotation.successor];
        prop_assert_eq!(successor.life.as_ref().and_then(|life| life.replaces), Some(*id));
        prop_assert_eq!(&successor.account, &key.account);
    }
    Ok(())
}

/// That positions have no gaps and each record names the one before it of its subject.
fn check_chains(world: &World) -> Result<(), TestCaseError> {
    let mut last: HashMap<&Subject, Position> = HashMap::new();
    for (at, fact) in (1..).zip(&world.log) {
        prop_assert_eq!(fact.position.get(), at);
        prop_assert_eq!(fact.previous, last.insert(&fact.subject, fact.position));
    }
    for (subject, position) in last {
        prop_assert_eq!(world.last_record(subject), Some(position));
    }
    Ok(())
}

/// That both answer every question alike.
fn check_alike(overlay: &impl Facts, direct: &World) -> Result<(), TestCaseError> {
    for id in (0..=u8::MAX).map(|n| KeyId([n; 12])) {
        prop_assert_eq!(overlay.key(&id), direct.key(&id));
    }
    for name in ACCOUNTS {
        prop_assert_eq!(overlay.account(&account(name)), direct.account(&account(name)));
        for seconds in 0..45 {
            let time = direct.now.plus(std::time::Duration::from_secs(seconds));
            let expected = direct.open_keys(&account(name), time);
            prop_assert_eq!(overlay.open_keys(&account(name), time), expected, "in {} s", seconds);
        }
    }
    let mut callers = overlay.callers();
    callers.sort_by_key(|(id, _)| *id);
    prop_assert_eq!(callers, direct.callers());
    prop_assert_eq!(overlay.policy(), direct.policy());
    prop_assert_eq!(overlay.service_position(), direct.service_position());
    for method in [Method::CreateKey, Method::RotateKey] {
        for id in 0..3 {
            let key = RequestKey { caller: ADMIN, method, id: [id; 16] };
            let expected = direct.remembered(&key, direct.now);
            prop_assert_eq!(overlay.remembered(&key, direct.now), expected);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn deciding_and_applying_never_break_an_invariant(script in vec(step(), 1..60)) {
        let mut play = Play::new();
        for step in &script {
            let before = play.world.clone();
            let Some(command) = play.command(step) else { continue };
            let refused = play.world.carry_out(&command).is_err();
            prop_assert!(!refused || play.world.log.len() == before.log.len());
            check_step(&before, &play.world)?;
            if let (Act::CreateKey(create), true) = (&command.act, play.world.log.len() > before.log.len()) {
                let name = create.account.account.as_str();
                let within = cap(&play.world, name).is_none_or(|cap| recount(&play.world, name) <= cap);
                prop_assert!(within, "a key was created beyond the cap of {name}");
            }
        }
        check_succession(&play.world)?;
        check_chains(&play.world)?;
    }

    #[test]
    fn an_overlay_answers_as_its_base_would(
        script in vec(step(), 0..20), group in vec(step(), 1..20),
    ) {
        let mut play = Play::new();
        for step in &script {
            if let Some(command) = play.command(step) {
                let _ = play.world.carry_out(&command);
            }
        }
        // All of a group is decided at one time.
        let group = group.iter().filter(|step| !matches!(step, Step::Wait(_)));
        let base = play.world.clone();
        let mut overlay = Overlay::new(&base);
        for step in group {
            let command = play.command(step).expect("a command");
            let now = play.world.now;
            let decided = format!("{:?}", decide(&overlay, &command, now));
            prop_assert_eq!(decided, format!("{:?}", decide(&play.world, &command, now)));
            let known = play.world.log.len();
            let _ = play.world.carry_out(&command);
            for fact in &play.world.log[known..] {
                prop_assert_eq!(apply(&mut overlay, fact), Ok(()));
                if matches!(fact.event, Event::PepperRetired { .. }) {
                    // The last of its group: nothing more is asked of the overlay.
                    return Ok(());
                }
            }
        }
        check_alike(&overlay, &play.world)?;
    }
}

/// The properties say little if most of a script is refused.
#[test]
fn scripts_do_most_of_what_they_ask() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let script = vec(step(), 6000).new_tree(&mut runner).unwrap().current();
    let (mut done, mut asked) = (BTreeSet::new(), 0);
    let (mut events, mut play) = (0, Play::new());
    for step in script {
        // A story of its own from time to time, since accounts get closed and ids run out.
        if asked % 40 == 0 {
            play = Play::new();
        }
        asked += 1;
        let Some(command) = play.command(&step) else { continue };
        if let Ok(Decision::Events(proposals)) = decide(&play.world, &command, play.world.now) {
            events += usize::from(!proposals.is_empty());
            done.extend(proposals.iter().map(|proposal| proposal.event.kind() as u32));
        }
        let _ = play.world.carry_out(&command);
    }
    assert!(events > 100, "{events} of {asked}");
    assert_eq!(
        done.len(),
        16,
        "every kind of event of keys, accounts, callers, policy and peppers: {done:?}"
    );
}
