//! Records of callers that came to be: how they are written and read.

use std::sync::Arc;

use super::RecordError;
use super::decode::known;
use super::peppers::{decode_tag, encode_tag};
use crate::domain::caller::{Role, Roles};
use crate::domain::certificate_name::{CertificateName, DnsName, SpiffeId};
use crate::domain::event::CallerCreated;
use crate::domain::ids::TenantId;
use crate::domain::time::Time;
use crate::proto::ledger as wire;
use RecordError::Field;

pub(super) fn encode_created(created: &CallerCreated) -> wire::CallerCreated {
    let named = |of_kind: fn(&CertificateName) -> Option<&str>| {
        created.certificate_name.as_ref().and_then(of_kind).unwrap_or_default().to_owned()
    };
    wire::CallerCreated {
        tag: Some(encode_tag(&created.tag)),
        roles: created.roles.iter().map(|held| role(held).into()).collect(),
        tenants: created.tenants.iter().map(|tenant| tenant.as_str().to_owned()).collect(),
        expire_time: created.expire_time.map(|time| time.as_micros()),
        spiffe_id: named(CertificateName::spiffe_id),
        san: named(CertificateName::dns),
    }
}

pub(super) fn decode_created(created: wire::CallerCreated) -> Result<CallerCreated, RecordError> {
    Ok(CallerCreated {
        roles: roles(&created.roles)?,
        tag: decode_tag(created.tag)?,
        tenants: tenants(&created.tenants)?,
        expire_time: created.expire_time.map(Time::from_micros),
        certificate_name: certificate_name(&created.spiffe_id, &created.san)?,
    })
}

fn certificate_name(spiffe_id: &str, san: &str) -> Result<Option<CertificateName>, RecordError> {
    match (spiffe_id, san) {
        ("", "") => Ok(None),
        (id, "") => {
            let id = SpiffeId::parse(id).map_err(|_| Field("spiffe_id"))?;
            Ok(Some(CertificateName::Spiffe(id)))
        }
        ("", name) => {
            let name = DnsName::parse(name).map_err(|_| Field("san"))?;
            Ok(Some(CertificateName::Dns(name)))
        }
        _ => Err(Field("san")),
    }
}

fn tenants(ids: &[String]) -> Result<Arc<[TenantId]>, RecordError> {
    ids.iter().map(|id| TenantId::parse(id).map_err(|_| Field("tenants"))).collect()
}

fn roles(numbers: &[i32]) -> Result<Roles, RecordError> {
    let mut held = Vec::new();
    for number in numbers {
        held.push(match known(*number, "roles")? {
            wire::Role::Authenticator => Role::Authenticator,
            wire::Role::Issuer => Role::Issuer,
            wire::Role::Provisioner => Role::Provisioner,
            wire::Role::Auditor => Role::Auditor,
            wire::Role::Analyst => Role::Analyst,
            wire::Role::Operator => Role::Operator,
            wire::Role::Admin => Role::Admin,
            wire::Role::Unspecified => return Err(Field("roles")),
        });
    }
    Ok(Roles::of(&held))
}

fn role(role: Role) -> wire::Role {
    match role {
        Role::Authenticator => wire::Role::Authenticator,
        Role::Issuer => wire::Role::Issuer,
        Role::Provisioner => wire::Role::Provisioner,
        Role::Auditor => wire::Role::Auditor,
        Role::Analyst => wire::Role::Analyst,
        Role::Operator => wire::Role::Operator,
        Role::Admin => wire::Role::Admin,
    }
}
