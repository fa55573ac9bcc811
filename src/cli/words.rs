//! The API's enums as words: `ACTIVE` in what is shown, `active` in what is typed.

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::proto::v1;

/// An enum of the API, whose names on the wire carry the enum's own name as a prefix.
pub(super) trait ApiEnum: Copy + TryFrom<i32> + Send + Sync + 'static {
    /// What every name begins with, `_` included.
    const PREFIX: &'static str;

    /// The name in the protos.
    fn full_name(self) -> &'static str;

    /// The name without its prefix, e.g. `KEY_COMPROMISE`.
    fn short_name(self) -> &'static str {
        self.full_name().strip_prefix(Self::PREFIX).unwrap_or(self.full_name())
    }

    /// The name as it is typed, e.g. `key-compromise`.
    fn typed_name(self) -> String {
        self.short_name().to_ascii_lowercase().replace('_', "-")
    }

    /// Every value but the unspecified one.
    fn all() -> impl Iterator<Item = Self> {
        /// More than any enum of the API has values.
        const MOST: i32 = 128;
        (1..MOST).filter_map(|number| Self::try_from(number).ok())
    }
}

macro_rules! api_enums {
    ($($name:ident $prefix:literal),+ $(,)?) => {$(
        impl ApiEnum for v1::$name {
            const PREFIX: &'static str = $prefix;

            fn full_name(self) -> &'static str {
                self.as_str_name()
            }
        }
    )+};
}

api_enums! {
    AccountStatus "ACCOUNT_STATUS_",
    DenialReason "DENIAL_REASON_",
    ErrorReason "ERROR_REASON_",
    EventKind "EVENT_KIND_",
    Granularity "GRANULARITY_",
    GroupBy "GROUP_BY_",
    KeyProblem "KEY_PROBLEM_",
    KeyState "KEY_STATE_",
    Mechanism "MECHANISM_",
    Notice "NOTICE_",
    Outcome "OUTCOME_",
    Resolution "RESOLUTION_",
    SigningKeyChange "SIGNING_KEY_CHANGE_",
    RevokeReason "REVOKE_REASON_",
    Role "ROLE_",
    SignalKind "SIGNAL_KIND_",
    UsageGapCause "USAGE_GAP_CAUSE_",
}

/// The short name of a field's value: none if it is unspecified, the number itself if it is one that
/// a newer server knows and this program does not.
pub(super) fn word<E: ApiEnum>(value: i32) -> Option<String> {
    if value == 0 {
        return None;
    }
    Some(
        E::try_from(value)
            .map_or_else(|_| value.to_string(), |known| known.short_name().to_owned()),
    )
}

/// Parses an option whose values are those of `E`.
pub(super) fn choice<E: ApiEnum>() -> impl TypedValueParser<Value = E> {
    PossibleValuesParser::new(E::all().map(ApiEnum::typed_name)).try_map(|typed: String| {
        E::all()
            .find(|value| value.typed_name().eq_ignore_ascii_case(&typed))
            .ok_or("no such value")
    })
}

#[cfg(test)]
mod tests {
    use super::{ApiEnum, word};
    use crate::proto::v1;

    #[test]
    fn names_lose_their_prefix_and_are_typed_in_lower_case() {
        assert_eq!(v1::RevokeReason::KeyCompromise.short_name(), "KEY_COMPROMISE");
        assert_eq!(v1::RevokeReason::KeyCompromise.typed_name(), "key-compromise");
        let states: Vec<_> = v1::KeyState::all().map(ApiEnum::typed_name).collect();
        assert_eq!(states, ["active", "disabled", "retiring", "superseded", "expired", "revoked"]);
    }

    #[test]
    fn every_enum_names_its_own_prefix() {
        fn check<E: ApiEnum>() {
            let stripped = |value: E| value.full_name().strip_prefix(E::PREFIX).is_some();
            assert!(E::all().count() > 0 && E::all().all(stripped), "{}", E::PREFIX);
        }
        check::<v1::AccountStatus>();
        check::<v1::DenialReason>();
        check::<v1::ErrorReason>();
        check::<v1::Granularity>();
        check::<v1::GroupBy>();
        check::<v1::KeyProblem>();
        check::<v1::KeyState>();
        check::<v1::Outcome>();
        check::<v1::RevokeReason>();
        check::<v1::Role>();
        check::<v1::EventKind>();
        check::<v1::Mechanism>();
        check::<v1::Resolution>();
        check::<v1::SigningKeyChange>();
        check::<v1::UsageGapCause>();
        check::<v1::SignalKind>();
    }

    #[test]
    fn an_unspecified_value_has_no_word_and_an_unknown_one_its_number() {
        assert_eq!(word::<v1::KeyState>(0), None);
        assert_eq!(word::<v1::KeyState>(6), Some("REVOKED".to_owned()));
        assert_eq!(word::<v1::KeyState>(63), Some("63".to_owned()));
    }
}
