//! One record and what shows that it is in the log, as one file.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Signed, Target, disclosed_of, hashes};
use crate::archive::Proof;
use crate::cli::audit::feed::Feed;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Fields, Resource};
use crate::cli::session::Session;
use crate::cli::text::grouped;
use crate::merkle::leaf_hash;
use crate::merkle::proof::verify_inclusion;
use crate::proto::v1::{AuditEvent, GetInclusionProofRequest, StreamEventsRequest};

pub(super) async fn run(
    target: &Target,
    position: u64,
    disclose: bool,
    Signed { note, checkpoint, .. }: Signed,
    session: &mut Session,
) -> Result<Exit, Failure> {
    let event = event_at(position, session).await?;
    let mut audit = session.connect().await?.audit();
    let request = GetInclusionProofRequest { position, tree_size: checkpoint.size };
    let hashes = hashes(audit.get_inclusion_proof(request).await?.into_inner().hashes)?;
    let (leaf, hash) = (position - 1, leaf_hash(&event.record));
    verify_inclusion(&hash, leaf, checkpoint.size, &hashes, &checkpoint.root)
        .map_err(|error| Failure::Local(format!("the server's proof: {error}")))?;
    let disclosed = disclosed_of(&event, disclose).to_vec();
    let is_disclosed = !disclosed.is_empty();
    let proof = Proof { record: event.record, disclosed, leaf, hashes, note };
    let mut aside = target.begin()?;
    aside.write_all(proof.to_string().as_bytes()).map_err(|error| target.unwritable(&error))?;
    target.finish(aside)?;
    let (path, size) = (target.path.clone(), checkpoint.size);
    session.output.one(&Proved { path, position, size, disclosed: is_disclosed })?;
    Ok(Exit::Done)
}

/// The event at a position, if the caller may see it.
async fn event_at(position: u64, session: &mut Session) -> Result<AuditEvent, Failure> {
    let request = StreamEventsRequest { after_position: position - 1, ..Default::default() };
    let mut found = None;
    let mut take = |event: AuditEvent, _: &mut Session| {
        found = (event.position == position).then_some(event);
        Ok(ControlFlow::Break(()))
    };
    Feed::new(request).each_event(session, &mut take).await?;
    found.ok_or_else(|| {
        let text =
            "the caller is not shown the event at that position: it is bound to other tenants";
        Failure::Local(text.to_owned())
    })
}

/// A proof file that is whole.
struct Proved {
    path: PathBuf,
    position: u64,
    size: u64,
    disclosed: bool,
}

impl Resource for Proved {
    fn json(&self) -> Value {
        json!({
            "file": self.path.display().to_string(),
            "position": self.position,
            "tree_size": self.size,
            "disclosed": self.disclosed,
        })
    }

    fn fields(&self) -> Fields {
        let disclosed = if self.disclosed { "its personal fields" } else { "nothing" };
        vec![
            ("proof", self.path.display().to_string()),
            ("of", format!("the record at position {}", grouped(self.position))),
            ("among", format!("{} records", grouped(self.size))),
            ("disclosed", disclosed.to_owned()),
        ]
    }
}
