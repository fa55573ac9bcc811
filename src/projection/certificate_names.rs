//! Whom a client certificate speaks for, by what it names. Read without locks, written by the writer alone.

use papaya::HashMap;

use crate::domain::caller::Caller;
use crate::domain::certificate_name::CertificateName;
use crate::domain::ids::{CallerId, Position};

/// The last caller of each name that is not revoked, and the record that made it.
#[derive(Debug, Default)]
pub(super) struct CertificateNames(HashMap<CertificateName, (Position, CallerId)>);

impl CertificateNames {
    /// The caller of a name. It may have expired.
    pub(super) fn of(&self, name: &CertificateName) -> Option<CallerId> {
        self.0.pin().get(name).map(|(_, id)| *id)
    }

    /// Notes a caller as it is now. A snapshot brings callers in no order of time, so that one which had the
    /// name before and has expired may come after the one that has it now.
    pub(super) fn put(&self, id: CallerId, caller: &Caller) {
        let Some(name) = &caller.certificate_name else { return };
        let names = self.0.pin();
        let holder = names.get(name).copied();
        let newer = holder.is_none_or(|(made_at, _)| made_at <= caller.personal_at);
        if caller.revoke_time.is_some() {
            if holder.is_some_and(|(_, holder)| holder == id) {
                names.remove(name);
            }
        } else if newer {
            names.insert(name.clone(), (caller.personal_at, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::*;

    const NAME: &str = "spiffe://example.org/a";

    /// A caller of the name that the record at this position made.
    fn made_at(position: u64) -> Caller {
        let personal_at = Position::new(position).expect("not 0");
        Caller { certificate_name: Some(spiffe(NAME)), personal_at, ..working_admin() }
    }

    #[test]
    fn the_caller_that_got_a_name_last_has_it_in_whatever_order_they_come() {
        for order in [[1, 2], [2, 1]] {
            let names = CertificateNames::default();
            for n in order {
                names.put(caller_id(n), &made_at(n.into()));
            }
            assert_eq!(names.of(&spiffe(NAME)), Some(caller_id(2)), "{order:?}");
        }
    }

    #[test]
    fn a_revoked_caller_loses_its_name_and_takes_nobody_elses() {
        let names = CertificateNames::default();
        let revoked = |n| Caller { revoke_time: Some(at(0)), ..made_at(n) };
        names.put(caller_id(1), &made_at(1));
        names.put(caller_id(1), &revoked(1));
        assert_eq!(names.of(&spiffe(NAME)), None);
        names.put(caller_id(2), &made_at(2));
        names.put(caller_id(1), &revoked(1));
        assert_eq!(names.of(&spiffe(NAME)), Some(caller_id(2)));
        assert_eq!(names.of(&spiffe("spiffe://example.org/b")), None);
    }
}
