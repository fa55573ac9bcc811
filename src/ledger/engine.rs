//! What the house asks of a storage engine. Nothing above this room knows which one it is.

use std::fs::File;
use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::domain::ids::Position;
use crate::domain::subject::Subject;
use crate::ledger::frame::{Frame, FrameError};
use crate::ledger::volume::Sealed;

/// The durable order of all frames. There is one holder, and it is the only writer.
pub trait Ledger: Send {
    /// Adds a frame behind the head.
    ///
    /// The engine MUST NOT return `Ok` before the frame survives loss of power, whole and in its
    /// place, and MUST show it to no reader before that. It MUST refuse a frame that does not begin
    /// right behind the head, and MUST never change or remove a frame that it has taken.
    ///
    /// # Errors
    /// After any error the ledger is poisoned: it takes no more frames, and whether this one is kept
    /// is unknown. The caller MUST NOT answer anyone from the frame and MUST abort the process.
    fn append(&mut self, frame: &Frame) -> Result<(), LedgerError>;

    /// The position of the last durable record; none if there is none yet.
    fn head(&self) -> Option<Position>;

    /// A reader of the durable frames, those appended later included.
    fn reader(&self) -> Arc<dyn LedgerReader>;
}

/// Reads durable frames, from any thread, beside the writer.
///
/// An implementation MUST hand out only frames whose checksums hold and that are durable, and MUST
/// answer with an error, never with nothing, where a frame should be and cannot be read.
pub trait LedgerReader: Send + Sync {
    /// The frame that holds `position`; none beyond the head.
    ///
    /// # Errors
    /// If the frame is damaged or missing, or the engine fails.
    fn frame_at(&self, position: Position) -> Result<Option<Frame>, LedgerError>;

    /// The frames in order, from the one that holds `position` to the one that is last when it is
    /// reached. Ends behind the first error.
    fn frames_from(
        &self,
        position: Position,
    ) -> Box<dyn Iterator<Item = Result<Frame, LedgerError>> + '_>;

    /// The volumes of the history that are sealed, in order from the first: nothing in them changes
    /// any more. Empty if the engine has none.
    fn sealed(&self) -> Vec<Sealed> {
        Vec::new()
    }

    /// The file of a sealed volume, in the format of [`crate::ledger::volume`].
    ///
    /// # Errors
    /// [`LedgerError::MissingVolume`] if there is no such volume; or the file system fails.
    fn sealed_file(&self, number: u64) -> Result<File, LedgerError> {
        Err(LedgerError::MissingVolume { number })
    }

    /// The position of the last record about `subject` in a sealed volume, by which a subject's chain
    /// is entered in the middle; none if the volume has none.
    ///
    /// # Errors
    /// [`LedgerError::MissingVolume`] if there is no such volume; or its table is damaged.
    fn last_in_sealed(
        &self,
        number: u64,
        _subject: &Subject,
    ) -> Result<Option<Position>, LedgerError> {
        Err(LedgerError::MissingVolume { number })
    }
}

/// Why a ledger cannot be opened, written or read. Texts name positions, never paths nor a
/// driver's words: those go to the log once, where they come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LedgerError {
    /// There is no ledger where one should be, or a file of it is missing.
    #[error("the ledger is missing or not whole")]
    Missing,
    /// A ledger is there already where one was to be made.
    #[error("there is a ledger already")]
    Exists,
    /// Another handle holds the ledger and did not let go of it in time.
    #[error("the ledger is held by another handle")]
    InUse,
    /// The ledger was not made the way this program makes it.
    #[error("the ledger was not made by this program, or its settings are damaged")]
    Foreign,
    /// The engine keeps data where it is not safe from loss of power.
    #[error("the ledger holds data where it is not safe from loss of power")]
    Unsafe,
    /// A frame cannot be read.
    #[error("the frame that holds position {position} is damaged: {reason}")]
    DamagedFrame {
        /// A position the frame holds.
        position: Position,
        /// What is wrong with it.
        reason: FrameError,
    },
    /// Nothing is stored where a frame should be.
    #[error("the frame that holds position {position} is missing")]
    MissingFrame {
        /// A position the frame would hold.
        position: Position,
    },
    /// A part of a sealed volume is not what was written.
    #[error("sealed volume {number} is damaged: {part} is truncated or altered")]
    DamagedVolume {
        /// The volume's number.
        number: u64,
        /// The part.
        part: &'static str,
    },
    /// The file of a sealed volume is gone.
    #[error("sealed volume {number} is missing")]
    MissingVolume {
        /// The volume's number.
        number: u64,
    },
    /// A sealed volume was written by a newer version.
    #[error("sealed volume {number} has version {version}, which is newer than this program")]
    NewerVolume {
        /// The volume's number.
        number: u64,
        /// Its version.
        version: u16,
    },
    /// A sealed volume does not continue the one before it: one of the two was replaced.
    #[error("sealed volume {number} does not continue the one before it")]
    OtherVolume {
        /// The volume's number.
        number: u64,
    },
    /// A frame's tree is not the tree over the records.
    #[error(
        "the tree of the frame at positions {first} to {last} is not the tree over the records up to there"
    )]
    OtherTree {
        /// The frame's first position.
        first: Position,
        /// The frame's last position.
        last: Position,
    },
    /// The engine cannot read a frame.
    #[error("the frame that holds position {position} cannot be read")]
    Unreadable {
        /// A position the frame holds.
        position: Position,
    },
    /// The engine refuses to open the ledger, and no damaged frame had been found in its file.
    #[error(
        "the storage engine cannot open the ledger; its file had whole frames up to position {whole_to}"
    )]
    NotOpened {
        /// The last position up to which the frames were whole, 0 if there is none.
        whole_to: u64,
    },
    /// A frame to be appended does not begin behind the head.
    #[error("a frame must begin at position {expected}, this one begins at {found}")]
    OutOfOrder {
        /// The position behind the head.
        expected: Position,
        /// Where the frame begins.
        found: Position,
    },
    /// A frame to be appended is over the bound.
    #[error("the frame that begins at position {position} is too long: {bytes} bytes")]
    FrameTooLong {
        /// Where the frame begins.
        position: Position,
        /// Its length.
        bytes: usize,
    },
    /// Something is stored already where a frame was to go.
    #[error("something is stored at position {position} already")]
    Occupied {
        /// Where the frame begins.
        position: Position,
    },
    /// An earlier append failed.
    #[error("an earlier write failed, nothing more is taken")]
    Poisoned,
    /// The engine failed.
    #[error("the storage engine failed while {doing} the ledger")]
    Engine {
        /// What it was doing.
        doing: &'static str,
    },
    /// The file system failed.
    #[error("the file system failed while {doing} the ledger: {kind}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What kind of failure it was.
        kind: io::ErrorKind,
    },
}

/// The error for a failed call of the file system, whose own words go to the log here.
pub(in crate::ledger) fn io_failed(doing: &'static str, error: &io::Error) -> LedgerError {
    tracing::error!(%error, doing, "the file system failed");
    LedgerError::Io { doing, kind: error.kind() }
}
