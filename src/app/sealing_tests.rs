//! Sealing: what is sealed opens in its own record alone, and ranges that are gone admit nobody.

use super::*;
use crate::domain::event::{Actor, KeyUpdated, Mechanism};
use crate::domain::ids::{CallerId, KeyId};
use crate::domain::key::RevokeReason;
use crate::domain::personal::OnBehalfOf;
use crate::domain::sealed::DataKeyId;
use crate::domain::testing::{account, at, created, key_subject};
use crate::random::SeededRandom;

struct Keys {
    data_keys: DataKeys,
    random: SeededRandom,
    _dir: tempfile::TempDir,
}

/// The data keys of the service and of `acme/a`.
fn keys() -> Keys {
    let dir = tempfile::tempdir().unwrap();
    let (keys, file) = (dir.path().join("keys"), dir.path().join("datakeys"));
    let random = SeededRandom::new(1);
    Vault::create_missing(&keys, &file, &random).unwrap();
    let data_keys = Vault::open(&keys, &file).unwrap().data_keys;
    data_keys.ensure(&scope_of(&key_subject("a", 1)), &random).unwrap();
    Keys { data_keys, random, _dir: dir }
}

fn personal() -> Personal {
    Personal {
        name: "billing".to_owned(),
        allowed_cidrs: vec!["192.0.2.0/24".to_owned()],
        ..Personal::default()
    }
}

impl Keys {
    fn seal(&self, subject: &Subject, kind: EventKind, personal: &Personal) -> Private {
        seal(&self.data_keys, &self.random, subject, kind, personal).unwrap()
    }

    fn opens(&self, fact: &Recorded) -> Result<Option<Personal>, OpenError> {
        open(&self.data_keys, fact)
    }

    /// The creation of key 1, bound or not, as it comes from the log.
    fn fact(&self, sources: Sources, personal: &Personal) -> Recorded {
        let subject = key_subject("a", 1);
        let private = self.seal(&subject, EventKind::KeyCreated, personal);
        let mut created = created(1);
        created.sources = sources;
        Recorded {
            position: Position::FIRST,
            event_id: private.event_id,
            time: at(0),
            previous: None,
            actor: Actor { caller: None, mechanism: Mechanism::Service },
            trace_id: None,
            request: None,
            subject,
            event: Event::KeyCreated(created),
            private: Some(private),
        }
    }
}

fn sources(fact: &Recorded) -> &Sources {
    match &fact.event {
        Event::KeyCreated(created) => &created.sources,
        Event::KeyUpdated(updated) => &updated.sources,
        other => panic!("{other:?} has none"),
    }
}

fn ranges() -> Sources {
    Sources::requested(vec![SourceRange::parse("192.0.2.0/24").unwrap()])
}

#[test]
fn what_is_sealed_opens_in_its_record() {
    let keys = keys();
    let fact = keys.fact(Sources::Unreadable, &personal());
    assert_eq!(keys.opens(&fact), Ok(Some(personal())));
    assert_eq!(keys.opens(&Recorded { private: None, ..fact }), Ok(None));
}

#[test]
fn sealing_the_same_twice_shows_nothing_of_it() {
    let keys = keys();
    let (one, two) = (keys.fact(Sources::Any, &personal()), keys.fact(Sources::Any, &personal()));
    let (one, two) = (one.private.unwrap(), two.private.unwrap());
    assert_ne!(one.commitment, two.commitment, "salted");
    assert_ne!(one.sealed.ciphertext, two.sealed.ciphertext);
    assert_ne!(one.event_id, two.event_id);
    assert!(!one.sealed.ciphertext.windows(7).any(|bytes| bytes == b"billing"));
}

#[test]
fn sealed_fields_open_in_no_other_record() {
    let keys = keys();
    let fact = keys.fact(Sources::Any, &personal());
    let other_event_id = Recorded { event_id: EventId([0; 16]), ..fact.clone() };
    let other_kind = Recorded { event: Event::KeyEnabled, ..fact.clone() };
    let other_account = Recorded { subject: key_subject("b", 1), ..fact.clone() };
    for moved in [other_event_id, other_kind, other_account] {
        assert_eq!(keys.opens(&moved), Err(OpenError::Altered));
    }
    let mut other_commitment = fact;
    other_commitment.private.as_mut().unwrap().commitment.0[31] ^= 1;
    assert_eq!(keys.opens(&other_commitment), Err(OpenError::Altered));
}

#[test]
fn each_subject_has_the_scope_that_its_erasure_is_to_reach() {
    let of_a = Scope::Account(AccountRef::clone(&account("a")));
    assert_eq!(scope_of(&key_subject("a", 1)), of_a);
    assert_eq!(scope_of(&Subject::Account(account("a"))), of_a);
    assert_eq!(scope_of(&Subject::Caller(CallerId([1; 12]))), Scope::Service);
    assert_eq!(scope_of(&Subject::Service), Scope::Service);
}

#[test]
fn without_a_data_key_nothing_is_sealed() {
    let keys = keys();
    let subject = key_subject("b", 1);
    let sealed = seal(&keys.data_keys, &keys.random, &subject, EventKind::KeyCreated, &personal());
    assert!(matches!(sealed, Err(AppError::Internal)));
}

#[test]
fn the_ranges_of_a_bound_key_are_opened_into_its_event() {
    let keys = keys();
    let mut fact = keys.fact(Sources::Unreadable, &personal());
    assert_eq!(open_sources(&keys.data_keys, &mut fact), Ok(()));
    assert_eq!(sources(&fact), &ranges());

    let private = keys.seal(&fact.subject, EventKind::KeyUpdated, &personal());
    let mut updated = Recorded {
        event_id: private.event_id,
        event: Event::KeyUpdated(KeyUpdated {
            scopes: None,
            expire_time: None,
            sources: Sources::Unreadable,
            changed: Vec::new(),
        }),
        private: Some(private),
        ..fact
    };
    assert_eq!(open_sources(&keys.data_keys, &mut updated), Ok(()));
    assert_eq!(sources(&updated), &ranges());
}

#[test]
fn what_is_not_bound_is_not_opened() {
    let keys = keys();
    let mut fact = keys.fact(Sources::Any, &personal());
    fact.private.as_mut().unwrap().sealed.ciphertext = [0; 20].into();
    let before = fact.clone();
    assert_eq!(open_sources(&keys.data_keys, &mut fact), Ok(()));
    assert_eq!(fact, before);
    let reason = RevokeReason::Unspecified;
    let mut other = Recorded { event: Event::KeyRevoked { reason, leaked: false }, ..fact };
    assert_eq!(open_sources(&keys.data_keys, &mut other), Ok(()));
}

#[test]
fn a_bound_key_whose_data_key_is_destroyed_may_be_used_from_nowhere() {
    let keys = keys();
    let mut fact = keys.fact(Sources::Unreadable, &personal());
    assert_eq!(keys.data_keys.destroy(&[scope_of(&fact.subject)]).unwrap(), 1);
    assert_eq!(keys.opens(&fact), Err(OpenError::Erased));
    assert_eq!(open_sources(&keys.data_keys, &mut fact), Ok(()));
    assert_eq!(sources(&fact), &Sources::Unreadable);
    fact.private.as_mut().unwrap().sealed.data_key = DataKeyId(99);
    assert_eq!(
        open_sources(&keys.data_keys, &mut fact),
        Err(OpenError::KeyMissing),
        "lost, not erased"
    );
}

#[test]
fn a_bound_key_without_ranges_or_with_what_is_none_is_altered() {
    let keys = keys();
    let with = |cidrs: &[&str]| Personal {
        allowed_cidrs: cidrs.iter().map(|text| (*text).to_owned()).collect(),
        ..Personal::default()
    };
    for cidrs in [&[][..], &["everywhere"], &["10.0.0.0/8", "10.0.0.0/99"]] {
        let mut fact = keys.fact(Sources::Unreadable, &with(cidrs));
        let opened = open_sources(&keys.data_keys, &mut fact);
        assert_eq!(opened, Err(OpenError::Altered), "{cidrs:?}");
        assert_eq!(sources(&fact), &Sources::Unreadable);
    }
    let mut fact = keys.fact(Sources::Unreadable, &personal());
    fact.private.as_mut().unwrap().sealed.scheme = 2;
    assert_eq!(open_sources(&keys.data_keys, &mut fact), Err(OpenError::UnknownScheme));
}

#[test]
fn an_entry_of_the_cache_weighs_at_least_its_texts() {
    let weigh = |personal| {
        let kept = Kept { personal: Arc::new(personal), data_key: None };
        PersonalWeight.weight(&Position::FIRST, &kept)
    };
    let (text, none) = (|| "x".repeat(1000), Personal::default());
    let empty = weigh(none.clone());
    assert!(empty > 0, "an entry is never free");
    let on_behalf_of = OnBehalfOf { subject: text(), ..OnBehalfOf::default() };
    for one in [
        Personal { name: text(), ..none.clone() },
        Personal { display_name: text(), ..none.clone() },
        Personal { owner: text(), ..none.clone() },
        Personal { comment: text(), ..none.clone() },
        Personal { metadata: [("k".to_owned(), text())].into(), ..none.clone() },
        Personal { metadata: [(text(), String::new())].into(), ..none.clone() },
        Personal { allowed_cidrs: vec![text()], ..none.clone() },
        Personal { on_behalf_of: Some(on_behalf_of), ..none.clone() },
    ] {
        assert!(weigh(one) >= empty + 1000);
    }
}

#[test]
fn key_ids_in_contexts_do_not_matter_but_event_ids_do() {
    // Both keys of one account: the event id alone keeps their fields apart.
    let keys = keys();
    let fact = keys.fact(Sources::Any, &personal());
    let other = Subject::Key(account("a"), KeyId([2; 12]));
    assert!(keys.opens(&Recorded { subject: other.clone(), ..fact.clone() }).is_ok());
    let private = keys.seal(&other, EventKind::KeyCreated, &personal());
    let swapped = Recorded { private: Some(private), ..fact };
    assert_eq!(keys.opens(&swapped), Err(OpenError::Altered));
}
