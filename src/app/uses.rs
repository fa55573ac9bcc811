//! Uses on their way to the log: recorded as they are answered, sealed into events by the window, and
//! made good after a crash.

pub(crate) mod record;
