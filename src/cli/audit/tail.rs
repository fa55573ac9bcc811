//! `keyledger audit tail`.

use std::ops::ControlFlow;

use clap::Args;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::feed::Feed;
use super::filter::FilterArgs;
use super::{json, told};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Format;
use crate::cli::session::Session;
use crate::proto::v1::stream_events_response::Answer;
use crate::proto::v1::{self, AuditEvent, StreamEventsRequest};

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
    #[command(flatten)]
    filter: FilterArgs,
}

pub(super) async fn run(args: TailArgs, session: &mut Session) -> Result<Exit, Failure> {
    let after_position = match args.after {
        Some(after) => after,
        None => head(session).await?.saturating_sub(args.last),
    };
    let filter = Some(args.filter.message());
    let mut feed = Feed::new(StreamEventsRequest { after_position, filter, follow: !args.once });
    let mut take = |answer, session: &mut Session| {
        match answer {
            Answer::Event(event) => show(&event, session)?,
            Answer::Heartbeat(heartbeat) => show_heartbeat(&heartbeat, session)?,
            Answer::Progress(_) => {}
        }
        Ok(ControlFlow::Continue(()))
    };
    feed.each(session, &mut take).await?;
    Ok(Exit::Done)
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
    fn the_head_is_read_from_the_refusal_of_a_position_beyond_it_alone() {
        use tonic_types::ErrorDetails;
        let metadata = std::collections::HashMap::from([("head".to_owned(), "42".to_owned())]);
        let details = || ErrorDetails::with_error_info("R", "keyledger", metadata.clone());
        let of = |code| head_in(&Status::with_error_details(code, "", details()));
        assert_eq!((of(Code::OutOfRange), of(Code::Internal)), (Some(42), None));
        assert_eq!(head_in(&Status::out_of_range("")), None);
    }
}
