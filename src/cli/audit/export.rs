//! `keyledger audit export`: the history taken out, to be kept and verified elsewhere, or read by other
//! programs.

mod archive;
mod lines;
mod proof;

use std::io;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};

use super::filter::FilterArgs;
use super::witness::NONE_COSIGNED;
use crate::archive::ArchiveError;
use crate::cli::failure::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::text::{grouped, plain};
use crate::durable_file::{self, Aside};
use crate::merkle::Hash;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::note::VerifierKey;
use crate::proto::v1;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("form").required(true))]
pub(in crate::cli) struct ExportArgs {
    /// Write the whole history up to the newest checkpoint to an archive, `.tar.gz`: records, hash tiles,
    /// checkpoint, verifier keys and what is disclosed. The caller must be bound to no tenant
    #[arg(long, value_name = "FILE", group = "form")]
    archive: Option<PathBuf>,
    /// Write events as JSON, one a line; `-` is standard output. Where to go on behind is said at the end
    #[arg(long, value_name = "FILE|-", group = "form")]
    json_lines: Option<PathBuf>,
    /// Write one record, and what shows that it is in the log, to a proof file, `.tlog-proof`
    #[arg(long, value_name = "FILE", group = "form", requires = "position")]
    proof: Option<PathBuf>,
    /// The position of that record
    #[arg(long, value_name = "POSITION", conflicts_with_all = ["archive", "json_lines"],
          value_parser = clap::value_parser!(u64).range(1..))]
    position: Option<u64>,
    /// JSON lines: begin behind this position [default: 0, the beginning of the log]
    #[arg(long, value_name = "POSITION", conflicts_with_all = ["archive", "proof"])]
    after: Option<u64>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Leave out what may name a person: names, comments, addresses and the like. What is left can be verified
    /// all the same
    #[arg(long, conflicts_with = "json_lines")]
    without_disclosures: bool,
    /// Up to the newest checkpoint that the server's witnesses have cosigned, not the newest, for who verifies with
    /// --witness
    #[arg(long, conflicts_with = "json_lines")]
    cosigned: bool,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(args: ExportArgs, session: &mut Session) -> Result<Exit, Failure> {
    let ExportArgs { archive, json_lines, proof, filter, cosigned, .. } = args;
    let disclosed = !args.without_disclosures;
    if let Some(filter) = filter.given().filter(|_| json_lines.is_none()) {
        let text = format!("{filter} chooses events of --json-lines alone");
        return Err(Failure::Usage(text));
    }
    if let Some(path) = archive {
        let target = Target::new(&path, args.force)?;
        archive::run(&target, disclosed, signed(1, cosigned, session).await?, session).await
    } else if let Some(path) = json_lines {
        let to = if path == Path::new("-") { None } else { Some(Target::new(&path, args.force)?) };
        lines::run(to.as_ref(), args.after.unwrap_or(0), filter.message(), session).await
    } else {
        let (path, position) = proof.zip(args.position).expect("one of the forms is required");
        let target = Target::new(&path, args.force)?;
        let signed = signed(position, cosigned, session).await?;
        proof::run(&target, position, disclosed, signed, session).await
    }
}

/// A file to be made.
struct Target {
    path: PathBuf,
    force: bool,
}

impl Target {
    /// Refuses one that is there already, unless it may be replaced.
    fn new(path: &Path, force: bool) -> Result<Self, Failure> {
        let target = Target { path: path.to_owned(), force };
        target.require_free()?;
        Ok(target)
    }

    fn require_free(&self) -> Result<(), Failure> {
        let there = durable_file::is_there(&self.path).map_err(|error| self.unwritable(&error))?;
        if there && !self.force {
            let text = format!("{} is there already: --force replaces it", self.path.display());
            return Err(Failure::Local(text));
        }
        Ok(())
    }

    /// Begins the file, for its owner alone: it may name people.
    fn begin(&self) -> Result<Aside, Failure> {
        Aside::begin(&self.path, 0o600).map_err(|error| self.unwritable(&error))
    }

    /// Gives the file its name.
    fn finish(&self, aside: Aside) -> Result<(), Failure> {
        self.require_free()?;
        aside.finish().map_err(|error| self.unwritable(&error))
    }

    fn unwritable(&self, error: &io::Error) -> Failure {
        Failure::Local(format!("cannot write {}: {error}", self.path.display()))
    }

    fn failed(&self, error: &ArchiveError) -> Failure {
        match error {
            ArchiveError::Unwritable(error) => self.unwritable(error),
            other => Failure::Local(plain(&other.to_string())),
        }
    }
}

/// A checkpoint and the keys that the server says have signed it: what is exported is held to it, so that what
/// is exported holds together. Whether it is to be believed is for who verifies it.
struct Signed {
    note: String,
    keys: Vec<VerifierKey>,
    checkpoint: Checkpoint,
}

/// The newest checkpoint that covers a position, or the newest that witnesses have cosigned.
async fn signed(min_size: u64, cosigned: bool, session: &mut Session) -> Result<Signed, Failure> {
    let mut audit = session.connect().await?.audit();
    let keys = audit.get_verifier_key(v1::GetVerifierKeyRequest {}).await?.into_inner();
    let texts = std::iter::once(&keys.verifier_key).chain(&keys.older_verifier_keys);
    let keys: Option<Vec<_>> = texts.map(|text| VerifierKey::parse(text)).collect();
    let keys =
        keys.ok_or_else(|| Failure::Local("the server's verifier key is none".to_owned()))?;
    let answer = audit.get_checkpoint(v1::GetCheckpointRequest { min_size }).await?.into_inner();
    let note = if cosigned { answer.cosigned_checkpoint } else { answer.checkpoint };
    if note.is_empty() {
        return Err(Failure::Local(NONE_COSIGNED.to_owned()));
    }
    let checkpoint = Checkpoint::open(&note, &keys)
        .map_err(|error| Failure::Local(format!("the server's checkpoint: {error}")))?;
    if checkpoint.size < min_size {
        let (size, position) = (grouped(checkpoint.size), grouped(min_size));
        return Err(Failure::Local(format!(
            "witnesses have cosigned {size} records, not yet the one at position {position}: try again later"
        )));
    }
    Ok(Signed { note, keys, checkpoint })
}

/// The clear bytes that are disclosed of an event; empty if none are.
fn disclosed_of(event: &v1::AuditEvent, disclose: bool) -> &[u8] {
    let shown = event.disclosure.as_ref().filter(|_| disclose);
    shown.map(|disclosure| disclosure.personal.as_slice()).unwrap_or_default()
}

/// The hashes of an answer.
fn hashes(answer: Vec<Vec<u8>>) -> Result<Vec<Hash>, Failure> {
    let hashes = answer.into_iter().map(|hash| hash.try_into().map(Hash).ok());
    let hashes: Option<Vec<_>> = hashes.collect();
    hashes.ok_or_else(|| Failure::Local("the server's proof is none".to_owned()))
}
