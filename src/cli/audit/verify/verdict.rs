//! What came of a verification, and how it is shown: for each form of it the same.

use serde_json::{Value, json};

use crate::cli::audit::state::plain_lines;
use crate::cli::audit::witness::CosignedBy;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Fields, Resource};
use crate::cli::resources::time;
use crate::cli::session::Session;
use crate::cli::text::{grouped, plain};
use crate::cli::times::humane;
use crate::merkle::checkpoint::Checkpoint;
use crate::proto::v1::EventFilter;
use crate::verify::Tally;

/// What was verified.
#[derive(Clone, Debug)]
pub(super) enum Form {
    /// The log, from its first record on.
    Whole,
    /// All records that fit.
    Part(EventFilter),
    /// An archive that was exported.
    Archive,
}

/// What came of a verification.
#[derive(Debug)]
pub(super) struct Verdict {
    form: Form,
    /// Why it does not hold; none: it is sound.
    pub(super) fault: Option<String>,
    /// The checkpoint as it was signed.
    pub(super) note: String,
    /// The checkpoint, if it is to be believed.
    found: Option<Checkpoint>,
    /// The names and ids of the keys that signed it, of those that are trusted.
    signed_by: Vec<String>,
    /// What was verified, now and in runs before.
    pub(super) tally: Tally,
    /// How many of the records were read now.
    pub(super) read: u64,
    /// The size of the checkpoint before, which this one continues.
    pub(super) continues: Option<u64>,
    /// The size of the checkpoint that was seen last, if what was verified ends before it.
    pub(super) ends_before: Option<u64>,
    /// What enough witnesses have cosigned, if that was asked for; what was verified continues it.
    pub(super) cosigned: Option<CosignedBy>,
}

impl Verdict {
    /// Sound, as far as nothing else is found.
    pub(super) fn new(form: Form) -> Self {
        Verdict {
            form,
            fault: None,
            note: String::new(),
            found: None,
            signed_by: Vec::new(),
            tally: Tally::default(),
            read: 0,
            continues: None,
            ends_before: None,
            cosigned: None,
        }
    }

    /// Notes the checkpoint, which is to be believed, and who signed it.
    pub(super) fn found(&mut self, checkpoint: &Checkpoint, signed_by: Vec<String>) {
        (self.found, self.signed_by) = (Some(checkpoint.clone()), signed_by);
    }

    /// Shows it.
    pub(super) fn show(&self, session: &mut Session) -> Result<Exit, Failure> {
        session.output.one(self)?;
        Ok(if self.fault.is_none() { Exit::Done } else { Exit::Refused })
    }

    /// What is sure, in sentences; nothing if something does not hold.
    fn checked(&self) -> Vec<String> {
        if self.fault.is_some() {
            return Vec::new();
        }
        let records = grouped(self.tally.records);
        let mut checked = match &self.form {
            Form::Whole | Form::Archive => vec![
                "every record from the first on is in its place, and their tree is the one that was signed"
                    .to_owned(),
                "of each key, account and caller, and of the service, no record is missing".to_owned(),
            ],
            Form::Part(_) => vec![
                format!("each of the {records} records shown is among those that were signed"),
                "of each key and account shown, no record before its last is missing".to_owned(),
            ],
        };
        checked.push("uses add up to the totals that the records give".to_owned());
        checked.push("no use was allowed at or after its key's revocation".to_owned());
        if self.tally.disclosed > 0 {
            let count = grouped(self.tally.disclosed);
            checked.push(format!("personal fields of {count} records are what was recorded"));
        }
        if let Some(size) = self.continues {
            let size = grouped(size);
            checked.push(format!("it continues the log of {size} records that was seen before"));
        }
        checked.extend(self.cosigned.as_ref().map(CosignedBy::checked));
        checked
    }

    /// What is not, in sentences; as [`Verdict::checked`].
    fn not_checked(&self) -> Vec<String> {
        let mut not = Vec::new();
        if self.fault.is_some() {
            return not;
        }
        if self.tally.undisclosed > 0 {
            let count = grouped(self.tally.undisclosed);
            not.push(format!("personal fields of {count} records, which were not disclosed"));
        }
        if matches!(self.form, Form::Part(_)) {
            not.push("all other records of the log".to_owned());
            not.push(
                "whether the last records of a key or account were withheld: once others follow them, that shows"
                    .to_owned(),
            );
        }
        let later =
            if matches!(self.form, Form::Archive) { "a later archive" } else { "the next run" };
        not.push(format!("what was recorded behind the checkpoint: {later}"));
        if let Some(size) = self.ends_before {
            let size = grouped(size);
            not.push(format!(
                "whether it is the beginning of the log of {size} records that was seen: it ends before"
            ));
        }
        let size = self.found.as_ref().map_or(0, |found| found.size);
        not.push(others(self.cosigned.as_ref(), size));
        not
    }

    /// When the first and the last record were made; none if there are none.
    fn times(&self) -> Option<[prost_types::Timestamp; 2]> {
        let Tally { records, first_time, last_time, .. } = self.tally;
        (records > 0).then(|| [first_time, last_time].map(timestamp))
    }
}

/// What cannot be told of others, with what witnesses have cosigned or without.
pub(super) fn others(cosigned: Option<&CosignedBy>, size: u64) -> String {
    cosigned.map_or_else(
        || "whether others are shown another log: compare checkpoints with theirs".to_owned(),
        |cosigned| cosigned.not_checked(size),
    )
}

/// Sentences below each other, named once.
pub(super) fn each(name: &'static str, sentences: Vec<String>) -> Fields {
    let named = |(at, sentence)| (if at == 0 { name } else { "" }, sentence);
    sentences.into_iter().enumerate().map(named).collect()
}

pub(super) fn timestamp(micros: i64) -> prost_types::Timestamp {
    let nanos = micros.rem_euclid(1_000_000) * 1_000;
    let nanos = i32::try_from(nanos).expect("a second has fewer than 2^31 nanoseconds");
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

impl Form {
    fn name(&self) -> &'static str {
        match self {
            Form::Whole => "whole",
            Form::Part(_) => "part",
            Form::Archive => "archive",
        }
    }

    fn told(&self) -> String {
        let filter = match self {
            Form::Whole => return "the whole log".to_owned(),
            Form::Archive => {
                return "the archive, which is the whole log up to its checkpoint".to_owned();
            }
            Form::Part(filter) => filter,
        };
        let named = [
            ("tenant", &filter.tenant_id),
            ("account", &filter.account_id),
            ("key", &filter.key_id),
        ];
        let named = named.iter().filter(|(_, id)| !id.is_empty());
        let named: Vec<_> = named.map(|(what, id)| format!("{what} {id}")).collect();
        format!("the records of {}", named.join(", "))
    }
}

impl Resource for Verdict {
    fn json(&self) -> Value {
        let filter = match &self.form {
            Form::Whole | Form::Archive => Value::Null,
            Form::Part(filter) => json!({
                "tenant_id": filter.tenant_id,
                "account_id": filter.account_id,
                "key_id": filter.key_id,
            }),
        };
        let [first, last] = self.times().map_or([None, None], |times| times.map(Some));
        json!({
            "sound": self.fault.is_none(),
            "fault": self.fault,
            "form": self.form.name(),
            "filter": filter,
            "origin": self.found.as_ref().map(|found| found.origin.as_str()),
            "tree_size": self.found.as_ref().map(|found| found.size),
            "root_hash": self.found.as_ref().map(|found| found.root.to_string()),
            "signed_by": self.signed_by,
            "cosigned": self.cosigned.as_ref().map(CosignedBy::json),
            "continues_size": self.continues,
            "records": self.tally.records,
            "records_read": self.read,
            "keys": self.tally.keys,
            "disclosed": self.tally.disclosed,
            "undisclosed": self.tally.undisclosed,
            "first_record_time": time(first.as_ref()),
            "last_record_time": time(last.as_ref()),
            "checked": self.checked(),
            "not_checked": self.not_checked(),
            "checkpoint": self.note,
        })
    }

    fn fields(&self) -> Fields {
        let verdict = match &self.fault {
            None => format!("sound: {}", self.form.told()),
            Some(fault) => format!("NOT SOUND: {}", plain(fault)),
        };
        let mut fields = vec![("verdict", verdict)];
        if let Some(found) = &self.found {
            fields.push(("log", plain(found.origin.as_str())));
            fields.push(("size", grouped(found.size)));
            fields.push(("root", found.root.to_string()));
            fields.push(("signed by", self.signed_by.join(", ")));
        }
        let cosigned = self.cosigned.as_ref().filter(|_| self.fault.is_none());
        let cosigned = cosigned.map(CosignedBy::lines).unwrap_or_default();
        fields.extend(each("cosigned by", cosigned));
        let (records, read) = (grouped(self.tally.records), grouped(self.read));
        fields.push(("records", format!("{records}  {read} of them read now")));
        fields.push(("keys", grouped(self.tally.keys)));
        if let Some([first, last]) = self.times() {
            fields.push(("time", format!("{} to {}", humane(&first), humane(&last))));
        }
        fields.extend(each("checked", self.checked()));
        fields.extend(each("not checked", self.not_checked()));
        if self.fault.is_some() {
            let lines = plain_lines(self.note.trim_end());
            fields.extend(each("checkpoint", lines.split('\n').map(str::to_owned).collect()));
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Format;
    use crate::cli::output::tests::shown;
    use crate::merkle::Hash;
    use crate::merkle::note::KeyName;

    fn verdict(form: Form) -> Verdict {
        let mut verdict = Verdict::new(form);
        let origin = KeyName::parse("example.com/log").expect("a name");
        let found = Checkpoint { origin, size: 12_345, root: Hash([0xab; 32]) };
        verdict.found(&found, vec!["example.com/log+c74f20a3".to_owned()]);
        verdict.note = "example.com/log\n12345\n\n\u{2014} sig\u{1b}natures\n".to_owned();
        verdict.tally = Tally {
            records: 12_345,
            keys: 7,
            disclosed: 30,
            undisclosed: 2,
            first_time: 1_767_225_600_000_000,
            last_time: 1_767_225_661_500_000,
        };
        (verdict.read, verdict.continues) = (345, Some(12_000));
        verdict
    }

    #[test]
    fn people_see_at_once_whether_it_is_sound_and_what_that_means() {
        let page = shown(Format::Table, &verdict(Form::Whole));
        let root = "ab".repeat(32);
        let expected = format!(
            "verdict      sound: the whole log\n\
             log          example.com/log\n\
             size         12,345\n\
             root         {root}\n\
             signed by    example.com/log+c74f20a3\n\
             records      12,345  345 of them read now\n\
             keys         7\n\
             time         2026-01-01 00:00:00Z to 2026-01-01 00:01:01Z\n"
        );
        assert_eq!(page[..expected.len()], expected);
        for said in [
            "checked      every record from the first on",
            "personal fields of 30 records are what was recorded",
            "it continues the log of 12,000 records that was seen before",
            "not checked  personal fields of 2 records, which were not disclosed",
        ] {
            assert!(page.contains(said), "{said}: {page}");
        }
    }

    #[test]
    fn a_fault_comes_first_and_the_evidence_last_without_a_word_of_what_holds() {
        let mut verdict = verdict(Form::Whole);
        verdict.fault = Some("the log was put back".to_owned());
        let page = shown(Format::Table, &verdict);
        assert!(page.starts_with("verdict     NOT SOUND: the log was put back\n"), "{page}");
        assert!(!page.contains("checked"), "{page}");
        assert!(page.ends_with("\u{2014} sig\\u{1b}natures\n"), "{page}");
        let json = Resource::json(&verdict);
        assert_eq!((&json["sound"], &json["checked"]), (&Value::Bool(false), &json!([])));
        assert_eq!(json["checkpoint"], verdict.note);
    }

    #[test]
    fn of_a_part_it_is_said_whose_records_they_are_and_what_nobody_can_tell() {
        let filter = EventFilter {
            tenant_id: "acme".to_owned(),
            account_id: "billing".to_owned(),
            ..EventFilter::default()
        };
        let page = shown(Format::Table, &verdict(Form::Part(filter.clone())));
        assert!(page.contains("sound: the records of tenant acme, account billing\n"), "{page}");
        assert!(page.contains("were withheld"), "{page}");
        let json = Resource::json(&verdict(Form::Part(filter)));
        assert_eq!(
            (&json["form"], &json["filter"]["account_id"]),
            (&json!("part"), &json!("billing"))
        );
    }
}
