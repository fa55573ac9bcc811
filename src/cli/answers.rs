//! How the answers to changes and to authentications are shown.

use serde_json::{Value, json};

use super::output::{Fields, Resource};
use super::resources::enum_or_null;
use super::text::{or_dash, plain};
use super::words::word;
use crate::proto::v1;

/// What people are told of a repeated request.
const REPLAYED: &str = "yes: this request was done before, nothing was done now";

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

impl Resource for v1::AuthenticateResponse {
    fn json(&self) -> Value {
        json!({
            "outcome": enum_or_null::<v1::Outcome>(self.outcome),
            "denial_reason": enum_or_null::<v1::DenialReason>(self.denial_reason),
            "key_problem": enum_or_null::<v1::KeyProblem>(self.key_problem),
            "public_message": self.public_message,
            "principal": self.principal.as_ref().map(Resource::json),
            "key_id": self.key_id,
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
