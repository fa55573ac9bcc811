//! Background work beside more commands than a group takes.

use super::house::House;
use super::*;
use crate::domain::policy::Policy;
use crate::ledger::lanes::{BACKGROUND_PATIENCE, GROUP_BOUND};

/// The frames that hold the service's change of policy and the command before which it was put, while
/// commands for more than one group wait; the policy has waited for so long.
fn frames_of(waited: Duration) -> (usize, usize) {
    let house = House::new("enterprise");
    house.gate.shut();
    let first = house.submit(create_key(1));
    house.gate.wait_for_append();
    // None of these leaves a record, but each takes a place in a group.
    let nothing = || by(admin(), Act::DisableKey(switch(99)));
    let refused: Vec<_> = (0..2 * GROUP_BOUND - 1).map(|_| house.submit(nothing())).collect();
    let policy = by(the_service(), Act::SetPolicy(Policy::default()));
    let background = house.writer.submit(Lane::Background, policy).unwrap();
    let last = house.submit(by(admin(), Act::DisableKey(switch(1))));
    house.clock.advance(waited);
    house.gate.open();
    let position = |answer: oneshot::Receiver<Answer>| {
        done(answer.blocking_recv().unwrap()).position.unwrap().get()
    };
    let (_, background, last) = (position(first), position(background), position(last));
    drop(refused);
    let frames = house.close().frames();
    let frame = |position| frames.iter().position(|(from, to)| (*from..=*to).contains(&position));
    (frame(background).unwrap(), frame(last).unwrap())
}

#[test]
fn work_that_has_waited_goes_before_the_commands_of_a_full_group() {
    let (background, command) = frames_of(BACKGROUND_PATIENCE);
    assert!(background < command, "{background} {command}");
}

#[test]
fn work_that_has_not_waited_goes_behind_all_commands() {
    let (background, command) = frames_of(BACKGROUND_PATIENCE / 2);
    assert!(background >= command, "{background} {command}");
}
