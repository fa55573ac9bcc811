//! Uses on their way to the log: buffered by thread, made durable in journals, folded into windows.
//!
//! Nothing here decides. Journal and recorder do not know what a use is: the recorder is told by a fold of
//! the caller, and what is personal is sealed by a [`journal::Cover`].

pub mod entry;
pub mod journal;
pub mod open_windows;
pub mod recorder;
