//! StreamEvents: the history from any position on, paced by who reads it.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::Instant;

use super::entry::AuditEntry;
use super::filter::{EventFilter, Sight};
use super::follower::{Ended, Follower};
use super::relay::Following;
use super::room::Place;
use crate::app::App;
use crate::app::checkpoint::SignedCheckpoint;
use crate::app::conduct::{reader, rpc};
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::domain::conduct::Named;
use crate::domain::conduct::window::Read;
use crate::domain::ids::Position;

/// Lots of answers that wait for the client.
const LOTS_WAITING: usize = 1;

/// When to come back while too many streams are open.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How a stream is paced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// After how long without an answer a heartbeat is due: with what is on its way, within 15 s.
    pub(super) heartbeat: Duration,
    /// How long a client may read nothing.
    pub(super) patience: Duration,
    /// How many positions are passed over until that is told.
    pub(super) progress_each: u64,
}

const PACE: Pace = Pace {
    heartbeat: Duration::from_secs(10),
    patience: Duration::from_secs(60),
    progress_each: 100_000,
};

/// Which stream is asked for.
#[derive(Clone, Debug, Default)]
pub struct StreamAsk {
    /// The position behind which it begins; none: the beginning.
    pub after: Option<Position>,
    /// Which events.
    pub filter: EventFilter,
    /// Whether it goes on at the head.
    pub follow: bool,
}

/// One answer of a stream.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The next event.
    Event(Arc<AuditEntry>),
    /// The stream is at the head.
    Heartbeat {
        /// The head.
        head: u64,
        /// The newest checkpoint of a tree that is no larger.
        checkpoint: Option<Arc<SignedCheckpoint>>,
    },
    /// All that fits up to a position has been sent.
    Progress {
        /// The position.
        position: u64,
    },
}

impl Answer {
    /// The position to resume behind once this has been read.
    #[must_use]
    pub fn position(&self) -> u64 {
        match self {
            Answer::Event(entry) => entry.fact.position.get(),
            Answer::Heartbeat { head: position, .. } | Answer::Progress { position } => *position,
        }
    }
}

/// The answers of a stream as they come, some at a time; the last may be an error.
#[derive(Debug)]
pub struct Answers {
    lots: Receiver<Result<Vec<Answer>, AppError>>,
    /// What waits here takes room though nothing more may come.
    _place: Arc<Place>,
}

impl Answers {
    /// The next answers; none after the last.
    pub fn poll_recv(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Vec<Answer>, AppError>>> {
        self.lots.poll_recv(context)
    }
}

impl App {
    /// StreamEvents. `sending` is dropped once nothing more is sent, whether or not all has been read.
    ///
    /// # Errors
    /// [`AppError`]: a position beyond the head; a tenant the caller is not bound to; too many streams.
    pub fn stream_events(
        self: &Arc<Self>,
        identity: &Arc<Identity>,
        ask: StreamAsk,
        sending: impl Send + 'static,
    ) -> Result<Answers, AppError> {
        self.start_stream(identity, ask, PACE, sending)
    }

    pub(super) fn start_stream(
        self: &Arc<Self>,
        identity: &Arc<Identity>,
        ask: StreamAsk,
        pace: Pace,
        sending: impl Send + 'static,
    ) -> Result<Answers, AppError> {
        self.confirm(identity)?;
        let StreamAsk { after, filter, follow } = ask;
        let EventFilter { tenant, account, key, kinds: _ } = filter.clone();
        let named = Named { tenant, account, key, caller: None };
        let reader = reader(identity, rpc::STREAM_EVENTS, named);
        let sight = Sight::of(identity, filter)?;
        let number = |position: Option<Position>| position.map_or(0, Position::get);
        let (after, head) = (number(after), number(self.table.head()));
        if after > head {
            return Err(AppError::BeyondHead { asked: after, head });
        }
        let place = self.audit.enter_stream(identity.id);
        let place = Arc::new(place.ok_or(AppError::Overloaded { retry_after: RETRY_AFTER })?);
        let (lots, receiver) = channel(LOTS_WAITING + 1);
        // One place is kept for how it ends, which must not wait behind a client that does not read.
        let ending = lots.clone().try_reserve_owned().map_err(|_| AppError::Internal)?;
        self.note_read(&reader, &Read { begins: true, ..Read::default() });
        let mut follower = Follower {
            app: Arc::clone(self),
            identity: Arc::clone(identity),
            ended: Box::pin(self.ended(identity)),
            reader,
            sight: Arc::new(sight),
            pace,
            lots,
            following: follow.then(|| Following::begin(self)),
            head,
            reached: after,
            told: after,
            due: Instant::now(),
            checkpoint: None,
        };
        let answers = Answers { lots: receiver, _place: Arc::clone(&place) };
        tokio::spawn(async move {
            let ended = follower.run().await;
            let resume_after = follower.reached;
            drop((follower, place, sending));
            match ended {
                Ended::AtHead | Ended::ClientGone => drop(ending),
                Ended::With(cause) => {
                    tracing::info!(%cause, resume_after, "a stream of events ended");
                    let cause = Box::new(cause);
                    drop(ending.send(Err(AppError::Interrupted { cause, resume_after })));
                }
            }
        });
        Ok(answers)
    }
}
