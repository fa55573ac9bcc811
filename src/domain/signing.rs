//! Which keys sign checkpoints of the log, as the log itself says: so that none is replaced unseen.

use crate::domain::event::{Event, Proposal};
use crate::domain::facts::Facts;
use crate::domain::log_state::{LogState, OtherLog};
use crate::domain::subject::Subject;

/// The most keys that sign at once: each is a line of every checkpoint.
pub const MAX_SIGNING_KEYS: usize = 16;

/// The public half of a key that signs checkpoints: Ed25519 (RFC 8032).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningKey(pub [u8; 32]);

/// What became of a key that signs checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningKeyChange {
    /// It is the first key that signs, as far as the log says.
    First,
    /// It signs beside those there were.
    Added,
    /// It was taken away while another key that had signed remained.
    Retired,
    /// An operator said that it is lost, and with it every key that had signed.
    Lost,
}

/// A key signs checkpoints of the log from here on, or no longer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningKeyChanged {
    /// The key.
    pub key: SigningKey,
    /// What became of it.
    pub change: SigningKeyChange,
}

impl LogState {
    /// Whether these keys are others than those that signed: nobody who trusts one of those could tell this
    /// log from another.
    #[must_use]
    pub fn has_lost_signing_keys(&self, present: &[SigningKey]) -> bool {
        let signed = &self.signing_keys;
        !signed.is_empty() && !signed.iter().any(|key| present.contains(key))
    }

    /// The log after a change of its signing keys.
    ///
    /// # Errors
    /// [`OtherLog`] if the change does not follow from the keys there are.
    pub fn with_signing_key(&self, changed: &SigningKeyChanged) -> Result<Self, OtherLog> {
        let mut signing_keys = self.signing_keys.clone();
        let place = signing_keys.iter().position(|key| *key == changed.key);
        match (changed.change, place) {
            (SigningKeyChange::First, None) if signing_keys.is_empty() => {
                signing_keys.push(changed.key);
            }
            (SigningKeyChange::Added, None)
                // Those that come are there before those that go have gone.
                if (1..2 * MAX_SIGNING_KEYS).contains(&signing_keys.len()) =>
            {
                signing_keys.push(changed.key);
            }
            (SigningKeyChange::Retired | SigningKeyChange::Lost, Some(place))
                if signing_keys.len() > 1 =>
            {
                signing_keys.remove(place);
            }
            _ => return Err(OtherLog),
        }
        Ok(LogState { signing_keys, ..self.clone() })
    }
}

/// Decides that these keys, at least one and each once, sign from now on. The caller MUST know that
/// an operator consents if all that signed are lost.
#[must_use]
pub fn decide_signing_keys(facts: &impl Facts, present: &[SigningKey]) -> Vec<Proposal> {
    let log = facts.log_state();
    let gone = match log.has_lost_signing_keys(present) {
        true => SigningKeyChange::Lost,
        false => SigningKeyChange::Retired,
    };
    let come = present.iter().filter(|key| !log.signing_keys.contains(key)).enumerate();
    let come = come.map(|(at, key)| match (at, log.signing_keys.is_empty()) {
        (0, true) => SigningKeyChanged { key: *key, change: SigningKeyChange::First },
        _ => SigningKeyChanged { key: *key, change: SigningKeyChange::Added },
    });
    let went = log.signing_keys.iter().filter(|key| !present.contains(key));
    let went = went.map(|key| SigningKeyChanged { key: *key, change: gone });
    // Those that come stand first: there is never none.
    come.chain(went).map(proposal).collect()
}

fn proposal(changed: SigningKeyChanged) -> Proposal {
    let event = Event::SigningKeyChanged(changed);
    Proposal { subject: Subject::Service, event, private: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::command::Act;
    use crate::domain::testing::World;

    fn keys(numbers: &[u8]) -> Vec<SigningKey> {
        numbers.iter().map(|number| SigningKey([*number; 32])).collect()
    }

    /// What is decided where these keys are present, which is then given.
    fn changes(world: &mut World, present: &[u8]) -> Vec<(u8, SigningKeyChange)> {
        let decided = world.when(Act::SetSigningKeys(keys(present))).expect("decided");
        let told = decided.iter().map(|event| match event {
            Event::SigningKeyChanged(changed) => (changed.key.0[0], changed.change),
            other => panic!("{other:?}"),
        });
        let told = told.collect();
        for event in decided {
            world.given(Subject::Service, event);
        }
        let log = world.log_state();
        assert_eq!(log.signing_keys.len(), present.len());
        assert!(keys(present).iter().all(|key| log.signing_keys.contains(key)));
        told
    }

    #[test]
    fn what_became_of_each_key_is_on_record_and_nothing_is_where_nothing_changed() {
        use SigningKeyChange::{Added, First, Lost, Retired};
        let mut world = World::new();
        assert_eq!(changes(&mut world, &[1]), [(1, First)]);
        assert_eq!(changes(&mut world, &[1]), []);
        assert_eq!(changes(&mut world, &[2, 1]), [(2, Added)]);
        assert_eq!(changes(&mut world, &[2]), [(1, Retired)]);
        assert_eq!(changes(&mut world, &[3, 2, 1]), [(3, Added), (1, Added)]);
        assert_eq!(changes(&mut world, &[4]), [(4, Added), (2, Lost), (3, Lost), (1, Lost)]);
        let mut several = World::new();
        assert_eq!(changes(&mut several, &[2, 1]), [(2, First), (1, Added)]);
    }

    #[test]
    fn keys_are_lost_where_none_is_left_that_had_signed() {
        let log = LogState { signing_keys: keys(&[1, 2]), ..LogState::default() };
        assert!(log.has_lost_signing_keys(&[]));
        assert!(log.has_lost_signing_keys(&keys(&[3])));
        assert!(!log.has_lost_signing_keys(&keys(&[3, 2])));
        assert!(!LogState::default().has_lost_signing_keys(&keys(&[1])));
    }

    #[test]
    fn a_change_that_does_not_follow_is_refused() {
        use SigningKeyChange::{Added, First, Lost, Retired};
        let none = LogState::default();
        let one = LogState { signing_keys: keys(&[1]), ..LogState::default() };
        let most: Vec<u8> = (1..=32).collect();
        let full = LogState { signing_keys: keys(&most), ..LogState::default() };
        let cases = [
            (&none, 1, Added),
            (&none, 1, Retired),
            (&one, 1, First),
            (&one, 2, First),
            (&one, 1, Added),
            (&one, 2, Retired),
            (&one, 1, Retired),
            (&one, 1, Lost),
            (&full, 33, Added),
        ];
        for (log, key, change) in cases {
            let changed = SigningKeyChanged { key: SigningKey([key; 32]), change };
            assert_eq!(log.with_signing_key(&changed), Err(OtherLog), "{changed:?}");
        }
    }
}
