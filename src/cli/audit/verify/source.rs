//! The records that a server streams, some at a time, up to the last that a checkpoint is of.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tonic::{Status, Streaming};

use super::Stop;
use crate::cli::connect::Authorized;
use crate::cli::failure::Failure;
use crate::proto::v1::audit_service_client::AuditServiceClient;
use crate::proto::v1::stream_events_response::Answer;
use crate::proto::v1::{AuditEvent, EventFilter, StreamEventsRequest, StreamEventsResponse};

/// Most records that are handed on at once: a millisecond's work.
const LOT: usize = 1024;

/// How long the server may say nothing: it tells how far it is while it passes over what does not fit.
const PATIENCE: Duration = Duration::from_secs(60);

/// A record as it was streamed.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) position: u64,
    pub(super) record: Vec<u8>,
    /// The clear bytes of its personal fields, if they were disclosed.
    pub(super) clear: Option<Vec<u8>>,
}

/// A stream of records.
pub(super) struct Source {
    answers: Streaming<StreamEventsResponse>,
    interrupt: Signal,
    /// All that fits up to here has been handed on.
    reached: u64,
    last: u64,
    ended: bool,
    /// Why it ended before its end, told once what came before is handed on.
    stopped: Option<Stop>,
}

impl Source {
    /// The records behind `after` that fit, up to `last`.
    pub(super) async fn open(
        audit: &mut AuditServiceClient<Authorized>,
        filter: EventFilter,
        after: u64,
        last: u64,
    ) -> Result<Self, Stop> {
        let interrupt = signal(SignalKind::interrupt());
        let interrupt = interrupt.map_err(|error| Failure::Local(error.to_string()))?;
        let filter = Some(filter);
        let request = StreamEventsRequest { after_position: after, filter, follow: false };
        let answers = audit.stream_events(request).await?.into_inner();
        let (reached, ended) = (after, after >= last);
        Ok(Source { answers, interrupt, reached, last, ended, stopped: None })
    }

    /// Up to where all that fits has been handed on.
    pub(super) fn reached(&self) -> u64 {
        self.reached
    }

    /// The next records, maybe none yet; none at all once there are no more.
    pub(super) async fn lot(&mut self) -> Result<Option<Vec<Item>>, Stop> {
        if let Some(stop) = self.stopped.take() {
            return Err(stop);
        }
        if self.ended {
            return Ok(None);
        }
        let mut lot = Vec::with_capacity(LOT);
        while lot.len() < LOT && !self.ended {
            match self.answer().await {
                Err(stop) => {
                    self.stopped = Some(stop);
                    break;
                }
                Ok(None) => self.ended = true,
                Ok(Some(Answer::Event(event))) if event.position <= self.last => {
                    self.reached = event.position;
                    lot.push(item(*event));
                }
                Ok(Some(Answer::Event(_))) => self.pass(self.last),
                Ok(Some(Answer::Progress(progress))) => {
                    self.pass(progress.position);
                    self.ended |= self.reached >= self.last;
                    break;
                }
                // It does not follow.
                Ok(Some(Answer::Heartbeat(_))) => {}
            }
            self.ended |= self.reached >= self.last;
        }
        Ok(Some(lot))
    }

    fn pass(&mut self, position: u64) {
        self.reached = self.reached.max(position.min(self.last));
    }

    async fn answer(&mut self) -> Result<Option<Answer>, Stop> {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Err(Stop::Interrupted),
            answer = tokio::time::timeout(PATIENCE, self.answers.message()) => match answer {
                // Of a newer server, if there is no answer in it: nothing to verify.
                Ok(answer) => Ok(answer?.map(|answer| {
                    answer.answer.unwrap_or(Answer::Progress(Default::default()))
                })),
                Err(_) => {
                    let silent = format!("the server said nothing for {} s", PATIENCE.as_secs());
                    Err(Status::unavailable(silent).into())
                }
            },
        }
    }
}

fn item(event: AuditEvent) -> Item {
    let AuditEvent { position, record, disclosure, event: _, erased: _ } = event;
    Item { position, record, clear: disclosure.map(|disclosed| disclosed.personal) }
}
