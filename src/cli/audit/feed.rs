//! The stream of events as a client follows it: if the connection is lost it is made anew and goes on behind
//! the last answer, so that no event is missed and none comes twice.

use std::ops::ControlFlow;
use std::time::Duration;

use tonic::Status;

use crate::cli::failure::{Exit, Failure};
use crate::cli::output::note;
use crate::cli::session::Session;
use crate::proto::v1::stream_events_response::Answer;
use crate::proto::v1::{AuditEvent, StreamEventsRequest};

/// How long a stream may be silent: a server that lives says something every 15 s.
const SILENCE: Duration = Duration::from_secs(45);

/// How long to wait before a connection is made anew: at first, and at most.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(15);

/// Takes what comes; breaks off when it has what it needs.
pub(super) type Take<'a, T> =
    &'a mut dyn FnMut(T, &mut Session) -> Result<ControlFlow<()>, Failure>;

/// Where the stream is, whether it ever was there, and how often it was lost since it last said something.
#[derive(Debug)]
pub(super) struct Feed {
    request: StreamEventsRequest,
    begun: bool,
    lost: u32,
}

impl Feed {
    pub(super) fn new(request: StreamEventsRequest) -> Self {
        Feed { request, begun: false, lost: 0 }
    }

    /// What to stream behind, to go on: every event up to there that fits has been taken.
    pub(super) fn reached(&self) -> u64 {
        self.request.after_position
    }

    /// Hands on each event until the stream ends or `take` breaks off.
    pub(super) async fn each_event(
        &mut self,
        session: &mut Session,
        take: Take<'_, AuditEvent>,
    ) -> Result<(), Failure> {
        let mut take = |answer, session: &mut Session| match answer {
            Answer::Event(event) => take(*event, session),
            Answer::Heartbeat(_) | Answer::Progress(_) => Ok(ControlFlow::Continue(())),
        };
        self.each(session, &mut take).await
    }

    /// Hands on each answer until the stream ends or `take` breaks off.
    pub(super) async fn each(
        &mut self,
        session: &mut Session,
        take: Take<'_, Answer>,
    ) -> Result<(), Failure> {
        loop {
            let ended = self.follow(session, take).await;
            let Err(failure) = ended else { return Ok(()) };
            // A server that was never there is no lost connection.
            if !self.begun || failure.exit() != Exit::Unavailable {
                return Err(failure);
            }
            let rest = self.rest();
            note(&format!(
                "{}; going on behind position {} in {} s",
                why(&failure),
                self.request.after_position,
                rest.as_secs()
            ));
            tokio::time::sleep(rest).await;
        }
    }

    /// Hands on what comes until the stream ends.
    async fn follow(
        &mut self,
        session: &mut Session,
        take: Take<'_, Answer>,
    ) -> Result<(), Failure> {
        let mut audit = session.connect().await?.audit();
        let mut answers = audit.stream_events(self.request.clone()).await?.into_inner();
        self.begun = true;
        loop {
            let answer = tokio::time::timeout(SILENCE, answers.message()).await;
            let answer = answer.map_err(|_| {
                Status::unavailable(format!("the server said nothing for {} s", SILENCE.as_secs()))
            })??;
            let Some(answer) = answer else { return Ok(()) };
            self.lost = 0;
            // One without an answer is of a newer server.
            let Some(answer) = answer.answer else { continue };
            let reached = match &answer {
                Answer::Event(event) => event.position,
                Answer::Heartbeat(heartbeat) => heartbeat.head,
                Answer::Progress(progress) => progress.position,
            };
            let flow = take(answer, session)?;
            self.request.after_position = reached;
            if flow.is_break() {
                return Ok(());
            }
        }
    }

    /// How long to wait before the connection is made anew.
    fn rest(&mut self) -> Duration {
        let rest = FIRST_REST.saturating_mul(1 << self.lost.min(8)).min(LONGEST_REST);
        self.lost += 1;
        rest
    }
}

/// Why a stream was lost, in one line: nothing was asked for that may have been done all the same.
fn why(failure: &Failure) -> String {
    let text = failure.message(None).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_begin_anew_with_the_first_answer() {
        let mut feed = Feed::new(StreamEventsRequest::default());
        let rests: Vec<u64> = (0..6).map(|_| feed.rest().as_secs()).collect();
        assert_eq!(rests, [1, 2, 4, 8, 15, 15]);
        feed.lost = 0;
        assert_eq!(feed.rest(), FIRST_REST);
    }
}
