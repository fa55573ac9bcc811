//! Permissions: words with parts, patterns over them, and the names of roles and plans.
//!
//! A permission is `part(:part)*`; a pattern is `*` or `part(:part)*:*`. A pattern stands for every
//! permission that begins with what is before its `*`: `reports:*` for `reports:read` and
//! `reports:read:all`, not for `reports`.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Most characters of a permission.
pub const MAX_PERMISSION_LEN: usize = 128;

/// Most permissions in one list of a request. What an account holds with its roles may be more.
pub const MAX_PERMISSIONS: usize = 64;

/// Most characters of the name of a role or a plan.
pub const MAX_NAME_LEN: usize = 64;

/// Why a text is no permission. Never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PermissionError {
    /// The text is longer than [`MAX_PERMISSION_LEN`].
    #[error("must be at most {MAX_PERMISSION_LEN} characters")]
    TooLong,
    /// The text or one of its parts is empty.
    #[error("must not be empty, nor have an empty part")]
    EmptyPart,
    /// There is a `*` that is not the whole last part.
    #[error("may have * only as its whole last part")]
    MisplacedWildcard,
    /// A part has a character outside `A-Z a-z 0-9 . _ ~ -`.
    #[error("may hold only letters, digits and . _ ~ - in parts separated by :")]
    BadCharacter,
}

/// A permission, or a pattern that stands for permissions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission(Arc<str>);

impl Permission {
    /// Parses parts of `[A-Za-z0-9._~-]+` separated by `:`, the last of which may be `*`; at most
    /// [`MAX_PERMISSION_LEN`] characters.
    ///
    /// # Errors
    /// [`PermissionError`] if the text has another form.
    pub fn parse(text: &str) -> Result<Self, PermissionError> {
        Self::check(text)?;
        Ok(Permission(text.into()))
    }

    /// Whether `text` is a permission, for the way of Authenticate, which keeps none.
    ///
    /// # Errors
    /// As [`Permission::parse`].
    pub fn check(text: &str) -> Result<(), PermissionError> {
        if text.len() > MAX_PERMISSION_LEN {
            return Err(PermissionError::TooLong);
        }
        let mut parts = text.split(':').peekable();
        while let Some(part) = parts.next() {
            if part != "*" || parts.peek().is_some() {
                check_part(part)?;
            }
        }
        Ok(())
    }

    /// The permission as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether having this permission is having `other`. A pattern is covered if every permission
    /// it stands for is.
    #[must_use]
    pub fn covers(&self, other: &Permission) -> bool {
        self.covers_text(&other.0)
    }

    fn covers_text(&self, other: &str) -> bool {
        // What is before a `*` is empty or ends with `:`, so a text begins with it exactly if the
        // text is in, or is a pattern within, what this pattern stands for.
        match self.0.strip_suffix('*') {
            Some(stem) => other.starts_with(stem),
            None => *self.0 == *other,
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_part(part: &str) -> Result<(), PermissionError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-');
    if part.is_empty() {
        Err(PermissionError::EmptyPart)
    } else if part.bytes().all(allowed) {
        Ok(())
    } else if part.contains('*') {
        Err(PermissionError::MisplacedWildcard)
    } else {
        Err(PermissionError::BadCharacter)
    }
}

/// A set of permissions and patterns, sorted, each once. A clone shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Permissions(Arc<[Permission]>);

impl Permissions {
    /// The set of `permissions`. What is covered by another is kept, as given.
    #[must_use]
    pub fn new(mut permissions: Vec<Permission>) -> Self {
        permissions.sort_unstable();
        permissions.dedup();
        Permissions(permissions.into())
    }

    /// The permissions in order of their text.
    pub fn iter(&self) -> std::slice::Iter<'_, Permission> {
        self.0.iter()
    }

    /// How many permissions and patterns there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of these covers `permission`.
    #[must_use]
    pub fn cover(&self, permission: &Permission) -> bool {
        self.iter().any(|own| own.covers(permission))
    }

    /// As [`Permissions::cover`], for a text that [`Permission::check`] has passed.
    #[must_use]
    pub fn cover_text(&self, permission: &str) -> bool {
        self.0.iter().any(|own| own.covers_text(permission))
    }

    /// What both these and `scopes` cover, in the fewest words: each of either side that the other
    /// side covers, without those covered by another of them.
    #[must_use]
    pub fn narrowed_by(&self, scopes: &Permissions) -> Permissions {
        let asked = scopes.iter().filter(|scope| self.cover(scope));
        let held = self.iter().filter(|own| scopes.cover(own));
        let both = Permissions::new(asked.chain(held).cloned().collect());
        let needed =
            |one: &&Permission| !both.iter().any(|other| other != *one && other.covers(one));
        Permissions(both.iter().filter(needed).cloned().collect())
    }

    /// These and `other` together.
    #[must_use]
    pub fn union(&self, other: &Permissions) -> Permissions {
        Permissions::new(self.iter().chain(other.iter()).cloned().collect())
    }
}

/// Why a text is no name of a role or a plan. Never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// The text is longer than [`MAX_NAME_LEN`].
    #[error("must be at most {MAX_NAME_LEN} characters")]
    TooLong,
    /// The text is not `[a-z][a-z0-9_-]*`.
    #[error("must be a lower-case letter followed by lower-case letters, digits, _ or -")]
    BadForm,
}

fn check_name(text: &str) -> Result<(), NameError> {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    if text.len() > MAX_NAME_LEN {
        Err(NameError::TooLong)
    } else if first && text.bytes().all(rest) {
        Ok(())
    } else {
        Err(NameError::BadForm)
    }
}

macro_rules! policy_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses `[a-z][a-z0-9_-]{0,63}`.
            ///
            /// # Errors
            /// [`NameError`] if the text has another form.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                check_name(text)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

policy_name! {
    /// The name of a set of permissions in the policy.
    RoleName
}
policy_name! {
    /// The name of a set of limits in the policy.
    PlanName
}

#[cfg(test)]
#[path = "permission_tests.rs"]
mod tests;
