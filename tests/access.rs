//! Who may call what, walked on a real server: every RPC of the table of access, by every role, by callers bound to the
//! tenant that the call is about, to another, and to none. What is not there and what is another tenant's are answered
//! alike, byte for byte.

mod common;

use std::collections::BTreeMap;

use common::requests::{Target, may, request};
use common::usage::{at, other_id};
use common::wire::{self, Answer};
use common::{Client, START, TestServer};
use envoy_types::ext_authz::v3::pb::CheckResponse;
use keyledger::grpc::access::{self, Bound, Rule};
use keyledger::proto::v1::{self, Role};
use prost::Message as _;
use tonic::Code;
use tonic::transport::Channel;

const ROLES: [Role; 7] = [
    Role::Authenticator,
    Role::Issuer,
    Role::Provisioner,
    Role::Auditor,
    Role::Analyst,
    Role::Operator,
    Role::Admin,
];

/// Whose tenant a caller is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BoundTo {
    Own,
    Foreign,
    None,
}

/// About all tenants: who is bound to any is refused.
const OF_ALL: [&str; 5] = [
    "/keyledger.v1.AdminService/GetStatus",
    "/keyledger.v1.AdminService/Backup",
    "/keyledger.v1.AdminService/RotatePepper",
    "/keyledger.v1.AdminService/RetirePepper",
    "/keyledger.v1.AdminService/ListPepperDependents",
];

/// What a call is to be answered, by the table: its code, and the reason if one is given.
fn expected(
    (path, rule, bound): (&str, Rule, Bound),
    role: Role,
    bound_to: BoundTo,
) -> (Code, &'static str) {
    let allowed = match rule {
        Rule::Open | Rule::AnyCaller => return (Code::Ok, ""),
        Rule::KeyItself => return (Code::Unauthenticated, "API_KEY_INVALID"),
        Rule::Roles(allowed) => allowed,
    };
    if !may(role, allowed) {
        return (Code::PermissionDenied, "ROLE_MISSING");
    }
    match (bound_to, bound) {
        // It may, and others depend on the pepper.
        (BoundTo::None, _) if path.ends_with("/RetirePepper") => {
            (Code::FailedPrecondition, "PEPPER_IN_USE")
        }
        (BoundTo::None, _) => (Code::Ok, ""),
        (_, Bound::Refused) if OF_ALL.contains(&path) => {
            (Code::PermissionDenied, "TENANT_NOT_ALLOWED")
        }
        (BoundTo::Own, _) => (Code::Ok, ""),
        // An unknown key is an answer, and a list of none is one.
        (_, Bound::NoTenant | Bound::Unknown) => (Code::Ok, ""),
        (_, Bound::OwnOnly) if path.ends_with("/ListCallers") => (Code::Ok, ""),
        (_, Bound::OwnOnly) => (Code::PermissionDenied, "GRANT_EXCEEDS_OWN"),
        (_, Bound::Refused) => (Code::PermissionDenied, "TENANT_NOT_ALLOWED"),
        (_, Bound::Hidden) if path.contains("/GetAccount") => (Code::NotFound, "ACCOUNT_NOT_FOUND"),
        (_, Bound::Hidden) if path.ends_with("Caller") => (Code::NotFound, "CALLER_NOT_FOUND"),
        (_, Bound::Hidden) => (Code::NotFound, "KEY_NOT_FOUND"),
    }
}

async fn ask(
    channel: &Channel,
    path: &'static str,
    credential: Option<&str>,
    of: &Target,
) -> Answer {
    let message = request(path, of);
    match path {
        "/grpc.health.v1.Health/Watch" => wire::first(channel, path, credential, message).await,
        access::CHECK => {
            let answer = wire::call(channel, path, credential, message).await;
            Answer { first: answer.first.as_deref().map(in_order), ..answer }
        }
        _ => wire::call(channel, path, credential, message).await,
    }
}

/// An answer to Envoy, of which a map is sent in any order.
fn in_order(answer: &[u8]) -> Vec<u8> {
    let mut answer = CheckResponse::decode(answer).expect("one of these");
    let told = answer.dynamic_metadata.take().expect("told").fields;
    let told: BTreeMap<_, _> = told.into_iter().collect();
    format!("{answer:?} {told:?}").into_bytes()
}

/// A server with an account of `acme`, a rotated key of it, and another tenant.
async fn ground() -> (TestServer, Client, String) {
    // Refused WhoAmI calls come from one address here.
    let config = "[limits]\nwho_am_i_per_source_per_minute = 1000\n";
    let server = TestServer::builder().config(config).start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &[]).await;
    admin.put_account_of("globex", "shipping", "enterprise", &[]).await;
    let (rotated, _) = admin.create_key("billing", "rotated").await;
    let request = v1::RotateKeyRequest {
        key_id: rotated.key_id.clone(),
        overlap: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        ..Default::default()
    };
    admin.keys.clone().rotate_key(request).await.expect("rotated");
    admin.covered(2).await;
    (server, admin, rotated.key_id)
}

#[tokio::test]
async fn each_rpc_answers_each_role_and_binding_as_the_table_says() {
    let (server, admin, rotated) = ground().await;
    let channel = server.channel().await;
    for role in ROLES {
        for bound_to in [BoundTo::Own, BoundTo::Foreign, BoundTo::None] {
            let tenants = match bound_to {
                BoundTo::Own => &["acme"][..],
                BoundTo::Foreign => &["globex"],
                BoundTo::None => &[],
            };
            let (_, credential) = admin.create_caller(&[role], tenants).await;
            let target = Target::made(&admin, &rotated).await;
            for row in access::table() {
                let (path, _, bound) = row;
                let answer = ask(&channel, path, Some(&credential), &target).await;
                let what = format!("{role:?} bound to {bound_to:?} calls {path}: {answer:?}");
                let (code, reason) = expected(row, role, bound_to);
                assert_eq!((answer.code, answer.reason().as_str()), (code, reason), "{what}");
                if bound_to != BoundTo::Foreign || bound == Bound::NoTenant {
                    continue;
                }
                let absent = ask(&channel, path, Some(&credential), &target.absent()).await;
                assert_eq!(answer, absent, "what is there, and what never was: {what}");
                if let Some(first) = &answer.first {
                    let text = String::from_utf8_lossy(first);
                    let told = |of: &str| text.contains(of);
                    assert!(!told("acme") && !told(&target.key), "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_foreign_key_is_an_unknown_key() {
    let (server, admin, rotated) = ground().await;
    let (_, credential) = admin.create_caller(&[Role::Authenticator], &["globex"]).await;
    let target = Target::made(&admin, &rotated).await;
    let channel = server.channel().await;
    let answer = ask(&channel, access::AUTHENTICATE, Some(&credential), &target).await;
    let answer = answer.first.expect("an answer");
    let answer = v1::AuthenticateResponse::decode(answer.as_slice()).expect("one of these");
    assert_eq!(answer.denial_reason(), v1::DenialReason::UnknownKey);
    assert_eq!(admin.verdict(&target.secret).await, Ok(()));
}

/// Filters by what belongs to another tenant, where no tenant is named, find what filters by nothing find: nothing.
#[tokio::test]
async fn a_filter_by_what_is_foreign_answers_as_one_by_what_never_was() {
    let (server, admin, rotated) = ground().await;
    let (_, credential) = admin.create_caller(&[Role::Admin], &["globex"]).await;
    let target = Target::made(&admin, &rotated).await;
    assert_eq!(admin.verdict(&target.secret).await, Ok(()));
    let channel = server.channel().await;
    let asked = async |of: Target| {
        let filter = v1::UsageFilter {
            key_id: of.key.clone(),
            caller_id: of.caller.clone(),
            ..Default::default()
        };
        let group_by = vec![v1::GroupBy::Key.into()];
        let query = v1::QueryUsageRequest {
            start_time: at(START),
            filter: Some(filter),
            group_by,
            ..Default::default()
        };
        let filter = Some(v1::EventFilter { key_id: of.key, ..Default::default() });
        let stream = v1::StreamEventsRequest { filter, ..Default::default() };
        let calls = [
            ("/keyledger.v1.UsageService/QueryUsage", query.encode_to_vec()),
            ("/keyledger.v1.AuditService/StreamEvents", stream.encode_to_vec()),
        ];
        let mut answers = Vec::new();
        for (path, message) in calls {
            let answer = wire::call(&channel, path, Some(&credential), message).await;
            assert_eq!(answer.code, Code::Ok, "{answer:?}");
            answers.push(answer);
        }
        answers
    };
    let absent = target.absent();
    assert_eq!(asked(target).await, asked(absent).await);
}

#[tokio::test]
async fn without_a_credential_that_works_only_what_is_open_is_answered() {
    let (server, admin, rotated) = ground().await;
    let target = Target::made(&admin, &rotated).await;
    let channel = server.channel().await;
    let (revoked, over) = admin.create_caller(&[Role::Admin], &[]).await;
    let revoke = v1::RevokeCallerRequest { caller_id: revoked.caller_id, ..Default::default() };
    admin.admin.clone().revoke_caller(revoke).await.expect("revoked");
    let unknown = other_id(&server.admin_credential());
    // A key is no caller's credential.
    for credential in [None, Some(&over), Some(&unknown), Some(&target.leaked)] {
        for (path, rule, _) in access::table() {
            let expected = match (rule, credential) {
                (Rule::Open, _) => (Code::Ok, ""),
                (Rule::KeyItself, Some(key)) if *key == target.leaked => (Code::Ok, ""),
                (Rule::KeyItself, _) => (Code::Unauthenticated, "API_KEY_INVALID"),
                (_, None) => (Code::Unauthenticated, "CALLER_CREDENTIAL_MISSING"),
                (_, Some(_)) => (Code::Unauthenticated, "CALLER_CREDENTIAL_INVALID"),
            };
            let answer = ask(&channel, path, credential.map(String::as_str), &target).await;
            let told = (answer.code, answer.reason());
            assert_eq!((told.0, told.1.as_str()), expected, "{path}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn what_is_in_no_table_is_no_rpc_to_anyone() {
    let (server, ..) = ground().await;
    let channel = server.channel().await;
    let admin = server.admin_credential();
    for path in [
        "/",
        "/keyledger.v1.KeyService/Nothing",
        "/keyledger.v1.KeyService/authenticate",
        "/keyledger.v1.KeyService/Authenticate/",
        "/keyledger.v2.KeyService/Authenticate",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.Health/List",
    ] {
        let anonymous = wire::call(&channel, path, None, Vec::new()).await;
        assert_eq!(
            (anonymous.code, anonymous.reason().as_str()),
            (Code::Unimplemented, "UNSUPPORTED")
        );
        assert_eq!(wire::call(&channel, path, Some(&admin), Vec::new()).await, anonymous, "{path}");
    }
}
