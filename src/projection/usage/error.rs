//! Why the usage projection cannot be written or read.

use std::io;

use thiserror::Error;

/// What failed. Never says what was stored.
#[derive(Debug, Error)]
pub enum UsageStoreError {
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// The file system failed.
    #[error("the file system failed on the database: {0}")]
    Io(#[from] io::Error),
    /// What is stored cannot be: something else than this program wrote it.
    #[error("what is stored is not as it was written: {0}")]
    Damaged(&'static str),
    /// The question took longer than one may.
    #[error("the question took too long")]
    TooSlow,
    /// The answer has more groups than one may have.
    #[error("the answer has too many groups")]
    TooMany,
    /// What asks for the next page was not made by an answer to this question.
    #[error("what asks for the next page is none of this question")]
    BadCursor,
}
