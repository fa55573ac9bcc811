//! The whole log: every record from the first on, and the tree over them.

use tokio::task::spawn_blocking;

use super::source::{Item, Source};
use super::verdict::Verdict;
use super::{Run, Stop};
use crate::cli::audit::state::put_back;
use crate::cli::failure::Failure;
use crate::cli::text::grouped;
use crate::merkle::checkpoint::Checkpoint;
use crate::progress::Progress as _;
use crate::proto::v1::EventFilter;
use crate::verify::{History, Unsound};

/// Verifies all records up to the checkpoint; answers what to keep.
pub(super) async fn verify(run: &mut Run, verdict: &mut Verdict) -> Result<Vec<u8>, Stop> {
    let mut history = begin(run)?;
    verdict.tally = history.tally();
    let (begun, size) = (history.size(), run.found.size);
    if begun > size {
        return Err(Stop::Unsound(put_back(begun, size)));
    }
    match run.seen.clone() {
        Some(seen) if seen.size > begun => history.expect(&seen),
        // The records up to there are not read again.
        Some(seen) if seen.size < begun => run.hold_to(seen.size, &seen.root).await?,
        _ => {}
    }
    let mut source = Source::open(&mut run.audit, EventFilter::default(), begun, size).await?;
    run.progress.begin("verifying the log", size);
    let mut next = source.lot().await;
    loop {
        let lot = match next {
            Ok(Some(lot)) => lot,
            Ok(None) => break,
            Err(stop) => {
                run.keeper.keep(&history.to_bytes(run.keeper.origin()))?;
                return Err(stop);
            }
        };
        // The next records come while a thread looks at these.
        let looking = spawn_blocking(move || take(history, lot));
        let (looked, coming) = tokio::join!(looking, source.lot());
        let (taken, result) = looked.map_err(|error| Failure::Local(error.to_string()))?;
        (history, next) = (taken, coming);
        verdict.tally = history.tally();
        verdict.read = history.size() - begun;
        result?;
        run.progress.reached(history.size());
        if run.keeper.is_due() {
            run.keeper.keep(&history.to_bytes(run.keeper.origin()))?;
        }
    }
    if history.size() < size {
        return Err(Stop::Unsound(missing(history.size(), size)));
    }
    history.hold_to(&run.found)?;
    verdict.continues = run.seen.as_ref().map(|seen| seen.size);
    Ok(history.to_bytes(run.keeper.origin()))
}

/// What an earlier run has verified, or nothing.
fn begin(run: &Run) -> Result<History, Failure> {
    let Some(history) = run.keeper.load(History::from_bytes)? else {
        return Ok(History::default());
    };
    let is_of = |seen: &Checkpoint| seen.size != history.size() || history.hold_to(seen).is_ok();
    if run.seen.as_ref().is_none_or(is_of) {
        return Ok(history);
    }
    run.keeper.tell_anew("it is not of the checkpoint that was seen last");
    Ok(History::default())
}

fn take(mut history: History, lot: Vec<Item>) -> (History, Result<(), Stop>) {
    let result = lot.into_iter().try_for_each(|Item { position, record, clear }| {
        let reached = history.size();
        if position <= reached {
            return Err(Unsound::OutOfOrder { said: position, reached }.into());
        }
        if position > reached + 1 {
            return Err(Stop::Unsound(missing(reached, position)));
        }
        Ok(history.take(&record, clear.as_deref())?)
    });
    (history, result)
}

/// What is said of records that did not come.
fn missing(behind: u64, next: u64) -> String {
    format!(
        "records are missing between positions {} and {}; who is bound to tenants is not shown all, and has to \
         name one with --tenant",
        grouped(behind),
        grouped(next)
    )
}
