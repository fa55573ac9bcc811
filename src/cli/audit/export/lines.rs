//! Events as JSON, one a line, for programs that collect events.

use std::io::{BufWriter, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::Target;
use crate::cli::audit::feed::Feed;
use crate::cli::audit::json::event as as_json;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Fields, Resource, note};
use crate::cli::session::Session;
use crate::cli::text::grouped;
use crate::durable_file::Aside;
use crate::proto::v1::{AuditEvent, EventFilter, StreamEventsRequest};

/// Writes the events behind a position up to the head; to standard output if there is no target.
pub(super) async fn run(
    target: Option<&Target>,
    after_position: u64,
    filter: EventFilter,
    session: &mut Session,
) -> Result<Exit, Failure> {
    let request = StreamEventsRequest { after_position, filter: Some(filter), follow: false };
    let mut feed = Feed::new(request);
    let mut events = 0;
    let Some(target) = target else {
        let mut take = |event: AuditEvent, session: &mut Session| {
            session.output.line(&as_json(&event).to_string())?;
            events += 1;
            Ok(ControlFlow::Continue(()))
        };
        let ended = feed.each_event(session, &mut take).await;
        // Also where it ends early: what was written need not be fetched again.
        if ended.is_ok() || feed.reached() > after_position {
            note(&format!("{} events; go on with --after {}", grouped(events), feed.reached()));
        }
        return ended.map(|()| Exit::Done);
    };
    let mut to = BufWriter::new(target.begin()?);
    let mut take = |event: AuditEvent, _: &mut Session| {
        events += 1;
        put(&mut to, &event).map_err(|error| target.unwritable(&error))
    };
    feed.each_event(session, &mut take).await?;
    let aside = to.into_inner().map_err(|error| target.unwritable(error.error()))?;
    target.finish(aside)?;
    let resume_after = feed.reached();
    session.output.one(&Written { path: target.path.clone(), events, resume_after })?;
    Ok(Exit::Done)
}

fn put(to: &mut BufWriter<Aside>, event: &AuditEvent) -> std::io::Result<ControlFlow<()>> {
    writeln!(to, "{}", as_json(event))?;
    Ok(ControlFlow::Continue(()))
}

/// A file of events that is whole.
struct Written {
    path: PathBuf,
    events: u64,
    resume_after: u64,
}

impl Resource for Written {
    fn json(&self) -> Value {
        json!({
            "file": self.path.display().to_string(),
            "events": self.events,
            "resume_after": self.resume_after,
        })
    }

    fn fields(&self) -> Fields {
        vec![
            ("file", self.path.display().to_string()),
            ("events", grouped(self.events)),
            ("go on with", format!("--after {}", self.resume_after)),
        ]
    }
}
