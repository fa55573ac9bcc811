//! The whole history up to a checkpoint, as one file.

use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Signed, Target, disclosed_of};
use crate::archive::ArchiveWriter;
use crate::cli::audit::feed::Feed;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Fields, Resource};
use crate::cli::progress::Shown;
use crate::cli::session::Session;
use crate::cli::text::{bytes, grouped};
use crate::durable_file::Aside;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::note::VerifierKey;
use crate::progress::Progress as _;
use crate::proto::v1::{AuditEvent, StreamEventsRequest};
use crate::telemetry;

/// An archive being written.
struct Writing {
    to: ArchiveWriter<BufWriter<Aside>>,
    disclose: bool,
    disclosed: u64,
    progress: Shown,
}

pub(super) async fn run(
    target: &Target,
    disclose: bool,
    Signed { note, keys, checkpoint }: Signed,
    session: &mut Session,
) -> Result<Exit, Failure> {
    // Where there is no terminal the log tells how far it is. A bad filter is no reason not to export.
    let _ = telemetry::start(std::env::var(telemetry::LOG_VARIABLE).ok().as_deref());
    let to = ArchiveWriter::begin(BufWriter::new(target.begin()?), &note, &keys, disclose)
        .map_err(|error| target.failed(&error))?;
    let mut writing = Writing { to, disclose, disclosed: 0, progress: Shown::new() };
    writing.progress.begin("exporting records", checkpoint.size);
    let mut feed = Feed::new(StreamEventsRequest::default());
    feed.each_event(session, &mut |event, _| writing.take(&event, target)).await?;
    writing.progress.end();
    if writing.to.records() < checkpoint.size {
        return Err(bound(writing.to.records() + 1));
    }
    let disclosed = writing.disclosed;
    let written = writing.to.finish().map_err(|error| target.failed(&error))?;
    let aside = written.into_inner().map_err(|error| target.unwritable(error.error()))?;
    target.finish(aside)?;
    let size = std::fs::metadata(&target.path).map_err(|error| target.unwritable(&error))?.len();
    let path = target.path.clone();
    session.output.one(&Exported { path, checkpoint, keys, disclosed, bytes: size })?;
    Ok(Exit::Done)
}

impl Writing {
    fn take(&mut self, event: &AuditEvent, target: &Target) -> Result<ControlFlow<()>, Failure> {
        let next = self.to.records() + 1;
        if event.position != next {
            return Err(bound(next));
        }
        let clear = disclosed_of(event, self.disclose);
        self.to.add(&event.record, clear).map_err(|error| target.failed(&error))?;
        self.disclosed += u64::from(!clear.is_empty());
        self.progress.reached(next);
        let last = next == self.to.checkpoint().size;
        Ok(if last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

fn bound(position: u64) -> Failure {
    Failure::Local(format!(
        "the caller is not shown the event at position {position}, and an archive holds all: a caller that \
         is bound to tenants is shown theirs alone\n  export them with --json-lines, or single records with --proof"
    ))
}

/// An archive that is whole.
struct Exported {
    path: PathBuf,
    checkpoint: Checkpoint,
    keys: Vec<VerifierKey>,
    disclosed: u64,
    bytes: u64,
}

impl Resource for Exported {
    fn json(&self) -> Value {
        let Checkpoint { origin, size, root } = &self.checkpoint;
        json!({
            "file": self.path.display().to_string(),
            "bytes": self.bytes,
            "origin": origin.as_str(),
            "tree_size": size,
            "root_hash": root.to_string(),
            "disclosed": self.disclosed,
            "verifier_keys": self.keys.iter().map(VerifierKey::to_string).collect::<Vec<_>>(),
        })
    }

    fn fields(&self) -> Fields {
        let Checkpoint { origin, size, root } = &self.checkpoint;
        let keys: Vec<_> = self.keys.iter().map(VerifierKey::to_string).collect();
        vec![
            ("archive", format!("{}, {}", self.path.display(), bytes(self.bytes))),
            ("log", origin.to_string()),
            ("records", grouped(*size)),
            ("root", root.to_string()),
            ("disclosed", format!("personal fields of {} records", grouped(self.disclosed))),
            ("verify with", keys.join(" ")),
        ]
    }
}
