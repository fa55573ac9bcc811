use super::*;
use crate::domain::command::Act;
use crate::domain::testing::*;

fn position(number: u64) -> Position {
    Position::new(number).unwrap()
}

fn root(byte: u8) -> TreeRoot {
    TreeRoot([byte; 32])
}

/// The log as restored to where `world` stands.
fn restored(world: &World, generation: u64, lost_to: Option<u64>) -> LogRestored {
    LogRestored {
        origin: root(1),
        generation,
        restored_to: position(world.log.len() as u64),
        root: root(2),
        lost_to: lost_to.and_then(Position::new),
    }
}

fn resolved(loss: &Loss, last: Option<u64>, resolution: Resolution) -> LossResolved {
    let last = last.and_then(Position::new);
    LossResolved { generation: loss.generation, first: loss.first, last, resolution }
}

const REPLAYED: Resolution = Resolution::Replayed { root: TreeRoot([9; 32]) };

/// A world that was restored at position 2 and lost what was behind, up to 9.
fn held() -> (World, Loss) {
    let mut world = World::new();
    world.does(Act::RestoreLog(restored(&world, 2, Some(9))));
    let loss = world.log_state().losses[0];
    (world, loss)
}

#[test]
fn a_log_is_of_generation_one_and_has_lost_nothing() {
    let state = World::new().log_state();
    assert_eq!(*state, LogState::default());
}

#[test]
fn a_restore_begins_the_next_generation_and_leaves_a_loss() {
    let (world, loss) = held();
    let expected =
        Loss { generation: 2, first: position(3), last: Some(position(9)), root: root(2) };
    assert_eq!((world.log_state().generation, loss), (2, expected));
    for generation in [0, 1, 2, 4, u64::MAX] {
        let again = Act::RestoreLog(restored(&world, generation, None));
        assert_eq!(world.when(again).unwrap_err(), Refusal::OtherLog);
    }
}

#[test]
fn a_restore_is_recorded_right_behind_what_was_restored() {
    let mut world = World::new();
    let mut event = restored(&world, 2, None);
    event.restored_to = event.restored_to.next();
    let proposal = about_the_log(Event::LogRestored(event));
    let fact = world.record(&by(the_service(), Act::RestoreLog(event)), proposal);
    assert!(world.take(&fact).is_err());
}

#[test]
fn a_loss_is_accepted_by_its_own_range_only() {
    let (world, loss) = held();
    let accept = |last| Act::ResolveLoss(resolved(&loss, last, Resolution::Accepted));
    for wrong in [None, Some(8), Some(10)] {
        assert_eq!(world.when(accept(wrong)).unwrap_err(), Refusal::OtherLog, "{wrong:?}");
    }
    let elsewhere = Loss { first: position(4), ..loss };
    let wrong = resolved(&elsewhere, Some(9), Resolution::Accepted);
    assert_eq!(world.when(Act::ResolveLoss(wrong)).unwrap_err(), Refusal::OtherLog);
    let mut world = world;
    world.does(accept(Some(9)));
    assert_eq!(*world.log_state(), LogState { generation: 2, ..LogState::default() });
    assert_eq!(world.when(accept(Some(9))).unwrap_err(), Refusal::OtherLog);
}

#[test]
fn a_loss_whose_end_is_not_known_is_accepted_open_ended() {
    let mut world = World::new();
    world.does(Act::RestoreLog(restored(&world, 2, None)));
    let loss = world.log_state().losses[0];
    let accept = |last| Act::ResolveLoss(resolved(&loss, last, Resolution::Accepted));
    assert_eq!(world.when(accept(Some(9))).unwrap_err(), Refusal::OtherLog);
    world.does(accept(None));
    assert!(world.log_state().losses.is_empty());
}

#[test]
fn what_is_replayed_in_part_leaves_the_rest_to_be_resolved() {
    let (mut world, loss) = held();
    let replay = |loss: &Loss, last| Act::ResolveLoss(resolved(loss, last, REPLAYED));
    assert_eq!(world.when(replay(&loss, Some(2))).unwrap_err(), Refusal::OtherLog);
    assert_eq!(world.when(replay(&loss, None)).unwrap_err(), Refusal::OtherLog);
    world.does(replay(&loss, Some(5)));
    let rest = world.log_state().losses[0];
    assert_eq!(rest, Loss { first: position(6), root: root(9), ..loss });
    world.does(replay(&rest, Some(12)));
    assert!(world.log_state().losses.is_empty());
}

#[test]
fn a_replay_does_not_resolve_a_loss_whose_end_is_not_known() {
    let mut world = World::new();
    world.does(Act::RestoreLog(restored(&world, 2, None)));
    let loss = world.log_state().losses[0];
    world.does(Act::ResolveLoss(resolved(&loss, Some(5), REPLAYED)));
    let rest = Loss { first: position(6), root: root(9), ..loss };
    assert_eq!(world.log_state().losses, [rest]);
    world.does(Act::ResolveLoss(resolved(&rest, None, Resolution::Accepted)));
    assert!(world.log_state().losses.is_empty());
}

#[test]
fn each_of_two_losses_is_resolved_by_itself() {
    let (mut world, first) = held();
    world.does(Act::RestoreLog(restored(&world, 3, None)));
    let second = world.log_state().losses[1];
    assert_eq!((second.generation, second.last), (3, None));
    world.does(Act::ResolveLoss(resolved(&first, Some(9), REPLAYED)));
    assert_eq!(
        *world.log_state(),
        LogState { generation: 3, losses: vec![second], ..LogState::default() }
    );
}
