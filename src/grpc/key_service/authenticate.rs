//! Authenticate. On the way of every request of every service that asks: nothing is copied that can
//! be lent.

use std::net::IpAddr;

use tonic::Request;
use zeroize::Zeroizing;

use crate::app::App;
use crate::app::authenticate::{Decision, Outcome, Question, UseContext};
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::domain::ids::{Position, TenantId, TraceId};
use crate::domain::source::parse_source;
use crate::domain::usage::{MAX_ACTION, MAX_AGENT};
use crate::domain::verdict::Denied;
use crate::grpc::call::{identity, trace_id};
use crate::grpc::decode::{Violations, decode};
use crate::grpc::{encode, enums};
use crate::proto::v1::{
    self, AuthenticateContext, AuthenticateRequest, AuthenticateResponse, DenialReason,
};

/// The most bytes of a source address: any IPv6 address has fewer.
const MAX_SOURCE_BYTES: usize = 64;

/// What a use costs of the account's limit if the question does not say.
const DEFAULT_COST: u32 = 1;

/// What is parsed of a question.
#[derive(Debug, PartialEq)]
struct Asked {
    tenant: Option<TenantId>,
    source: Option<IpAddr>,
}

pub(super) async fn handle(
    app: &App,
    request: Request<AuthenticateRequest>,
) -> Result<AuthenticateResponse, AppError> {
    let identity = identity(&request)?;
    let trace_id = trace_id(request.metadata());
    ask(app, &identity, trace_id, request.into_inner()).await
}

/// Answers one question of a caller's.
pub(super) async fn ask(
    app: &App,
    identity: &Identity,
    trace_id: Option<TraceId>,
    mut message: AuthenticateRequest,
) -> Result<AuthenticateResponse, AppError> {
    let api_key = Zeroizing::new(std::mem::take(&mut message.api_key));
    let asked = decode(|bad| read(bad, &api_key, &message))?;
    let context = message.context.unwrap_or_default();
    let question = Question {
        api_key: &api_key,
        tenant: asked.tenant.as_ref(),
        required: message.required_permissions,
        context: UseContext {
            action: context.action,
            source: asked.source,
            agent: context.user_agent,
            trace_id,
        },
        cost: message.cost.unwrap_or(DEFAULT_COST),
        min_position: Position::new(message.min_position),
    };
    app.authenticate(identity, question).await.map(answer)
}

fn read(bad: &mut Violations, api_key: &str, message: &AuthenticateRequest) -> Option<Asked> {
    let key = bad.api_key("api_key", api_key);
    let tenant = match &message.tenant_id {
        Some(text) => bad.tenant("tenant_id", text).map(Some),
        None => Some(None),
    };
    let words = bad.check_permissions("required_permissions", &message.required_permissions);
    let source = match &message.context {
        Some(context) => read_context(bad, context),
        None => Some(None),
    };
    key.and(words)?;
    Some(Asked { tenant: tenant?, source: source? })
}

/// Where the use comes from, if that is known.
fn read_context(bad: &mut Violations, context: &AuthenticateContext) -> Option<Option<IpAddr>> {
    let action = bad.short_text("context.action", &context.action, MAX_ACTION);
    let agent = bad.short_text("context.user_agent", &context.user_agent, MAX_AGENT);
    if context.source_ip.len() > MAX_SOURCE_BYTES {
        let must = format_args!("must be at most {MAX_SOURCE_BYTES} bytes");
        return bad.refuse("context.source_ip", must);
    }
    action.and(agent)?;
    Some(parse_source(&context.source_ip))
}

fn answer(decision: Decision) -> AuthenticateResponse {
    let answer = match decision.outcome {
        Outcome::Allowed(principal) => AuthenticateResponse {
            outcome: v1::Outcome::Allowed.into(),
            key_id: principal.key_id.to_string(),
            principal: Some(encode::principal(&principal)),
            notices: encode::notices(&principal.notices),
            ..AuthenticateResponse::default()
        },
        Outcome::MissingKey => denied(DenialReason::MissingKey),
        Outcome::MalformedKey(problem) => AuthenticateResponse {
            key_problem: enums::key_problem(problem).into(),
            ..denied(DenialReason::MalformedKey)
        },
        Outcome::UnknownKey => denied(DenialReason::UnknownKey),
        Outcome::TooManyUnknown => denied(DenialReason::RateLimited),
        Outcome::Denied(id, Denied { denial, evidence }) => AuthenticateResponse {
            key_id: id.to_string(),
            evidence_position: encode::position(evidence),
            ..denied(enums::denial_reason(denial))
        },
    };
    AuthenticateResponse {
        rate_limit: decision.rate_limit.as_ref().map(encode::rate_limit),
        position: encode::position(decision.position),
        ..answer
    }
}

fn denied(reason: DenialReason) -> AuthenticateResponse {
    AuthenticateResponse {
        outcome: v1::Outcome::Denied.into(),
        denial_reason: reason.into(),
        public_message: public_message(reason).to_owned(),
        ..AuthenticateResponse::default()
    }
}

/// What the presenter of a key may be told: whether to look at the key or at what it may do.
fn public_message(reason: DenialReason) -> &'static str {
    match reason {
        DenialReason::Unspecified => "",
        DenialReason::MissingKey
        | DenialReason::MalformedKey
        | DenialReason::UnknownKey
        | DenialReason::Revoked
        | DenialReason::Superseded
        | DenialReason::Expired
        | DenialReason::Disabled => "Invalid API Key",
        DenialReason::TenantMismatch
        | DenialReason::AccountInactive
        | DenialReason::PermissionMissing
        | DenialReason::SourceNotAllowed => "Unauthorized",
        DenialReason::RateLimited => "Rate limit exceeded",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::app::authenticate::Principal;
    use crate::domain::ids::{AccountId, AccountRef, KeyId};
    use crate::domain::key_format::{Environment, KeyProblem};
    use crate::domain::notices::Notices;
    use crate::domain::permission::{Permission, Permissions, PlanName, RoleName};
    use crate::domain::personal::Personal;
    use crate::domain::time::Time;
    use crate::domain::verdict::Denial;

    const KEY: KeyId = KeyId([7; 12]);

    fn read_all(message: &AuthenticateRequest) -> Result<Asked, Vec<String>> {
        let read = decode(|bad| read(bad, &message.api_key, message));
        read.map_err(|error| match error {
            AppError::Invalid(found) => {
                found.into_iter().map(|violation| violation.field).collect()
            }
            other => panic!("{other:?}"),
        })
    }

    fn from(source_ip: &str) -> AuthenticateRequest {
        let context =
            Some(AuthenticateContext { source_ip: source_ip.to_owned(), ..Default::default() });
        AuthenticateRequest { context, ..Default::default() }
    }

    fn answered(outcome: Outcome, at: u64) -> AuthenticateResponse {
        answer(Decision { outcome, rate_limit: None, position: Position::new(at) })
    }

    #[test]
    fn a_question_needs_nothing_but_what_it_has_must_keep_its_bounds() {
        let nothing = Asked { tenant: None, source: None };
        assert_eq!(read_all(&AuthenticateRequest::default()), Ok(nothing));
        let worst = AuthenticateRequest {
            api_key: "k".repeat(513),
            tenant_id: Some(String::new()),
            required_permissions: vec!["reports:read".to_owned(), "a b".to_owned()],
            context: Some(AuthenticateContext {
                action: "é".repeat(65),
                source_ip: "1".repeat(65),
                user_agent: "a\nb".to_owned(),
            }),
            ..Default::default()
        };
        let fields = [
            "api_key",
            "tenant_id",
            "required_permissions[1]",
            "context.action",
            "context.user_agent",
            "context.source_ip",
        ];
        assert_eq!(read_all(&worst), Err(fields.map(str::to_owned).to_vec()));
        let many = |n| AuthenticateRequest {
            required_permissions: vec!["a".to_owned(); n],
            ..Default::default()
        };
        assert!(read_all(&many(64)).is_ok());
        assert_eq!(read_all(&many(65)), Err(vec!["required_permissions".to_owned()]));
    }

    #[test]
    fn a_source_that_is_no_address_is_an_unknown_source() {
        for text in ["", "unknown", "192.0.2.1:80", &"1".repeat(64)] {
            assert_eq!(read_all(&from(text)).expect("valid").source, None);
        }
        let mapped = read_all(&from("::ffff:192.0.2.1")).expect("valid").source;
        assert_eq!(mapped, Some(IpAddr::from([192, 0, 2, 1])));
    }

    #[test]
    fn an_allowed_key_has_a_principal_and_no_reason() {
        let account = AccountRef {
            tenant: TenantId::parse("acme").expect("valid"),
            account: AccountId::parse("billing").expect("valid"),
        };
        let personal = Personal {
            name: "deploy".to_owned(),
            metadata: [("team".to_owned(), "red".to_owned())].into(),
            ..Personal::default()
        };
        let principal = Principal {
            key_id: KEY,
            account: Arc::new(account),
            environment: Environment::Test,
            roles: vec![RoleName::parse("reader").expect("valid")],
            permissions: Permissions::new(vec![Permission::parse("reports:*").expect("valid")]),
            plan: PlanName::parse("standard").expect("valid"),
            expire_time: Some(Time::from_micros(-1)),
            personal: Arc::new(personal),
            notices: Notices { expires_soon: Some(Time::EPOCH), superseded: None },
        };
        let answer = answered(Outcome::Allowed(principal), 9);
        let principal = v1::Principal {
            key_id: KEY.to_string(),
            key_name: "deploy".to_owned(),
            tenant_id: "acme".to_owned(),
            account_id: "billing".to_owned(),
            environment: "test".to_owned(),
            roles: vec!["reader".to_owned()],
            permissions: vec!["reports:*".to_owned()],
            plan: "standard".to_owned(),
            expire_time: Some(prost_types::Timestamp { seconds: -1, nanos: 999_999_000 }),
            metadata: [("team".to_owned(), "red".to_owned())].into(),
        };
        let expected = AuthenticateResponse {
            outcome: v1::Outcome::Allowed.into(),
            key_id: KEY.to_string(),
            principal: Some(principal),
            notices: vec![v1::KeyNotice {
                notice: v1::Notice::ExpiresSoon.into(),
                time: Some(prost_types::Timestamp::default()),
            }],
            position: 9,
            ..Default::default()
        };
        assert_eq!(answer, expected);
    }

    #[test]
    fn a_key_id_is_told_only_once_the_secret_has_matched() {
        let problem = KeyProblem::BadChecksum;
        for outcome in [Outcome::MissingKey, Outcome::MalformedKey(problem), Outcome::UnknownKey] {
            let answer = answered(outcome, 9);
            assert_eq!((answer.key_id.as_str(), answer.evidence_position), ("", 0));
            assert_eq!((answer.outcome(), answer.position), (v1::Outcome::Denied, 9));
        }
        let denied = Denied { denial: Denial::Revoked, evidence: Position::new(8) };
        let answer = answered(Outcome::Denied(KEY, denied), 9);
        assert_eq!((answer.key_id, answer.evidence_position), (KEY.to_string(), 8));
        assert_eq!(answer.denial_reason, i32::from(DenialReason::Revoked));
        assert!(answer.principal.is_none());
    }

    #[test]
    fn what_is_wrong_with_the_form_is_told_with_a_malformed_key_only() {
        let malformed = answered(Outcome::MalformedKey(KeyProblem::HasScheme), 9);
        assert_eq!(malformed.denial_reason(), DenialReason::MalformedKey);
        assert_eq!(malformed.key_problem(), v1::KeyProblem::HasScheme);
        assert_eq!(answered(Outcome::UnknownKey, 9).key_problem(), v1::KeyProblem::Unspecified);
        assert_eq!(answered(Outcome::UnknownKey, 0).position, 0);
    }

    #[test]
    fn the_world_is_told_what_the_proto_says() {
        let proto = include_str!("../../../proto/keyledger/v1/authentication.proto");
        let reasons = (1..100).filter_map(|number| DenialReason::try_from(number).ok());
        for reason in reasons {
            let (_, comment) =
                proto.split_once(&format!("// {}: ", reason.as_str_name())).expect("documented");
            let (comment, _) =
                comment.split_once(&format!("{} =", reason.as_str_name())).expect("its value");
            let comment = comment.replace("\n  // ", " ");
            let promised = format!("Public message `{}`.", public_message(reason));
            assert!(comment.contains(&promised), "{reason:?}");
        }
    }
}
