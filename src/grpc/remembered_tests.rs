use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::app::identify::Proof;
use crate::app::identify::certificate::ClientCertificate;
use crate::domain::conduct::window::RefusedOne;
use crate::domain::facts::Facts as _;
use crate::domain::ids::CallerId;
use crate::domain::testing::{ADMIN, World, caller_id};
use crate::grpc::ended::Ending;

/// Knows some credentials, and counts how often it looked at one as a whole.
#[derive(Debug, Default)]
struct Desk {
    works: Mutex<HashMap<String, CallerId>>,
    looked: AtomicUsize,
}

impl Desk {
    fn of(credentials: u8) -> Self {
        let works = (0..credentials).map(|n| (format!("credential {n}"), caller_id(n)));
        Desk { works: Mutex::new(works.collect()), looked: AtomicUsize::new(0) }
    }

    fn revoke(&self, credential: &str) {
        self.works.lock().expect("no panic").remove(credential);
    }

    fn looked(&self) -> usize {
        self.looked.load(Ordering::SeqCst)
    }
}

impl Callers for Desk {
    fn recognise(&self, credential: &str) -> Result<Identity, AppError> {
        self.looked.fetch_add(1, Ordering::SeqCst);
        let works = self.works.lock().expect("no panic");
        let id = *works.get(credential).ok_or(AppError::CredentialInvalid)?;
        let caller = World::new().caller(&ADMIN).expect("in every world");
        let proof = Proof::Credential { tag: caller.tag.clone(), secret_at: None };
        Ok(Identity { id, proof, caller })
    }

    fn recognise_certificate(&self, _: &ClientCertificate) -> Result<Option<Identity>, AppError> {
        Ok(None)
    }

    fn is_unchanged(&self, identity: &Identity) -> bool {
        self.works.lock().expect("no panic").values().any(|id| *id == identity.id)
    }

    fn note_call(&self, _: &Identity) {}

    fn ended(&self, _: &Arc<Identity>) -> Ending {
        Box::pin(std::future::pending())
    }

    fn note_refused(&self, _: RefusedOne) {}
}

fn connection() -> Extensions {
    let mut extensions = Extensions::new();
    extensions.insert(Remembered::default());
    extensions
}

fn who(desk: &Desk, on: &Extensions, credential: &str) -> Option<CallerId> {
    recognise(desk, on, credential).ok().map(|identity| identity.id)
}

#[test]
fn a_credential_is_looked_at_once_on_a_connection_and_again_on_another() {
    let (desk, one, other) = (Desk::of(2), connection(), connection());
    for _ in 0..3 {
        assert_eq!(who(&desk, &one, "credential 0"), Some(caller_id(0)));
        assert_eq!(who(&desk, &one, "credential 1"), Some(caller_id(1)));
    }
    assert_eq!(desk.looked(), 2);
    assert_eq!(who(&desk, &other, "credential 0"), Some(caller_id(0)));
    assert_eq!(desk.looked(), 3);
    let without = Extensions::new();
    for _ in 0..2 {
        assert_eq!(who(&desk, &without, "credential 0"), Some(caller_id(0)));
    }
    assert_eq!(desk.looked(), 5);
}

#[test]
fn what_is_not_wholly_the_same_is_not_recognised_and_what_is_refused_is_not_remembered() {
    let (desk, on) = (Desk::of(1), connection());
    assert_eq!(who(&desk, &on, "credential 0"), Some(caller_id(0)));
    for wrong in ["", "credential ", "credential 1", "credential 00", "Credential 0"] {
        for _ in 0..2 {
            assert_eq!(who(&desk, &on, wrong), None, "{wrong}");
        }
    }
    assert_eq!(desk.looked(), 11);
}

#[test]
fn what_was_revoked_is_recognised_no_more_and_forgotten() {
    let (desk, on) = (Desk::of(3), connection());
    for n in 0..3 {
        assert!(who(&desk, &on, &format!("credential {n}")).is_some());
    }
    let kept = || on.get::<Remembered>().expect("on each connection").lock().len();
    desk.revoke("credential 1");
    assert_eq!(who(&desk, &on, "credential 1"), None);
    assert_eq!(kept(), 2);
    desk.revoke("credential 0");
    desk.works.lock().expect("no panic").insert("new".to_owned(), caller_id(9));
    assert_eq!(who(&desk, &on, "new"), Some(caller_id(9)));
    assert_eq!(kept(), 2, "the revoked one is gone before it comes");
    assert_eq!(who(&desk, &on, "credential 2"), Some(caller_id(2)));
    assert_eq!(desk.looked(), 5);
}

#[test]
fn so_many_are_remembered_and_the_oldest_makes_room() {
    let (desk, on) = (Desk::of(9), connection());
    for n in (0..9).chain(1..9) {
        assert_eq!(who(&desk, &on, &format!("credential {n}")), Some(caller_id(n)));
    }
    assert_eq!(desk.looked(), 9);
    assert_eq!(who(&desk, &on, "credential 0"), Some(caller_id(0)));
    assert_eq!(desk.looked(), 10);
}
