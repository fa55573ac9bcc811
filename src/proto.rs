//! The messages and services of the wire and of the log, as generated from `proto/`.
//!
//! A message that carries a secret has its `Debug` written here, so that no log line, error or
//! panic can show one. Which these are, the protos say: their secret fields are `debug_redact`.

use std::fmt;

/// The public API: package `keyledger.v1`.
#[expect(
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    clippy::large_enum_variant,
    reason = "generated code; of the answers of AuthenticateStream nearly all are the large one"
)]
pub mod v1 {
    tonic::include_proto!("keyledger.v1");
}

/// The record format: package `keyledger.ledger.v1`.
pub mod ledger {
    tonic::include_proto!("keyledger.ledger.v1");
}

/// The descriptors of all of `proto/` and what it imports: an encoded `FileDescriptorSet`
/// without comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Stands for a secret in `Debug`: tells only whether there is one.
struct Redacted<'a>(&'a str);

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "[redacted]" })
    }
}

/// Writes `Debug` for a message with one secret field and these other fields. A field that is in
/// neither place does not compile, so a new one cannot be forgotten.
macro_rules! redact {
    ($message:ident, $secret:ident, $($field:ident),+) => {
        impl fmt::Debug for v1::$message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Self { $secret, $($field),+ } = self;
                f.debug_struct(stringify!($message))
                    .field(stringify!($secret), &Redacted($secret))
                    $(.field(stringify!($field), $field))+
                    .finish()
            }
        }
    };
}

redact!(AuthenticateRequest, api_key, tenant_id, required_permissions, cost, context, min_position);
redact!(CreateKeyResponse, secret, key, position, replayed);
redact!(RotateKeyResponse, secret, new_key, old_key, position, replayed);
redact!(ReportLeakedKeyRequest, api_key, source, request_id, on_behalf_of);
redact!(CreateCallerResponse, credential, caller, position, replayed);
redact!(RotateCallerResponse, credential, caller, position, replayed);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::{DescriptorProto, FileDescriptorSet};

    use super::{FILE_DESCRIPTOR_SET, v1};

    const SECRET: &str = "kl_live_0000000000000000000000000000";

    /// Every message with a secret, its secret field, and what `Debug` makes of it inside another value.
    fn shown() -> Vec<(&'static str, &'static str, String)> {
        let secret = || SECRET.to_owned();
        let authenticate = v1::AuthenticateRequest { api_key: secret(), ..Default::default() };
        let create_key = v1::CreateKeyResponse { secret: secret(), ..Default::default() };
        let rotate_key = v1::RotateKeyResponse { secret: secret(), ..Default::default() };
        let report = v1::ReportLeakedKeyRequest { api_key: secret(), ..Default::default() };
        let create_caller = v1::CreateCallerResponse { credential: secret(), ..Default::default() };
        let rotate_caller = v1::RotateCallerResponse { credential: secret(), ..Default::default() };
        vec![
            ("AuthenticateRequest", "api_key", format!("{:?}", Some(authenticate))),
            ("CreateKeyResponse", "secret", format!("{:?}", Some(create_key))),
            ("RotateKeyResponse", "secret", format!("{:?}", Some(rotate_key))),
            ("ReportLeakedKeyRequest", "api_key", format!("{:?}", Some(report))),
            ("CreateCallerResponse", "credential", format!("{:?}", Some(create_caller))),
            ("RotateCallerResponse", "credential", format!("{:?}", Some(rotate_caller))),
        ]
    }

    fn descriptors() -> FileDescriptorSet {
        FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("descriptors decode")
    }

    #[test]
    fn debug_of_a_message_hides_its_secret_and_shows_the_rest() {
        for (message, field, text) in shown() {
            assert!(!text.contains(SECRET), "{message} shows its secret");
            assert!(text.contains(&format!("{field}: [redacted]")), "{text}");
        }
        let request = v1::AuthenticateRequest { min_position: 42, ..Default::default() };
        let text = format!("{request:?}");
        assert!(text.contains("min_position: 42") && text.contains("api_key: \"\""), "{text}");
    }

    #[test]
    fn every_field_named_like_a_secret_is_among_the_hidden_ones() {
        let files = descriptors().file;
        let messages = files.iter().filter(|file| file.package() == "keyledger.v1");
        let secrets = |message: &DescriptorProto| {
            let names = message.field.iter().map(|field| field.name().to_owned());
            let like =
                names.filter(|name| matches!(name.as_str(), "api_key" | "secret" | "credential"));
            like.map(|name| (message.name().to_owned(), name)).collect::<Vec<_>>()
        };
        let found: BTreeSet<_> =
            messages.flat_map(|file| &file.message_type).flat_map(secrets).collect();
        let hidden =
            shown().into_iter().map(|(message, field, _)| (message.to_owned(), field.to_owned()));
        assert_eq!(found, hidden.collect());
    }

    #[test]
    fn descriptors_hold_every_service_with_its_imports_and_no_comments() {
        let files = descriptors().file;
        let names: BTreeSet<_> = files.iter().map(|file| file.name().to_owned()).collect();
        assert!(
            files.iter().flat_map(|file| &file.dependency).all(|import| names.contains(import))
        );
        assert!(files.iter().all(|file| file.source_code_info.is_none()));
        let services =
            files.iter().flat_map(|file| &file.service).map(|service| service.name().to_owned());
        let expected =
            ["AccountService", "AdminService", "AuditService", "KeyService", "UsageService"];
        let expected = expected.map(str::to_owned);
        assert_eq!(services.collect::<BTreeSet<_>>(), BTreeSet::from(expected));
    }
}
