//! Moves keys and callers to the pepper in force, each when its secret is next presented.
//!
//! The request that presents it computes the new tag; nothing else ever has the secret. It takes a place, of which
//! there are so many, without waiting, and queues the tag; one that finds its place taken leaves it to a later use. A
//! task hands the tags to the writer in the background lane. The rule that decides does nothing if the key
//! has changed meanwhile.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::app::App;
use crate::app::identify::{Identity, Proof};
use crate::domain::caller::Caller;
use crate::domain::command::{Act, Command};
use crate::domain::event::{Actor, Mechanism};
use crate::domain::ids::{CallerId, KeyId, PUBLIC_ID_BYTES};
use crate::domain::key_format::Secret;
use crate::domain::peppers::{RehashCaller, RehashKey, works_on};
use crate::domain::tag::{KeyTag, Purpose};
use crate::domain::time::Time;
use crate::ledger::lanes::Lane;
use crate::projection::key_table::Row;

/// How many may be on their way: about 200 bytes each.
const PLACES: usize = 4096;

/// How many are handed to the writer before their answers are waited for: a small part of the background lane, which
/// others need too.
const AT_ONCE: usize = 256;

/// One on its way, and the place it takes.
struct Move {
    place: usize,
    act: Act,
}

/// Those on their way to the writer: at most one of each key or caller.
pub(crate) struct Rehashing {
    /// By bits of ids, which are random.
    taken: Arc<[AtomicBool]>,
    queue: mpsc::Sender<Move>,
    /// The other end, until the task takes it.
    waiting: Mutex<Option<mpsc::Receiver<Move>>>,
}

impl Default for Rehashing {
    fn default() -> Self {
        let (queue, waiting) = mpsc::channel(PLACES);
        let taken = (0..PLACES).map(|_| AtomicBool::new(false)).collect();
        Rehashing { taken, queue, waiting: Mutex::new(Some(waiting)) }
    }
}

impl fmt::Debug for Rehashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rehashing").finish_non_exhaustive()
    }
}

impl Rehashing {
    /// Puts what `act` makes on its way, if the place of `id` is free.
    fn offer(&self, id: &[u8; PUBLIC_ID_BYTES], act: impl FnOnce() -> Option<Act>) {
        let place = usize::from(u16::from_be_bytes([id[0], id[1]])) % PLACES;
        let taken = &self.taken[place];
        if taken.swap(true, Ordering::AcqRel) {
            return;
        }
        // The queue has room for every place, and is closed once the service ends.
        let queued = act().is_some_and(|act| self.queue.try_send(Move { place, act }).is_ok());
        if !queued {
            taken.store(false, Ordering::Release);
        }
    }
}

impl App {
    /// A key's secret has matched: sees to it that the pepper in force recognises it from some time on.
    pub(crate) fn note_pepper_of_key(&self, id: KeyId, row: &Row, secret: &Secret, now: Time) {
        let key = &row.key;
        let Some(pepper) = self.newer_pepper(key.pepper) else { return };
        if !works_on(key, now) || row.account.standing().account.erased {
            return;
        }
        self.pepper_work.rehashing.offer(&id.0, || {
            let tag = self.vault.peppers.tag(pepper, Purpose::Key, &id.0, secret)?;
            let from = KeyTag { pepper: key.pepper, tag: key.tag.clone() };
            Some(Act::RehashKey(RehashKey { key: id, from, to: KeyTag { pepper, tag } }))
        });
    }

    /// As [`App::note_pepper_of_key`], of a caller's present secret. The one before ends by itself.
    pub(crate) fn note_pepper_of_caller(&self, id: CallerId, caller: &Caller, secret: &Secret) {
        let Some(pepper) = self.newer_pepper(caller.tag.pepper) else { return };
        self.pepper_work.rehashing.offer(&id.0, || {
            let tag = self.vault.peppers.tag(pepper, Purpose::Caller, &id.0, secret)?;
            let (from, to) = (caller.tag.clone(), KeyTag { pepper, tag });
            Some(Act::RehashCaller(RehashCaller { caller: id, from, to }))
        });
    }

    /// Whether the caller's present credential was recognised by another pepper than the one in force.
    pub(crate) fn is_to_move(&self, identity: &Identity) -> bool {
        match &identity.proof {
            Proof::Credential { tag, secret_at: Some(_) } => {
                self.newer_pepper(tag.pepper).is_some()
            }
            Proof::Credential { .. } | Proof::Certificate { .. } => false,
        }
    }

    /// Hands what is on its way to the writer, as long as this is polled.
    pub fn move_tags(&self) -> impl Future<Output = ()> + Send + use<> {
        let (taken, writer) = (Arc::clone(&self.pepper_work.rehashing.taken), self.writer.clone());
        let waiting = self
            .pepper_work
            .rehashing
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        async move {
            let Some(mut waiting) = waiting else { return };
            let mut moves = Vec::with_capacity(AT_ONCE);
            while waiting.recv_many(&mut moves, AT_ONCE).await > 0 {
                let submitted = moves.drain(..).map(|Move { place, act }| {
                    let actor = Actor { caller: None, mechanism: Mechanism::Service };
                    let command = Command { act, actor, trace_id: None, request: None };
                    (place, writer.submit(Lane::Background, command))
                });
                for (place, answer) in submitted.collect::<Vec<_>>() {
                    // Whether it was taken and done, the next use finds.
                    if let Ok(answer) = answer {
                        let _ = answer.await;
                    }
                    taken[place].store(false, Ordering::Release);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::PepperVersion;
    use crate::domain::tag::Tag;

    fn act() -> Option<Act> {
        let tag = |pepper| KeyTag { pepper: PepperVersion(pepper), tag: Tag::from_bytes([1; 32]) };
        Some(Act::RehashKey(RehashKey { key: KeyId([1; 12]), from: tag(1), to: tag(2) }))
    }

    #[test]
    fn there_is_one_of_a_key_on_its_way_and_none_of_what_could_not_be_made() {
        let rehashing = Rehashing::default();
        rehashing.offer(&[1; 12], || None);
        rehashing.offer(&[1; 12], act);
        rehashing.offer(&[1; 12], || panic!("no tag is computed of a key that is on its way"));
        rehashing.offer(&[2; 12], act);
        let mut waiting = rehashing.waiting.lock().unwrap().take().unwrap();
        let places: Vec<_> =
            std::iter::from_fn(|| waiting.try_recv().ok().map(|one| one.place)).collect();
        assert_eq!(places, [0x101, 0x202]);
    }

    #[test]
    fn every_place_has_room_in_the_queue() {
        let rehashing = Rehashing::default();
        for place in 0..u16::try_from(PLACES).unwrap() {
            let mut id = [0; 12];
            id[..2].copy_from_slice(&place.to_be_bytes());
            rehashing.offer(&id, act);
        }
        let waiting = rehashing.waiting.lock().unwrap().take().unwrap();
        assert_eq!(waiting.len(), PLACES);
    }
}
