//! Why the usage projection cannot be written or read.

use std::io;

use thiserror::Error;

use crate::projection::usage::schema;
use crate::vault::OpenError;

/// What failed. Never says what was stored.
#[derive(Debug, Error)]
pub enum UsageStoreError {
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// The file system failed.
    #[error("the file system failed on the database: {0}")]
    Io(#[from] io::Error),
    /// The file is no database of this program's, of this version.
    #[error("the file cannot be used: {0}")]
    Unfit(&'static str),
    /// What is stored cannot be: something else than this program wrote it.
    #[error("what is stored is not as it was written: {0}")]
    Damaged(&'static str),
    /// What is sealed cannot be opened, though its data key is there.
    #[error("what is sealed cannot be opened: {0}")]
    Sealed(#[from] OpenError),
    /// Less is folded in than the answer must take into account.
    #[error("less is folded in than the answer must take into account")]
    Behind,
    /// The question reads more than one may.
    #[error("the question reads more than one may")]
    TooSlow,
    /// The answer has more groups than one may have.
    #[error("the answer has too many groups")]
    TooMany,
}

impl UsageStoreError {
    /// Whether the file is at fault, so that it is to be made anew.
    #[must_use]
    pub fn is_of_the_file(&self) -> bool {
        match self {
            UsageStoreError::Database(error) => schema::is_damage(error),
            UsageStoreError::Unfit(_) | UsageStoreError::Damaged(_) => true,
            _ => false,
        }
    }
}
