//! Personal fields in the clear: only between the edge and the vault, never on disk.

use std::collections::BTreeMap;
use std::fmt;

/// For whom a caller says it acts; asserted by the caller, kept with the event.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OnBehalfOf {
    /// The person or system.
    pub subject: String,
    /// The reference of the request in another system.
    pub ticket: String,
    /// Anything else.
    pub note: String,
}

/// The fields of one record that may name or describe a person.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Personal {
    /// A key's or a caller's name.
    pub name: String,
    /// An account's name.
    pub display_name: String,
    /// Who answers for a caller.
    pub owner: String,
    /// A key's metadata.
    pub metadata: BTreeMap<String, String>,
    /// The address ranges a key may be used from, in canonical form.
    pub allowed_cidrs: Vec<String>,
    /// Why, in the words of who asked.
    pub comment: String,
    /// For whom the caller says it acted.
    pub on_behalf_of: Option<OnBehalfOf>,
    /// The addresses uses came from.
    pub sources: Vec<String>,
    /// The user agents uses came from.
    pub agents: Vec<String>,
}

impl Personal {
    /// Whether there is nothing to seal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Personal::default()
    }
}

impl fmt::Debug for OnBehalfOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnBehalfOf(..)")
    }
}

impl fmt::Debug for Personal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Personal(..)")
    }
}
