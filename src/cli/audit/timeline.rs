//! `keyledger audit timeline`.

use clap::Args;

use super::tail::show;
use crate::cli::failure::{Exit, Failure};
use crate::cli::options::Paging;
use crate::cli::output::{Format, note};
use crate::cli::session::Session;
use crate::cli::times::{Past, now, parse_past};
use crate::proto::v1;

#[derive(Debug, Args)]
pub(in crate::cli) struct TimelineArgs {
    /// The key, key_…
    key_id: String,
    /// Only what was recorded since: a time such as 2026-01-31T09:00:00Z, or so long ago, such as 7d
    #[arg(long, value_name = "TIME", value_parser = parse_past)]
    since: Option<Past>,
    /// Only what was recorded before
    #[arg(long, value_name = "TIME", value_parser = parse_past)]
    until: Option<Past>,
    #[command(flatten)]
    paging: Paging,
}

pub(super) async fn run(args: TimelineArgs, session: &mut Session) -> Result<Exit, Failure> {
    let now = now();
    let time =
        |past: Option<Past>| past.map(|past| past.from(now)).transpose().map_err(Failure::Usage);
    let first = v1::GetKeyTimelineRequest {
        key_id: args.key_id.clone(),
        start_time: time(args.since)?,
        end_time: time(args.until)?,
        ..Default::default()
    };
    let mut audit = session.connect().await?.audit();
    let fetch = async |page_size, page_token| {
        let request = v1::GetKeyTimelineRequest { page_size, page_token, ..first.clone() };
        let answer = audit.get_key_timeline(request).await?.into_inner();
        Ok((answer.events, answer.next_page_token))
    };
    let mut shown = false;
    let take = |events: Vec<v1::AuditEvent>| {
        shown |= !events.is_empty();
        events.iter().try_for_each(|event| show(event, session))
    };
    args.paging.walk(fetch, take).await?;
    if !shown && session.output.format() == Format::Table {
        note("Nothing happened to it in that time.");
    }
    Ok(Exit::Done)
}
