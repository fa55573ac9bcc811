//! What Envoy is answered.

use std::time::Duration;

use envoy_types::ext_authz::v3::pb::{
    CheckResponse, DeniedHttpResponse, HeaderAppendAction, HeaderValue, HeaderValueOption,
    HttpResponse, HttpStatus, OkHttpResponse,
};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{BoolValue, ListValue, Struct, Value};
use envoy_types::pb::google::rpc;
use tonic::Code;

use crate::app::authenticate::{Decision, Outcome, Principal};
use crate::app::proxied::{self, Passage, identity_headers};
use crate::domain::proxied::identity;
use crate::domain::proxied::refusal::{Refused, retry_after_seconds};
use crate::grpc::authorization::sent::Sent;
use crate::grpc::{encode, enums};
use crate::proto::v1::DenialReason;

/// The answer about a request that came with `sent`.
pub(super) fn of(passage: Passage, sent: &Sent) -> CheckResponse {
    match passage {
        Passage::Anonymous => let_through(Vec::new(), sent, vec![("outcome", text("ANONYMOUS"))]),
        Passage::Decided(decision) => match proxied::let_through(&decision) {
            Ok(principal) => {
                let headers = identity_headers(principal, decision.position);
                let_through(headers, sent, told(&decision))
            }
            Err((refused, retry_after)) => refuse(refused, retry_after, told(&decision)),
        },
    }
}

type Told = Vec<(&'static str, Kind)>;

fn let_through(headers: Vec<(&'static str, String)>, sent: &Sent, told: Told) -> CheckResponse {
    let remove = identity::to_remove(sent.names(), &headers);
    let ok = OkHttpResponse {
        headers: headers.into_iter().map(|(name, value)| header(name, value)).collect(),
        headers_to_remove: remove.into_iter().collect(),
        ..OkHttpResponse::default()
    };
    answer(Code::Ok, "", HttpResponse::OkResponse(ok), told)
}

fn refuse(refused: Refused, retry_after: Option<Duration>, told: Told) -> CheckResponse {
    let code = match refused {
        Refused::InvalidKey => Code::Unauthenticated,
        Refused::Unauthorized => Code::PermissionDenied,
        Refused::RateLimited => Code::ResourceExhausted,
    };
    let mut headers = vec![header("content-type", "text/plain; charset=utf-8".to_owned())];
    if refused == Refused::InvalidKey {
        headers.push(header("www-authenticate", "Bearer".to_owned()));
    }
    if let Some(span) = retry_after {
        headers.push(header("retry-after", retry_after_seconds(span).to_string()));
    }
    let denied = DeniedHttpResponse {
        status: Some(HttpStatus { code: refused.status().into() }),
        headers,
        body: format!("{}\n", refused.message()),
    };
    answer(code, refused.message(), HttpResponse::DeniedResponse(denied), told)
}

fn answer(code: Code, message: &str, response: HttpResponse, told: Told) -> CheckResponse {
    let status =
        rpc::Status { code: code.into(), message: message.to_owned(), details: Vec::new() };
    let fields = told.into_iter().map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) }));
    CheckResponse {
        status: Some(status),
        dynamic_metadata: Some(Struct { fields: fields.collect() }),
        http_response: Some(response),
    }
}

/// A header that takes the place of all of its name.
#[expect(deprecated, reason = "without append, what append_action says depends on Envoy's version")]
fn header(name: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value, raw_value: Vec::new() }),
        append: Some(BoolValue { value: false }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        keep_empty_value: false,
    }
}

/// What Envoy's filters and access logs are told, precisely: the client sees none of it.
fn told(decision: &Decision) -> Told {
    let mut told = vec![("position", number(encode::position(decision.position)))];
    let (outcome, reason) = match &decision.outcome {
        Outcome::Allowed(principal) => {
            told.extend(told_of(principal));
            ("ALLOWED", None)
        }
        Outcome::MissingKey => ("DENIED", Some(DenialReason::MissingKey)),
        Outcome::MalformedKey(_) => ("DENIED", Some(DenialReason::MalformedKey)),
        Outcome::UnknownKey => ("DENIED", Some(DenialReason::UnknownKey)),
        Outcome::TooManyUnknown => ("DENIED", Some(DenialReason::RateLimited)),
        Outcome::Denied(id, denied) => {
            told.push(("key_id", text(&id.to_string())));
            told.push(("evidence_position", number(encode::position(denied.evidence))));
            ("DENIED", Some(enums::denial_reason(denied.denial)))
        }
    };
    told.push(("outcome", text(outcome)));
    if let Some(reason) = reason {
        told.push(("reason", text(reason.as_str_name().trim_start_matches("DENIAL_REASON_"))));
    }
    if let Some(left) = &decision.rate_limit {
        told.push(("limit", number(left.limit.into())));
        told.push(("remaining", number(left.remaining.into())));
    }
    told
}

fn told_of(principal: &Principal) -> Told {
    vec![
        ("key_id", text(&principal.key_id.to_string())),
        ("key_name", text(&principal.personal.name)),
        ("tenant", text(principal.account.tenant.as_str())),
        ("account", text(principal.account.account.as_str())),
        ("environment", text(principal.environment.as_str())),
        ("plan", text(principal.plan.as_str())),
        ("roles", list(principal.roles.iter().map(|role| role.as_str()))),
        ("permissions", list(principal.permissions.iter().map(|word| word.as_str()))),
    ]
}

fn text(text: &str) -> Kind {
    Kind::StringValue(text.to_owned())
}

/// Exact up to 2^53, as numbers of this form are.
fn number(number: u64) -> Kind {
    #[expect(clippy::cast_precision_loss, reason = "positions of 2^53 are not reached")]
    Kind::NumberValue(number as f64)
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> Kind {
    let values = texts.map(|word| Value { kind: Some(text(word)) }).collect();
    Kind::ListValue(ListValue { values })
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;

    use super::*;
    use crate::domain::ids::{KeyId, Position};
    use crate::domain::rate_window::RateLimit;
    use crate::domain::verdict::{Denial, Denied};

    fn sent(names: &[&str]) -> Sent {
        let headers = names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
        Sent::of(HttpRequest { headers, ..Default::default() })
    }

    fn decided(outcome: Outcome, rate_limit: Option<RateLimit>) -> Passage {
        Passage::Decided(Decision { outcome, rate_limit, position: Position::new(9) })
    }

    fn denied(passage: Passage) -> (i32, DeniedHttpResponse) {
        let answer = of(passage, &sent(&[]));
        match answer.http_response {
            Some(HttpResponse::DeniedResponse(denied)) => {
                (answer.status.expect("a status").code, denied)
            }
            other => panic!("{other:?}"),
        }
    }

    fn value<'a>(denied: &'a DeniedHttpResponse, name: &str) -> Option<&'a str> {
        let headers = denied.headers.iter().filter_map(|option| option.header.as_ref());
        headers.filter(|header| header.key == name).map(|header| header.value.as_str()).next()
    }

    #[test]
    fn who_is_refused_is_told_the_status_of_http_and_what_to_do() {
        let of_key = |denial| Outcome::Denied(KeyId([7; 12]), Denied { denial, evidence: None });
        let left = RateLimit {
            limit: 1,
            remaining: 0,
            reset_after: Duration::ZERO,
            retry_after: Some(Duration::from_millis(1500)),
        };
        let cases = [
            (Outcome::MissingKey, None, 16, 401),
            (Outcome::UnknownKey, None, 16, 401),
            (of_key(Denial::Revoked), None, 16, 401),
            (of_key(Denial::PermissionMissing), None, 7, 403),
            (of_key(Denial::RateLimited), Some(left), 8, 429),
            (Outcome::TooManyUnknown, Some(left), 8, 429),
        ];
        for (outcome, rate_limit, code, status) in cases {
            let (told, denied) = denied(decided(outcome, rate_limit));
            assert_eq!((told, denied.status.map(|status| status.code)), (code, Some(status)));
            assert_eq!(value(&denied, "www-authenticate"), (status == 401).then_some("Bearer"));
            assert_eq!(value(&denied, "retry-after"), (status == 429).then_some("2"));
        }
    }

    #[test]
    fn the_client_is_not_told_the_reason_and_envoy_is() {
        let denied = Denied { denial: Denial::Revoked, evidence: Position::new(8) };
        let answer = of(decided(Outcome::Denied(KeyId([7; 12]), denied), None), &sent(&[]));
        let to_client = format!("{:?}", answer.http_response).to_lowercase();
        assert!(!to_client.contains("revoked") && !to_client.contains("key_"), "{to_client}");
        let told = answer.dynamic_metadata.expect("told").fields;
        let kind = |name: &str| told[name].kind.clone().expect("a value");
        assert_eq!(kind("reason"), text("REVOKED"));
        assert_eq!((kind("position"), kind("evidence_position")), (number(9), number(8)));
        assert_eq!(kind("key_id"), text(&KeyId([7; 12]).to_string()));
    }

    #[test]
    fn an_anonymous_request_loses_its_key_and_all_that_claims_an_identity() {
        let sent = sent(&["x-keyledger-tenant", "x_keyledger_x", "accept"]);
        let answer = of(Passage::Anonymous, &sent);
        let Some(HttpResponse::OkResponse(ok)) = answer.http_response else {
            panic!("let through")
        };
        assert!(ok.headers.is_empty());
        for name in ["authorization", "x-api-key", "x-keyledger-tenant", "x_keyledger_x"] {
            assert!(ok.headers_to_remove.iter().any(|removed| removed == name), "{name}");
        }
        assert!(!ok.headers_to_remove.iter().any(|removed| removed == "accept"));
    }

    #[test]
    #[expect(deprecated, reason = "append is what is tested")]
    fn headers_always_say_that_they_take_the_place_of_others() {
        let option = header("a", String::new());
        assert_eq!(option.append, Some(BoolValue { value: false }));
        assert_eq!(option.append_action(), HeaderAppendAction::OverwriteIfExistsOrAdd);
    }
}
