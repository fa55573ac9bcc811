//! What the holder of a key that works should know: that it will not for much longer.

use std::time::Duration;

use crate::domain::key::{Key, KeyState};
use crate::domain::time::Time;

/// What to say of a key besides that it is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notices {
    /// When it expires, if that is soon.
    pub expires_soon: Option<Time>,
    /// When it no longer works at the latest, if it has a successor.
    pub superseded: Option<Time>,
}

impl Notices {
    /// What to say at `now` of a key that works, of whose expiry it is said from `soon` before on.
    #[must_use]
    pub fn of(key: &Key, now: Time, soon: Duration) -> Self {
        let expires_soon = key.expire_time().filter(|time| *time <= now.plus(soon));
        let is_retiring = key.state_at(now) == KeyState::Retiring;
        Notices { expires_soon, superseded: key.overlap_end().filter(|_| is_retiring) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::command::Act;
    use crate::domain::event::KeyCreated;
    use crate::domain::key_rules::{CreateKey, UpdateKey};
    use crate::domain::testing::*;

    const SOON: Duration = Duration::from_secs(10);

    fn until(expire_time: Time) -> World {
        let mut world = World::with_account();
        let created = KeyCreated { expire_time: Some(expire_time), ..created(1) };
        world.does(Act::CreateKey(CreateKey { created, ..create("a", 1) }));
        world
    }

    fn of(world: &World, now: Time, soon: Duration) -> Notices {
        Notices::of(&world.keys[&key_id(1)], now, soon)
    }

    #[test]
    fn nothing_is_said_of_a_key_that_goes_on() {
        assert_eq!(of(&World::with_key(), at(1), SOON), Notices::default());
    }

    #[test]
    fn an_expiry_is_said_from_the_span_before_it_on() {
        let world = until(at(30));
        let soon = Notices { expires_soon: Some(at(30)), superseded: None };
        assert_eq!(of(&world, Time::from_micros(at(20).as_micros() - 1), SOON), Notices::default());
        assert_eq!(of(&world, at(20), SOON), soon);
        let last = Time::from_micros(at(30).as_micros() - 1);
        assert_eq!(of(&world, last, SOON), soon);
        assert_eq!(of(&world, last, Duration::ZERO), Notices::default(), "a span of nothing");
    }

    #[test]
    fn a_rotated_key_is_told_the_latest_end_of_its_overlap() {
        let mut world = World::with_key();
        world.does(Act::RotateKey(world.rotate(1, 2, 60)));
        let superseded = |seconds| Notices { superseded: Some(at(seconds)), expires_soon: None };
        assert_eq!(of(&world, at(1), SOON), superseded(60));
        // An expiry that comes first ends it.
        world.does(Act::UpdateKey(UpdateKey { expire_time: Some(at(30)), ..world.update(1) }));
        assert_eq!(of(&world, at(1), SOON), superseded(30));
        let both = Notices { expires_soon: Some(at(30)), ..superseded(30) };
        assert_eq!(of(&world, at(25), SOON), both);
        let successor = Notices::of(&world.keys[&key_id(2)], at(1), SOON);
        assert_eq!(successor, Notices::default());
    }
}
