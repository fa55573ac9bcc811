//! DisableKey and EnableKey.

use std::sync::Arc;

use crate::app::App;
use crate::app::call::Call;
use crate::app::error::AppError;
use crate::app::key_view::KeyView;
use crate::app::sealing::scope_of;
use crate::domain::command::Act;
use crate::domain::event::EventKind;
use crate::domain::ids::{KeyId, Position};
use crate::domain::key_rules::SwitchKey;
use crate::domain::personal::Personal;
use crate::domain::subject::Subject;
use crate::ledger::writer::Done;

/// A resource as it is after a command.
#[derive(Debug)]
pub struct Changed<T> {
    /// The resource as it is now.
    pub resource: T,
    /// The record of the change; if nothing had to change, the resource's last record.
    pub position: Position,
    /// Whether the call came before.
    pub replayed: bool,
}

impl App {
    /// DisableKey.
    ///
    /// # Errors
    /// [`AppError`]: unknown or finished key.
    pub async fn disable_key(
        &self,
        call: &Call,
        id: KeyId,
        comment: String,
    ) -> Result<Changed<KeyView>, AppError> {
        self.switch(call, id, comment, EventKind::KeyDisabled, Act::DisableKey).await
    }

    /// EnableKey.
    ///
    /// # Errors
    /// [`AppError`]: unknown or finished key.
    pub async fn enable_key(
        &self,
        call: &Call,
        id: KeyId,
        comment: String,
    ) -> Result<Changed<KeyView>, AppError> {
        self.switch(call, id, comment, EventKind::KeyEnabled, Act::EnableKey).await
    }

    async fn switch(
        &self,
        call: &Call,
        id: KeyId,
        comment: String,
        kind: EventKind,
        act: fn(SwitchKey) -> Act,
    ) -> Result<Changed<KeyView>, AppError> {
        let key = self.visible_key(&call.identity, &id)?;
        let subject = Subject::Key(Arc::clone(&key.account), id);
        let request = self.name_request(call, &scope_of(&subject))?;
        let on_behalf_of = call.on_behalf_of.clone();
        let asides = Personal { comment, on_behalf_of, ..Personal::default() };
        let private = self.seal_asides(&subject, kind, &asides)?;
        let done = self.commit(call, request, act(SwitchKey { key: id, private })).await?;
        self.changed_key(id, &done).await
    }

    /// A key as it is after a command on it.
    pub(crate) async fn changed_key(
        &self,
        id: KeyId,
        done: &Done,
    ) -> Result<Changed<KeyView>, AppError> {
        let row = self.table.row(&id).ok_or(AppError::Internal)?;
        let position = done.position.unwrap_or_else(|| row.key.position());
        let resource = self.view(id, row.key).await?;
        Ok(Changed { resource, position, replayed: done.replayed })
    }
}
