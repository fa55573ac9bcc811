//! Starts: the first one, interrupted ones, those that are refused, and what a replay gives.

#[path = "startup_damage_tests.rs"]
mod damage;
#[path = "startup_house_tests.rs"]
mod house;
#[path = "startup_rebuild_tests.rs"]
mod rebuilds;
#[path = "startup_snapshot_tests.rs"]
mod snapshots;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::domain::account::AccountStatus;
use crate::domain::event::Event;
use crate::domain::ids::Position;
use crate::domain::permission::PlanName;
use crate::domain::policy::Plan;
use crate::domain::subject::Subject;
use crate::domain::testing::{account, permissions};
use crate::domain::time::Time;
use crate::progress::Silent;
use crate::random::SeededRandom;
use house::{House, Place, tree};

#[test]
fn a_first_start_makes_an_admin_whose_credential_works_and_a_second_makes_nothing() {
    let place = Place::new();
    let house = place.start();
    let path = place.path("admin.credential");
    assert_eq!(house.opened.new_admin.as_deref(), Some(path.as_path()));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.ends_with('\n') && text.lines().count() == 1, "one line");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!place.path("admin.credential.new").exists());
    let admin = house.admin();
    assert!(
        admin
            .caller
            .holds(crate::domain::caller::Roles::of(&[crate::domain::caller::Role::Admin]), &[])
    );
    let head = house.head();
    house.close();
    let subjects = place.facts().into_iter().map(|fact| fact.subject).collect::<Vec<_>>();
    let caller = Subject::Caller(admin.id);
    let (pepper, policy, signs) = (Subject::Service, Subject::Service, Subject::Service);
    assert_eq!(subjects, [pepper, policy, caller, signs]);

    let house = place.start();
    assert_eq!(house.opened.new_admin, None);
    assert_eq!((house.head(), house.admin().id), (head, admin.id));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    house.close();
}

/// What a first start had done when it was interrupted, one step more in each.
#[test]
fn a_first_start_interrupted_anywhere_is_finished_by_the_next() {
    type Step = fn(&Place);
    let steps: [(&str, Step); 9] = [
        ("the directory", |place| fs::create_dir(&place.config.data_dir).unwrap()),
        ("the lock", |place| fs::write(place.path("LOCK"), b"").unwrap()),
        ("a key being written", |place| {
            create_private_dir(&place.path("keys")).unwrap();
            fs::write(place.path("keys/pepper-1.key.tmp"), b"half").unwrap();
        }),
        ("the keys", |place| {
            let random = SeededRandom::new(5);
            Vault::create_missing(&place.path("keys"), &place.path("datakeys"), &random).unwrap();
        }),
        ("the anchor", |place| drop(Anchor::create(&place.path("anchor")).unwrap())),
        ("a ledger being made", |place| {
            create_private_dir(&place.path("ledger")).unwrap();
            fs::create_dir(place.path("ledger/live-00000001.tmp")).unwrap();
            fs::write(place.path("ledger/live-00000001.tmp/db"), b"half").unwrap();
        }),
        ("the ledger", |place| {
            VolumeLedger::create(&place.path("ledger")).unwrap();
        }),
        ("FORMAT being written", |place| fs::write(place.path("FORMAT.tmp"), b"keyl").unwrap()),
        ("FORMAT", |place| {
            fs::remove_file(place.path("FORMAT.tmp")).unwrap();
            DataDir::open_or_prepare(&place.config.data_dir)
                .unwrap()
                .finish_initialisation()
                .unwrap();
        }),
    ];
    for done in 1..=steps.len() {
        let place = Place::new();
        for (_, step) in &steps[..done] {
            step(&place);
        }
        let (after, _) = steps[done - 1];
        place.must_start_and_restart(after);
    }
}

#[test]
fn first_records_that_are_missing_are_made_good() {
    let place = Place::new();
    {
        let mut data_dir = DataDir::open_or_prepare(&place.config.data_dir).unwrap();
        initialise(&mut data_dir, &place.path("keys"), &SeededRandom::new(5)).unwrap();
        // The pepper came to be on record, the policy and the admin did not.
        let opened = open_existing(
            data_dir,
            &place.config,
            place.clock.clone(),
            place.random.clone(),
            &Silent,
        );
        let house = House { opened: opened.unwrap() };
        let pepper = house.opened.app.vault.peppers.newest();
        let act = Act::RegisterPepper { version: pepper.version(), check: pepper.check() };
        own_command::commit(&house.opened.app, Lane::Background, Mechanism::Service, act).unwrap();
        house.close();
    }
    place.must_start_and_restart("the pepper's record");
}

#[test]
fn a_credential_left_aside_without_its_record_is_made_again() {
    let place = Place::new();
    let other = Place::new();
    other.start().close();
    place.without_admin();
    // Whole, but of an admin that never came to be; and what writing it may leave.
    fs::copy(other.path("admin.credential"), place.path("admin.credential.new")).unwrap();
    fs::write(place.path("admin.credential.new.tmp"), b"kl_svc_").unwrap();
    place.must_start_and_restart("the credential aside");
    assert!(!place.path("admin.credential.new").exists());
    let (ours, others) = (place.path("admin.credential"), other.path("admin.credential"));
    assert_ne!(fs::read(ours).unwrap(), fs::read(others).unwrap());
}

#[test]
fn a_credential_left_aside_with_its_record_gets_its_name() {
    let place = Place::new();
    let house = place.start();
    let (admin, head) = (house.admin().id, house.head());
    house.close();
    let (path, aside) = (place.path("admin.credential"), place.path("admin.credential.new"));
    fs::rename(&path, &aside).unwrap();
    let house = place.start();
    assert_eq!(house.opened.new_admin.as_deref(), Some(path.as_path()));
    assert_eq!((house.admin().id, house.head()), (admin, head), "no further admin");
    assert!(!aside.exists());
    house.close();
}

#[test]
fn a_credential_that_was_moved_away_is_not_made_again() {
    let place = Place::new();
    place.start().close();
    fs::remove_file(place.path("admin.credential")).unwrap();
    let house = place.start();
    assert_eq!(house.opened.new_admin, None);
    assert!(!place.path("admin.credential").exists());
    house.close();
}

#[test]
fn an_operator_offline_makes_a_further_admin_and_it_is_on_record_as_such() {
    let place = Place::new();
    place.start().close();
    let path = place.path("../recovered");
    let house = House { opened: place.open_offline().unwrap() };
    let head = house.head();
    admin_credential::recover(&house.opened.app, &path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let id = house.opened.app.identify(text.trim_end()).unwrap().id;
    let again = admin_credential::recover(&house.opened.app, &path).unwrap_err();
    assert!(matches!(again, CredentialError::Exists(_)), "{again}");
    house.close();
    let fact = place.facts().pop().unwrap();
    assert_eq!(Some(fact.position), head.map(Position::next), "one record");
    assert_eq!((fact.actor.mechanism, fact.actor.caller), (Mechanism::Offline, None));
    assert_eq!(fact.subject, Subject::Caller(id));
}

#[test]
fn an_offline_command_makes_no_data_directory() {
    let place = Place::new();
    let refused = place.open_offline().unwrap_err();
    assert!(matches!(refused, StartError::DataDir(DataDirError::Missing(_))), "{refused}");
    assert!(!place.config.data_dir.exists());
}

#[test]
fn a_second_start_while_one_runs_is_refused_and_touches_nothing() {
    let place = Place::new();
    let house = place.start();
    // The anchor follows the head and the next volume is prepared; then the first start writes nothing
    // more, but in that volume, which sled may still be at.
    let next = place.path("ledger/live-00000002");
    let anchored = || Anchor::read(&place.path("anchor")).unwrap().position;
    while anchored() != house.head() || !next.exists() {
        std::thread::yield_now();
    }
    let others = || {
        let mut found = tree(&place.config.data_dir);
        // The next usage journal is made beside all this, and the log folded.
        let beside = [next.clone(), place.path("usage"), place.path("projections")];
        found.retain(|path, _| !beside.iter().any(|beside| path.starts_with(beside)));
        found
    };
    let before = others();
    for refused in [place.open().unwrap_err(), place.open_offline().unwrap_err()] {
        assert!(matches!(refused, StartError::DataDir(DataDirError::InUse(_))), "{refused}");
        assert!(refused.to_string().starts_with("another keyledger process uses"), "{refused}");
    }
    assert_eq!(others(), before);
    house.close();
    place.start().close();
}

#[test]
fn a_changed_policy_goes_on_record_once_and_an_unchanged_one_does_not() {
    let mut place = Place::new();
    place.start().close();
    let gold = PlanName::parse("gold").unwrap();
    place.config.policy.plans.insert(gold, Plan { active_keys: Some(1), ..Plan::default() });
    place.start().close();
    let facts = place.facts();
    let last = facts.last().unwrap();
    assert_eq!(last.event, Event::PolicyChanged(place.config.policy.clone()));
    assert_eq!(last.actor.mechanism, Mechanism::Service);
    place.start().close();
    assert_eq!(place.facts(), facts);
}

#[test]
fn a_replay_gives_the_table_that_was_there() {
    let place = Place::new();
    let house = place.start();
    house.put_account("a", AccountStatus::Active);
    house.put_account("b", AccountStatus::Active);
    let plain = house.create_key("a", &[]);
    let bound = house.create_key("a", &["192.0.2.0/24", "2001:db8::/32"]);
    house.rotate(plain);
    house.rotate(bound);
    let revoked = house.create_key("b", &["10.0.0.0/8"]);
    house.revoke(revoked);
    house.put_account("b", AccountStatus::Suspended);
    let before = house.picture();
    assert!(before.contains("192.0.2.0/24"), "the opened ranges are compared too");
    house.close();

    let house = place.start();
    assert_eq!(house.picture(), before);
    let view = house.view(bound);
    assert_eq!(view.personal.allowed_cidrs, ["192.0.2.0/24", "2001:db8::/32"]);
    assert_eq!(view.personal.name, "a key of a");
    let standing = house.opened.app.table.standing(&account("a")).unwrap();
    assert_eq!(standing.effective, permissions(&["a:*"]));
    house.close();
}

#[test]
fn the_wall_clock_set_back_between_starts_does_not_set_the_rules_time_back() {
    let place = Place::new();
    let house = place.start();
    let then = house.opened.app.now();
    house.close();
    place.clock.step_wall_to(Time::EPOCH);
    let house = place.start();
    assert_eq!(house.opened.app.now(), then);
    house.close();
}
