//! Credentials that were recognised on a connection before: the next call with one of them costs a comparison
//! instead of a tag.
//!
//! It is remembered for as long as the caller stays as it was: the row is looked at on each call, so one that was
//! revoked, rotated out or has expired is not recognised by what is remembered here, and is forgotten when it comes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Extensions;
use zeroize::Zeroizing;

use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::domain::tag::credentials_match;
use crate::grpc::callers::Callers;

/// The most credentials of a connection: a client has one, or two while it changes them; a proxy a few more.
const MOST: usize = 8;

/// What one connection's credentials were recognised as. The server puts one of these on each call of the
/// connection. Credentials are wiped when they are forgotten, at the latest with the connection.
#[derive(Clone, Default)]
#[expect(missing_debug_implementations, reason = "it holds credentials")]
pub struct Remembered(Arc<Mutex<VecDeque<Known>>>);

struct Known {
    credential: Zeroizing<Vec<u8>>,
    identity: Identity,
}

impl Remembered {
    /// Only ever taken by the calls of one connection, for a few comparisons.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who a credential was recognised as, if that still holds.
    fn find(&self, credential: &str, holds: impl Fn(&Identity) -> bool) -> Option<Identity> {
        let mut known = self.lock();
        let is_it = |known: &Known| credentials_match(&known.credential, credential.as_bytes());
        let at = known.iter().position(is_it)?;
        if holds(&known[at].identity) {
            return Some(known[at].identity.clone());
        }
        known.remove(at);
        None
    }

    /// Remembers what a credential was recognised as, in place of what holds no more, and of the oldest if there is
    /// no room.
    fn keep(&self, credential: &str, identity: &Identity, holds: impl Fn(&Identity) -> bool) {
        let mut known = self.lock();
        known.retain(|known| holds(&known.identity));
        if known.len() >= MOST {
            known.pop_front();
        }
        let credential = Zeroizing::new(credential.as_bytes().to_vec());
        known.push_back(Known { credential, identity: identity.clone() });
    }
}

/// The caller of a credential that came with a call of these extensions.
///
/// # Errors
/// As [`Callers::recognise`].
pub(super) fn recognise(
    callers: &impl Callers,
    extensions: &Extensions,
    credential: &str,
) -> Result<Identity, AppError> {
    let Some(remembered) = extensions.get::<Remembered>() else {
        return callers.recognise(credential);
    };
    let holds = |identity: &Identity| callers.is_unchanged(identity);
    if let Some(identity) = remembered.find(credential, holds) {
        return Ok(identity);
    }
    let identity = callers.recognise(credential)?;
    remembered.keep(credential, &identity, holds);
    Ok(identity)
}

#[cfg(test)]
#[path = "remembered_tests.rs"]
mod tests;
