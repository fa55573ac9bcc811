//! RevokeKey: at once and for ever.

use std::sync::Arc;

use crate::app::App;
use crate::app::call::Call;
use crate::app::error::AppError;
use crate::app::key_view::KeyView;
use crate::app::sealing::scope_of;
use crate::app::switch_key::Changed;
use crate::domain::command::Act;
use crate::domain::event::EventKind;
use crate::domain::ids::KeyId;
use crate::domain::key::RevokeReason;
use crate::domain::key_rules::RevokeKey;
use crate::domain::personal::Personal;
use crate::domain::subject::Subject;

impl App {
    /// RevokeKey. When this returns, the revocation is durable and no Authenticate that starts
    /// afterwards allows the key.
    ///
    /// # Errors
    /// [`AppError`]: unknown key.
    pub async fn revoke_key(
        &self,
        call: &Call,
        id: KeyId,
        reason: RevokeReason,
        comment: String,
    ) -> Result<Changed<KeyView>, AppError> {
        let key = self.visible_key(&call.identity, &id)?;
        let subject = Subject::Key(Arc::clone(&key.account), id);
        let request = self.name_request(call, &scope_of(&subject))?;
        let on_behalf_of = call.on_behalf_of.clone();
        let asides = Personal { comment, on_behalf_of, ..Personal::default() };
        let private = self.seal_asides(&subject, EventKind::KeyRevoked, &asides)?;
        let act = Act::RevokeKey(RevokeKey { key: id, reason, leaked: false, private });
        let done = self.commit(call, request, act).await?;
        self.changed_key(id, &done).await
    }
}
