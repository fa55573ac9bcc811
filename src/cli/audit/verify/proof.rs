//! The proof file of one record. No server is called.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::verdict::{each, others, timestamp};
use super::{State, Witnesses};
use crate::archive::{MAX_PROOF_BYTES, Proof};
use crate::cli::audit::witness::CosignedBy;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Fields, Resource};
use crate::cli::resources::{enum_or_dash, enum_or_null, time};
use crate::cli::session::Session;
use crate::cli::text::{grouped, or_dash, plain};
use crate::cli::times::humane;
use crate::durable_file;
use crate::merkle::checkpoint::Checkpoint;
use crate::proto::v1;
use crate::verify::Single;

const NOT_CHECKED: &str = "what was recorded before and after it, and the totals of uses";

/// What came of it.
struct Verdict {
    /// What was shown, or why it was not.
    held: Result<Held, String>,
}

/// A record that is among those that were signed.
struct Held {
    position: u64,
    record: Single,
    checkpoint: Checkpoint,
    signed_by: Vec<String>,
    cosigned: Option<CosignedBy>,
}

/// Verifies a proof file with the keys that are trusted, and shows what it proves.
pub(super) fn verify(
    path: &Path,
    state: &State,
    witnesses: Option<&Witnesses>,
    session: &mut Session,
) -> Result<Exit, Failure> {
    let most = u64::try_from(MAX_PROOF_BYTES).expect("a small number");
    let bytes = durable_file::read_bounded(path, most)
        .map_err(|error| Failure::Local(format!("{}: {error}", path.display())))?;
    let held = held(bytes, state, witnesses);
    let exit = if held.is_ok() { Exit::Done } else { Exit::Refused };
    session.output.one(&Verdict { held })?;
    Ok(exit)
}

fn held(
    bytes: Option<Vec<u8>>,
    state: &State,
    witnesses: Option<&Witnesses>,
) -> Result<Held, String> {
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let proof = text.and_then(|text| Proof::parse(&text)).ok_or("it is no proof file")?;
    let checkpoint = Checkpoint::open(&proof.note, state.keys())
        .map_err(|error| format!("the checkpoint is not to be believed: {error}"))?;
    let position = proof.leaf.checked_add(1).ok_or("it is no proof file")?;
    let clear = (!proof.disclosed.is_empty()).then_some(&proof.disclosed[..]);
    let record = Single::of(position, &proof.record, clear).map_err(|error| error.to_string())?;
    record.leaf.hold_to(&checkpoint, &proof.hashes).map_err(|error| error.to_string())?;
    let signed_by = state.signers(&proof.note);
    let cosigned = witnesses.map(|witnesses| witnesses.open(&proof.note, state.keys()));
    Ok(Held { position, record, checkpoint, signed_by, cosigned: cosigned.transpose()? })
}

impl Held {
    fn checked(&self) -> Vec<String> {
        let (position, size) = (grouped(self.position), grouped(self.checkpoint.size));
        let mut checked =
            vec![format!("the record at position {position} is among the {size} that were signed")];
        if !self.record.personal().is_empty() {
            checked.push("its personal fields are what was recorded".to_owned());
        }
        checked.extend(self.cosigned.as_ref().map(CosignedBy::checked));
        checked
    }

    fn not_checked(&self) -> Vec<String> {
        let undisclosed = self.record.is_undisclosed();
        let fields = undisclosed.then_some("its personal fields, which were not disclosed");
        let mut not: Vec<_> = fields.into_iter().chain([NOT_CHECKED]).map(str::to_owned).collect();
        not.push(others(self.cosigned.as_ref(), self.checkpoint.size));
        not
    }

    fn json(&self) -> Value {
        let object = |fields: Vec<(&'static str, String)>| {
            let fields =
                fields.into_iter().map(|(name, text)| (name.to_owned(), Value::from(text)));
            Value::Object(fields.collect::<Map<_, _>>())
        };
        json!({
            "sound": true,
            "fault": null,
            "form": "proof",
            "origin": self.checkpoint.origin.as_str(),
            "tree_size": self.checkpoint.size,
            "root_hash": self.checkpoint.root.to_string(),
            "signed_by": self.signed_by,
            "cosigned": self.cosigned.as_ref().map(CosignedBy::json),
            "position": self.position,
            "record_time": time(Some(&timestamp(self.record.time()))),
            "kind": enum_or_null::<v1::EventKind>(self.record.kind()),
            "subject": object(self.record.subject()),
            "caller_id": self.record.actor(),
            "personal": object(self.record.personal()),
            "checked": self.checked(),
            "not_checked": self.not_checked(),
        })
    }

    fn fields(&self) -> Fields {
        let mut fields = vec![
            ("verdict", format!("sound: the record at position {}", grouped(self.position))),
            ("log", plain(self.checkpoint.origin.as_str())),
            ("size", grouped(self.checkpoint.size)),
            ("root", self.checkpoint.root.to_string()),
            ("signed by", self.signed_by.join(", ")),
        ];
        let cosigned = self.cosigned.as_ref().map(CosignedBy::lines).unwrap_or_default();
        fields.extend(each("cosigned by", cosigned));
        fields.extend([
            ("recorded", humane(&timestamp(self.record.time()))),
            ("event", enum_or_dash::<v1::EventKind>(self.record.kind())),
        ]);
        fields.extend(self.record.subject());
        fields.push(("caused by", or_dash(&self.record.actor().unwrap_or_default())));
        let personal = self.record.personal();
        fields.extend(personal.into_iter().map(|(name, text)| (name, plain(&text))));
        fields.extend(each("checked", self.checked()));
        fields.extend(each("not checked", self.not_checked()));
        fields
    }
}

impl Resource for Verdict {
    fn json(&self) -> Value {
        match &self.held {
            Ok(held) => held.json(),
            Err(fault) => json!({"sound": false, "fault": fault, "form": "proof"}),
        }
    }

    fn fields(&self) -> Fields {
        match &self.held {
            Ok(held) => held.fields(),
            Err(fault) => vec![("verdict", format!("NOT SOUND: {}", plain(fault)))],
        }
    }
}
