//! What people read of each event.

use prost_types::{Duration, Timestamp};

use super::*;

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_767_225_600 + seconds, nanos: 0 })
}

fn told(event: Event, shown: Option<Disclosure>) -> String {
    let event = Event { position: 42, record_time: at(61), ..event };
    line(&AuditEvent {
        position: 42,
        event: Some(event),
        disclosure: shown,
        ..AuditEvent::default()
    })
}

fn of_key(kind: Kind) -> Event {
    Event {
        tenant_id: "acme".to_owned(),
        account_id: "billing".to_owned(),
        key_id: "key_00000000000000001".to_owned(),
        kind: Some(kind),
        ..Default::default()
    }
}

fn by_caller(event: Event, subject: &str) -> Event {
    let said = v1::OnBehalfOf { subject: subject.to_owned(), ..Default::default() };
    let actor = v1::Actor {
        caller_id: "caller_00000000000000002".to_owned(),
        mechanism: v1::Mechanism::Bearer.into(),
        on_behalf_of: (!subject.is_empty()).then_some(said),
    };
    Event { actor: Some(actor), ..event }
}

#[test]
fn a_change_is_told_by_when_what_to_what_why_and_by_whom() {
    let revoked = v1::KeyRevoked { reason: v1::RevokeReason::KeyCompromise.into(), leaked: true };
    let shown = Disclosure {
        name: "nightly".to_owned(),
        comment: "seen\nin a log".to_owned(),
        ..Default::default()
    };
    let text = told(by_caller(of_key(Kind::KeyRevoked(revoked)), "ada"), Some(shown));
    assert_eq!(
        text,
        "2026-01-01 00:01:01Z  #42       key revoked         acme/billing key_00000000000000001 (nightly)  \
         KEY_COMPROMISE  reported as leaked  “seen\\u{a}in a log”  by caller_00000000000000002 for ada"
    );
    let bare = told(of_key(Kind::KeyDisabled(v1::KeyDisabled {})), None);
    assert_eq!(
        bare,
        "2026-01-01 00:01:01Z  #42       key disabled        acme/billing key_00000000000000001"
    );
}

fn total(reason: v1::DenialReason, count: u64) -> v1::UsageTotal {
    let allowed = reason == v1::DenialReason::Unspecified;
    let outcome = if allowed { v1::Outcome::Allowed } else { v1::Outcome::Denied };
    v1::UsageTotal {
        outcome: outcome.into(),
        denial_reason: reason.into(),
        count,
        ..Default::default()
    }
}

#[test]
fn uses_are_told_by_how_often_when_from_where_and_what_for() {
    let count = |source, action: &str, count| v1::UsageCount {
        outcome: v1::Outcome::Allowed.into(),
        caller_id: "caller_00000000000000002".to_owned(),
        action: action.to_owned(),
        source,
        count,
        ..Default::default()
    };
    let window = v1::UsageWindow {
        start_time: at(0),
        span: Some(Duration { seconds: 60, nanos: 0 }),
        totals: vec![
            total(v1::DenialReason::Unspecified, 1200),
            total(v1::DenialReason::Expired, 3),
        ],
        counts: vec![
            count(2, "export", 5),
            count(1, "export", 7),
            count(3, "export", 1),
            count(4, "", 2),
            count(0, "export", 9),
        ],
        ..Default::default()
    };
    let used = v1::KeyUsed { window: Some(window), ..Default::default() };
    let sources = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"].map(str::to_owned);
    let shown = Disclosure { sources: sources.to_vec(), ..Default::default() };
    let text = told(of_key(Kind::KeyUsed(used.clone())), Some(shown));
    let expected = "1,200 allowed, 3 EXPIRED at 00:00:00Z  from 192.0.2.1 (7), 192.0.2.2 (5), 192.0.2.4 (2), \
                    1 more  for export  asked by caller_00000000000000002";
    assert!(text.ends_with(expected), "{text}");
    let undisclosed = told(of_key(Kind::KeyUsed(used)), None);
    assert!(undisclosed.contains("00:00:00Z  for export"), "{undisclosed}");
}

#[test]
fn a_read_of_the_history_is_told_by_who_how_what_and_how_much() {
    let named = v1::NamedByCall {
        tenant_id: "acme".to_owned(),
        account_id: "billing".to_owned(),
        ..Default::default()
    };
    let read = v1::AuditRead {
        caller_id: "caller_00000000000000002".to_owned(),
        rpc: "AuditService/StreamEvents".to_owned(),
        named: Some(named),
        calls: 1,
        events: 1200,
        first_position: 5,
        last_position: 1300,
        first_time: at(7),
        ..Default::default()
    };
    let text =
        told(Event { kind: Some(Kind::AuditRead(read.clone())), ..Default::default() }, None);
    assert_eq!(
        text,
        "2026-01-01 00:01:01Z  #42       history read        AuditService/StreamEvents by \
         caller_00000000000000002  of acme/billing  1 call, 1,200 shown from #5 to #1300  at 00:00:07Z"
    );
    let other = v1::AuditRead { other: true, calls: 0, ..read };
    let text = told(Event { kind: Some(Kind::AuditRead(other)), ..Default::default() }, None);
    assert!(text.contains("in more ways than are told apart  went on, 1,200 shown"), "{text}");
}

#[test]
fn refused_calls_are_told_by_how_often_why_who_what_and_from_where() {
    let about = |key: &str| v1::RefusedCall {
        named: Some(v1::NamedByCall { key_id: key.to_owned(), ..Default::default() }),
        ..Default::default()
    };
    let calls = v1::CallsRefused {
        caller_id: "caller_00000000000000002".to_owned(),
        rpc: "KeyService/RevokeKey".to_owned(),
        reason: v1::ErrorReason::KeyNotFound.into(),
        count: 1200,
        first_time: at(7),
        sources: vec![v1::RefusedSource { source: 1, count: 1200 }],
        samples: ["key_1", "key_1", "key_2", "key_3", "key_4"].map(about).to_vec(),
        ..Default::default()
    };
    let shown = Disclosure { sources: vec!["192.0.2.1".to_owned()], ..Default::default() };
    let event = |calls| Event { kind: Some(Kind::CallsRefused(calls)), ..Default::default() };
    let text = told(event(calls.clone()), Some(shown));
    assert_eq!(
        text,
        "2026-01-01 00:01:01Z  #42       calls refused       1,200 KEY_NOT_FOUND  KeyService/RevokeKey to \
         caller_00000000000000002  about key_1, key_2, key_3, 1 more  from 192.0.2.1  at 00:00:07Z"
    );
    let nobody = v1::CallsRefused { caller_id: String::new(), ..calls };
    assert!(told(event(nobody), None).contains("KeyService/RevokeKey without a valid credential"));
}

#[test]
fn what_is_erased_is_told_as_that() {
    let event = Event { kind: Some(Kind::KeyDisabled(v1::KeyDisabled {})), ..Default::default() };
    let event = AuditEvent { position: 42, event: Some(event), erased: true, ..Default::default() };
    assert_eq!(line(&event), "  #42       key disabled        [erased]");
}

#[test]
fn every_kind_has_words_of_its_own() {
    let kinds = [
        Kind::AccountRegistered(v1::AccountRegistered::default()),
        Kind::AccountChanged(v1::AccountChanged::default()),
        Kind::AccountErased(v1::AccountErased {}),
        Kind::KeyCreated(v1::KeyCreated::default()),
        Kind::KeyUpdated(v1::KeyUpdated::default()),
        Kind::KeyDisabled(v1::KeyDisabled {}),
        Kind::KeyEnabled(v1::KeyEnabled {}),
        Kind::KeyRotated(v1::KeyRotated::default()),
        Kind::KeyRevoked(v1::KeyRevoked::default()),
        Kind::KeyRetired(v1::KeyRetired::default()),
        Kind::KeyRehashed(v1::KeyRehashed::default()),
        Kind::KeyUsed(v1::KeyUsed::default()),
        Kind::UnknownKeyTried(v1::UnknownKeyTried::default()),
        Kind::UsageGap(v1::UsageGap::default()),
        Kind::CallerCreated(v1::CallerCreated::default()),
        Kind::CallerRotated(v1::CallerRotated::default()),
        Kind::CallerRevoked(v1::CallerRevoked {}),
        Kind::CallerRehashed(v1::CallerRehashed::default()),
        Kind::PolicyChanged(v1::PolicyChanged::default()),
        Kind::PepperRotated(v1::PepperRotated::default()),
        Kind::PepperRetired(v1::PepperRetired::default()),
        Kind::ClockStepped(v1::ClockStepped::default()),
        Kind::LogRestored(v1::LogRestored::default()),
        Kind::LossResolved(v1::LossResolved::default()),
        Kind::SigningKeyChanged(v1::SigningKeyChanged::default()),
        Kind::AuditRead(v1::AuditRead::default()),
        Kind::CallsRefused(v1::CallsRefused::default()),
    ];
    let shown = Disclosure::default();
    let words: std::collections::BTreeSet<_> =
        kinds.iter().map(|kind| of_kind(kind, &shown).0).collect();
    assert_eq!(words.len(), kinds.len());
    assert!(!words.contains("event"));
}

#[test]
fn what_a_newer_server_says_is_told_as_far_as_it_is_known() {
    let text = told(Event::default(), None);
    assert_eq!(text, "2026-01-01 00:01:01Z  #42       an event that this program does not know");
    let nothing = AuditEvent { position: 7, ..Default::default() };
    assert_eq!(line(&nothing), "#7  an event that this program does not know");
}
