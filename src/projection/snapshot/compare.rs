//! Where two snapshots differ, in words: which section, which entry.

use super::reader::entries;
use super::{Section, Snapshot, SnapshotError};
use crate::domain::ids::{CallerId, KeyId};

impl Snapshot {
    /// What is the first thing that differs between this snapshot and `other`; none if their entries and
    /// standpoints are the same.
    ///
    /// # Errors
    /// If one of the two cannot be read.
    pub fn difference(&self, other: &Snapshot) -> Result<Option<String>, SnapshotError> {
        for section in Section::ALL {
            let (mut ours, mut theirs) = (self.entries(section), other.entries(section));
            loop {
                let (ours, theirs) = (ours.next().transpose()?, theirs.next().transpose()?);
                if ours == theirs {
                    if ours.is_none() {
                        break;
                    }
                    continue;
                }
                // The one that comes first is the one that the other has not, or has otherwise.
                let order_key = |entry: &Option<Vec<u8>>| {
                    entry.as_ref().and_then(|entry| section.order_key(entry)).map(<[u8]>::to_vec)
                };
                let first = [order_key(&ours), order_key(&theirs)].into_iter().flatten().min();
                return Ok(Some(described(section, &first.unwrap_or_default())));
            }
        }
        Ok((self.standpoint() != other.standpoint()).then(|| "header".to_owned()))
    }

    fn entries(&self, section: Section) -> impl Iterator<Item = Result<Vec<u8>, SnapshotError>> {
        let whole = |entry: Option<&[u8]>| {
            entry.map(<[u8]>::to_vec).ok_or(SnapshotError::Damaged("an entry"))
        };
        self.blocks(section).flat_map(move |number| match self.block(section, number) {
            Ok(block) => entries(&block).map(whole).collect(),
            Err(error) => vec![Err(error)],
        })
    }
}

/// The section and the entry of that order key, as people name it.
fn described(section: Section, order_key: &[u8]) -> String {
    let number = || order_key.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let entry = match section {
        Section::Policy => return "policy".to_owned(),
        Section::Peppers => number().to_string(),
        Section::Requests => format!("position {}", number()),
        Section::Callers => {
            order_key.try_into().map(CallerId).map_or_else(|_| String::new(), |id| id.to_string())
        }
        Section::Keys => {
            order_key.try_into().map(KeyId).map_or_else(|_| String::new(), |id| id.to_string())
        }
        Section::Accounts => String::from_utf8_lossy(order_key).replace('\0', "/"),
    };
    format!("{}: {entry}", section.name())
}
