//! `keyledger audit tail`.

use std::time::Duration;

use clap::Args;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{json, told};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Format, note};
use crate::cli::session::Session;
use crate::cli::words::choice;
use crate::proto::v1::stream_events_response::Answer;
use crate::proto::v1::{self, AuditEvent, EventFilter, StreamEventsRequest};

/// How long a stream may be silent: a server that lives says something every 15 s.
const SILENCE: Duration = Duration::from_secs(45);

/// How long to wait before a connection is made anew: at first, and at most.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
pub(in crate::cli) struct TailArgs {
    /// Begin behind this position; 0: at the beginning of the log
    #[arg(long, value_name = "POSITION", conflicts_with = "last")]
    after: Option<u64>,
    /// Begin so many positions before the head
    #[arg(long, value_name = "N", default_value_t = 10)]
    last: u64,
    /// Stop at the head
    #[arg(long)]
    once: bool,
    /// Only events of this tenant
    #[arg(long, default_value_t, hide_default_value = true)]
    tenant: String,
    /// Only events of this account of the tenant, its keys' included
    #[arg(long, requires = "tenant", default_value_t, hide_default_value = true)]
    account: String,
    /// Only events about this key, key_…
    #[arg(long, value_name = "KEY_ID", default_value_t, hide_default_value = true)]
    key: String,
    /// Only events of these kinds; repeated or separated by commas
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',',
          value_parser = choice::<v1::EventKind>(), ignore_case = true)]
    kinds: Vec<v1::EventKind>,
}

impl TailArgs {
    fn filter(&self) -> EventFilter {
        EventFilter {
            tenant_id: self.tenant.clone(),
            account_id: self.account.clone(),
            key_id: self.key.clone(),
            kinds: self.kinds.iter().copied().map(i32::from).collect(),
        }
    }
}

/// Where the stream is, whether it ever was there, and how often it was lost since it last said something.
struct Tail {
    request: StreamEventsRequest,
    begun: bool,
    lost: u32,
}

pub(super) async fn run(args: TailArgs, session: &mut Session) -> Result<Exit, Failure> {
    let (filter, follow) = (args.filter(), !args.once);
    let after_position = match args.after {
        Some(after) => after,
        None => head(session).await?.saturating_sub(args.last),
    };
    let request = StreamEventsRequest { after_position, filter: Some(filter), follow };
    let mut tail = Tail { request, begun: false, lost: 0 };
    loop {
        let ended = tail.follow(session).await;
        let Err(failure) = ended else { return Ok(Exit::Done) };
        // A server that was never there is no lost connection.
        if !tail.begun || failure.exit() != Exit::Unavailable {
            return Err(failure);
        }
        let rest = tail.rest();
        note(&format!(
            "{}; going on behind position {} in {} s",
            why(&failure),
            tail.request.after_position,
            rest.as_secs()
        ));
        tokio::time::sleep(rest).await;
    }
}

/// Why a stream was lost, in one line: nothing was asked for that may have been done all the same.
fn why(failure: &Failure) -> String {
    let text = failure.message(None).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

/// The head of the log, which a position that is beyond every head is answered with.
async fn head(session: &mut Session) -> Result<u64, Failure> {
    let mut audit = session.connect().await?.audit();
    let request = StreamEventsRequest { after_position: u64::MAX, ..Default::default() };
    match audit.stream_events(request).await {
        Ok(_) => Err(Failure::Local("the server does not say where its log ends".to_owned())),
        Err(status) => head_in(&status).ok_or_else(|| status.into()),
    }
}

fn head_in(status: &Status) -> Option<u64> {
    let info = status.get_details_error_info().filter(|_| status.code() == Code::OutOfRange)?;
    info.metadata.get("head")?.parse().ok()
}

impl Tail {
    /// Shows what comes until the stream ends.
    async fn follow(&mut self, session: &mut Session) -> Result<(), Failure> {
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
            match answer.answer {
                Some(Answer::Event(event)) => {
                    show(&event, session)?;
                    self.request.after_position = event.position;
                }
                Some(Answer::Heartbeat(heartbeat)) => {
                    show_heartbeat(&heartbeat, session)?;
                    self.request.after_position = heartbeat.head;
                }
                Some(Answer::Progress(progress)) => {
                    self.request.after_position = progress.position;
                }
                // Of a newer server.
                None => {}
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

/// Shows one event.
pub(super) fn show(event: &AuditEvent, session: &mut Session) -> Result<(), Failure> {
    let text = match session.output.format() {
        Format::Json => json::event(event).to_string(),
        Format::Table => told::line(event),
    };
    session.output.line(&text)
}

/// Shows a heartbeat to programs: people see that nothing happens.
fn show_heartbeat(heartbeat: &v1::Heartbeat, session: &mut Session) -> Result<(), Failure> {
    match session.output.format() {
        Format::Json => session.output.line(&json::heartbeat(heartbeat).to_string()),
        Format::Table => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_begin_anew_with_the_first_answer() {
        let request = StreamEventsRequest::default();
        let mut tail = Tail { request, begun: false, lost: 0 };
        let rests: Vec<u64> = (0..6).map(|_| tail.rest().as_secs()).collect();
        assert_eq!(rests, [1, 2, 4, 8, 15, 15]);
        tail.lost = 0;
        assert_eq!(tail.rest(), FIRST_REST);
    }

    #[test]
    fn the_head_is_read_from_the_refusal_of_a_position_beyond_it_alone() {
        use tonic_types::ErrorDetails;
        let metadata = std::collections::HashMap::from([("head".to_owned(), "42".to_owned())]);
        let details = || ErrorDetails::with_error_info("R", "keyledger", metadata.clone());
        let of = |code| head_in(&Status::with_error_details(code, "", details()));
        assert_eq!((of(Code::OutOfRange), of(Code::Internal)), (Some(42), None));
        assert_eq!(head_in(&Status::out_of_range("")), None);
    }
}
