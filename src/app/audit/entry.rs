//! One record as auditors read it.

use thiserror::Error;
use zeroize::Zeroizing;

use crate::app::App;
use crate::app::error::AppError;
use crate::domain::event::Recorded;
use crate::domain::ids::Position;
use crate::domain::personal::Personal;
use crate::ledger::record::{self, RecordError, SALT_BYTES};
use crate::projection::private;
use crate::vault::OpenError;

/// The personal fields of a record, opened.
#[derive(Debug)]
pub struct Disclosed {
    /// The bytes that the record commits to.
    pub clear: Zeroizing<Vec<u8>>,
    /// The salt in them.
    pub salt: [u8; SALT_BYTES],
    /// The fields in them.
    pub personal: Personal,
}

/// A record of the history.
#[derive(Debug)]
pub struct AuditEntry {
    /// The bytes as they are stored and hashed.
    pub record: Vec<u8>,
    /// What they say.
    pub fact: Recorded,
    /// What is sealed in them; none if nothing is, it was erased, or who reads may not see it.
    pub disclosed: Option<Disclosed>,
    /// Whether who reads might have seen it and it was erased.
    pub erased: bool,
}

/// Why a record fails its check.
#[derive(Debug, Error)]
enum BadRecord {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("it names position {0} as its place")]
    Misplaced(Position),
    #[error("its personal fields: {0}")]
    Personal(#[from] OpenError),
}

impl AuditEntry {
    /// About how many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        let clear = self.disclosed.as_ref().map_or(0, |disclosed| disclosed.clear.len());
        2 * (self.record.len() + clear)
    }
}

impl App {
    /// The record at `position`, whose bytes these are; with its personal fields if `disclose`.
    ///
    /// # Errors
    /// [`AppError::Damaged`] if it fails its check.
    pub(super) fn audit_entry(
        &self,
        position: Position,
        bytes: &[u8],
        disclose: bool,
    ) -> Result<AuditEntry, AppError> {
        self.read_entry(position, bytes, disclose)
            .map_err(|error| self.audit.damaged(position, &error))
    }

    fn read_entry(
        &self,
        position: Position,
        bytes: &[u8],
        disclose: bool,
    ) -> Result<AuditEntry, BadRecord> {
        let fact = record::decode(bytes)?;
        if fact.position != position {
            return Err(BadRecord::Misplaced(fact.position));
        }
        let data_keys = &self.vault.data_keys;
        let opened = if disclose { private::open_clear(data_keys, &fact) } else { Ok(None) };
        let (opened, erased) = match opened {
            Err(OpenError::Erased) => (None, true),
            opened => (opened?, false),
        };
        let disclosed = opened.map(|(clear, personal)| {
            let salt = record::salt(&clear).ok_or(OpenError::Altered)?;
            Ok::<_, OpenError>(Disclosed { clear, salt, personal })
        });
        Ok(AuditEntry { record: bytes.to_vec(), fact, disclosed: disclosed.transpose()?, erased })
    }
}
