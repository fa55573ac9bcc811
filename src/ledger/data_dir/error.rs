//! Why a data directory cannot be used.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::DATA_FORMAT;
use crate::ledger::anchor::AnchorError;

/// Why the data directory cannot be used. For the operator who starts the program: names paths.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// Another process holds the lock.
    #[error("another keyledger process uses this data directory: {}", .0.display())]
    InUse(PathBuf),
    /// The directory was written by a newer version.
    #[error(
        "data directory {} has format {found}, newer than format {DATA_FORMAT} of this program: \
         use a newer keyledger",
        .path.display()
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// The number in its `FORMAT`.
        found: u32,
    },
    /// `FORMAT` holds something else than its line.
    #[error("{} is damaged or not keyledger's", .0.display())]
    BadFormatFile(PathBuf),
    /// The path is something else than a directory.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// There is no data directory, and none was to be made.
    #[error("there is no keyledger data directory at {}", .0.display())]
    Missing(PathBuf),
    /// There is none, and the configuration says that there must be.
    #[error(
        "there is no keyledger data directory at {}, and data.must_exist says that there is one: is its volume \
         mounted? Only keyledger admin init makes a new one",
        .0.display()
    )]
    MustExist(PathBuf),
    /// The directory holds what is not keyledger's.
    #[error(
        "{} is not a keyledger data directory and not empty (it holds {name:?}): name an empty one",
        .path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One thing in it that is not keyledger's.
        name: String,
    },
    /// `FORMAT` is gone though the first start had been finished.
    #[error(
        "data directory {} has lost its file FORMAT though it has been in use: restore it \
         from a backup",
        .0.display()
    )]
    FormatMissing(PathBuf),
    /// `FORMAT` is missing and the anchor cannot tell whether the first start had been finished.
    #[error("data directory {} has no file FORMAT, and its anchor cannot be read: {reason}", .path.display())]
    NoFormatAndBadAnchor {
        /// The directory.
        path: PathBuf,
        /// What is wrong with the anchor.
        #[source]
        reason: AnchorError,
    },
    /// A restore into it was not finished.
    #[error(
        "a restore into {} was interrupted: run it again, or remove the directory",
        .0.display()
    )]
    Restoring(PathBuf),
    /// A restore needs an empty directory.
    #[error(
        "{} is not empty (it holds {name:?}): restore into a directory that is empty, but for \
         keys/",
        .path.display()
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// One thing in it.
        name: String,
    },
    /// The file system failed.
    #[error("cannot use data directory {}: {source}", .path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}
