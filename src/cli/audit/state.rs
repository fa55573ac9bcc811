//! State files: what an auditor trusts, and what it saw last, so that each checkpoint is held to the one before.
//!
//! A state file is text: `keyledger audit state 1`, a verifier key in each line, an empty line, and the last
//! checkpoint that was seen, as it was signed; nothing there before the first.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use crate::cli::failure::Failure;
use crate::cli::text::{grouped, plain};
use crate::durable_file;
use crate::merkle::Hash;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::note::{MAX_NOTE_BYTES, VerifierKey};
use crate::merkle::proof::verify_consistency;

const HEADER: &str = "keyledger audit state 1";

/// Most bytes of a state file: a note and a hundred keys.
const MAX_STATE_BYTES: u64 = 2 * MAX_NOTE_BYTES as u64;

const MUST_BE_A_KEY: &str = "must be <name>+<id>+<key>, as GetVerifierKey answers it";

/// Verifier keys that are given together.
#[derive(Clone, Debug)]
pub(super) struct VerifierKeys(pub(super) Vec<VerifierKey>);

/// Reads a verifier key on the command line, or a file with one in each line.
pub(super) fn verifier_keys(text: &str) -> Result<VerifierKeys, String> {
    keys_of(text, VerifierKey::parse, MUST_BE_A_KEY).map(VerifierKeys)
}

/// Reads a key on the command line, or a file with one in each line; `must` is what is said of what is none.
pub(super) fn keys_of<K>(
    text: &str,
    parse: fn(&str) -> Option<K>,
    must: &str,
) -> Result<Vec<K>, String> {
    if let Some(key) = parse(text) {
        return Ok(vec![key]);
    }
    let lines = durable_file::read_bounded(Path::new(text), MAX_STATE_BYTES);
    if lines.is_err() && text.split('+').count() > 2 {
        return Err(format!(
            "{must}: it is of another kind, or its id is not that of its name and key"
        ));
    }
    let lines = lines.map_err(|error| format!("{must}; or a file with such lines: {error}"))?;
    let lines = lines.and_then(|lines| String::from_utf8(lines).ok()).unwrap_or_default();
    let keys: Option<Vec<_>> = lines.lines().map(parse).collect();
    let keys = keys.filter(|keys| !keys.is_empty());
    keys.ok_or_else(|| format!("{must}; or a file in which each line is one"))
}

/// What is trusted, and what was seen last.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct State {
    keys: Vec<VerifierKey>,
    seen: Option<Checkpoint>,
    /// The last checkpoint as it was signed.
    note: String,
}

impl State {
    /// These keys are trusted, and nothing was seen.
    pub(super) fn trusting(keys: &[VerifierKey]) -> Self {
        State { keys: keys.to_vec(), seen: None, note: String::new() }
    }

    /// The state in a file, and the keys that are trusted from here on. `option` is how one gives them.
    pub(super) fn read(path: &Path, trust: &[VerifierKey], option: &str) -> Result<Self, Failure> {
        let told = |what: String| Failure::Local(format!("{}: {what}", path.display()));
        match durable_file::read_bounded(path, MAX_STATE_BYTES) {
            Ok(bytes) => {
                let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
                let state = text.and_then(|text| State::parse(&text));
                let no_state = || told("it is no state file, or was altered".to_owned());
                state.ok_or_else(no_state)?.and_trust(trust).map_err(told)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && trust.is_empty() => {
                Err(told(format!("there is no state file: begin one with {option} KEY")))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                State::trusting(&[]).and_trust(trust).map_err(told)
            }
            Err(error) => Err(told(error.to_string())),
        }
    }

    /// The state, with the keys that are trusted from here on: a state is of one log, and so are its keys. Says
    /// which is not.
    fn and_trust(mut self, trust: &[VerifierKey]) -> Result<Self, String> {
        for key in trust {
            let seen = self.seen.as_ref().map(|seen| &seen.origin);
            let log = seen.or(self.keys.first().map(VerifierKey::name)).unwrap_or(key.name());
            if key.name() != log {
                let other = key.name();
                return Err(format!(
                    "the key is of the log {other}, and the state file of {log}: each log has a state file of its own"
                ));
            }
            if !self.keys.contains(key) {
                self.keys.push(key.clone());
            }
        }
        Ok(self)
    }

    /// The state in a file; none if it is no state file.
    fn parse(text: &str) -> Option<Self> {
        let (head, note) = text.split_once("\n\n")?;
        let mut lines = head.split('\n').filter(|line| !line.is_empty());
        let keys = (lines.next() == Some(HEADER)).then(|| lines.map(VerifierKey::parse))?;
        let keys = keys.collect::<Option<Vec<_>>>()?;
        let seen = match note {
            "" => None,
            note => Some(Checkpoint::open(note, &keys).ok()?),
        };
        Some(State { keys, seen, note: note.to_owned() })
    }

    fn text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        for key in &self.keys {
            let _ = writeln!(text, "{key}");
        }
        format!("{text}\n{}", self.note)
    }

    /// The keys that are trusted.
    pub(super) fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// The checkpoint that was seen last.
    pub(super) fn seen(&self) -> Option<&Checkpoint> {
        self.seen.as_ref()
    }

    /// The checkpoint of a note that is signed by a key that is trusted, and not older than the one that was
    /// seen last. Whether it continues that is for a proof to show; says why not.
    pub(super) fn open(&self, note: &str) -> Result<Checkpoint, String> {
        let found = Checkpoint::open(note, &self.keys).map_err(|error| {
            format!("the checkpoint is not to be believed: {error}{}", self.other_name(note))
        })?;
        if let Some(seen) = &self.seen {
            if seen.origin != found.origin {
                let (was, is) = (&seen.origin, &found.origin);
                return Err(format!("it is another log: it was {was}, and is {is}"));
            }
            require_growth(seen, &found)?;
        }
        Ok(found)
    }

    /// What a note says it is of, if none of the keys speaks for that.
    fn other_name(&self, note: &str) -> String {
        let origin = note.split('\n').next().unwrap_or_default();
        let names: Vec<_> = self.keys.iter().map(|key| key.name().as_str()).collect();
        if names.contains(&origin) {
            return String::new();
        }
        format!("; it is of {}, and they are of {}", plain(origin), names.join(", "))
    }

    /// The names and ids of the keys that signed a note which was opened.
    pub(super) fn signers(&self, note: &str) -> Vec<String> {
        let signed = |key: &&VerifierKey| Checkpoint::open(note, std::slice::from_ref(key)).is_ok();
        let name = |key: &VerifierKey| format!("{}+{}", key.name(), key.id_text());
        self.keys.iter().filter(signed).map(name).collect()
    }

    /// Puts a checkpoint in the place of the one that was seen last, in the file too.
    pub(super) fn keep(
        &mut self,
        path: &Path,
        found: Checkpoint,
        note: String,
    ) -> Result<(), Failure> {
        (self.seen, self.note) = (Some(found), note);
        durable_file::write_replacing(path, self.text().as_bytes(), 0o600)
            .map_err(|error| Failure::Local(format!("{}: {error}", path.display())))
    }
}

/// Refuses a log that is shorter than it was: of two checkpoints the later is never of a smaller tree; and
/// another root of the same tree.
fn require_growth(seen: &Checkpoint, found: &Checkpoint) -> Result<(), String> {
    if found.size < seen.size {
        return Err(put_back(seen.size, found.size));
    }
    if found.size == seen.size && found.root != seen.root {
        Err(changed(seen.size))
    } else {
        Ok(())
    }
}

/// What is said of a log that is shorter than it was.
pub(super) fn put_back(had: u64, has: u64) -> String {
    format!("the log was put back: it had {} records, and has {}", grouped(had), grouped(has))
}

/// Holds a checkpoint to one that was seen before, by a proof that the one tree continues the other.
pub(super) fn hold(
    (size, root): (u64, &Hash),
    found: &Checkpoint,
    proof: Vec<Vec<u8>>,
) -> Result<(), String> {
    let held = hashes(proof).is_some_and(|proof| {
        verify_consistency((size, root), (found.size, &found.root), &proof).is_ok()
    });
    if held { Ok(()) } else { Err(changed(size)) }
}

/// What is said of a history that does not continue the one of a checkpoint.
fn changed(size: u64) -> String {
    let what = "the history was changed: it does not continue the one that was seen";
    format!("{what}, of {} records", grouped(size))
}

/// The hashes of a proof; none if one is none.
pub(super) fn hashes(proof: Vec<Vec<u8>>) -> Option<Vec<Hash>> {
    proof.into_iter().map(|hash| hash.try_into().map(Hash).ok()).collect()
}

/// Text whose lines are kept, and nothing else of it that a terminal obeys.
pub(super) fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
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
        let begun = State::trusting(&[key()]);
        assert_eq!(begun.text(), format!("{HEADER}\n{KEY}\n\n"));
        assert_eq!(State::parse(&begun.text()).as_ref(), Some(&begun));
        let empty = State::parse(&format!("{HEADER}\n\n")).expect("a state");
        assert_eq!(empty.and_trust(&[key()]).as_ref(), Ok(&begun));
        assert_eq!(begun.and_trust(&[key()]).expect("its own").keys, [key()], "it is there once");
    }

    #[test]
    fn a_state_takes_no_key_of_another_log() {
        let name = KeyName::parse("example.com/log").expect("a name");
        let public = (0..=u8::MAX).map(|byte| [byte; 32]);
        let other = public.filter_map(|public| VerifierKey::of(name.clone(), &public)).next();
        let other = other.expect("some are keys");
        let begun = State::trusting(&[key()]);
        let refused = begun.and_trust(&[key(), other.clone()]).expect_err("another log");
        assert!(
            refused.contains("example.com/log") && refused.contains("PeterNeumann"),
            "{refused}"
        );
        assert!(State::trusting(&[]).and_trust(&[key(), other.clone()]).is_err());
        let seen = State { seen: Some(checkpoint(3)), ..State::trusting(&[key()]) };
        let trusting = seen.and_trust(std::slice::from_ref(&other)).expect("its log");
        assert_eq!(trusting.keys, [key(), other]);
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
            assert_eq!(State::parse(&case), None, "{case:?}");
        }
    }

    #[test]
    fn a_shorter_log_and_another_history_are_told_apart() {
        let put_back = require_growth(&checkpoint(1_234), &checkpoint(1_000)).expect_err("shorter");
        assert_eq!(put_back, "the log was put back: it had 1,234 records, and has 1,000");
        let seen = checkpoint(3);
        assert_eq!(require_growth(&seen, &checkpoint(3)), Ok(()));
        assert_eq!(hold((3, &seen.root), &checkpoint(3), Vec::new()), Ok(()));
        let other = Checkpoint { root: Hash([7; 32]), ..checkpoint(3) };
        assert!(require_growth(&seen, &other).expect_err("another root").contains("was changed"));
        for proof in [vec![], vec![vec![0; 32]], vec![vec![0; 31]]] {
            let changed = hold((3, &seen.root), &other, proof).expect_err("another root");
            assert!(changed.contains("was changed") && changed.contains("3 records"), "{changed}");
        }
    }
}
