//! `audit checkpoint`: the newest signed checkpoint, held to the last one that was seen.
//!
//! A state file is text: `keyledger audit state 1`, a verifier key in each line, an empty line, and the last
//! checkpoint that was seen, as it was signed; nothing there before the first.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Format;
use crate::cli::session::Session;
use crate::cli::text::{grouped, hex, plain};
use crate::durable_file;
use crate::merkle::Hash;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::note::{MAX_NOTE_BYTES, VerifierKey};
use crate::merkle::proof::verify_consistency;
use crate::proto::v1;

const HEADER: &str = "keyledger audit state 1";

/// Most bytes of a state file: a note and a hundred keys.
const MAX_STATE_BYTES: u64 = 2 * MAX_NOTE_BYTES as u64;

#[derive(Debug, Args)]
pub(in crate::cli) struct CheckpointArgs {
    /// A position that it must cover
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    min_size: u64,
    /// State file: the verifier keys that are trusted, and the last checkpoint that was seen
    #[arg(long, value_name = "FILE")]
    verify: Option<PathBuf>,
    /// Verifier key to trust from here on, put into the state file, which is made if it is not there. Get it
    /// over a way you trust
    #[arg(long, value_name = "KEY", requires = "verify", value_parser = verifier_key)]
    trust: Vec<VerifierKey>,
}

fn verifier_key(text: &str) -> Result<VerifierKey, String> {
    let must = "must be <name>+<id>+<key>, as GetVerifierKey answers it";
    VerifierKey::parse(text).ok_or_else(|| must.to_owned())
}

/// What is trusted, and what was seen last.
#[derive(Debug, PartialEq, Eq)]
struct State {
    keys: Vec<VerifierKey>,
    seen: Option<Checkpoint>,
    /// The last checkpoint as it was signed.
    note: String,
}

impl State {
    /// The state in a file and the keys that are trusted from here on; none if it is no state file.
    fn parse(text: &str, trust: &[VerifierKey]) -> Option<Self> {
        let (head, note) = text.split_once("\n\n")?;
        let mut lines = head.split('\n').filter(|line| !line.is_empty());
        let keys = (lines.next() == Some(HEADER)).then(|| lines.map(VerifierKey::parse))?;
        let mut keys = keys.collect::<Option<Vec<_>>>()?;
        let seen = match note {
            "" => None,
            note => Some(Checkpoint::open(note, &keys).ok()?),
        };
        keys.extend(trust.iter().filter(|key| !keys.contains(key)).cloned().collect::<Vec<_>>());
        Some(State { keys, seen, note: note.to_owned() })
    }

    fn text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        for key in &self.keys {
            let _ = writeln!(text, "{key}");
        }
        format!("{text}\n{}", self.note)
    }

    fn read(path: &Path, trust: &[VerifierKey]) -> Result<Self, Failure> {
        let told = |what: String| Failure::Local(format!("{}: {what}", path.display()));
        match durable_file::read_bounded(path, MAX_STATE_BYTES) {
            Ok(bytes) => {
                let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
                let state = text.and_then(|text| State::parse(&text, trust));
                state.ok_or_else(|| told("it is no state file, or was altered".to_owned()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && trust.is_empty() => {
                Err(told("there is no state file: begin one with --trust KEY".to_owned()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(State { keys: trust.to_vec(), seen: None, note: String::new() })
            }
            Err(error) => Err(told(error.to_string())),
        }
    }
}

/// Shows the newest checkpoint; with a state file, only if it holds.
pub(super) async fn run(args: CheckpointArgs, session: &mut Session) -> Result<Exit, Failure> {
    let state = args.verify.as_deref().map(|path| State::read(path, &args.trust)).transpose()?;
    let mut audit = session.connect().await?.audit();
    let request = v1::GetCheckpointRequest { min_size: args.min_size };
    let answer = audit.get_checkpoint(request).await?.into_inner();
    let verified = state.is_some();
    if let (Some(mut state), Some(path)) = (state, &args.verify) {
        let refused = |why: String| {
            Failure::Local(format!(
                "{why}\nthe checkpoint was:\n{}",
                plain_lines(&answer.checkpoint)
            ))
        };
        let found = Checkpoint::open(&answer.checkpoint, &state.keys)
            .map_err(|error| refused(format!("the checkpoint is not to be believed: {error}")))?;
        if let Some(seen) = &state.seen {
            let (from_size, to_size) = (seen.size, found.size);
            require_growth(from_size, to_size).map_err(refused)?;
            let request = v1::GetConsistencyProofRequest { from_size, to_size };
            let proof = audit.get_consistency_proof(request).await?.into_inner().hashes;
            hold(seen, &found, proof).map_err(refused)?;
        }
        (state.seen, state.note) = (Some(found), answer.checkpoint.clone());
        durable_file::write_replacing(path, state.text().as_bytes(), 0o600)
            .map_err(|error| Failure::Local(format!("{}: {error}", path.display())))?;
    }
    let text = match session.output.format() {
        Format::Table => plain_lines(answer.checkpoint.trim_end()),
        Format::Json => json(&answer, verified).to_string(),
    };
    session.output.line(&text)?;
    Ok(Exit::Done)
}

/// Refuses a log that is shorter than it was: of two checkpoints the later is never of a smaller tree.
fn require_growth(seen: u64, found: u64) -> Result<(), String> {
    if found >= seen {
        return Ok(());
    }
    let (had, has) = (grouped(seen), grouped(found));
    Err(format!("the log was put back: it had {had} records, and has {has}"))
}

fn hold(seen: &Checkpoint, found: &Checkpoint, proof: Vec<Vec<u8>>) -> Result<(), String> {
    let hash = |bytes: Vec<u8>| bytes.try_into().map(Hash).ok();
    let proof = proof.into_iter().map(hash).collect::<Option<Vec<_>>>();
    let held = proof.is_some_and(|proof| {
        verify_consistency((seen.size, &seen.root), (found.size, &found.root), &proof).is_ok()
    });
    let what = "the history was changed: it does not continue the one that was seen";
    if held { Ok(()) } else { Err(format!("{what}, of {} records", grouped(seen.size))) }
}

/// Text whose lines are kept, and nothing else of it that a terminal obeys.
fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// A checkpoint, for programs; and whether it was held to a state file.
fn json(answer: &v1::GetCheckpointResponse, verified: bool) -> Value {
    json!({
        "checkpoint": answer.checkpoint,
        "origin": answer.origin,
        "tree_size": answer.tree_size,
        "root_hash": hex(&answer.root_hash),
        "verified": verified,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::Frontier;
    use crate::merkle::leaf_hash;
    use crate::merkle::note::KeyName;

    /// The key and a note of the tests of `golang.org/x/mod/sumdb/note`.
    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    fn key() -> VerifierKey {
        VerifierKey::parse(KEY).expect("a key")
    }

    fn checkpoint(size: u64) -> Checkpoint {
        let mut tree = Frontier::new();
        (0..size).for_each(|leaf| tree.push(leaf_hash(&leaf.to_be_bytes())));
        let origin = KeyName::parse("example.com/log").expect("a name");
        Checkpoint { origin, size, root: tree.root() }
    }

    #[test]
    fn a_state_begins_with_the_keys_that_are_trusted_and_is_read_as_it_was_written() {
        let begun = State { keys: vec![key()], seen: None, note: String::new() };
        assert_eq!(begun.text(), format!("{HEADER}\n{KEY}\n\n"));
        assert_eq!(State::parse(&begun.text(), &[]), Some(begun));
        let empty = format!("{HEADER}\n\n");
        assert_eq!(State::parse(&empty, &[key()]).expect("a state").keys, [key()]);
        let again = State::parse(&format!("{HEADER}\n{KEY}\n\n"), &[key()]).expect("a state");
        assert_eq!(again.keys, [key()], "it is there once");
    }

    #[test]
    fn what_is_no_state_or_holds_a_checkpoint_that_does_not_open_is_refused() {
        let unsigned = checkpoint(3).text();
        let cases = [
            String::new(),
            format!("{KEY}\n\n"),
            format!("{HEADER}\n{KEY}\n"),
            format!("{HEADER}\nno key\n\n"),
            format!("{HEADER}\n{KEY}\n\n{unsigned}"),
        ];
        for case in cases {
            assert_eq!(State::parse(&case, &[]), None, "{case:?}");
        }
    }

    #[test]
    fn a_shorter_log_and_another_history_are_told_apart() {
        let put_back = require_growth(1_234, 1_000).expect_err("shorter");
        assert_eq!(put_back, "the log was put back: it had 1,234 records, and has 1,000");
        assert_eq!(require_growth(3, 3), Ok(()));
        assert_eq!(hold(&checkpoint(3), &checkpoint(3), Vec::new()), Ok(()));
        let other = Checkpoint { root: Hash([7; 32]), ..checkpoint(3) };
        for proof in [vec![], vec![vec![0; 32]], vec![vec![0; 31]]] {
            let changed = hold(&checkpoint(3), &other, proof).expect_err("another root");
            assert!(changed.contains("was changed") && changed.contains("3 records"), "{changed}");
        }
    }
}
