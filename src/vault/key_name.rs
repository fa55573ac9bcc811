//! The public names of keys that lie in files.

use std::fmt;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Tags of secrets are made under it.
    Pepper,
    /// Data keys are wrapped by it.
    Kek,
    /// Checkpoints are signed by it.
    Signing,
}

impl Role {
    /// Every role.
    pub(super) const ALL: [Role; 3] = [Role::Pepper, Role::Kek, Role::Signing];

    /// The first word of the file.
    pub(super) fn label(self) -> &'static str {
        match self {
            Role::Pepper => "keyledger-pepper",
            Role::Kek => "keyledger-kek",
            Role::Signing => "keyledger-signing",
        }
    }

    /// What the file's name begins with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Role::Pepper => "pepper-",
            Role::Kek => "kek-",
            Role::Signing => "signing-",
        }
    }
}

/// The public name of a key in a file: what it is for and which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyName {
    /// What the key is for.
    pub role: Role,
    /// Its number among the keys of its role, from 1.
    pub version: u16,
}

impl KeyName {
    /// The name of the file in the keys directory.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}{}.key", self.role.prefix(), self.version)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Pepper => "pepper",
            Role::Kek => "key-encryption key",
            Role::Signing => "signing key",
        };
        write!(f, "{role} version {}", self.version)
    }
}
