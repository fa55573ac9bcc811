use std::collections::BTreeSet;

use prost::Message as _;
use tonic_types::ErrorInfo;

use super::*;
use crate::domain::caller::Role;
use crate::domain::ids::{PepperVersion, Position};
use crate::domain::peppers::Dependents;
use crate::domain::permission::{PlanName, RoleName};
use crate::domain::policy_rules::InUse;
use crate::proto::v1::CreateKeyRequest;

const SOON: Duration = Duration::from_millis(100);

fn refusals() -> Vec<Refusal> {
    vec![
        Refusal::AccountNotFound,
        Refusal::KeyNotFound,
        Refusal::CallerNotFound,
        Refusal::PlanMissing,
        Refusal::UnknownPlan { known: Vec::new() },
        Refusal::UnknownRole { known: Vec::new() },
        Refusal::AccountNotActive,
        Refusal::AccountClosed,
        Refusal::ActiveKeyLimit { limit: 5, active: 6 },
        Refusal::KeyRevoked,
        Refusal::KeySuperseded,
        Refusal::KeyExpired,
        Refusal::KeyDisabled,
        Refusal::KeyAlreadyRotated,
        Refusal::KeyNotRotated,
        Refusal::ScopesWiden,
        Refusal::ExpiryLater,
        Refusal::ExpiryPast,
        Refusal::NotForKeys,
        Refusal::ActorOver,
        Refusal::GrantExceedsOwn,
        Refusal::LastAdmin,
        Refusal::PepperNotFound,
        Refusal::PepperInForce,
        Refusal::PepperInUse(Dependents { keys: 12, callers: 1 }),
        Refusal::PolicyInUse(InUse::default()),
        Refusal::CallerRevoked,
        Refusal::CallerExpired,
        Refusal::TooManyCallers { limit: 10_000 },
        Refusal::CertificateNameTaken,
        Refusal::RequestIdReused,
        Refusal::TooLarge,
        Refusal::StalePosition { current: Position::new(42) },
        Refusal::OtherLog,
        Refusal::Moved,
    ]
}

/// Every status this server can answer with an `ErrorInfo`.
fn every_status() -> Vec<Status> {
    let errors = vec![
        AppError::field("name", "must be 1 to 200 characters"),
        AppError::CredentialMissing,
        AppError::CredentialInvalid,
        AppError::RoleMissing { allowed: &[Role::Issuer, Role::Auditor] },
        AppError::TenantNotAllowed,
        AppError::Contention,
        AppError::BeyondHead { asked: 43, head: 42 },
        AppError::Overloaded { retry_after: SOON },
        AppError::SourceOverloaded { retry_after: SOON },
        AppError::RevocationsUnresolved { first: Position::FIRST, last: Position::new(42) },
        AppError::BackupUnderWay { retry_after: SOON },
        AppError::UsesBehind { retry_after: SOON },
        AppError::UsageBehind { position: Position::new(42), retry_after: SOON },
        AppError::ProofsBehind { made: 41, retry_after: SOON },
        AppError::BackupOfOtherLog,
        AppError::NoRoomForBackup { needed: 212_860_928, free: 104_857_600 },
        AppError::PepperNotSupplied {
            version: PepperVersion(2),
            place: "KEYLEDGER_PEPPER_2".to_owned(),
            why: "it is not set".to_owned(),
        },
        AppError::TooSlow,
        AppError::Stalled,
        AppError::Draining,
        AppError::ApiKeyInvalid,
        AppError::ApiKeyUnauthorized,
        AppError::RateLimited { retry_after: SOON },
        AppError::Damaged { position: Position::new(42) },
        AppError::Internal,
    ];
    let refused = refusals().into_iter().map(AppError::Refused);
    let mut all: Vec<_> = errors.into_iter().chain(refused).map(|error| of(&error, None)).collect();
    all.push(no_such_rpc());
    all.extend(
        [Code::OutOfRange, Code::Internal, Code::Unimplemented]
            .map(|code| completed(Status::new(code, "as tonic says it"))),
    );
    all
}

fn info(status: &Status) -> ErrorInfo {
    status.get_details_error_info().expect("every status has an ErrorInfo")
}

fn metadata(status: &Status) -> Vec<(String, String)> {
    let mut metadata: Vec<_> = info(status).metadata.into_iter().collect();
    metadata.sort();
    metadata
}

fn violations(status: &Status) -> Vec<(String, String)> {
    let found =
        status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    found.into_iter().map(|violation| (violation.field, violation.description)).collect()
}

fn refusal(refusal: Refusal, method: Option<Method>) -> Status {
    of(&AppError::Refused(refusal), method)
}

#[test]
fn every_reason_is_given_by_some_error_and_no_other_is() {
    let given: BTreeSet<String> = every_status().iter().map(|status| info(status).reason).collect();
    let documented = (0..1000).filter_map(|number| ErrorReason::try_from(number).ok());
    let names = documented.filter(|reason| *reason != ErrorReason::Unspecified).map(|reason| {
        let name = reason.as_str_name();
        name.strip_prefix("ERROR_REASON_").expect("its prefix").to_owned()
    });
    assert_eq!(given, names.collect());
    assert!(every_status().iter().all(|status| info(status).domain == "keyledger"));
}

/// What the proto says of a reason: its code, and its sample's metadata.
fn documented(reason: &str) -> (String, Vec<String>) {
    let text = include_str!("../../proto/keyledger/v1/error_reason.proto");
    let (_, rest) = text.split_once(&format!("// ERROR_REASON_{reason} (")).expect("documented");
    let (code, rest) = rest.split_once(')').expect("its code");
    let (_, rest) = rest.split_once("// Sample: `").expect("a sample");
    let (sample, _) = rest.split_once('`').expect("the sample's end");
    let sample: serde_json::Value = serde_json::from_str(sample).expect("the sample is JSON");
    assert_eq!(sample["reason"], reason);
    assert_eq!(sample["domain"], "keyledger");
    let metadata = sample["metadata"].as_object().map(|map| map.keys().cloned().collect());
    (code.to_owned(), metadata.unwrap_or_default())
}

#[test]
fn every_status_is_as_its_reason_is_documented() {
    for status in every_status() {
        let info = info(&status);
        let (code, mut names) = documented(&info.reason);
        let sent = format!("{:?}", status.code()).to_lowercase();
        assert_eq!(sent, code.replace('_', "").to_lowercase(), "{}", info.reason);
        names.sort();
        let sent: Vec<_> = metadata(&status).into_iter().map(|(name, _)| name).collect();
        assert_eq!(sent, names, "{}", info.reason);
    }
}

#[test]
fn metadata_carries_the_figures_of_the_refusal() {
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let limit = refusal(Refusal::ActiveKeyLimit { limit: 5, active: 6 }, None);
    assert_eq!(metadata(&limit), pairs(&[("active", "6"), ("limit", "5")]));
    let stale = refusal(Refusal::StalePosition { current: Position::new(42) }, None);
    assert_eq!(metadata(&stale), pairs(&[("position", "42")]));
    let gone = refusal(Refusal::StalePosition { current: None }, None);
    assert_eq!(metadata(&gone), pairs(&[("position", "0")]));
    let beyond = of(&AppError::BeyondHead { asked: 43, head: 42 }, None);
    assert_eq!(metadata(&beyond), pairs(&[("head", "42")]));
    let allowed = &[Role::Issuer, Role::Auditor];
    let roles = of(&AppError::RoleMissing { allowed }, None);
    assert_eq!(metadata(&roles), pairs(&[("roles", "issuer,auditor")]));
    let disabled = refusal(Refusal::KeyDisabled, None);
    assert_eq!(metadata(&disabled), pairs(&[("state", "DISABLED")]));
    let callers = refusal(Refusal::TooManyCallers { limit: 10_000 }, None);
    assert_eq!(metadata(&callers), pairs(&[("limit", "10000")]));
    let damaged = of(&AppError::Damaged { position: None }, None);
    assert_eq!((metadata(&damaged), damaged.code()), (Vec::new(), Code::DataLoss));
}

#[test]
fn refusals_of_a_value_name_the_field_of_their_rpc() {
    let fields = [
        (Refusal::PlanMissing, Method::PutAccount, "account.plan"),
        (Refusal::UnknownPlan { known: Vec::new() }, Method::PutAccount, "account.plan"),
        (Refusal::UnknownRole { known: Vec::new() }, Method::PutAccount, "account.roles"),
        (Refusal::ScopesWiden, Method::UpdateKey, "key.scopes"),
        (Refusal::ExpiryLater, Method::UpdateKey, "key.expire_time"),
        (Refusal::ExpiryPast, Method::UpdateKey, "key.expire_time"),
        (Refusal::ExpiryPast, Method::CreateKey, "expire_time"),
        (Refusal::ExpiryPast, Method::CreateCaller, "expire_time"),
    ];
    for (refused, method, field) in fields {
        let status = refusal(refused, Some(method));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(info(&status).reason, "INVALID_FIELD");
        let found: Vec<_> = violations(&status).into_iter().map(|(field, _)| field).collect();
        assert_eq!(found, [field]);
    }
}

#[test]
fn an_unknown_plan_is_the_requests_fault_only_where_the_request_names_one() {
    let known = vec![
        PlanName::parse("enterprise").expect("valid"),
        PlanName::parse("standard").expect("valid"),
    ];
    let put = refusal(Refusal::UnknownPlan { known: known.clone() }, Some(Method::PutAccount));
    let (_, must) = violations(&put).remove(0);
    assert!(must.ends_with(": enterprise, standard"), "{must}");
    let create = refusal(Refusal::UnknownPlan { known }, Some(Method::CreateKey));
    assert_eq!((create.code(), violations(&create)), (Code::FailedPrecondition, Vec::new()));
    assert_eq!(info(&create).reason, "PLAN_UNDEFINED");
}

#[test]
fn a_refusal_names_only_so_many_of_what_is_known() {
    let role = |n: usize| RoleName::parse(&format!("role{n:060}")).expect("valid");
    let known: Vec<_> = (0..1000).map(role).collect();
    let status = refusal(Refusal::UnknownRole { known }, Some(Method::PutAccount));
    let (_, must) = violations(&status).remove(0);
    assert!(must.ends_with(", …") && must.matches("role").count() == NAMED_AT_MOST, "{must}");
    let headers = status.into_http::<()>().headers().clone();
    let size: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    assert!(size < 8 * 1024, "{size} bytes of headers");
}

#[test]
fn all_violations_are_told_and_the_first_is_in_the_text() {
    let bad = vec![
        FieldViolation::new("name", "must be set"),
        FieldViolation::new("overlap", "must be set"),
    ];
    let status = of(&AppError::Invalid(bad), None);
    assert_eq!(status.message(), "name: must be set (and 1 more)");
    assert_eq!(violations(&status).len(), 2);
}

#[test]
fn who_is_refused_for_too_much_is_told_when_to_try_again() {
    for error in [
        AppError::Overloaded { retry_after: SOON },
        AppError::SourceOverloaded { retry_after: SOON },
        AppError::RateLimited { retry_after: SOON },
        AppError::UsageBehind { position: None, retry_after: SOON },
    ] {
        let retry = of(&error, None).get_details_retry_info().expect("a RetryInfo");
        assert_eq!(retry.retry_delay, Some(SOON));
    }
    assert!(of(&AppError::Draining, None).get_details_retry_info().is_none());
}

#[test]
fn text_that_is_not_utf8_is_the_callers_fault_and_names_the_field() {
    let undecodable = |bytes: &[u8]| {
        let error = CreateKeyRequest::decode(bytes).expect_err("not a request");
        completed(Status::internal(error.to_string()))
    };
    // tenant_id = 1 and on_behalf_of = 15 { subject = 1 }, each with the byte ff.
    let status = undecodable(&[0x0a, 1, 0xff]);
    assert_eq!(
        (status.code(), info(&status).reason.as_str()),
        (Code::InvalidArgument, "INVALID_FIELD")
    );
    assert_eq!(violations(&status)[0].0, "tenant_id");
    let status = undecodable(&[0x7a, 3, 0x0a, 1, 0xff]);
    assert_eq!(violations(&status)[0].0, "on_behalf_of.subject");
    // A message that ends within a field's tag.
    let status = undecodable(&[0xff]);
    assert_eq!(info(&status).reason, "MALFORMED_REQUEST");
}

#[test]
fn what_tonic_says_is_replaced_and_what_we_say_is_kept() {
    for code in [Code::OutOfRange, Code::Internal, Code::Unimplemented] {
        let status = completed(Status::new(code, "as tonic says it"));
        assert!(!status.message().contains("tonic"));
    }
    let ours = completed(of(&AppError::Internal, None));
    assert_eq!((ours.code(), info(&ours).reason.as_str()), (Code::Internal, "INTERNAL"));
    let cancelled = completed(Status::cancelled("gone"));
    assert_eq!((cancelled.code(), cancelled.message()), (Code::Cancelled, "gone"));
}
