//! UpdateKey.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::app::App;
use crate::app::call::{Attempts, Call};
use crate::app::error::AppError;
use crate::app::key_view::KeyView;
use crate::app::sealing::{scope_of, sources_of};
use crate::app::switch_key::Changed;
use crate::domain::command::Act;
use crate::domain::event::EventKind;
use crate::domain::ids::{KeyId, Position};
use crate::domain::key_rules::UpdateKey;
use crate::domain::permission::Permissions;
use crate::domain::personal::Personal;
use crate::domain::refusal::Refusal;
use crate::domain::source::SourceRange;
use crate::domain::subject::Subject;
use crate::domain::time::Time;

/// What is to change about a key; what is none stays.
#[derive(Debug, Default)]
pub struct KeyChange {
    /// A new name.
    pub name: Option<String>,
    /// New metadata, whole.
    pub metadata: Option<BTreeMap<String, String>>,
    /// New address ranges, whole; empty: anywhere.
    pub allowed_cidrs: Option<Vec<SourceRange>>,
    /// Narrower scopes.
    pub scopes: Option<Permissions>,
    /// An earlier expiry.
    pub expire_time: Option<Time>,
    /// Where the caller expects the key to be.
    pub expected: Option<Position>,
}

impl App {
    /// UpdateKey.
    ///
    /// # Errors
    /// [`AppError`]: unknown or finished key, stale position, a change that would widen it.
    pub async fn update_key(
        &self,
        call: &Call,
        id: KeyId,
        change: &KeyChange,
    ) -> Result<Changed<KeyView>, AppError> {
        let mut attempts = Attempts::new();
        loop {
            let result = self.try_update(call, id, change).await;
            if let Some(result) = attempts.settle(result) {
                return result;
            }
        }
    }

    async fn try_update(
        &self,
        call: &Call,
        id: KeyId,
        change: &KeyChange,
    ) -> Result<Changed<KeyView>, AppError> {
        let key = self.visible_key(&call.identity, &id)?;
        let present = self.personal_at(key.personal_at()).await?.ok_or(Refusal::AccountClosed)?;
        let subject = Subject::Key(Arc::clone(&key.account), id);
        let request = self.name_request(call, &scope_of(&subject))?;
        let cidrs = change.allowed_cidrs.as_ref();
        let cidrs = cidrs.map(|ranges| ranges.iter().map(ToString::to_string).collect());
        let next = Personal {
            name: change.name.clone().unwrap_or_else(|| present.name.clone()),
            metadata: change.metadata.clone().unwrap_or_else(|| present.metadata.clone()),
            allowed_cidrs: cidrs.unwrap_or_else(|| present.allowed_cidrs.clone()),
            on_behalf_of: call.on_behalf_of.clone(),
            ..Personal::default()
        };
        let act = Act::UpdateKey(UpdateKey {
            key: id,
            scopes: change.scopes.clone(),
            expire_time: change.expire_time,
            sources: sources_of(&next).ok_or(AppError::Internal)?,
            resealed: differing(&present, &next),
            basis: key.position(),
            expected: change.expected,
            private: self.seal(&subject, EventKind::KeyUpdated, &next)?,
        });
        let done = self.commit(call, request, act).await?;
        self.changed_key(id, &done).await
    }
}

/// Which of the sealed fields differ.
pub(crate) fn differing(present: &Personal, next: &Personal) -> Vec<&'static str> {
    let fields = [
        ("name", present.name != next.name),
        ("metadata", present.metadata != next.metadata),
        ("allowed_cidrs", present.allowed_cidrs != next.allowed_cidrs),
    ];
    fields.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect()
}
