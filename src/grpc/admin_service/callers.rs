//! CreateCaller, RotateCaller, RevokeCaller and ListCallers.

use tonic::Request;

use crate::app::App;
use crate::app::callers::NewCaller;
use crate::app::error::AppError;
use crate::domain::certificate_name::{CertificateName, DnsName, SpiffeId};
use crate::domain::ids::TenantId;
use crate::grpc::call::{Incoming, identity};
use crate::grpc::decode::{MAX_COMMENT, Violations, decode};
use crate::grpc::encode;
use crate::proto::v1::{
    CreateCallerRequest, CreateCallerResponse, ListCallersRequest, ListCallersResponse,
    RevokeCallerRequest, RevokeCallerResponse, RotateCallerRequest, RotateCallerResponse,
};

/// The most tenants a caller may be bound to.
const MAX_TENANTS: usize = 64;

pub(super) async fn create(
    app: &App,
    request: Request<CreateCallerRequest>,
) -> Result<CreateCallerResponse, AppError> {
    let (call, new) = Incoming::of(request)?.read(read_new)?;
    let issued = app.create_caller(&call, new).await?;
    Ok(CreateCallerResponse {
        caller: Some(encode::caller(&issued.changed.resource)),
        credential: encode::shown_once(issued.credential.as_ref()),
        position: issued.changed.position.get(),
        replayed: issued.changed.replayed,
    })
}

fn read_new(bad: &mut Violations, message: CreateCallerRequest) -> Option<NewCaller> {
    let name = bad.name("name", message.name);
    let owner = bad.line("owner", message.owner);
    let roles = bad.roles("roles", &message.roles);
    let tenants = bad.each("tenants", MAX_TENANTS, &message.tenants, |text| TenantId::parse(text));
    let expire_time = bad.time("expire_time", message.expire_time);
    let certificate_name = certificate_name(bad, &message.spiffe_id, &message.san);
    Some(NewCaller {
        name: name?,
        owner: owner?,
        roles: roles?,
        tenants: tenants?,
        expire_time: expire_time?,
        certificate_name: certificate_name?,
    })
}

#[expect(clippy::option_option, reason = "refused, none given, or one")]
fn certificate_name(
    bad: &mut Violations,
    spiffe_id: &str,
    san: &str,
) -> Option<Option<CertificateName>> {
    match (spiffe_id, san) {
        ("", "") => Some(None),
        (id, "") => {
            let id = bad.parsed("spiffe_id", SpiffeId::parse(id))?;
            Some(Some(CertificateName::Spiffe(id)))
        }
        ("", name) => {
            let name = bad.parsed("san", DnsName::parse(name))?;
            Some(Some(CertificateName::Dns(name)))
        }
        _ => bad.refuse("san", "must be empty if spiffe_id is given"),
    }
}

pub(super) async fn rotate(
    app: &App,
    request: Request<RotateCallerRequest>,
) -> Result<RotateCallerResponse, AppError> {
    let (call, (id, overlap)) = Incoming::of(request)?.read(|bad, message| {
        let id = bad.caller_id("caller_id", &message.caller_id);
        let overlap = bad.overlap(message.overlap);
        Some((id?, overlap?))
    })?;
    let issued = app.rotate_caller(&call, id, overlap).await?;
    Ok(RotateCallerResponse {
        caller: Some(encode::caller(&issued.changed.resource)),
        credential: encode::shown_once(issued.credential.as_ref()),
        position: issued.changed.position.get(),
        replayed: issued.changed.replayed,
    })
}

pub(super) async fn revoke(
    app: &App,
    request: Request<RevokeCallerRequest>,
) -> Result<RevokeCallerResponse, AppError> {
    let (call, (id, comment)) = Incoming::of(request)?.read(|bad, message| {
        let id = bad.caller_id("caller_id", &message.caller_id);
        let comment = bad.prose("comment", MAX_COMMENT, message.comment);
        Some((id?, comment?))
    })?;
    let changed = app.revoke_caller(&call, id, comment).await?;
    Ok(RevokeCallerResponse {
        caller: Some(encode::caller(&changed.resource)),
        position: changed.position.get(),
        replayed: changed.replayed,
    })
}

pub(super) async fn list(
    app: &App,
    request: Request<ListCallersRequest>,
) -> Result<ListCallersResponse, AppError> {
    let identity = identity(&request)?;
    let ListCallersRequest { page_size, page_token } = request.into_inner();
    let page = decode(|bad| bad.page(page_size, page_token, b"ListCallers".to_vec()))?;
    let found = app.list_callers(&identity, &page).await?;
    Ok(ListCallersResponse {
        callers: found.items.iter().map(encode::caller).collect(),
        next_page_token: found.next.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::decode::tests::violated;

    #[test]
    fn a_caller_needs_a_name_and_a_role() {
        let message = CreateCallerRequest {
            name: "gateway".to_owned(),
            roles: vec![1],
            ..Default::default()
        };
        assert_eq!(violated(|bad| read_new(bad, message)), [""; 0]);
        let nothing = CreateCallerRequest::default();
        assert_eq!(violated(|bad| read_new(bad, nothing)), ["name", "roles"]);
    }

    #[test]
    fn every_field_is_held_to_its_bound_under_its_own_path() {
        let message = CreateCallerRequest {
            name: "n".repeat(201),
            owner: "o".repeat(201),
            roles: vec![1, 8],
            tenants: vec!["acme".to_owned(), "a/b".to_owned()],
            expire_time: Some(prost_types::Timestamp { seconds: 0, nanos: 1_000_000_000 }),
            ..Default::default()
        };
        let fields = ["name", "owner", "roles[1]", "tenants[1]", "expire_time"];
        assert_eq!(violated(|bad| read_new(bad, message)), fields);
        for (spiffe_id, san, field) in [
            ("spiffe://example.org", "", "spiffe_id"),
            ("", "*.example.org", "san"),
            ("spiffe://example.org/a", "example.org", "san"),
        ] {
            let message = CreateCallerRequest {
                name: "gateway".to_owned(),
                roles: vec![1],
                spiffe_id: spiffe_id.to_owned(),
                san: san.to_owned(),
                ..Default::default()
            };
            assert_eq!(violated(|bad| read_new(bad, message)), [field]);
        }
        let message = CreateCallerRequest {
            name: "gateway".to_owned(),
            roles: vec![1],
            tenants: vec!["acme".to_owned(); 65],
            ..Default::default()
        };
        assert_eq!(violated(|bad| read_new(bad, message)), ["tenants"]);
    }
}
