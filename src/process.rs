//! What the program asks of the operating system for itself, before it does anything else.

use rustix::io;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask,
};

/// File descriptors kept for the ledger, its keys and the answers under way; the rest may be connections.
const RESERVED_FILES: u64 = 256;

/// Makes every file of this process, the engine's included, its owner's alone; keeps its memory, which
/// holds keys and secrets, out of core dumps and other processes' reach; lets it open as many files as it may.
///
/// # Errors
/// If the operating system refuses: nothing should be started then.
pub fn harden() -> io::Result<()> {
    umask(rustix::fs::Mode::from_raw_mode(0o077));
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum })
}

/// How many connections leave enough file descriptors for everything else: a ledger that cannot open a
/// file ends the process, which no client may bring about. At least 1.
#[must_use]
pub fn connections_within_limit(wanted: usize) -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = usize::try_from(files.saturating_sub(RESERVED_FILES)).unwrap_or(usize::MAX);
    wanted.min(most.max(1))
}
