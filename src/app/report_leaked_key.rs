//! ReportLeakedKey: whoever found a key's text somewhere can have it revoked.

use std::sync::Arc;

use crate::app::App;
use crate::app::call::Call;
use crate::app::error::AppError;
use crate::app::sealing::scope_of;
use crate::domain::command::Act;
use crate::domain::event::EventKind;
use crate::domain::ids::{KeyId, Position};
use crate::domain::key::RevokeReason;
use crate::domain::key_rules::RevokeKey;
use crate::domain::personal::Personal;
use crate::domain::refusal::Refusal;
use crate::domain::subject::Subject;

/// What a report did.
#[derive(Debug)]
pub struct LeakReport {
    /// The key whose text was found.
    pub id: KeyId,
    /// Whether this report revoked it; false if it was revoked before.
    pub revoked: bool,
    /// The record of the revocation; if it was revoked before, the key's last record.
    pub position: Position,
    /// Whether the call came before.
    pub replayed: bool,
}

impl App {
    /// ReportLeakedKey.
    ///
    /// # Errors
    /// [`AppError`]: the text is no key, or the key of none that the caller may see.
    pub async fn report_leaked_key(
        &self,
        call: &Call,
        api_key: &str,
        source: String,
    ) -> Result<LeakReport, AppError> {
        let presented = self.parse_key(api_key).map_err(|problem| {
            AppError::field("api_key", format!("must be a whole key as it was issued: {problem}"))
        })?;
        let id = KeyId(presented.id);
        let matches = self.table.with_row(&id, |row| self.is_secret_of(row, &presented));
        if matches.is_none() {
            self.spend_a_tag(&presented);
        }
        if matches != Some(true) {
            return Err(Refusal::KeyNotFound.into());
        }
        let key = self.visible_key(&call.identity, &id)?;
        let subject = Subject::Key(Arc::clone(&key.account), id);
        let request = self.name_request(call, &scope_of(&subject))?;
        let on_behalf_of = call.on_behalf_of.clone();
        let asides = Personal { comment: source, on_behalf_of, ..Personal::default() };
        let private = self.seal_asides(&subject, EventKind::KeyRevoked, &asides)?;
        let reason = RevokeReason::KeyCompromise;
        let act = Act::RevokeKey(RevokeKey { key: id, reason, leaked: true, private });
        let done = self.commit(call, request, act).await?;
        let position = done.position.unwrap_or_else(|| key.position());
        let revoked = done.position.is_some();
        Ok(LeakReport { id, revoked, position, replayed: done.replayed })
    }
}
