//! How the process ends when what it must not lose can no longer be made durable.

use std::error::Error;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long saying why the process ends may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Ends the process at once: one line to the log, one to standard error, then `abort()`, so that
/// nothing is unwound and no handle is dropped (dropping the engine's handle writes). `what` says
/// what failed, without a driver's words.
pub fn fail_stop(what: &str, error: &dyn Error) -> ! {
    static ENDING: AtomicBool = AtomicBool::new(false);
    while ENDING.swap(true, Ordering::SeqCst) {
        // Another thread is saying why; what failed after it is not the cause.
        std::thread::park();
    }
    // Whoever reads the log may have stopped reading: saying why must not keep the process alive.
    let _ = std::thread::Builder::new().spawn(|| {
        std::thread::sleep(LAST_WORDS);
        std::process::abort();
    });
    tracing::error!(%error, "{what}; the process stops here, what was acknowledged is safe");
    // The log may go elsewhere or be full as well: nothing more can be done if this fails too.
    let _ = writeln!(std::io::stderr(), "keyledger: {what}: {error}; stopping");
    std::process::abort()
}

/// Ends the process, after its message, if the thread that holds this panics: before anything it has is
/// dropped, since dropping a handle of the engine writes.
pub(crate) struct AbortOnPanic(pub(crate) &'static str);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            fail_stop(self.0, &std::io::Error::other("see the message above"));
        }
    }
}

/// From here on a panic on one of the engine's own threads ends the process: the engine would go on
/// without that thread, and a commit would wait for ever. For the program's main, once.
pub fn stop_on_engine_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        if std::thread::current().name().is_some_and(|name| name.starts_with("sled")) {
            let error = std::io::Error::other("one of its threads panicked, see the message above");
            fail_stop("the storage engine failed", &error);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Output};

    const SIGABRT: i32 = 6;

    #[test]
    #[ignore = "ends its process: run by the test below in a process of its own"]
    fn child_that_fails_to_stop() {
        struct SaysSoWhenDropped;
        impl Drop for SaysSoWhenDropped {
            fn drop(&mut self) {
                let _ = writeln!(std::io::stderr(), "dropped");
            }
        }
        let _handle = SaysSoWhenDropped;
        fail_stop("the disk is full", &std::io::Error::other("no space"));
    }

    #[test]
    #[ignore = "ends its process: run by the test below in a process of its own"]
    fn child_of_which_every_thread_fails() {
        let all = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    all.wait();
                    fail_stop("the disk is full", &std::io::Error::other("no space"));
                });
            }
        });
    }

    /// Runs one of the tests above that end their process.
    fn run(child: &str) -> (Output, String) {
        let child = format!("{}::{child}", module_path!());
        let name = child.split_once("::").expect("the crate comes first").1;
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--ignored", "--nocapture"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output, said)
    }

    #[test]
    fn of_many_failures_at_once_one_is_told() {
        let (output, said) = run("child_of_which_every_thread_fails");
        assert_eq!(output.status.signal(), Some(SIGABRT), "{said}");
        assert_eq!(said.matches("stopping").count(), 1, "{said}");
    }

    #[test]
    fn the_process_aborts_with_one_line_and_drops_nothing() {
        let (output, said) = run("child_that_fails_to_stop");
        assert_eq!(output.status.signal(), Some(SIGABRT), "{said}");
        assert!(said.contains("keyledger: the disk is full: no space; stopping\n"), "{said}");
        assert!(!said.contains("dropped"), "{said}");
    }
}
