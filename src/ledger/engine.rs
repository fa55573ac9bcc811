//! What the house asks of a storage engine, and what an engine may rely on. Nothing above this room
//! knows which engine it is.
//!
//! # The contract
//!
//! *Durable*: survives the end of the process and loss of power. *Acknowledged*: `append` has returned
//! `Ok` for the frame. *Pending*: handed to `append`, which has not returned, has failed, or was cut
//! off; there is never more than one such frame. `conformance.rs` holds each engine to each clause.
//!
//! ## The engine: order
//!
//! - **O1** It MUST take a frame only if it begins right behind the head, at position 1 if there is
//!   none, and MUST refuse any other with [`LedgerError::OutOfOrder`], before anything of it is kept.
//! - **O2** It MUST refuse a frame over the bound with [`LedgerError::FrameTooLong`], before anything of
//!   it is kept, and MUST take every frame within the bound.
//! - **O3** It MUST keep each frame byte for byte and in its place, and MUST never change or remove one
//!   that it has acknowledged.
//!
//! ## The engine: durability
//!
//! - **D1** `append` MUST NOT return `Ok` before the frame is durable.
//! - **D2** After a crash at any instant, opening MUST find every acknowledged frame, and behind them the
//!   pending one whole or nothing of it; and MUST find nothing that was never appended.
//! - **D3** What opening has found MUST be durable before it is shown: a frame that was shown once is
//!   found by every later opening, whatever ends the process in between.
//! - **D4** Dropping the ledger, open readers or not, MUST leave what a crash at that instant may leave.
//!
//! ## The engine: visibility
//!
//! - **V1** A reader MUST show nothing of a frame that is not durable, and never anything of one whose
//!   `append` failed, as long as the ledger is open.
//! - **V2** A frame MUST be shown to every reader, old or new, from the instant its `append` returned, and
//!   `head` MUST be the position of its last record from then on.
//! - **V3** Readers MUST serve any number of threads beside the writer, and all show the same frames.
//!
//! ## The engine: failure
//!
//! - **F1** After any error of `append`, a refusal included, the ledger is poisoned: it MUST answer every
//!   later `append` with [`LedgerError::Poisoned`] and keep nothing of it; closing it is refused alike.
//! - **F2** A poisoned ledger MUST go on to show what was acknowledged, all of it and nothing else.
//! - **F3** A poisoned ledger MUST NOT make the pending frame durable later: not when it is dropped
//!   either, nor in the background.
//! - **F4** A read that fails MUST leave the ledger as it was: it may be tried again, and appends go on.
//!
//! ## The engine: reading
//!
//! - **R1** `frame_at` MUST give the frame that holds the position, for each position up to the head, and
//!   nothing for one beyond it.
//! - **R2** `frames_from` MUST give first the frame that holds the position, then each that follows,
//!   without gap or repeat, those included that are appended before it has reached the last; beyond the
//!   head, and on an empty ledger, nothing.
//! - **R3** It MUST hand out only frames whose checksums hold. Where a frame should be that cannot be
//!   read, is damaged or missing, it MUST answer with an error that names a position the frame holds:
//!   never with nothing, never with another frame.
//! - **R4** Behind an error `frames_from` MUST end.
//!
//! ## The engine: opening and closing
//!
//! - **C1** Making a ledger MUST give an empty one where there is none, and MUST leave one that is there
//!   as it is; opening MUST be refused with an error where there is none, and make none.
//! - **C2** Closing and opening MUST change nothing: the same frames, byte for byte, and the same head; an
//!   empty ledger stays empty.
//! - **C3** Two handles MUST NOT be open at once: a second opening is refused with [`LedgerError::InUse`].
//! - **C4** Opening MUST NOT repair a ledger that has lost or altered an acknowledged frame: it answers
//!   with an error, or leaves it to the reader to. Only what is behind every whole frame may be taken
//!   for what a crash cut off; **H5** finds the rest.
//!
//! ## The holder
//!
//! - **H1** It MUST build each frame behind the tree of the one before.
//! - **H2** It MUST NOT apply, show or answer anything of a frame before its `append` has returned `Ok`.
//! - **H3** After an error of `append` it MUST end the process without unwinding: a retry would rest on a
//!   page cache in an unknown state, and dropping a handle may write.
//! - **H4** It MUST hold the lock of the data directory from before the ledger is opened until it is closed.
//! - **H5** After opening, it MUST read every frame that no snapshot it has verified stands for, hold each
//!   to the tree of the one before and the end to the head anchor, before it shows or answers anything;
//!   and MUST write the anchor only of what has been acknowledged or found.

use std::fs::File;
use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::domain::ids::Position;
use crate::domain::subject::Subject;
use crate::durable_file::Cause;
use crate::ledger::frame::{Frame, FrameError};
use crate::ledger::volume::Sealed;

/// The durable order of all frames. There is one holder, and it is the only writer.
pub trait Ledger: Send {
    /// Adds a frame behind the head: clauses O1 to O3, D1, V1, V2.
    ///
    /// # Errors
    /// After any error the ledger is poisoned, and whether this frame is kept is unknown: clauses F1
    /// to F3, H2 and H3.
    fn append(&mut self, frame: &Frame) -> Result<(), LedgerError>;

    /// The position of the last acknowledged record; none if there is none yet: clause V2.
    fn head(&self) -> Option<Position>;

    /// A reader of the durable frames, those appended later included.
    fn reader(&self) -> Arc<dyn LedgerReader>;
}

/// Reads durable frames, from any thread, beside the writer: clauses V1 to V3, F4.
pub trait LedgerReader: Send + Sync {
    /// The frame that holds `position`; none beyond the head: clause R1.
    ///
    /// # Errors
    /// If the frame is damaged or missing, or the engine fails: clause R3.
    fn frame_at(&self, position: Position) -> Result<Option<Frame>, LedgerError>;

    /// The frames in order, from the one that holds `position` to the one that is last when it is
    /// reached. Ends behind the first error: clauses R2 to R4.
    fn frames_from(
        &self,
        position: Position,
    ) -> Box<dyn Iterator<Item = Result<Frame, LedgerError>> + '_>;

    /// The volumes of the history that are sealed, in order from the first: nothing in them changes
    /// any more. Empty if the engine has none.
    fn sealed(&self) -> Vec<Sealed> {
        Vec::new()
    }

    /// How many bytes the frames take that are in no sealed volume.
    fn unsealed_bytes(&self) -> u64 {
        let first = self.sealed().last().map_or(Position::FIRST, |volume| volume.last.next());
        self.frames_from(first).flatten().map(|frame| frame.as_bytes().len() as u64).sum()
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
    /// The ledger's disk has not the room for what is to be written besides the log.
    #[error("the ledger's disk has {free} bytes free, and {needed} are needed")]
    NoRoom {
        /// Bytes to be written, and those that must then be left.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The engine failed.
    #[error("the storage engine failed while {doing} the ledger")]
    Engine {
        /// What it was doing.
        doing: &'static str,
    },
    /// The file system failed.
    #[error("the file system failed while {doing} the ledger: {cause}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the operating system said.
        cause: Cause,
    },
}

impl LedgerError {
    /// A position that the error is about, if it names one.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        match self {
            LedgerError::DamagedFrame { position, reason } => match reason {
                FrameError::DamagedRecord(record) => Some(*record),
                _ => Some(*position),
            },
            LedgerError::MissingFrame { position }
            | LedgerError::Unreadable { position }
            | LedgerError::FrameTooLong { position, .. }
            | LedgerError::Occupied { position } => Some(*position),
            LedgerError::OtherTree { first, .. } => Some(*first),
            LedgerError::OutOfOrder { expected, .. } => Some(*expected),
            _ => None,
        }
    }
}

/// The error for a failed call of the file system, whose own words go to the log here.
pub(in crate::ledger) fn io_failed(doing: &'static str, error: &io::Error) -> LedgerError {
    tracing::error!(%error, doing, "the file system failed");
    LedgerError::Io { doing, cause: Cause::from(error) }
}
