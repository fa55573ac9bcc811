//! Witnesses that an auditor trusts to have seen the log, too: nobody is shown another history that so many of
//! them have not cosigned.

use clap::Args;
use serde_json::{Value, json};

use super::state::{keys_of, put_back};
use crate::cli::failure::Failure;
use crate::cli::resources::time;
use crate::cli::text::{grouped, plain};
use crate::cli::times::humane;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::cosignature::{WitnessKey, cosigned};
use crate::merkle::note::VerifierKey;

/// What is said of a server that answers no cosigned checkpoint.
pub(super) const NONE_COSIGNED: &str =
    "the server has no checkpoint that as many witnesses have cosigned as it was told must";

#[derive(Debug, Args)]
pub(super) struct WitnessArgs {
    /// Key of a witness that must have cosigned, or a file with some, one a line; may be given several times. Get it
    /// from who runs the witness, over a way you trust
    #[arg(long, value_name = "KEY|FILE", value_parser = witness_keys)]
    witness: Vec<WitnessKeys>,
    /// How many of the witnesses must have cosigned: more than half, or two histories can each have as many [default:
    /// all of them]
    #[arg(long, value_name = "N", requires = "witness")]
    quorum: Option<usize>,
}

#[derive(Clone, Debug)]
struct WitnessKeys(Vec<WitnessKey>);

fn witness_keys(text: &str) -> Result<WitnessKeys, String> {
    keys_of(text, WitnessKey::parse, "must be <name>+<id>+<key> of a witness").map(WitnessKeys)
}

/// Witnesses that are trusted, and how many of them must have cosigned.
#[derive(Debug)]
pub(super) struct Witnesses {
    keys: Vec<WitnessKey>,
    quorum: usize,
}

impl WitnessArgs {
    /// The witnesses; none if none was given.
    pub(super) fn given(&self) -> Result<Option<Witnesses>, Failure> {
        let mut keys: Vec<WitnessKey> = Vec::new();
        for key in self.witness.iter().flat_map(|WitnessKeys(keys)| keys) {
            if let Some(other) = keys.iter().find(|other| other.is_same_witness(key)) {
                let (other, key) = (plain(&other.short()), plain(&key.short()));
                let text =
                    format!("--witness: {other} and {key} are one witness, which counts once");
                return Err(Failure::Usage(text));
            }
            keys.push(key.clone());
        }
        let (most, quorum) = (keys.len(), self.quorum.unwrap_or(keys.len()));
        if most == 0 {
            return Ok(None);
        }
        if !(1..=most).contains(&quorum) {
            return Err(Failure::Usage(format!(
                "--quorum must be from 1 to {most}, the witnesses given"
            )));
        }
        Ok(Some(Witnesses { keys, quorum }))
    }
}

/// A checkpoint that enough witnesses have cosigned.
#[derive(Clone, Debug)]
pub(super) struct CosignedBy {
    pub(super) checkpoint: Checkpoint,
    /// The names and ids of the witnesses, and when they did, as they say: seconds since 1970.
    by: Vec<(String, u64)>,
}

impl Witnesses {
    /// The checkpoint of a note that the log has signed and enough of the witnesses have cosigned; says why not.
    pub(super) fn open(&self, note: &str, log: &[VerifierKey]) -> Result<CosignedBy, String> {
        if note.is_empty() {
            return Err(NONE_COSIGNED.to_owned());
        }
        let told = |error: &dyn std::fmt::Display| {
            format!("the cosigned checkpoint is not to be believed: {error}")
        };
        let checkpoint = Checkpoint::open(note, log).map_err(|error| told(&error))?;
        let by = cosigned(note, &self.keys).map_err(|error| told(&error))?;
        if by.len() < self.quorum {
            return Err(format!(
                "{} of the {} witnesses have cosigned the checkpoint of {} records, and {} must",
                by.len(),
                self.keys.len(),
                grouped(checkpoint.size),
                self.quorum
            ));
        }
        let by = by.iter().map(|found| (found.witness.short(), found.time)).collect();
        Ok(CosignedBy { checkpoint, by })
    }

    /// As [`Witnesses::open`], where the newest checkpoint is another, which must not be of fewer records. Whether
    /// it continues the cosigned one is for a proof to show.
    pub(super) fn open_before(
        &self,
        note: &str,
        log: &[VerifierKey],
        newest: &Checkpoint,
    ) -> Result<CosignedBy, String> {
        let found = self.open(note, log)?;
        let Checkpoint { origin, size, .. } = &found.checkpoint;
        if *origin != newest.origin {
            return Err(format!(
                "the cosigned checkpoint is of another log, {}",
                plain(origin.as_str())
            ));
        }
        if *size > newest.size { Err(put_back(*size, newest.size)) } else { Ok(found) }
    }
}

impl CosignedBy {
    /// Who cosigned and when, one a line, for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let line =
            |(name, time): &(String, u64)| format!("{}  {}", plain(name), humane(&instant(*time)));
        self.by.iter().map(line).collect()
    }

    /// What is sure by it, in a sentence.
    pub(super) fn checked(&self) -> String {
        let count = match self.by.len() {
            1 => "a witness".to_owned(),
            several => format!("{several} witnesses"),
        };
        format!("{count} cosigned the log of {} records", grouped(self.checkpoint.size))
    }

    /// What is not, in a sentence, of a log of so many records.
    pub(super) fn not_checked(&self, size: u64) -> String {
        match self.checkpoint.size {
            whole if whole == size => {
                "whether others are shown another log that other witnesses cosign".to_owned()
            }
            part => format!(
                "whether others are shown another log behind position {}, to where the witnesses saw it",
                grouped(part)
            ),
        }
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let by = self
            .by
            .iter()
            .map(|(witness, at)| json!({"witness": witness, "time": time(Some(&instant(*at)))}));
        json!({
            "tree_size": self.checkpoint.size,
            "root_hash": self.checkpoint.root.to_string(),
            "by": by.collect::<Vec<_>>(),
        })
    }
}

fn instant(seconds: u64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanos: 0 }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;
    use crate::merkle::Hash;
    use crate::merkle::cosignature::{message, signature_line};
    use crate::merkle::note::KeyName;

    const LOG: &str = "example.com/log";

    fn name(text: &str) -> KeyName {
        KeyName::parse(text).expect("a name")
    }

    fn secret(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn witness(text: &str, seed: u8) -> WitnessKey {
        let public = secret(seed).verifying_key().to_bytes();
        WitnessKey::of(name(text), &public).expect("a key")
    }

    fn log(origin: &str) -> VerifierKey {
        VerifierKey::of(name(origin), &secret(9).verifying_key().to_bytes()).expect("a key")
    }

    fn checkpoint(origin: &str, size: u64) -> Checkpoint {
        Checkpoint { origin: name(origin), size, root: Hash([7; 32]) }
    }

    /// A checkpoint of five records that these witnesses have cosigned.
    fn note(origin: &str, by: &[(&WitnessKey, u8)]) -> String {
        let text = checkpoint(origin, 5).text();
        let own = secret(9).sign(text.as_bytes()).to_bytes();
        let lines = by.iter().map(|(key, seed)| {
            let signature = secret(*seed).sign(message(&text, 1_767_225_600).as_bytes());
            signature_line(key, 1_767_225_600, &signature.to_bytes())
        });
        let lines: String = lines.collect();
        format!("{text}\n{}{lines}", log(origin).signature_line(&own))
    }

    fn args(keys: &[&WitnessKey], quorum: Option<usize>) -> WitnessArgs {
        let witness = keys.iter().map(|key| WitnessKeys(vec![(*key).clone()])).collect();
        WitnessArgs { witness, quorum }
    }

    fn given(keys: &[&WitnessKey], quorum: Option<usize>) -> Witnesses {
        args(keys, quorum).given().expect("well-formed").expect("some")
    }

    #[test]
    fn so_many_of_the_witnesses_must_have_cosigned_and_all_if_nothing_is_said() {
        let (one, two, three) = (witness("w1", 1), witness("w2", 2), witness("w3", 3));
        let note = note(LOG, &[(&one, 1), (&two, 2)]);
        let log = [log(LOG)];
        let found = given(&[&one, &two], None).open(&note, &log).expect("both");
        assert_eq!(found.checkpoint, checkpoint(LOG, 5));
        assert_eq!(found.checked(), "2 witnesses cosigned the log of 5 records");
        assert_eq!(found.lines()[0], format!("{}  2026-01-01 00:00:00Z", one.short()));
        assert!(given(&[&three, &two], Some(1)).open(&note, &log).is_ok());
        let few = given(&[&one, &two, &three], None).open(&note, &log).expect_err("two of three");
        assert_eq!(
            few,
            "2 of the 3 witnesses have cosigned the checkpoint of 5 records, and 3 must"
        );
    }

    #[test]
    fn no_witness_counts_twice_and_no_quorum_is_out_of_reach() {
        let one = witness("w1", 1);
        assert!(args(&[], None).given().expect("well-formed").is_none());
        for (keys, quorum) in [
            (vec![witness("w1", 1)], None),
            (vec![witness("w2", 1)], None),
            (vec![witness("w1", 2)], None),
            (vec![], Some(0)),
            (vec![witness("w2", 2)], Some(3)),
        ] {
            let keys: Vec<_> = std::iter::once(&one).chain(&keys).collect();
            let refused = args(&keys, quorum).given().expect_err("refused");
            assert!(matches!(refused, Failure::Usage(_)), "{refused:?}");
        }
    }

    #[test]
    fn what_is_cosigned_must_be_of_the_same_log_and_no_longer_than_the_newest() {
        let one = witness("w1", 1);
        let witnesses = given(&[&one], None);
        let (own, other) = (note(LOG, &[(&one, 1)]), note("example.com/other", &[(&one, 1)]));
        let keys = [log(LOG), log("example.com/other")];
        let newest = checkpoint(LOG, 6);
        assert!(witnesses.open_before(&own, &keys, &newest).is_ok());
        let cases = [
            ("", &newest, "has no checkpoint"),
            (&*other, &newest, "another log, example.com/other"),
            (&*own, &checkpoint(LOG, 4), "the log was put back: it had 5 records, and has 4"),
            (&note(LOG, &[(&one, 2)]), &newest, "a signature is not one of this text"),
            (&own.replacen("\n5\n", "\n4\n", 1), &newest, "is not to be believed"),
        ];
        for (note, newest, told) in cases {
            let why = witnesses.open_before(note, &keys, newest).expect_err(told);
            assert!(why.contains(told), "{why}");
        }
    }
}
