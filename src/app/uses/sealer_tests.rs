//! What is told of uses that are on their way to the log.

use super::*;
use crate::domain::testing::at;
use crate::domain::usage::window::Window;

const MINUTE: Duration = Duration::from_mins(1);

/// A journal that has ended, with a window of unknown keys from each of these seconds on.
fn ended(journal: u64, starts: &[i64]) -> Ended {
    let part = |(number, second): (u32, &i64)| Part {
        whose: Whose::Unknown,
        number,
        window: Window::new(at(*second)),
        span: MINUTE,
    };
    let parts = (0..).zip(starts).map(part).collect();
    Ended { journal, parts, gaps: Vec::new(), spread: Duration::ZERO }
}

#[test]
fn uses_are_behind_when_as_many_windows_wait_as_may_and_the_sealer_hurries_past_half_of_them() {
    let state = Arc::new(UseSealingState::new(4));
    let (inbox, _ended) = inbox(&state);
    for (journal, pressed, behind) in
        [(1, false, false), (2, false, false), (3, true, false), (4, true, true)]
    {
        inbox.put(ended(journal, &[0]));
        assert_eq!((state.is_pressed(), state.is_behind()), (pressed, behind), "{journal}");
    }
    state.note_done(true);
    state.note_done(false);
    assert_eq!((state.is_behind(), state.waiting(), state.sealed()), (false, 2, 1));
}

#[test]
fn uses_are_open_from_their_first_window_until_their_journal_is_sealed() {
    let state = Arc::new(UseSealingState::new(4));
    let (inbox, _ended) = inbox(&state);
    assert_eq!(state.open_from(), None);
    inbox.note_open(1, at(120));
    inbox.note_open(1, at(180));
    assert_eq!(state.open_from(), Some(at(120)));
    // A clock that was set back.
    inbox.note_open(2, at(60));
    assert_eq!(state.open_from(), Some(at(60)));
    state.note_sealed(2);
    assert_eq!(state.open_from(), Some(at(120)));
    // Of an earlier run, by what is left of it.
    inbox.put(ended(3, &[240, 0]));
    assert_eq!(state.open_from(), Some(at(0)));
    state.note_sealed(3);
    state.note_sealed(1);
    assert_eq!(state.open_from(), None);
}
