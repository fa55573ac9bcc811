//! An archive that was exported. No server is called, and what it says of its own key is not believed.

use std::io::{BufRead, BufReader};
use std::path::Path;

use super::verdict::Verdict;
use super::{State, Stop, Witnesses};
use crate::archive::{Archive, ArchiveError};
use crate::cli::failure::Failure;
use crate::cli::progress::Shown;
use crate::cli::text::plain;
use crate::durable_file;
use crate::merkle::checkpoint::{Checkpoint, CheckpointError};
use crate::merkle::note::{NoteError, VerifierKey};
use crate::progress::Progress;
use crate::verify::History;

/// After how many records people are told how far it is.
const TELL_EACH: u64 = 1024;

impl From<ArchiveError> for Stop {
    fn from(error: ArchiveError) -> Self {
        Stop::Unsound(plain(&error.to_string()))
    }
}

/// Verifies all of an archive with the keys that are trusted, and holds it to the checkpoint that was seen last
/// if it reaches so far.
pub(super) fn verify(
    path: &Path,
    state: &State,
    witnesses: Option<&Witnesses>,
    verdict: &mut Verdict,
) -> Result<(), Stop> {
    let file = durable_file::open_regular(path)
        .map_err(|error| Failure::Local(format!("{}: {error}", path.display())))?;
    let archive = Archive::open(BufReader::new(file))?;
    verdict.note = archive.note().to_owned();
    let own = State::trusting(archive.keys());
    let vouched = !state.keys().is_empty();
    let trusted = if vouched { state } else { &own };
    let whose = whose(&archive, trusted);
    let mut records = archive.records(trusted.keys()).map_err(|error| match error {
        error @ ArchiveError::Checkpoint(CheckpointError::Note(NoteError::UnknownKeys)) => {
            Stop::Unsound(format!("{error}; {whose}"))
        }
        error => error.into(),
    })?;
    let checkpoint = records.checkpoint().clone();
    verdict.found(&checkpoint, trusted.signers(&verdict.note));
    let cosigned = witnesses.map(|witnesses| witnesses.open(&verdict.note, trusted.keys()));
    verdict.cosigned = cosigned.transpose().map_err(Stop::Unsound)?;
    let mut history = begin(&checkpoint, state, verdict)?;
    let progress = Shown::new();
    progress.begin("verifying the archive", checkpoint.size);
    while let Some((record, clear)) = records.next_entry()? {
        let taken = history.take(record, clear);
        (verdict.tally, verdict.read) = (history.tally(), history.size());
        taken?;
        if history.size().is_multiple_of(TELL_EACH) {
            progress.reached(history.size());
        }
    }
    records.finish()?;
    progress.end();
    history.hold_to(&checkpoint)?;
    if vouched { Ok(()) } else { Err(Stop::Unsound(unvouched(&own))) }
}

/// Whose an archive says it is, and whose keys are trusted.
fn whose(archive: &Archive<impl BufRead>, trusted: &State) -> String {
    let origin = plain(archive.note().split('\n').next().unwrap_or_default());
    let names = |keys: &[VerifierKey]| {
        let names = keys.iter().map(|key| plain(&format!("{}+{}", key.name(), key.id_text())));
        names.collect::<Vec<_>>().join(", ")
    };
    let (signed, trusted) = (names(archive.keys()), names(trusted.keys()));
    format!("by its own word it is of the log {origin}, signed by {signed}; trusted are {trusted}")
}

/// No record yet; those up to the checkpoint that was seen last must be its.
fn begin(checkpoint: &Checkpoint, state: &State, verdict: &mut Verdict) -> Result<History, Stop> {
    let mut history = History::default();
    let Some(seen) = state.seen() else { return Ok(history) };
    if seen.origin != checkpoint.origin {
        let (was, is) = (&seen.origin, &checkpoint.origin);
        return Err(Stop::Unsound(format!("it is of another log: of {is}, and {was} was seen")));
    }
    if seen.size <= checkpoint.size {
        history.expect(seen);
        verdict.continues = Some(seen.size);
    } else {
        verdict.ends_before = Some(seen.size);
    }
    Ok(history)
}

fn unvouched(own: &State) -> String {
    let keys: Vec<_> = own.keys().iter().map(ToString::to_string).collect();
    format!(
        "it holds together, but it is signed by a key that came with it, for which nobody has vouched; whoever \
         can change the archive can change the key. If this is the log's, as you know from elsewhere, say so: \
         --verifier-key {}",
        keys.join(" --verifier-key ")
    )
}
