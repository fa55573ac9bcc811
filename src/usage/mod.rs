//! Uses on their way to the log: buffers, the recorder and its journal. Nothing here decides.

pub mod entry;
pub mod open_windows;
