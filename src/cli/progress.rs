//! Shows people how far long work has come: a bar on a terminal, lines in the log otherwise. Work of
//! less than a second is not worth a word.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock::{Clock, SystemClock};
use crate::progress::Progress;

/// How long work must take before anything is said of it.
const WORTH_A_WORD: Duration = Duration::from_secs(1);

/// How often a line is written to the log.
const LINE_EACH: Duration = Duration::from_secs(5);

const BAR: &str =
    "{msg}  {wide_bar}  {percent}%  {human_pos} of {human_len}, {per_sec}, {eta} left";

/// Shows progress on standard error.
pub(super) struct Shown {
    clock: Box<dyn Clock>,
    terminal: bool,
    work: Mutex<Option<Work>>,
}

/// What is going on.
struct Work {
    what: &'static str,
    total: u64,
    done: u64,
    began: Duration,
    /// When people were told last.
    told: Option<Duration>,
    bar: Option<ProgressBar>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

impl Shown {
    /// On this process's standard error.
    pub(super) fn new() -> Self {
        Shown::by(Box::new(SystemClock::new()), io::stderr().is_terminal())
    }

    fn by(clock: Box<dyn Clock>, terminal: bool) -> Self {
        Shown { clock, terminal, work: Mutex::new(None) }
    }

    fn work(&self) -> MutexGuard<'_, Option<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    fn tell(&mut self, now: Duration, terminal: bool) {
        let since = now.saturating_sub(self.told.unwrap_or(self.began));
        let (what, done, total) = (self.what, self.done, self.total);
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if self.told.is_none() && since < WORTH_A_WORD {
        } else if terminal {
            self.bar = Some(new_bar(what, done, total));
            self.told = Some(now);
        } else if self.told.is_none() || since >= LINE_EACH {
            tracing::info!(done, total, "{what}");
            self.told = Some(now);
        }
    }
}

fn new_bar(what: &'static str, done: u64, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(BAR) {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar.set_position(done);
    bar
}

impl Progress for Shown {
    fn begin(&self, what: &'static str, total: u64) {
        let began = self.clock.monotonic();
        *self.work() = Some(Work { what, total, done: 0, began, told: None, bar: None });
    }

    fn reached(&self, done: u64) {
        let now = self.clock.monotonic();
        if let Some(work) = &mut *self.work() {
            // Several threads tell of one work, not always in order.
            work.done = work.done.max(done);
            work.tell(now, self.terminal);
        }
    }

    fn end(&self) {
        let Some(work) = self.work().take() else { return };
        if let Some(bar) = work.bar {
            bar.finish_and_clear();
        }
        if work.told.is_some() {
            let took = self.clock.monotonic().saturating_sub(work.began);
            tracing::info!(steps = work.done, took_s = took.as_secs(), "{}: done", work.what);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::time::Time;

    #[derive(Debug)]
    struct Shared(Arc<ManualClock>);

    impl Clock for Shared {
        fn wall(&self) -> Time {
            self.0.wall()
        }

        fn monotonic(&self) -> Duration {
            self.0.monotonic()
        }
    }

    fn shown(terminal: bool) -> (Arc<ManualClock>, Shown) {
        let clock = Arc::new(ManualClock::new(Time::EPOCH));
        (Arc::clone(&clock), Shown::by(Box::new(Shared(clock)), terminal))
    }

    fn told(shown: &Shown) -> Option<Duration> {
        shown.work().as_ref().and_then(|work| work.told)
    }

    #[test]
    fn what_takes_less_than_a_second_is_not_told() {
        let (clock, shown) = shown(false);
        shown.begin("counting", 10);
        clock.advance(Duration::from_millis(999));
        shown.reached(9);
        assert_eq!(told(&shown), None);
        shown.end();
        assert!(shown.work().is_none());
    }

    #[test]
    fn without_a_terminal_a_line_is_written_now_and_then() {
        let (clock, shown) = shown(false);
        shown.begin("counting", 100);
        let mut times = Vec::new();
        for done in 1..=14 {
            clock.advance(Duration::from_millis(1000));
            shown.reached(done);
            times.extend(told(&shown).map(|time| time.as_secs()));
        }
        times.dedup();
        assert_eq!(times, [1, 6, 11]);
        assert!(shown.work().as_ref().unwrap().bar.is_none());
    }

    #[test]
    fn on_a_terminal_there_is_a_bar_that_never_goes_back() {
        let (clock, shown) = shown(true);
        shown.begin("counting", 100);
        clock.advance(Duration::from_secs(2));
        shown.reached(40);
        shown.reached(30);
        let position = shown.work().as_ref().unwrap().bar.as_ref().unwrap().position();
        assert_eq!(position, 40);
        shown.end();
    }
}
