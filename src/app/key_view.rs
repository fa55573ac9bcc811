//! A key as those who manage it see it.

use std::sync::Arc;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::domain::ids::KeyId;
use crate::domain::key::{Key, KeyState};
use crate::domain::key_format::{self, KeyText};
use crate::domain::personal::Personal;
use crate::domain::refusal::Refusal;
use crate::domain::usage::UseCounts;

/// A key, its personal fields and its state at one instant.
#[derive(Clone, Debug)]
pub struct KeyView {
    /// Its id.
    pub id: KeyId,
    /// The key.
    pub key: Key,
    /// Its name, metadata and address ranges.
    pub personal: Arc<Personal>,
    /// Its state when it was looked at.
    pub state: KeyState,
    /// How often it was used, and when last.
    pub uses: UseCounts,
    /// What may be shown of the key's text: its beginning.
    pub hint: String,
    /// Whether its personal fields are erased, with its account.
    pub erased: bool,
}

/// A key that was just made, and its secret unless the call came before.
#[derive(Debug)]
pub struct IssuedKey {
    /// The key.
    pub view: KeyView,
    /// The key's text, shown this once; none for a repeated call.
    pub secret: Option<KeyText>,
}

/// Personal fields as views show them: empty if they are erased; and whether they are.
pub(crate) fn shown(personal: Option<Arc<Personal>>) -> (Arc<Personal>, bool) {
    let erased = personal.is_none();
    (personal.unwrap_or_default(), erased)
}

impl App {
    /// A key that the caller may see. To a caller bound to tenants, another tenant's key is no key.
    pub(crate) fn visible_key(&self, identity: &Identity, id: &KeyId) -> Result<Key, AppError> {
        let row = self.table.row(id).filter(|row| identity.may_enter(&row.key.account.tenant));
        row.map(|row| row.key).ok_or(AppError::Refused(Refusal::KeyNotFound))
    }

    /// A key with its personal fields.
    pub(crate) async fn view(&self, id: KeyId, key: Key) -> Result<KeyView, AppError> {
        let personal = self.personal_at(key.personal_at()).await?;
        let (personal, erased) = shown(personal);
        let now = self.now();
        let state = key.state_at(now);
        if matches!(state, KeyState::Expired | KeyState::Superseded) {
            self.table.witness(now);
        }
        let hint = key_format::hint(&self.prefix, key.environment, &id);
        let uses = self.table.uses(&id, &key);
        Ok(KeyView { id, key, personal, state, uses, hint, erased })
    }

    /// GetKey.
    ///
    /// # Errors
    /// [`AppError`]: unknown key, damaged record.
    pub async fn get_key(&self, identity: &Identity, id: KeyId) -> Result<KeyView, AppError> {
        self.confirm(identity)?;
        let key = self.visible_key(identity, &id)?;
        self.view(id, key).await
    }
}
