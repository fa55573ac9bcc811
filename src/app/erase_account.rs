//! EraseAccount: closes an account for ever and destroys the data keys that its personal fields are sealed under.
//!
//! In this order: one event, durable and applied, from which on no key of the account works; then its data keys are
//! wiped, durably; then it is answered. Whatever ends the process in between, the next start finds the event and wipes.

use std::sync::Arc;

use crate::app::App;
use crate::app::call::Call;
use crate::app::error::AppError;
use crate::app::sealing::seal_under;
use crate::domain::account_rules::EraseAccount;
use crate::domain::command::Act;
use crate::domain::event::EventKind;
use crate::domain::facts::FactsMut;
use crate::domain::ids::{AccountRef, Position};
use crate::domain::personal::Personal;
use crate::domain::refusal::Refusal;
use crate::domain::subject::Subject;
use crate::ledger::durable::fail_stop;
use crate::projection::table_writer::TableWriter;
use crate::vault::{Scope, Vault, VaultError};

/// What an erasure did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// The record of the erasure.
    pub position: Position,
    /// How many data keys this call destroyed.
    pub data_keys: usize,
    /// Whether the call came before.
    pub replayed: bool,
}

impl App {
    /// EraseAccount. When this returns, the erasure is durable, no key of the account works, and what was sealed about it
    /// can be opened by nobody who has this server's files, whatever keys he has.
    ///
    /// # Errors
    /// [`AppError`]: foreign tenant, unknown account, stale position.
    pub async fn erase_account(
        self: &Arc<Self>,
        call: Call,
        account: AccountRef,
        expected: Option<Position>,
        comment: String,
    ) -> Result<Erased, AppError> {
        call.identity.enter(&account.tenant)?;
        if self.table.standing(&account).is_none() {
            return Err(Refusal::AccountNotFound.into());
        }
        let account = Arc::new(account);
        let request = self.name_request(&call, &Scope::Service)?;
        let subject = Subject::Account(Arc::clone(&account));
        let on_behalf_of = call.on_behalf_of.clone();
        let asides = Personal { comment, on_behalf_of, ..Personal::default() };
        let (data_keys, random) = (&self.vault.data_keys, &*self.random);
        let kind = EventKind::AccountErased;
        let seal = || seal_under(data_keys, random, &Scope::Service, &subject, kind, &asides);
        let private = (!asides.is_empty()).then(seal).transpose()?;
        let erase = EraseAccount { account: Arc::clone(&account), expected, private };
        let app = Arc::clone(self);
        // On a task of its own: whoever asked may go away, and what is on record is to be done.
        let erasing = tokio::spawn(async move {
            let done = app.commit(&call, request, Act::EraseAccount(erase)).await?;
            let present = app.table.standing(&account).ok_or(AppError::Internal)?;
            let position = done.position.unwrap_or(present.account.position);
            let data_keys = app.destroy_keys_of(account).await?;
            Ok(Erased { position, data_keys, replayed: done.replayed })
        });
        erasing.await.map_err(|error| AppError::internal("erasing an account", &error))?
    }

    /// Destroys the data keys of an erased account and forgets what was opened under them; answers how many there were.
    async fn destroy_keys_of(
        self: &Arc<Self>,
        account: Arc<AccountRef>,
    ) -> Result<usize, AppError> {
        let app = Arc::clone(self);
        let destroy = move || {
            let destroyed = destroy_or_stop(&app.vault, &account);
            app.forget_erased();
            destroyed
        };
        tokio::task::spawn_blocking(destroy)
            .await
            .map_err(|error| AppError::internal("destroying data keys", &error))
    }
}

/// Destroys the data keys of an erased account; answers how many there were. A data key file that could not be written
/// leaves the disk in an unknown state.
pub(crate) fn destroy_or_stop(vault: &Vault, account: &AccountRef) -> usize {
    match vault.data_keys.destroy_account(account) {
        Ok(destroyed) => destroyed,
        Err(error) => {
            fail_stop("the data keys of an erased account could not be destroyed", &error)
        }
    }
}

/// Wipes what was interrupted: slots whose data key is destroyed, and the data keys of accounts that the log says are
/// erased.
pub(crate) fn finish_erasures(vault: &Vault, table: &mut TableWriter) -> Result<(), VaultError> {
    vault.data_keys.wipe_unfinished()?;
    for account in table.table().accounts(|account| account.erased) {
        if !vault.data_keys.is_destroyed(&Scope::Account(AccountRef::clone(&account))) {
            let (tenant, id) = (&account.tenant, &account.account);
            tracing::warn!(%tenant, account = %id, "an erasure was interrupted: wiping its data keys");
            vault.data_keys.destroy_account(&account)?;
            table.forget_sources(&account);
        }
    }
    Ok(())
}
