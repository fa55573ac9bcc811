//! Records of callers for whom certificates speak: their bytes, and what is refused.

use super::super::{RecordError, decode};
use super::golden::{fact, holds, key_tag, of_caller, wire, wire_tag};
use crate::domain::caller::{Role, Roles};
use crate::domain::certificate_name::{CertificateName, DnsName, SpiffeId};
use crate::domain::event::{CallerCreated, Event};
use crate::domain::ids::CallerId;
use crate::domain::subject::Subject;

#[test]
fn a_name_in_certificates_has_a_field_of_its_kind() {
    let spiffe = SpiffeId::parse("spiffe://example.org/gateway").expect("valid");
    let dns = DnsName::parse("gateway.example.org").expect("valid");
    for (name, field) in [(CertificateName::Spiffe(spiffe), 5), (CertificateName::Dns(dns), 6)] {
        let event = wire().message(1, &wire_tag()).bytes(2, [7]).bytes(field, name.as_str());
        let created = CallerCreated {
            tag: key_tag(),
            roles: Roles::of(&[Role::Admin]),
            tenants: [].into(),
            expire_time: None,
            certificate_name: Some(name),
        };
        let subject = Subject::Caller(CallerId([0xca; 12]));
        holds(&fact(subject, Event::CallerCreated(created)), &of_caller(50, &event));
    }
}

#[test]
fn a_name_of_another_form_and_two_names_are_refused() {
    let event = || wire().message(1, &wire_tag()).bytes(2, [7]);
    let both = event().bytes(5, "spiffe://example.org/a").bytes(6, "a.example");
    for (event, field) in [
        (event().bytes(5, "spiffe://example.org"), "spiffe_id"),
        (event().bytes(6, "*.example"), "san"),
        (both, "san"),
    ] {
        let record = of_caller(50, &event);
        assert_eq!(decode(&record.0), Err(RecordError::Field(field)));
    }
}
