//! The enums of the wire and those of the rules. A number that a request may not hold is refused.

use crate::domain::account::AccountStatus;
use crate::domain::caller::{Role, Roles};
use crate::domain::key::KeyState;
use crate::domain::key::RevokeReason;
use crate::domain::key_format::KeyProblem;
use crate::domain::usage::UseOutcome;
use crate::domain::usage::signals::SignalKind;
use crate::domain::verdict::Denial;
use crate::grpc::decode::Violations;
use crate::proto::v1;

/// The most entries of a list of enum values; there are fewer different ones.
const MAX_LISTED: usize = 16;

impl Violations {
    /// Why a key is rotated or revoked.
    pub(super) fn revoke_reason(&mut self, number: i32) -> Option<RevokeReason> {
        use v1::RevokeReason as Wire;
        match Wire::try_from(number) {
            Ok(Wire::Unspecified) => Some(RevokeReason::Unspecified),
            Ok(Wire::KeyCompromise) => Some(RevokeReason::KeyCompromise),
            Ok(Wire::Superseded) => Some(RevokeReason::Superseded),
            Ok(Wire::CessationOfOperation) => Some(RevokeReason::CessationOfOperation),
            Ok(Wire::AffiliationChanged) => Some(RevokeReason::AffiliationChanged),
            Ok(Wire::PrivilegeWithdrawn) => Some(RevokeReason::PrivilegeWithdrawn),
            Err(_) => self.refuse("reason", "must be a RevokeReason that this server knows"),
        }
    }

    /// The status an account is to have; none if it is left unspecified.
    pub(super) fn account_status(
        &mut self,
        field: &str,
        number: i32,
    ) -> Option<Option<AccountStatus>> {
        use v1::AccountStatus as Wire;
        match Wire::try_from(number) {
            Ok(Wire::Unspecified) => Some(None),
            Ok(Wire::Active) => Some(Some(AccountStatus::Active)),
            Ok(Wire::Suspended) => Some(Some(AccountStatus::Suspended)),
            Ok(Wire::Closed) => Some(Some(AccountStatus::Closed)),
            Err(_) => self.refuse(field, "must be an AccountStatus that this server knows"),
        }
    }

    /// The states that a filter lets through.
    pub(super) fn key_states(&mut self, field: &str, numbers: &[i32]) -> Option<Vec<KeyState>> {
        use v1::KeyState as Wire;
        self.each(field, MAX_LISTED, numbers, |number| match Wire::try_from(*number) {
            Ok(Wire::Active) => Ok(KeyState::Active),
            Ok(Wire::Disabled) => Ok(KeyState::Disabled),
            Ok(Wire::Retiring) => Ok(KeyState::Retiring),
            Ok(Wire::Superseded) => Ok(KeyState::Superseded),
            Ok(Wire::Expired) => Ok(KeyState::Expired),
            Ok(Wire::Revoked) => Ok(KeyState::Revoked),
            Ok(Wire::Unspecified) | Err(_) => {
                Err("must be a KeyState that this server knows, not UNSPECIFIED")
            }
        })
    }

    /// What a caller is to be allowed: at least one role.
    pub(super) fn roles(&mut self, field: &str, numbers: &[i32]) -> Option<Roles> {
        use v1::Role as Wire;
        if numbers.is_empty() {
            return self.refuse(field, "must have at least one role");
        }
        let roles =
            self.each(field, MAX_LISTED, numbers, |number| match Wire::try_from(*number) {
                Ok(Wire::Authenticator) => Ok(Role::Authenticator),
                Ok(Wire::Issuer) => Ok(Role::Issuer),
                Ok(Wire::Provisioner) => Ok(Role::Provisioner),
                Ok(Wire::Auditor) => Ok(Role::Auditor),
                Ok(Wire::Analyst) => Ok(Role::Analyst),
                Ok(Wire::Operator) => Ok(Role::Operator),
                Ok(Wire::Admin) => Ok(Role::Admin),
                Ok(Wire::Unspecified) | Err(_) => {
                    Err("must be a Role that this server knows, not UNSPECIFIED")
                }
            })?;
        Some(Roles::of(&roles))
    }
}

pub(super) fn revoke_reason(reason: RevokeReason) -> v1::RevokeReason {
    match reason {
        RevokeReason::Unspecified => v1::RevokeReason::Unspecified,
        RevokeReason::KeyCompromise => v1::RevokeReason::KeyCompromise,
        RevokeReason::Superseded => v1::RevokeReason::Superseded,
        RevokeReason::CessationOfOperation => v1::RevokeReason::CessationOfOperation,
        RevokeReason::AffiliationChanged => v1::RevokeReason::AffiliationChanged,
        RevokeReason::PrivilegeWithdrawn => v1::RevokeReason::PrivilegeWithdrawn,
    }
}

pub(super) fn account_status(status: AccountStatus) -> v1::AccountStatus {
    match status {
        AccountStatus::Active => v1::AccountStatus::Active,
        AccountStatus::Suspended => v1::AccountStatus::Suspended,
        AccountStatus::Closed => v1::AccountStatus::Closed,
    }
}

pub(super) fn key_state(state: KeyState) -> v1::KeyState {
    match state {
        KeyState::Active => v1::KeyState::Active,
        KeyState::Disabled => v1::KeyState::Disabled,
        KeyState::Retiring => v1::KeyState::Retiring,
        KeyState::Superseded => v1::KeyState::Superseded,
        KeyState::Expired => v1::KeyState::Expired,
        KeyState::Revoked => v1::KeyState::Revoked,
    }
}

pub(super) fn role(role: Role) -> v1::Role {
    match role {
        Role::Authenticator => v1::Role::Authenticator,
        Role::Issuer => v1::Role::Issuer,
        Role::Provisioner => v1::Role::Provisioner,
        Role::Auditor => v1::Role::Auditor,
        Role::Analyst => v1::Role::Analyst,
        Role::Operator => v1::Role::Operator,
        Role::Admin => v1::Role::Admin,
    }
}

pub(super) fn denial_reason(denial: Denial) -> v1::DenialReason {
    match denial {
        Denial::Revoked => v1::DenialReason::Revoked,
        Denial::Superseded => v1::DenialReason::Superseded,
        Denial::Expired => v1::DenialReason::Expired,
        Denial::Disabled => v1::DenialReason::Disabled,
        Denial::TenantMismatch => v1::DenialReason::TenantMismatch,
        Denial::AccountInactive => v1::DenialReason::AccountInactive,
        Denial::PermissionMissing => v1::DenialReason::PermissionMissing,
        Denial::SourceNotAllowed => v1::DenialReason::SourceNotAllowed,
        Denial::RateLimited => v1::DenialReason::RateLimited,
    }
}

/// Why a use was denied; UNSPECIFIED for one that was allowed.
pub(super) fn use_outcome(outcome: UseOutcome) -> v1::DenialReason {
    match outcome {
        UseOutcome::Allowed => v1::DenialReason::Unspecified,
        UseOutcome::Revoked => v1::DenialReason::Revoked,
        UseOutcome::Superseded => v1::DenialReason::Superseded,
        UseOutcome::Expired => v1::DenialReason::Expired,
        UseOutcome::Disabled => v1::DenialReason::Disabled,
        UseOutcome::TenantMismatch => v1::DenialReason::TenantMismatch,
        UseOutcome::AccountInactive => v1::DenialReason::AccountInactive,
        UseOutcome::PermissionMissing => v1::DenialReason::PermissionMissing,
        UseOutcome::SourceNotAllowed => v1::DenialReason::SourceNotAllowed,
        UseOutcome::RateLimited => v1::DenialReason::RateLimited,
        UseOutcome::MissingKey => v1::DenialReason::MissingKey,
        UseOutcome::MalformedKey => v1::DenialReason::MalformedKey,
        UseOutcome::UnknownKey => v1::DenialReason::UnknownKey,
    }
}

pub(super) fn signal_kind(kind: SignalKind) -> v1::SignalKind {
    match kind {
        SignalKind::NewSource => v1::SignalKind::NewSource,
        SignalKind::EndedKeyTried => v1::SignalKind::EndedKeyTried,
        SignalKind::Burst => v1::SignalKind::Burst,
        SignalKind::UnknownKeys => v1::SignalKind::UnknownKeys,
    }
}

pub(super) fn key_problem(problem: KeyProblem) -> v1::KeyProblem {
    match problem {
        KeyProblem::HasScheme => v1::KeyProblem::HasScheme,
        KeyProblem::HasWhitespace => v1::KeyProblem::HasWhitespace,
        KeyProblem::BadLength => v1::KeyProblem::BadLength,
        KeyProblem::ForeignPrefix => v1::KeyProblem::ForeignPrefix,
        KeyProblem::BadChecksum => v1::KeyProblem::BadChecksum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::decode::decode;

    /// Numbers that some enum knows and, around them, some that none does.
    const NUMBERS: std::ops::Range<i32> = -2..20;

    #[test]
    fn what_is_read_is_written_as_the_same_number_and_the_unknown_is_refused() {
        for number in NUMBERS {
            let known = v1::RevokeReason::try_from(number).ok();
            let read = decode(|bad| bad.revoke_reason(number)).ok();
            assert_eq!(read.map(revoke_reason), known);

            let known = v1::AccountStatus::try_from(number).ok();
            let read = decode(|bad| bad.account_status("status", number)).ok();
            let written =
                read.map(|read| read.map_or(v1::AccountStatus::Unspecified, account_status));
            assert_eq!(written, known);

            let known = v1::KeyState::try_from(number).ok().filter(|_| number != 0);
            let read = decode(|bad| bad.key_states("states", &[number])).ok();
            assert_eq!(read.map(|states| key_state(states[0])), known);

            let known = v1::Role::try_from(number).ok().filter(|_| number != 0);
            let read = decode(|bad| bad.roles("roles", &[number])).ok();
            assert_eq!(read.and_then(|roles| roles.iter().map(role).next()), known);
        }
    }

    #[test]
    fn a_caller_needs_a_role_and_a_filter_no_state() {
        assert!(decode(|bad| bad.roles("roles", &[])).is_err());
        assert_eq!(decode(|bad| bad.key_states("states", &[])).expect("any"), []);
        assert!(decode(|bad| bad.roles("roles", &[1; MAX_LISTED])).is_ok());
        assert!(decode(|bad| bad.roles("roles", &[1; MAX_LISTED + 1])).is_err());
    }
}
