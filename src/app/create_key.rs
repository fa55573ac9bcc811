//! CreateKey.

use std::sync::Arc;

use crate::app::App;
use crate::app::call::Call;
use crate::app::error::AppError;
use crate::app::key_view::IssuedKey;
use crate::domain::command::Act;
use crate::domain::event::{EventKind, KeyCreated};
use crate::domain::ids::{AccountRef, KeyId, Position};
use crate::domain::key_format::{self, Environment, KeyText, Secret};
use crate::domain::key_rules::CreateKey;
use crate::domain::permission::Permissions;
use crate::domain::personal::Personal;
use crate::domain::refusal::Refusal;
use crate::domain::source::{SourceRange, Sources};
use crate::domain::subject::Subject;
use crate::domain::tag::KeyTag;
use crate::domain::tag::Purpose;
use crate::domain::time::Time;
use crate::ledger::writer::Done;
use crate::random;
use crate::vault::Scope;

use std::collections::BTreeMap;

/// What a new key is to be.
#[derive(Debug)]
pub struct NewKey {
    /// Who will own it.
    pub account: AccountRef,
    /// Its name.
    pub name: String,
    /// Narrows the account's permissions; none: all of the account's.
    pub scopes: Option<Permissions>,
    /// Live or test.
    pub environment: Environment,
    /// From when it no longer works; none: never.
    pub expire_time: Option<Time>,
    /// Where it may be used from; empty: anywhere.
    pub allowed_cidrs: Vec<SourceRange>,
    /// What its owner notes on it.
    pub metadata: BTreeMap<String, String>,
}

/// A secret that was just drawn: what is stored of it, and what is shown of it.
pub(crate) struct Minted {
    pub(crate) tag: KeyTag,
    pub(crate) text: KeyText,
}

impl App {
    /// Draws the secret of a new key or caller.
    pub(crate) fn mint(&self, purpose: Purpose, environment: Environment, id: &[u8; 12]) -> Minted {
        let secret = Secret::from_bytes(random::bytes(&*self.random));
        let pepper = self.pepper();
        let tag = KeyTag { pepper: pepper.version(), tag: pepper.tag(purpose, id, &secret) };
        Minted { tag, text: key_format::render(&self.prefix, environment, id, &secret) }
    }

    /// CreateKey: returns the key and the position it was recorded at.
    ///
    /// # Errors
    /// [`AppError`]: foreign tenant, unknown or inactive account, cap reached, expiry past.
    pub async fn create_key(
        &self,
        call: &Call,
        new: NewKey,
    ) -> Result<(IssuedKey, Done, Position), AppError> {
        call.identity.enter(&new.account.tenant)?;
        if self.table.standing(&new.account).is_none() {
            return Err(Refusal::AccountNotFound.into());
        }
        let account = Arc::new(new.account);
        let request = self.name_request(call, &Scope::Account(AccountRef::clone(&account)))?;
        let id = KeyId(random::bytes(&*self.random));
        let subject = Subject::Key(Arc::clone(&account), id);
        let minted = self.mint(Purpose::Key, new.environment, &id.0);
        let personal = Personal {
            name: new.name,
            metadata: new.metadata,
            allowed_cidrs: new.allowed_cidrs.iter().map(ToString::to_string).collect(),
            on_behalf_of: call.on_behalf_of.clone(),
            ..Personal::default()
        };
        let created = KeyCreated {
            tag: minted.tag,
            environment: new.environment,
            scopes: new.scopes,
            expire_time: new.expire_time,
            sources: Sources::requested(new.allowed_cidrs),
            replaces: None,
        };
        let private = self.seal(&subject, EventKind::KeyCreated, &personal)?;
        let act = Act::CreateKey(CreateKey { account, key: id, created, private });
        let done = self.commit(call, request, act).await?;
        self.issued(done, minted.text).await
    }

    /// The key that a command made, or made when it first came.
    pub(crate) async fn issued(
        &self,
        done: Done,
        text: KeyText,
    ) -> Result<(IssuedKey, Done, Position), AppError> {
        let (Some(Subject::Key(_, id)), Some(position)) = (&done.subject, done.position) else {
            return Err(AppError::Internal);
        };
        let row = self.table.row(id).ok_or(AppError::Internal)?;
        let view = self.view(*id, row.key).await?;
        let secret = (!done.replayed).then_some(text);
        Ok((IssuedKey { view, secret }, done, position))
    }
}
