//! The sending side of one stream of events.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

use super::Audit;
use super::entry::AuditEntry;
use super::filter::Sight;
use super::relay::{Batch, Following};
use super::room::Place;
use super::stream::{Answer, Pace};
use crate::app::App;
use crate::app::checkpoint::SignedCheckpoint;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::domain::conduct::Reader;
use crate::domain::conduct::window::Read;
use crate::domain::event::EventKind;
use crate::domain::ids::{CallerId, Position};
use crate::ledger::engine::LedgerError;
use crate::ledger::record;

/// How many bytes of the log are looked through at once for events that fit.
const LOOK_BYTES: usize = 4 * 1024 * 1024;

/// Why a stream ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// It does not follow and has come to its end.
    AtHead,
    ClientGone,
    With(AppError),
}

impl From<AppError> for Ended {
    fn from(error: AppError) -> Self {
        Ended::With(error)
    }
}

/// A stream on its way through the log.
pub(super) struct Follower {
    pub(super) app: Arc<App>,
    pub(super) identity: Arc<Identity>,
    /// Resolves when the identity's credential works no more.
    pub(super) ended: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// What its reading is on record as.
    pub(super) reader: Reader,
    pub(super) sight: Arc<Sight>,
    pub(super) pace: Pace,
    pub(super) lots: Sender<Result<Vec<Answer>, AppError>>,
    /// None if it ends at `head`.
    pub(super) following: Option<Following>,
    pub(super) head: u64,
    /// All that fits up to here has been handed on.
    pub(super) reached: u64,
    /// The position of the last answer.
    pub(super) told: u64,
    /// When the next heartbeat is due.
    pub(super) due: Instant,
    /// That of the last heartbeat.
    pub(super) checkpoint: Option<Arc<SignedCheckpoint>>,
}

/// What was found of events that fit, and how far was looked.
struct Found {
    events: Vec<Arc<AuditEntry>>,
    reached: u64,
    /// What is behind that and cannot be read, to be told once the events are handed on.
    damage: Option<AppError>,
}

impl Audit {
    /// The place of one more stream of `caller`, until it is dropped.
    pub(super) fn enter_stream(&self, caller: CallerId) -> Option<Place> {
        let place = self.streams.enter(caller)?;
        self.counts.opened.fetch_add(1, Ordering::Relaxed);
        Some(place)
    }
}

impl Follower {
    /// Sends until the end.
    pub(super) async fn run(&mut self) -> Ended {
        match self.send_all().await {
            Ok(()) => Ended::AtHead,
            Err(ended) => ended,
        }
    }

    async fn send_all(&mut self) -> Result<(), Ended> {
        let mut was_at_head = false;
        loop {
            if let Some(following) = &mut self.following {
                self.head = self.head.max(following.head());
            }
            while self.reached < self.head {
                self.step().await?;
            }
            if self.following.is_none() {
                if self.told < self.reached {
                    self.tell(Answer::Progress { position: self.reached }).await?;
                }
                return Ok(());
            }
            if !was_at_head || Instant::now() >= self.due {
                was_at_head = true;
                let checkpoint = self.newest_checkpoint();
                self.tell(Answer::Heartbeat { head: self.head, checkpoint }).await?;
            }
            self.wait().await?;
            self.app.confirm(&self.identity)?;
        }
    }

    /// The newest checkpoint; if that is of more than the head that is told, the one told before. So none is of
    /// a smaller tree than one before.
    fn newest_checkpoint(&mut self) -> Option<Arc<SignedCheckpoint>> {
        let newest = self.app.recent_checkpoint();
        if let Some(newest) = newest.filter(|newest| newest.checkpoint.size <= self.head) {
            self.checkpoint = Some(newest);
        }
        self.checkpoint.clone()
    }

    /// Waits at the head for more, or until a heartbeat is due.
    async fn wait(&mut self) -> Result<(), Ended> {
        let Some(following) = &mut self.following else { return Ok(()) };
        tokio::select! {
            biased;
            () = self.app.drain.begun() => Err(Ended::With(AppError::Draining)),
            () = &mut self.ended => Err(Ended::With(AppError::CredentialInvalid)),
            () = self.lots.closed() => Err(Ended::ClientGone),
            () = following.moved() => Ok(()),
            () = tokio::time::sleep_until(self.due) => Ok(()),
        }
    }

    /// Looks through some of what lies between here and the head, and hands on what fits.
    async fn step(&mut self) -> Result<(), Ended> {
        let next = self.reached + 1;
        let recent = self.following.as_ref().and_then(|following| following.recent(next));
        let Found { events, reached, damage } = match recent {
            Some(batch) => self.found_in(&batch),
            None => self.read().await?,
        };
        if events.is_empty() {
            self.reached = reached;
            if reached - self.told >= self.pace.progress_each {
                self.tell(Answer::Progress { position: reached }).await?;
            }
        } else {
            let read = read_of(&events);
            let last = events.last().map_or(self.told, |entry| entry.fact.position.get());
            self.send(events.into_iter().map(Answer::Event).collect(), Some(read)).await?;
            (self.reached, self.told) = (reached, last);
        }
        damage.map_or(Ok(()), |damage| Err(Ended::With(damage)))
    }

    /// What fits of a batch of recent records.
    fn found_in(&self, batch: &Batch) -> Found {
        let mut found = Found { events: Vec::new(), reached: self.reached, damage: None };
        let (mut bytes, lot) = (0, self.app.audit.streams.lot_bytes());
        let behind = |entry: &&Arc<AuditEntry>| entry.fact.position.get() > self.reached;
        for entry in batch.entries().iter().filter(behind) {
            found.reached = entry.fact.position.get();
            if self.sight.fits(&entry.fact) {
                bytes += entry.weight();
                found.events.push(Arc::clone(entry));
                if bytes >= lot {
                    return found;
                }
            }
        }
        found
    }

    /// What fits of the log behind what has been reached: read by one of a few threads.
    async fn read(&mut self) -> Result<Found, Ended> {
        let readers = Arc::clone(&self.app.audit.readers);
        let room = tokio::select! {
            biased;
            () = self.app.drain.begun() => return Err(Ended::With(AppError::Draining)),
            () = &mut self.ended => return Err(Ended::With(AppError::CredentialInvalid)),
            () = self.lots.closed() => return Err(Ended::ClientGone),
            room = readers.acquire_owned() => room.map_err(|_| AppError::Internal)?,
        };
        let (app, sight) = (Arc::clone(&self.app), Arc::clone(&self.sight));
        let (reached, head) = (self.reached, self.head);
        let read = move || {
            let _room = room;
            app.look_through(&sight, reached, head)
        };
        let found = tokio::task::spawn_blocking(read).await;
        Ok(found.map_err(|error| AppError::internal("reading the history", &error))?)
    }

    /// Tells where the stream is.
    async fn tell(&mut self, answer: Answer) -> Result<(), Ended> {
        self.send(vec![answer], None).await?;
        self.told = self.reached;
        Ok(())
    }

    /// Hands answers on, once there is room for them; what is read with them is noted before the client can have it.
    async fn send(&mut self, answers: Vec<Answer>, read: Option<Read>) -> Result<(), Ended> {
        let room = tokio::select! {
            biased;
            () = self.app.drain.begun() => return Err(Ended::With(AppError::Draining)),
            () = &mut self.ended => return Err(Ended::With(AppError::CredentialInvalid)),
            room = tokio::time::timeout(self.pace.patience, self.lots.reserve()) => match room {
                Ok(Ok(room)) => room,
                Ok(Err(_)) => return Err(Ended::ClientGone),
                Err(_) => {
                    self.app.audit.counts.stalled.fetch_add(1, Ordering::Relaxed);
                    return Err(Ended::With(AppError::Stalled));
                }
            },
        };
        // Not before: its client may have taken its time, and lost its credential meanwhile.
        self.app.confirm(&self.identity)?;
        if let Some(read) = read {
            self.app.audit.counts.events.fetch_add(read.events, Ordering::Relaxed);
            self.app.note_read(&self.reader, &read);
        }
        room.send(Ok(answers));
        self.due = Instant::now() + self.pace.heartbeat;
        Ok(())
    }
}

/// What is noted of handing on events, which are in order.
fn read_of(events: &[Arc<AuditEntry>]) -> Read {
    let position = |entry: &Arc<AuditEntry>| entry.fact.position;
    let of_reads = |entry: &Arc<AuditEntry>| entry.fact.event.kind() == EventKind::AuditRead;
    Read {
        begins: false,
        events: u64::try_from(events.len()).unwrap_or(u64::MAX),
        positions: events.first().map(position).zip(events.last().map(position)),
        of_reads_alone: events.iter().all(of_reads),
    }
}

impl App {
    /// Looks through the log between two positions, the first of which has been reached, until there is a
    /// lot of events or much has been looked at.
    fn look_through(&self, sight: &Sight, reached: u64, head: u64) -> Found {
        let mut found = Found { events: Vec::new(), reached, damage: None };
        found.damage = self.find(sight, &mut found, head).err();
        found
    }

    fn find(&self, sight: &Sight, found: &mut Found, head: u64) -> Result<(), AppError> {
        let next = |found: &Found| Position::new(found.reached + 1).unwrap_or(Position::FIRST);
        let first = next(found);
        let (mut weight, mut looked_at) = (0, 0);
        let lot = self.audit.streams.lot_bytes();
        for frame in self.reader.frames_from(first) {
            let frame = frame.map_err(|error| self.audit.unreadable(next(found), &error))?;
            for (position, bytes) in frame.records() {
                if position < first || position.get() > head {
                    continue;
                }
                if let Some(entry) = self.entry_if_fit(sight, position, bytes)? {
                    weight += entry.weight();
                    found.events.push(Arc::new(entry));
                }
                found.reached = position.get();
                if weight >= lot {
                    return Ok(());
                }
            }
            looked_at += frame.as_bytes().len();
            if looked_at >= LOOK_BYTES || frame.last().get() >= head {
                return Ok(());
            }
        }
        // A ledger that ends before its head has lost a frame.
        let position = next(found);
        Err(self.audit.unreadable(position, &LedgerError::MissingFrame { position }))
    }

    fn entry_if_fit(
        &self,
        sight: &Sight,
        position: Position,
        bytes: &[u8],
    ) -> Result<Option<AuditEntry>, AppError> {
        let seen = record::glance(bytes).map_err(|error| self.audit.damaged(position, &error))?;
        if !sight.fits(&seen) {
            return Ok(None);
        }
        self.audit_entry(position, bytes, true).map(Some)
    }
}
