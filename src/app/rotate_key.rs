//! RotateKey: a successor with the same limits, and an overlap in which both keys work.

use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::app::call::{Attempts, Call};
use crate::app::error::AppError;
use crate::app::key_view::{IssuedKey, KeyView};
use crate::app::sealing::{scope_of, sources_of};
use crate::domain::command::Act;
use crate::domain::event::EventKind;
use crate::domain::ids::{KeyId, Position};
use crate::domain::key::RevokeReason;
use crate::domain::key_rules::RotateKey;
use crate::domain::personal::Personal;
use crate::domain::refusal::Refusal;
use crate::domain::subject::Subject;
use crate::domain::tag::Purpose;
use crate::random;

/// The longest overlap: 90 days.
pub const MAX_OVERLAP: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The shortest time without a use after which a rotated key may retire early: what is used less often than
/// once a minute is not told from what is not used by a shorter one.
pub const MIN_IDLE: Duration = Duration::from_mins(1);

/// When the old key of a rotation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldKeyEnds {
    /// After so long.
    pub overlap: Duration,
    /// Once nobody has used it for so long, if that is earlier; none: not earlier.
    pub when_idle_for: Option<Duration>,
}

/// What RotateKey did.
#[derive(Debug)]
pub struct RotatedKey {
    /// The new key and its secret.
    pub new: IssuedKey,
    /// The key it succeeds.
    pub old: KeyView,
    /// The last record of the rotation.
    pub position: Position,
    /// Whether the call came before.
    pub replayed: bool,
}

impl App {
    /// RotateKey.
    ///
    /// # Errors
    /// [`AppError`]: unknown key, one that is not active, or an account that is not.
    pub async fn rotate_key(
        &self,
        call: &Call,
        id: KeyId,
        ends: OldKeyEnds,
        reason: RevokeReason,
    ) -> Result<RotatedKey, AppError> {
        let mut attempts = Attempts::new();
        loop {
            let result = self.try_rotate(call, id, ends, reason).await;
            if let Some(result) = attempts.settle(result) {
                return result;
            }
        }
    }

    async fn try_rotate(
        &self,
        call: &Call,
        id: KeyId,
        ends: OldKeyEnds,
        reason: RevokeReason,
    ) -> Result<RotatedKey, AppError> {
        let key = self.visible_key(&call.identity, &id)?;
        let personal = self.personal_at(key.personal_at()).await?.ok_or(Refusal::AccountClosed)?;
        let old = Subject::Key(Arc::clone(&key.account), id);
        let request = self.name_request(call, &scope_of(&old))?;
        let successor = KeyId(random::bytes(&*self.random));
        let new = Subject::Key(Arc::clone(&key.account), successor);
        let minted = self.mint(Purpose::Key, key.environment, &successor.0);
        let inherited = Personal {
            name: personal.name.clone(),
            metadata: personal.metadata.clone(),
            allowed_cidrs: personal.allowed_cidrs.clone(),
            ..Personal::default()
        };
        let asides = Personal { on_behalf_of: call.on_behalf_of.clone(), ..Personal::default() };
        let act = Act::RotateKey(RotateKey {
            key: id,
            successor,
            tag: minted.tag,
            overlap: ends.overlap,
            retire_when_idle_for: ends.when_idle_for,
            reason,
            basis: key.position(),
            sources: sources_of(&personal).ok_or(AppError::Internal)?,
            private: self.seal(&new, EventKind::KeyCreated, &inherited)?,
            aside: self.seal_asides(&old, EventKind::KeyRotated, &asides)?,
        });
        let done = self.commit(call, request, act).await?;
        let (new, done, position) = self.issued(done, minted.text).await?;
        let replaced = new.view.key.life.as_ref().and_then(|life| life.replaces);
        let old = self.get_key(&call.identity, replaced.ok_or(AppError::Internal)?).await?;
        Ok(RotatedKey { new, old, position, replayed: done.replayed })
    }
}
