//! CreateKey.

use tonic::Request;

use crate::app::App;
use crate::app::create_key::NewKey;
use crate::app::error::AppError;
use crate::grpc::call::Incoming;
use crate::grpc::decode::Violations;
use crate::grpc::encode;
use crate::proto::v1::{CreateKeyRequest, CreateKeyResponse};

pub(super) async fn handle(
    app: &App,
    request: Request<CreateKeyRequest>,
) -> Result<CreateKeyResponse, AppError> {
    let (call, new) = Incoming::of(request)?.read(read)?;
    let (issued, done, position) = app.create_key(&call, new).await?;
    Ok(CreateKeyResponse {
        secret: encode::shown_once(issued.secret.as_ref()),
        key: Some(encode::key(issued.view)),
        position: position.get(),
        replayed: done.replayed,
    })
}

fn read(bad: &mut Violations, message: CreateKeyRequest) -> Option<NewKey> {
    let account = bad.account("", &message.tenant_id, &message.account_id);
    let name = bad.name("name", message.name);
    let scopes = bad.scopes("scopes", message.scopes.as_ref());
    let environment = bad.environment("environment", &message.environment);
    let expire_time = bad.time("expire_time", message.expire_time);
    let allowed_cidrs = bad.cidrs("allowed_cidrs", &message.allowed_cidrs);
    let metadata = bad.metadata("metadata", message.metadata);
    Some(NewKey {
        account: account?,
        name: name?,
        scopes: scopes?,
        environment: environment?,
        expire_time: expire_time?,
        allowed_cidrs: allowed_cidrs?,
        metadata: metadata?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::decode::tests::violated;
    use crate::proto::v1::Scopes;

    fn least() -> CreateKeyRequest {
        CreateKeyRequest {
            tenant_id: "acme".to_owned(),
            account_id: "billing".to_owned(),
            name: "deploy".to_owned(),
            environment: "live".to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn a_key_needs_an_account_a_name_and_an_environment() {
        assert_eq!(violated(|bad| read(bad, least())), [""; 0]);
        let fields = ["tenant_id", "account_id", "name", "environment"];
        assert_eq!(violated(|bad| read(bad, CreateKeyRequest::default())), fields);
    }

    #[test]
    fn every_field_is_held_to_its_bound_under_its_own_path() {
        let worst = CreateKeyRequest {
            scopes: Some(Scopes { permissions: vec!["a".to_owned(), String::new()] }),
            environment: "svc".to_owned(),
            expire_time: Some(prost_types::Timestamp { seconds: 0, nanos: -1 }),
            allowed_cidrs: vec!["10.0.0.0/33".to_owned()],
            metadata: [(String::new(), String::new())].into(),
            ..least()
        };
        let fields =
            ["scopes.permissions[1]", "environment", "expire_time", "allowed_cidrs[0]", "metadata"];
        assert_eq!(violated(|bad| read(bad, worst)), fields);
    }

    #[test]
    fn no_scopes_and_empty_scopes_are_not_the_same() {
        let empty = CreateKeyRequest { scopes: Some(Scopes::default()), ..least() };
        let new = crate::grpc::decode::decode(|bad| read(bad, empty)).expect("valid");
        assert!(new.scopes.expect("scopes").is_empty());
        let new = crate::grpc::decode::decode(|bad| read(bad, least())).expect("valid");
        assert_eq!(new.scopes, None);
    }
}
