//! One record by itself: what it says, without what went before it.

use super::Unsound;
use super::part::Leaf;
use crate::domain::event::Recorded;
use crate::domain::ids::Position;
use crate::domain::personal::Personal;
use crate::domain::subject::Subject;
use crate::ledger::record;
use crate::vault::commitment;

/// A record by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Single {
    /// Its leaf, which MUST be held to a checkpoint.
    pub leaf: Leaf,
    fact: Recorded,
    personal: Option<Personal>,
}

impl Single {
    /// Takes a record, as it is stored and where it is said to be, and the clear bytes of its personal fields
    /// if they were disclosed. Neither its chain nor a key's totals can be checked.
    ///
    /// # Errors
    /// [`Unsound`] if it is no record of that place, or commits to something else.
    pub fn of(said: u64, bytes: &[u8], disclosed: Option<&[u8]>) -> Result<Self, Unsound> {
        let none = Unsound::OutOfOrder { said, reached: 0 };
        let position = Position::new(said).ok_or(none)?;
        let unreadable = |reason| Unsound::Unreadable { position, reason };
        let fact = record::decode(bytes).map_err(unreadable)?;
        if fact.position != position {
            return Err(Unsound::Misplaced { position, said: fact.position });
        }
        let committed = fact.private.as_ref().map(|private| private.commitment);
        let personal = match disclosed {
            Some(clear) if committed != Some(commitment(clear)) => {
                return Err(Unsound::OtherDisclosure { position });
            }
            Some(clear) => Some(record::decode_personal(clear).map_err(unreadable)?),
            None => None,
        };
        Ok(Single { leaf: Leaf::of(position, bytes), fact, personal })
    }

    /// When it was recorded, in microseconds since 1970.
    #[must_use]
    pub fn time(&self) -> i64 {
        self.fact.time.as_micros()
    }

    /// The number of its kind in the record format.
    #[must_use]
    pub fn kind(&self) -> i32 {
        self.fact.event.kind() as i32
    }

    /// Whom or what it is about, by the names of their ids.
    #[must_use]
    pub fn subject(&self) -> Vec<(&'static str, String)> {
        let account = |account: &crate::domain::ids::AccountRef| {
            vec![
                ("tenant_id", account.tenant.to_string()),
                ("account_id", account.account.to_string()),
            ]
        };
        match &self.fact.subject {
            Subject::Key(of, key) => [account(of), vec![("key_id", key.to_string())]].concat(),
            Subject::Account(of) => account(of),
            Subject::Caller(caller) => vec![("caller_id", caller.to_string())],
            Subject::Service => Vec::new(),
        }
    }

    /// The caller that caused it, if one did.
    #[must_use]
    pub fn actor(&self) -> Option<String> {
        self.fact.actor.caller.map(|caller| caller.to_string())
    }

    /// Its personal fields in words, by their names, as far as it has them and they were disclosed.
    #[must_use]
    pub fn personal(&self) -> Vec<(&'static str, String)> {
        let Some(personal) = &self.personal else { return Vec::new() };
        let acted = personal.on_behalf_of.as_ref();
        let fields = [
            ("name", personal.name.clone()),
            ("display_name", personal.display_name.clone()),
            ("owner", personal.owner.clone()),
            ("comment", personal.comment.clone()),
            ("on_behalf_of", acted.map(|acted| acted.subject.clone()).unwrap_or_default()),
            ("ticket", acted.map(|acted| acted.ticket.clone()).unwrap_or_default()),
            ("allowed_cidrs", personal.allowed_cidrs.join(", ")),
            ("sources", personal.sources.join(", ")),
            ("agents", personal.agents.join(", ")),
        ];
        fields.into_iter().filter(|(_, text)| !text.is_empty()).collect()
    }

    /// Whether it has personal fields that were not disclosed.
    #[must_use]
    pub fn is_undisclosed(&self) -> bool {
        self.fact.private.is_some() && self.personal.is_none()
    }
}
