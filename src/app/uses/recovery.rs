//! What an earlier run left in usage journals: counted at once, put on record in time, each use once.
//!
//! Which windows of a journal are on record already is told by the log behind the position that was its
//! head when the journal was made. Uses that a crash or damage took are put on record as a gap.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use thiserror::Error;

use crate::app::App;
use crate::app::uses::fold::{Ranks, shed_gaps};
use crate::app::uses::sealer::Ended;
use crate::config::Durability;
use crate::domain::event::Event;
use crate::domain::ids::{KeyId, Position};
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::domain::usage::used::{GapCause, UsageGap};
use crate::domain::usage::{Tried, UseCounts};
use crate::ledger::engine::{LedgerError, LedgerReader};
use crate::ledger::record::{self, RecordError};
use crate::usage::entry::{Decoder, Flushed, NotUses};
use crate::usage::journal::{
    Ending, Found, Header, Headless, JournalError, JournalNumber, Journals, Listed, gap_since,
};
use crate::usage::open_windows::{OpenWindows, Part, Whose};

/// How far the rate limits look back.
const LIMITS_LOOK_BACK: Duration = Duration::from_secs(62);

/// Over how long what was left is put on record.
const SPREAD: Duration = Duration::from_secs(10);

/// How long before a flush began a use may have read the clock and not be in it.
const MARGIN: Duration = Duration::from_secs(1);

/// Why what was left cannot be told.
#[derive(Debug, Error)]
pub enum UsesError {
    /// A journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A journal holds something else than uses.
    #[error("usage journal {journal}, frame {sequence}: {error}")]
    NotUses {
        /// The journal.
        journal: u64,
        /// The frame.
        sequence: u64,
        /// What is wrong.
        error: NotUses,
    },
    /// A gap cannot be put on record.
    #[error("a gap in the uses cannot be put on record: {0}")]
    Gap(String),
    /// The operating system has no thread to give.
    #[error("the operating system refuses: {0}")]
    Thread(#[from] std::io::Error),
    /// The log cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A record of the log cannot be read.
    #[error("the record at position {position}: {error}")]
    Record {
        /// Which.
        position: Position,
        /// Why.
        error: RecordError,
    },
}

/// What was found of earlier runs.
pub(crate) struct Left {
    /// The journals that are there.
    pub(crate) found: Vec<Found>,
    /// What of them is not on record, journal by journal; nothing of one that is, whole.
    pub(crate) unsealed: Vec<Ended>,
    /// Gaps that MUST be on record before a new journal is begun.
    pub(crate) gaps: Vec<UsageGap>,
    /// The journals that cannot be read, to be set aside once the gaps are on record.
    pub(crate) headless: Vec<JournalNumber>,
}

/// What the log says of journals.
#[derive(Default)]
struct OnRecord {
    parts: HashSet<(u64, Option<KeyId>, u32)>,
    gaps: HashSet<(u64, u32)>,
}

/// Reads the journals, counts what is not on record yet to its keys, and charges to the rate limits what was
/// used within the last minute.
pub(crate) fn recover(
    app: &App,
    journals: &Journals,
    ranks: &mut Ranks,
) -> Result<Left, UsesError> {
    let (headers, headless) = journals.headers()?;
    let roll = roll(journals)?;
    let nothing = headers.is_empty() && headless.is_empty() && roll.is_empty();
    let on_record = if nothing { OnRecord::default() } else { on_record(&*app.reader, &headers)? };
    let (mut decoder, mut failed) = (Decoder::default(), None);
    let mut folding = Folding::new(&on_record);
    let found = journals.read_all(|header, frame| {
        let journal = header.number.get();
        match decoder.decode(&frame.clear) {
            Ok(flushed) => {
                charge(app, &flushed);
                folding.add(journal, &flushed, ranks);
            }
            Err(error) => {
                let sequence = frame.sequence;
                failed.get_or_insert(UsesError::NotUses { journal, sequence, error });
            }
        }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let mut folded = folding.finish();
    let now = app.clock.wall();
    let numbers = headless.iter().map(|journal| journal.number).collect();
    let mut left = Left { found, unsealed: Vec::new(), gaps: Vec::new(), headless: numbers };
    for found in &left.found {
        let journal = found.header.number.get();
        let Unsealed { parts, gaps } = folded.remove(&journal).unwrap_or_default();
        parts.iter().for_each(|part| count(app, part));
        if let Some(at) = found.damaged_at {
            tracing::error!(journal, at, "a usage journal is damaged: uses are missing");
            left.gaps.push(damaged(found, now));
        }
        if found.frames > 0 || found.damaged_at.is_some() {
            left.unsealed.push(Ended { journal, parts, gaps, spread: SPREAD });
        }
    }
    for journal in &headless {
        let number = journal.number.get();
        tracing::error!(
            journal = number,
            "the header of a usage journal is damaged: it is set aside"
        );
        left.gaps.push(unread(journal, &roll, &left.found, now));
    }
    let there = headers.iter().map(|header| header.number).chain(left.headless.iter().copied());
    let there = there.chain(journals.aside()?).collect();
    let missing = missing(&roll, &there);
    for number in &missing {
        tracing::error!(journal = number.get(), "a usage journal is gone: uses are missing");
        let journal = Headless { number: *number, window: None };
        left.gaps.push(unread(&journal, &roll, &left.found, now));
    }
    if !left.found.is_empty() || (headless.is_empty() && missing.is_empty()) {
        left.gaps.extend(crashed(app, &left.found, now));
    }
    left.gaps.retain(|gap| !on_record.gaps.contains(&(gap.journal, gap.part)));
    Ok(left)
}

/// The roll of the journals. One that is damaged says nothing of journals that are gone, and is no reason not to start.
fn roll(journals: &Journals) -> Result<Vec<Listed>, JournalError> {
    match journals.roll() {
        Err(error @ JournalError::DamagedRoll) => {
            tracing::error!(%error, "journals that are gone would not be missed");
            Ok(Vec::new())
        }
        roll => roll,
    }
}

/// Parts of gaps that are not of uses that were shed: behind any of those.
const DAMAGED: u32 = u32::MAX - 1;
const CRASHED: u32 = u32::MAX;

fn damaged(journal: &Found, now: Time) -> UsageGap {
    UsageGap {
        journal: journal.header.number.get(),
        part: DAMAGED,
        cause: GapCause::Damaged,
        from: journal.header.created.min(now),
        to: now,
        lost: None,
    }
}

/// The journals on the roll that are not there: somebody has removed them.
fn missing(roll: &[Listed], there: &HashSet<JournalNumber>) -> Vec<JournalNumber> {
    roll.iter().map(|listed| listed.number).filter(|number| !there.contains(number)).collect()
}

/// The longest window there can be: the bound of `usage.window_seconds`.
const LONGEST_WINDOW: Duration = Duration::from_hours(1);

/// The uses of a journal that cannot be read, or is not there. All are of its window, if a frame says which. If none does they
/// came after it was made, by the roll, or else after the journal before it was; without one it is not known since when,
/// and the gap begins with 1970.
fn unread(journal: &Headless, roll: &[Listed], found: &[Found], now: Time) -> UsageGap {
    let listed = roll.iter().find(|listed| listed.number == journal.number);
    let made = listed.map(|listed| listed.created.minus(MARGIN));
    let earlier = found.iter().rev().find(|found| found.header.number < journal.number);
    let earlier = earlier.map(|found| found.header.created);
    let from = journal.window.or(made).or(earlier);
    let followed =
        found.iter().any(|found| found.header.number > journal.number && found.frames > 0);
    let end = journal.window.filter(|_| followed).map(|window| window.plus(LONGEST_WINDOW));
    let from = from.unwrap_or(Time::EPOCH);
    // The clock may have been set back meanwhile.
    let to = end.map_or(now, |end| end.min(now)).max(from);
    let (number, part, cause) = (journal.number.get(), DAMAGED, GapCause::Damaged);
    UsageGap { journal: number, part, cause, from, to, lost: None }
}

/// The uses that a crash may have taken: answered, and in no journal.
fn crashed(app: &App, found: &[Found], now: Time) -> Option<UsageGap> {
    let last_journal = app.table.log_state().last_journal;
    let Some(last) = found.last() else {
        // The log knows of journals, and a service that ran always leaves one.
        return (last_journal > 0).then_some(UsageGap {
            journal: last_journal,
            part: DAMAGED,
            cause: GapCause::Damaged,
            from: app.table.judge_time(Time::EPOCH),
            to: now,
            lost: None,
        });
    };
    // If answers waited, a frame that was not whole was not answered; unless it was and is damaged.
    let torn = |found: &Found| matches!(found.ending, Ending::Unfinished { torn } if torn > 0);
    let bounded = last.header.durability == Durability::Bounded;
    let since = gap_since(found).filter(|_| bounded || found.iter().any(torn))?;
    // The clock may have been set back meanwhile.
    let from = since.min(now).minus(MARGIN);
    let (journal, cause) = (last.header.number.get(), GapCause::UncleanStop);
    Some(UsageGap { journal, part: CRASHED, cause, from, to: now.max(since), lost: None })
}

/// Charges the uses of a flush to their accounts, as far as the limits look back.
fn charge(app: &App, flushed: &Flushed) {
    let (wall, now) = (app.clock.wall(), app.clock.monotonic());
    for used in &flushed.uses {
        if let Tried::Key(_, account) = &used.tried
            && used.cost > 0
            && wall.since(used.time) <= LIMITS_LOOK_BACK
        {
            app.table.restore_cost(account, used.time, wall, now, used.cost);
        }
    }
}

/// Which parts and gaps of these journals the log has.
fn on_record(reader: &dyn LedgerReader, headers: &[Header]) -> Result<OnRecord, UsesError> {
    let mut on_record = OnRecord::default();
    // What was said of journals that cannot be read, or are gone, is behind the heads of the others, which are still
    // there.
    let head = headers.iter().map(|header| header.head).min().flatten();
    let numbers: HashSet<u64> = headers.iter().map(|header| header.number.get()).collect();
    for frame in reader.frames_from(head.map_or(Position::FIRST, Position::next)) {
        for (position, bytes) in frame?.records() {
            let fact =
                record::decode(bytes).map_err(|error| UsesError::Record { position, error })?;
            let (journal, key, part) = match (&fact.subject, &fact.event) {
                (Subject::Key(_, key), Event::KeyUsed(used)) => {
                    (used.journal, Some(*key), used.part)
                }
                (_, Event::UnknownKeyTried(tried)) => (tried.journal, None, tried.part),
                (_, Event::UsageGap(gap)) => {
                    on_record.gaps.insert((gap.journal, gap.part));
                    continue;
                }
                _ => continue,
            };
            if numbers.contains(&journal) {
                on_record.parts.insert((journal, key, part));
            }
        }
    }
    Ok(on_record)
}

/// What a journal holds that is not on record.
#[derive(Default)]
struct Unsealed {
    parts: Vec<Part>,
    gaps: Vec<UsageGap>,
}

/// Folds one journal after the other, so that what is on record of one is out of memory before the next is read: what
/// stays is what the run before had waiting too, and that has a bound.
struct Folding<'a> {
    on_record: &'a OnRecord,
    journal: u64,
    open: OpenWindows,
    folded: BTreeMap<u64, Unsealed>,
}

impl<'a> Folding<'a> {
    fn new(on_record: &'a OnRecord) -> Self {
        let (open, folded) = (OpenWindows::default(), BTreeMap::new());
        Folding { on_record, journal: 0, open, folded }
    }

    /// Adds the next flush; when it is of another journal than the last, that one has been read whole.
    fn add(&mut self, journal: u64, flushed: &Flushed, ranks: &mut Ranks) {
        if journal != self.journal {
            self.end();
            self.journal = journal;
        }
        self.open.add(flushed, || ranks.next());
    }

    fn end(&mut self) {
        let (journal, OnRecord { parts: recorded, gaps: told, .. }) =
            (self.journal, self.on_record);
        let (mut parts, shed) = std::mem::take(&mut self.open).into_parts();
        let mut gaps = shed_gaps(journal, &shed);
        parts.retain(|part| !recorded.contains(&(journal, key_of(part), part.number)));
        gaps.retain(|gap| !told.contains(&(journal, gap.part)));
        parts.shrink_to_fit();
        self.folded.insert(journal, Unsealed { parts, gaps });
    }

    /// What is not on record of each journal that holds uses.
    fn finish(mut self) -> BTreeMap<u64, Unsealed> {
        self.end();
        self.folded
    }
}

fn key_of(part: &Part) -> Option<KeyId> {
    match &part.whose {
        Whose::Key(key, _) => Some(*key),
        Whose::Unknown => None,
    }
}

/// Counts a window to its key, as its record will.
fn count(app: &App, part: &Part) {
    let Whose::Key(key, _) = &part.whose else { return };
    if !app.table.add_uses(key, &UseCounts::of(&part.window.totals())) {
        tracing::error!(%key, "a usage journal has uses of a key that the log does not know");
    }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
