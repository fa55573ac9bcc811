//! Callers: who may make, rotate and revoke whom, and that an admin of everything always remains.

use super::*;
use crate::domain::caller::{Caller, Retiring, Role};
use crate::domain::command::Act;
use crate::domain::event::Mechanism;
use crate::domain::facts::FactsMut;
use crate::domain::testing::*;

const OFFLINE: Actor = Actor { caller: None, mechanism: Mechanism::Offline };

fn refused(world: &World, actor: Actor, act: Act) -> Refusal {
    world.when_by(actor, act).expect_err("refused")
}

/// A world with a further caller 1.
fn with_caller(roles: &[Role], tenants: &[&str]) -> World {
    let mut world = World::new();
    world.does(Act::CreateCaller(create_caller(1, caller(roles, tenants))));
    world
}

fn rotate(n: u8, overlap: u64) -> Act {
    let overlap = Duration::from_secs(overlap);
    Act::RotateCaller(RotateCaller { caller: caller_id(n), tag: tag(77), overlap, private: None })
}

fn revoke(id: CallerId) -> Act {
    Act::RevokeCaller(RevokeCaller { caller: id, private: None })
}

fn make(roles: &[Role], tenants: &[&str]) -> Act {
    Act::CreateCaller(create_caller(2, caller(roles, tenants)))
}

#[test]
fn admin_includes_every_role_and_the_others_only_themselves() {
    for role in Role::ALL {
        assert!(Roles::of(&[Role::Admin]).include(role), "{}", role.name());
        for other in Role::ALL {
            let held = Roles::of(&[role]);
            assert_eq!(held.include(other), role == other || role == Role::Admin);
        }
    }
    let some = [Role::Issuer, Role::Operator];
    assert_eq!(Roles::of(&some).iter().collect::<Vec<_>>(), some);
    assert!(Roles::default().is_empty() && !Roles::of(&some).is_empty());
}

#[test]
fn a_caller_is_created_as_asked() {
    let mut world = World::new();
    world.wait(5);
    let asked = CallerCreated { expire_time: Some(at(60)), ..caller(&[Role::Issuer], &["acme"]) };
    let act = Act::CreateCaller(create_caller(1, asked.clone()));
    assert_eq!(world.when(act.clone()), Ok(vec![Event::CallerCreated(asked.clone())]));
    let position = world.does(act);
    let made = world.caller(&caller_id(1)).unwrap();
    assert_eq!((made.roles, &made.tenants, &made.tag), (asked.roles, &asked.tenants, &asked.tag));
    assert_eq!((made.create_time, made.expire_time), (at(5), Some(at(60))));
    assert_eq!((made.position, made.personal_at), (position, position));
    assert!(made.works_at(at(59)) && !made.works_at(at(60)));
}

#[test]
fn a_caller_grants_no_role_that_it_lacks() {
    let world = with_caller(&[Role::Issuer, Role::Auditor], &[]);
    let maker = bearer(caller_id(1));
    assert!(world.when_by(maker, make(&[Role::Auditor], &[])).is_ok());
    for roles in [&[Role::Admin][..], &[Role::Issuer, Role::Operator]] {
        assert_eq!(refused(&world, maker, make(roles, &[])), Refusal::GrantExceedsOwn);
    }
    assert!(world.when(make(&Role::ALL, &[])).is_ok(), "an admin has them all");
}

#[test]
fn a_caller_bound_to_tenants_grants_no_others_and_never_all() {
    let world = with_caller(&[Role::Admin], &["acme", "bolt"]);
    let maker = bearer(caller_id(1));
    for tenants in [&["acme"][..], &["acme", "bolt"]] {
        assert!(world.when_by(maker, make(&[Role::Issuer], tenants)).is_ok(), "{tenants:?}");
    }
    for tenants in [&["other"][..], &["acme", "other"], &[]] {
        let refusal = refused(&world, maker, make(&[Role::Issuer], tenants));
        assert_eq!(refusal, Refusal::GrantExceedsOwn, "{tenants:?}");
    }
}

#[test]
fn a_caller_manages_none_that_holds_more() {
    let mut world = with_caller(&[Role::Issuer], &["acme"]);
    world.does(Act::CreateCaller(create_caller(2, caller(&[Role::Issuer], &["bolt"]))));
    world.does(Act::CreateCaller(create_caller(3, caller(&[Role::Issuer], &["acme"]))));
    let maker = bearer(caller_id(1));
    assert_eq!(refused(&world, maker, rotate(2, 0)), Refusal::GrantExceedsOwn);
    assert_eq!(refused(&world, maker, revoke(caller_id(2))), Refusal::GrantExceedsOwn);
    assert_eq!(refused(&world, maker, revoke(ADMIN)), Refusal::GrantExceedsOwn);
    assert!(world.when_by(maker, rotate(3, 0)).is_ok());
    assert!(world.when_by(maker, revoke(caller_id(3))).is_ok());
    let unknown = bearer(caller_id(9));
    assert_eq!(refused(&world, unknown, rotate(3, 0)), Refusal::ActorOver);
}

/// Makes a caller for whom a certificate speaks that names this.
fn make_named(n: u8, id: &str, expire_time: Option<Time>) -> Act {
    let certificate_name = Some(spiffe(id));
    let created =
        CallerCreated { certificate_name, expire_time, ..caller(&[Role::Issuer], &["acme"]) };
    Act::CreateCaller(create_caller(n, created))
}

#[test]
fn a_name_in_certificates_is_of_one_caller_that_works() {
    const NAME: &str = "spiffe://example.org/a";
    let mut world = World::new();
    world.does(make_named(2, NAME, None));
    assert_eq!(world.caller(&caller_id(2)).unwrap().certificate_name, Some(spiffe(NAME)));
    for actor in [admin(), OFFLINE, the_service()] {
        let refusal = refused(&world, actor, make_named(3, NAME, None));
        assert_eq!(refusal, Refusal::CertificateNameTaken);
    }
    assert!(world.when(make_named(3, "spiffe://example.org/b", None)).is_ok());
    world.does(revoke(caller_id(2)));
    world.does(make_named(3, NAME, Some(at(10))));
    assert_eq!(refused(&world, admin(), make_named(4, NAME, None)), Refusal::CertificateNameTaken);
    world.wait(10);
    assert!(world.when(make_named(4, NAME, None)).is_ok(), "one that is over lets go of it");
}

#[test]
fn who_is_bound_to_tenants_gives_no_name_that_may_be_another_tenants() {
    let world = with_caller(&[Role::Admin], &["acme"]);
    let maker = bearer(caller_id(1));
    let refusal = refused(&world, maker, make_named(2, "spiffe://example.org/a", None));
    assert_eq!(refusal, Refusal::GrantExceedsOwn);
    assert!(world.when_by(maker, make(&[Role::Issuer], &["acme"])).is_ok());
}

#[test]
fn a_caller_known_by_its_certificate_is_held_to_what_it_has() {
    let mut world = with_caller(&[Role::Issuer], &["acme"]);
    let by = |n| Actor { caller: Some(caller_id(n)), mechanism: Mechanism::ClientCertificate };
    assert_eq!(refused(&world, by(1), make(&[Role::Admin], &["acme"])), Refusal::GrantExceedsOwn);
    assert_eq!(refused(&world, by(9), make(&[Role::Issuer], &["acme"])), Refusal::ActorOver);
    assert!(world.when_by(by(1), make(&[Role::Issuer], &["acme"])).is_ok());
    world.does(revoke(caller_id(1)));
    assert_eq!(refused(&world, by(1), make(&[Role::Issuer], &["acme"])), Refusal::ActorOver);
}

#[test]
fn the_service_and_offline_operators_lack_nothing() {
    let world = World::empty();
    for actor in [the_service(), OFFLINE] {
        assert!(world.when_by(actor, make(&[Role::Admin], &[])).is_ok());
    }
}

#[test]
fn a_caller_expires_in_the_future_or_is_not_made() {
    let world = World::new();
    let past = CallerCreated { expire_time: Some(at(0)), ..caller(&[Role::Issuer], &[]) };
    let act = Act::CreateCaller(create_caller(1, past));
    assert_eq!(refused(&world, admin(), act), Refusal::ExpiryPast);
}

#[test]
fn a_tenant_has_only_so_many_working_callers_and_fills_no_other_tenant() {
    let mut world = World::new();
    let acme = Caller { tenants: [tenant("acme")].into(), ..working_admin() };
    let last = caller_id_of(MAX_CALLERS_OF_A_TENANT);
    for n in 1..=MAX_CALLERS_OF_A_TENANT {
        world.put_caller(caller_id_of(n), acme.clone());
    }
    let limit = Refusal::TooManyCallers { limit: MAX_CALLERS_OF_A_TENANT };
    assert_eq!(refused(&world, admin(), make(&[Role::Issuer], &["acme"])), limit);
    assert_eq!(refused(&world, admin(), make(&[Role::Issuer], &["acme", "bolt"])), limit);
    assert!(world.when(make(&[Role::Issuer], &["bolt"])).is_ok());
    assert!(world.when(make(&[Role::Issuer], &[])).is_ok());
    assert!(world.when_by(OFFLINE, make(&[Role::Issuer], &["acme"])).is_ok());
    world.put_caller(last, Caller { revoke_time: Some(at(0)), ..acme });
    assert!(world.when(make(&[Role::Issuer], &["acme"])).is_ok(), "a revoked one makes room");
}

fn caller_id_of(n: usize) -> CallerId {
    let mut id = [0; 12];
    id[..8].copy_from_slice(&n.to_be_bytes());
    CallerId(id)
}

#[test]
fn who_was_revoked_or_has_expired_decides_nothing_any_more() {
    let mut world = World::with_account();
    let revoked = Caller { revoke_time: Some(at(0)), ..working_admin() };
    let expired = Caller { expire_time: Some(at(0)), ..working_admin() };
    for over in [revoked, expired] {
        world.put_caller(caller_id(1), over);
        let actor = bearer(caller_id(1));
        assert_eq!(refused(&world, actor, make(&[Role::Admin], &[])), Refusal::ActorOver);
        assert_eq!(refused(&world, actor, Act::CreateKey(create("a", 1))), Refusal::ActorOver);
    }
}

#[test]
fn the_admin_that_is_left_does_not_expire_before_the_one_that_goes() {
    let mut world = World::new();
    world.put_caller(caller_id(1), Caller { expire_time: Some(at(60)), ..working_admin() });
    assert_eq!(refused(&world, admin(), revoke(ADMIN)), Refusal::LastAdmin);
    assert!(world.when(revoke(caller_id(1))).is_ok());
}

#[test]
fn nobody_makes_a_caller_that_outlives_its_maker() {
    let mut world = World::new();
    world.put_caller(caller_id(1), Caller { expire_time: Some(at(60)), ..working_admin() });
    let maker = bearer(caller_id(1));
    let until = |time| {
        let created = CallerCreated { expire_time: time, ..caller(&[Role::Issuer], &[]) };
        Act::CreateCaller(create_caller(2, created))
    };
    assert_eq!(refused(&world, maker, until(None)), Refusal::GrantExceedsOwn);
    assert_eq!(refused(&world, maker, until(Some(at(61)))), Refusal::GrantExceedsOwn);
    assert!(world.when_by(maker, until(Some(at(60)))).is_ok());
}

#[test]
fn nobody_is_given_the_credential_of_a_caller_that_outlives_who_asks() {
    let mut world = with_caller(&[Role::Issuer], &[]);
    let short =
        |seconds| CallerCreated { expire_time: Some(at(seconds)), ..caller(&[Role::Admin], &[]) };
    world.does(Act::CreateCaller(create_caller(2, short(60))));
    world.does(Act::CreateCaller(create_caller(3, short(61))));
    world.does(Act::CreateCaller(create_caller(4, short(59))));
    let admin = bearer(caller_id(2));
    assert_eq!(refused(&world, admin, rotate(1, 0)), Refusal::GrantExceedsOwn);
    assert_eq!(refused(&world, admin, rotate(3, 0)), Refusal::GrantExceedsOwn);
    assert!(world.when_by(admin, rotate(4, 0)).is_ok());
    assert!(world.when_by(admin, rotate(2, 0)).is_ok(), "its own");
}

#[test]
fn after_a_rotation_both_secrets_are_known_until_the_overlap_ends() {
    let mut world = with_caller(&[Role::Issuer], &[]);
    let before = world.caller(&caller_id(1)).unwrap();
    let event = Event::CallerRotated { tag: tag(77), retire_time: at(60) };
    assert_eq!(world.when(rotate(1, 60)), Ok(vec![event]));
    let position = world.does(rotate(1, 60));
    let after = world.caller(&caller_id(1)).unwrap();
    assert_eq!(after.tag, tag(77));
    let retiring = Retiring { tag: before.tag.clone(), retire_time: at(60) };
    assert_eq!(after.retiring, Some(retiring));
    assert_eq!((after.position, after.personal_at), (position, before.personal_at));
    assert_eq!(after.roles, before.roles);
}

#[test]
fn a_caller_that_is_over_or_unknown_is_not_rotated() {
    let mut world = with_caller(&[Role::Issuer], &[]);
    let short = CallerCreated { expire_time: Some(at(10)), ..caller(&[Role::Issuer], &[]) };
    world.does(Act::CreateCaller(create_caller(2, short)));
    world.does(revoke(caller_id(1)));
    world.wait(10);
    assert_eq!(refused(&world, admin(), rotate(1, 0)), Refusal::CallerRevoked);
    assert_eq!(refused(&world, admin(), rotate(2, 0)), Refusal::CallerExpired);
    assert_eq!(refused(&world, admin(), rotate(9, 0)), Refusal::CallerNotFound);
}

#[test]
fn revoking_a_caller_is_final_and_doing_it_again_does_nothing() {
    let mut world = with_caller(&[Role::Issuer], &[]);
    assert_eq!(world.when(revoke(caller_id(1))), Ok(vec![Event::CallerRevoked]));
    let position = world.does(revoke(caller_id(1)));
    let after = world.caller(&caller_id(1)).unwrap();
    assert_eq!((after.revoke_time, after.position), (Some(at(0)), position));
    assert!(!after.works_at(at(0)));
    assert_eq!(world.when(revoke(caller_id(1))), Ok(Vec::new()));
    assert_eq!(refused(&world, admin(), revoke(caller_id(9))), Refusal::CallerNotFound);
}

#[test]
fn the_last_admin_can_be_revoked_offline() {
    let world = World::new();
    let offline = Actor { caller: None, mechanism: Mechanism::Offline };
    assert_eq!(world.when_by(offline, revoke(ADMIN)), Ok(vec![Event::CallerRevoked]));
}

#[test]
fn the_last_admin_of_everything_that_works_is_not_revoked_not_even_by_itself() {
    let mut world = World::new();
    assert_eq!(refused(&world, admin(), revoke(ADMIN)), Refusal::LastAdmin);
    // Neither of these takes its place: one is bound to a tenant, one is no admin, one expires.
    world.does(Act::CreateCaller(create_caller(1, caller(&[Role::Admin], &["acme"]))));
    world.does(Act::CreateCaller(create_caller(2, caller(&[Role::Operator], &[]))));
    let short = CallerCreated { expire_time: Some(at(10)), ..caller(&[Role::Admin], &[]) };
    world.does(Act::CreateCaller(create_caller(3, short)));
    assert_eq!(refused(&world, admin(), revoke(ADMIN)), Refusal::LastAdmin);
    world.wait(10);
    assert_eq!(refused(&world, admin(), revoke(ADMIN)), Refusal::LastAdmin);
    // An admin of one tenant, an expired admin and a further admin can go.
    assert!(world.when(revoke(caller_id(1))).is_ok());
    assert!(world.when(revoke(caller_id(3))).is_ok());
    world.does(Act::CreateCaller(create_caller(4, caller(&[Role::Admin], &[]))));
    world.does(revoke(ADMIN));
    let other = bearer(caller_id(4));
    assert_eq!(refused(&world, other, revoke(caller_id(4))), Refusal::LastAdmin);
}
