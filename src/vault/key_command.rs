//! Keys as the output of a command.
//!
//! The program is run without a shell, with nothing to read, in a process group of its own that is killed if it does
//! not end in time. What it says on standard error is thrown away: it may hold anything. It does not inherit the
//! service's own variables, among which keys may be.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use zeroize::Zeroizing;

use crate::config::VERSION_PLACE;
use crate::durable_file::Cause;
use crate::vault::key_source::{SourceFault, environment};

/// How long a command may take: it may have to reach a service far away.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// Most bytes it may write: a key's line is 75, and there may be spaces and line ends behind it.
pub(super) const MAX_OUTPUT_BYTES: usize = 256;

/// The variables of the service itself begin with that.
const OWN_VARIABLES: &[u8] = b"KEYLEDGER_";

/// What the command `words` writes for `version`, if it ends well within `timeout`.
pub(super) fn output_of(
    words: &[String],
    version: u16,
    timeout: Duration,
) -> Result<Zeroizing<Vec<u8>>, SourceFault> {
    let (program, arguments) = words.split_first().ok_or(SourceFault::Silent)?;
    let mut command = Command::new(program);
    let version = version.to_string();
    command.args(arguments.iter().map(|word| word.replace(VERSION_PLACE, &version)));
    for (name, _) in environment() {
        if name.as_bytes().starts_with(OWN_VARIABLES) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().map_err(|error| SourceFault::NotRun(Cause::from(&error)))?;
    let read = read_to_the_end(&mut child, timeout);
    if read.is_err() {
        // The child has not been waited for, so that its group's number is nobody else's.
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    }
    let status = child.wait().map_err(|error| SourceFault::NotRun(Cause::from(&error)))?;
    let output = read?;
    judge(status)?;
    if output.is_empty() { Err(SourceFault::Silent) } else { Ok(output) }
}

/// What the child writes until it has ended and nobody holds its output any more.
fn read_to_the_end(
    child: &mut Child,
    timeout: Duration,
) -> Result<Zeroizing<Vec<u8>>, SourceFault> {
    let timer = timer(timeout).map_err(not_run)?;
    let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).map_err(not_run)?;
    // One more than may come, so that more is seen to be more.
    let mut buffer = Zeroizing::new([0_u8; MAX_OUTPUT_BYTES + 1]);
    let mut length = 0;
    if let Some(mut stdout) = child.stdout.take() {
        loop {
            wait_for(&stdout, &timer)?;
            let read = stdout.read(&mut buffer[length..]);
            match read.map_err(|error| SourceFault::NotRun(Cause::from(&error)))? {
                0 => break,
                read => length += read,
            }
            if length > MAX_OUTPUT_BYTES {
                return Err(SourceFault::TooLong);
            }
        }
    }
    wait_for(&ended, &timer)?;
    Ok(Zeroizing::new(buffer[..length].to_vec()))
}

/// Waits until there is something to read, or an end.
fn wait_for(awaited: &impl AsFd, timer: &OwnedFd) -> Result<(), SourceFault> {
    let mut both = [PollFd::new(awaited, PollFlags::IN), PollFd::new(timer, PollFlags::IN)];
    retry_on_intr(|| poll(&mut both, None)).map_err(not_run)?;
    // What has come by the time that it is over has come in time.
    if both[0].revents().is_empty() { Err(SourceFault::TooSlow) } else { Ok(()) }
}

/// What can be read when `timeout` is over.
fn timer(timeout: Duration) -> Result<OwnedFd, Errno> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
    let it_value = Timespec::try_from(timeout).map_err(|_| Errno::INVAL)?;
    let once = Itimerspec { it_interval, it_value };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &once)?;
    Ok(timer)
}

fn not_run(error: Errno) -> SourceFault {
    SourceFault::NotRun(Cause::from(&error.into()))
}

fn judge(status: ExitStatus) -> Result<(), SourceFault> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(SourceFault::Failed(code)),
        (None, signal) => Err(SourceFault::Killed(signal.unwrap_or_default())),
    }
}
