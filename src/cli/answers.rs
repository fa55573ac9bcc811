//! How the answers to changes and to authentications are shown.

use serde_json::{Value, json};

use super::output::{Fields, Resource};
use super::resources::{enum_or_dash, enum_or_null};
use super::text::{or_dash, plain};
use super::times::{humane, humane_wait, rfc3339, span};
use super::words::word;
use crate::proto::v1;

/// What people are told of a repeated request.
pub(super) const REPLAYED: &str = "yes: this request was done before, nothing was done now";

/// A resource that a command changed.
pub(super) struct Changed<R> {
    /// The name of its field in the answer.
    pub(super) name: &'static str,
    pub(super) resource: Option<R>,
    pub(super) position: u64,
    pub(super) replayed: bool,
}

impl<R: Resource> Resource for Changed<R> {
    fn json(&self) -> Value {
        json!({
            (self.name): self.resource.as_ref().map(Resource::json),
            "position": self.position,
            "replayed": self.replayed,
        })
    }

    fn fields(&self) -> Fields {
        let mut fields = self.resource.as_ref().map(Resource::fields).unwrap_or_default();
        if self.replayed {
            fields.push(("replayed", REPLAYED.to_owned()));
        }
        fields
    }
}

impl Resource for v1::ReportLeakedKeyResponse {
    fn json(&self) -> Value {
        json!({
            "key_id": self.key_id,
            "revoked": self.revoked,
            "position": self.position,
            "replayed": self.replayed,
        })
    }

    fn fields(&self) -> Fields {
        let revoked = if self.revoked { "now, for KEY_COMPROMISE" } else { "before, already" };
        let mut fields = vec![
            ("key", plain(&self.key_id)),
            ("revoked", revoked.to_owned()),
            ("position", self.position.to_string()),
        ];
        if self.replayed {
            fields.push(("replayed", REPLAYED.to_owned()));
        }
        fields
    }
}

/// What is left of a limit, for programs.
fn rate_limit(left: Option<&v1::RateLimit>) -> Value {
    let Some(left) = left else { return Value::Null };
    json!({
        "limit": left.limit,
        "remaining": left.remaining,
        "reset_after": left.reset_after.as_ref().map(span),
        "retry_after": left.retry_after.as_ref().map(span),
    })
}

/// What is left of a limit, for people; none if there is no limit.
fn rate_limit_field(left: Option<&v1::RateLimit>) -> Option<(&'static str, String)> {
    let left = left?;
    let then = match (&left.retry_after, &left.reset_after) {
        (Some(retry), _) => format!(", try again in {}", humane_wait(retry)),
        (None, Some(reset)) if left.remaining < left.limit => {
            format!(", all in {}", humane_wait(reset))
        }
        _ => String::new(),
    };
    Some(("rate limit", format!("{} of {} left{then}", left.remaining, left.limit)))
}

/// What the holder should know, for programs.
fn notices(notices: &[v1::KeyNotice]) -> Value {
    let one = |told: &v1::KeyNotice| {
        let time = told.time.as_ref().map(rfc3339);
        json!({ "notice": enum_or_null::<v1::Notice>(told.notice), "time": time })
    };
    notices.iter().map(one).collect()
}

/// What the holder should know, for people.
fn notice_fields(notices: &[v1::KeyNotice]) -> impl Iterator<Item = (&'static str, String)> {
    notices.iter().map(|told| {
        let until = told.time.as_ref().map_or_else(|| "—".to_owned(), humane);
        ("notice", format!("{}  works until {until}", enum_or_dash::<v1::Notice>(told.notice)))
    })
}

/// As the principal itself is shown, with its account's limit behind it.
impl Resource for v1::WhoAmIResponse {
    fn json(&self) -> Value {
        let mut json = self.principal.clone().unwrap_or_default().json();
        json["rate_limit"] = rate_limit(self.rate_limit.as_ref());
        json["notices"] = notices(&self.notices);
        json
    }

    fn fields(&self) -> Fields {
        let mut fields = self.principal.clone().unwrap_or_default().fields();
        fields.extend(rate_limit_field(self.rate_limit.as_ref()));
        fields.extend(notice_fields(&self.notices));
        fields
    }
}

impl Resource for v1::AuthenticateResponse {
    fn json(&self) -> Value {
        json!({
            "outcome": enum_or_null::<v1::Outcome>(self.outcome),
            "denial_reason": enum_or_null::<v1::DenialReason>(self.denial_reason),
            "key_problem": enum_or_null::<v1::KeyProblem>(self.key_problem),
            "public_message": self.public_message,
            "principal": self.principal.as_ref().map(Resource::json),
            "key_id": self.key_id,
            "rate_limit": rate_limit(self.rate_limit.as_ref()),
            "notices": notices(&self.notices),
            "position": self.position,
            "evidence_position": self.evidence_position,
        })
    }

    fn fields(&self) -> Fields {
        let words = [
            word::<v1::Outcome>(self.outcome),
            word::<v1::DenialReason>(self.denial_reason),
            word::<v1::KeyProblem>(self.key_problem),
        ];
        let words: Vec<_> = words.into_iter().flatten().collect();
        let mut fields = vec![("outcome", words.join("  "))];
        if let Some(principal) = &self.principal {
            fields.extend(principal.fields());
        } else {
            fields.push(("key", or_dash(&self.key_id)));
            fields.push(("tell the holder", or_dash(&self.public_message)));
        }
        fields.extend(rate_limit_field(self.rate_limit.as_ref()));
        fields.extend(notice_fields(&self.notices));
        fields.push(("decided at", self.position.to_string()));
        if self.evidence_position > 0 {
            fields.push(("because of", format!("event {}", self.evidence_position)));
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Changed, Resource as _};
    use crate::cli::output::Format;
    use crate::cli::output::tests::shown;
    use crate::cli::resources::tests::{assert_fields_of_message, key};
    use crate::proto::v1;

    #[test]
    fn a_change_is_shown_with_its_position_and_whether_it_was_replayed() {
        let changed = Changed { name: "key", resource: Some(key()), position: 42, replayed: true };
        let json = changed.json();
        assert_fields_of_message("DisableKeyResponse", &json);
        assert_eq!(
            (&json["key"]["position"], &json["position"], &json["replayed"]),
            (&json!(42), &json!(42), &json!(true))
        );
        assert!(shown(Format::Table, &changed).contains("\nreplayed      yes: "));
        let first = Changed { replayed: false, ..changed };
        assert!(!shown(Format::Table, &first).contains("replayed"));
    }

    #[test]
    fn a_denial_is_shown_with_its_reason_and_its_evidence() {
        let denied = v1::AuthenticateResponse {
            outcome: v1::Outcome::Denied.into(),
            denial_reason: v1::DenialReason::Revoked.into(),
            public_message: "Invalid API Key".to_owned(),
            key_id: "key_1".to_owned(),
            position: 9,
            evidence_position: 8,
            ..Default::default()
        };
        assert_eq!(
            denied.json(),
            json!({
                "outcome": "DENIED",
                "denial_reason": "REVOKED",
                "key_problem": null,
                "public_message": "Invalid API Key",
                "principal": null,
                "key_id": "key_1",
                "rate_limit": null,
                "notices": [],
                "position": 9,
                "evidence_position": 8,
            })
        );
        assert_fields_of_message("AuthenticateResponse", &denied.json());
        assert_eq!(
            shown(Format::Table, &denied),
            "outcome          DENIED  REVOKED\nkey              key_1\ntell the holder  Invalid API Key\n\
             decided at       9\nbecause of       event 8\n"
        );
    }

    fn left(remaining: u32, retry_after: Option<i64>) -> Option<v1::RateLimit> {
        let span = |seconds| prost_types::Duration { seconds, nanos: 250_000_000 };
        Some(v1::RateLimit {
            limit: 100,
            remaining,
            reset_after: Some(if remaining == 100 { Default::default() } else { span(58) }),
            retry_after: retry_after.map(span),
        })
    }

    #[test]
    fn what_is_left_of_a_limit_is_shown_with_when_there_is_more() {
        let shown_of = |rate_limit| {
            let answer = v1::AuthenticateResponse { rate_limit, ..Default::default() };
            let text = shown(Format::Table, &answer);
            let line = text.lines().find_map(|line| line.strip_prefix("rate limit"));
            line.map(|line| line.trim().to_owned())
        };
        assert_eq!(shown_of(None), None);
        assert_eq!(shown_of(left(100, None)).as_deref(), Some("100 of 100 left"));
        assert_eq!(shown_of(left(97, None)).as_deref(), Some("97 of 100 left, all in 59 s"));
        let refused = shown_of(left(0, Some(11)));
        assert_eq!(refused.as_deref(), Some("0 of 100 left, try again in 12 s"));
        let answer = v1::AuthenticateResponse { rate_limit: left(97, None), ..Default::default() };
        let json = &answer.json()["rate_limit"];
        assert_fields_of_message("RateLimit", json);
        assert_eq!((&json["remaining"], &json["reset_after"]), (&json!(97), &json!("58.25s")));
        assert_eq!(json["retry_after"], json!(null));
    }

    #[test]
    fn who_a_key_is_is_shown_as_its_principal_and_what_is_left() {
        let principal = v1::Principal { key_id: "key_1".to_owned(), ..Default::default() };
        let answer = v1::WhoAmIResponse {
            principal: Some(principal),
            rate_limit: left(3, None),
            ..Default::default()
        };
        assert_eq!(answer.json()["key_id"], "key_1");
        assert_eq!(answer.json()["rate_limit"]["remaining"], 3);
        let text = shown(Format::Table, &answer);
        assert!(text.starts_with("key          key_1\n"), "{text}");
        assert!(text.ends_with("\nrate limit   3 of 100 left, all in 59 s\n"), "{text}");
    }

    #[test]
    fn what_the_holder_should_know_is_shown_with_its_time() {
        let time = Some(prost_types::Timestamp { seconds: 1_795_411_812, nanos: 0 });
        let told = |notice: v1::Notice| v1::KeyNotice { notice: notice.into(), time };
        let notices = vec![told(v1::Notice::ExpiresSoon), told(v1::Notice::Superseded)];
        let answer = v1::WhoAmIResponse { notices: notices.clone(), ..Default::default() };
        assert_fields_of_message("KeyNotice", &answer.json()["notices"][0]);
        let answer = v1::AuthenticateResponse { notices, ..Default::default() };
        let superseded = json!({ "notice": "SUPERSEDED", "time": "2026-11-23T05:30:12Z" });
        assert_eq!(answer.json()["notices"][1], superseded);
        let text = shown(Format::Table, &answer);
        let line = "notice           EXPIRES_SOON  works until 2026-11-23 05:30:12Z\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn a_malformed_key_is_shown_with_what_is_wrong_with_it() {
        let denied = v1::AuthenticateResponse {
            outcome: v1::Outcome::Denied.into(),
            denial_reason: v1::DenialReason::MalformedKey.into(),
            key_problem: v1::KeyProblem::BadChecksum.into(),
            ..Default::default()
        };
        let text = shown(Format::Table, &denied);
        assert!(
            text.starts_with(
                "outcome          DENIED  MALFORMED_KEY  BAD_CHECKSUM\nkey              —\n"
            ),
            "{text}"
        );
        assert!(!text.contains("because of"), "{text}");
    }

    #[test]
    fn an_allowed_key_is_shown_with_its_principal() {
        let allowed = v1::AuthenticateResponse {
            outcome: v1::Outcome::Allowed.into(),
            principal: Some(v1::Principal { key_id: "key_1".to_owned(), ..Default::default() }),
            ..Default::default()
        };
        assert!(
            shown(Format::Table, &allowed)
                .starts_with("outcome      ALLOWED\nkey          key_1\n")
        );
        assert_eq!(allowed.json()["principal"]["key_id"], "key_1");
    }

    #[test]
    fn a_reported_key_is_shown_with_what_became_of_it() {
        let reported = v1::ReportLeakedKeyResponse {
            key_id: "key_1".to_owned(),
            position: 5,
            ..Default::default()
        };
        assert_fields_of_message("ReportLeakedKeyResponse", &reported.json());
        assert_eq!(
            shown(Format::Table, &reported),
            "key       key_1\nrevoked   before, already\nposition  5\n"
        );
    }
}
