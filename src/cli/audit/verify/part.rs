//! A part of the log, for who may not see all of it: all records of some subjects, each with a proof.

use tokio::task::JoinSet;

use super::source::{Item, Source};
use super::verdict::Verdict;
use super::{Run, Stop};
use crate::cli::audit::state::{hashes, put_back};
use crate::cli::failure::Failure;
use crate::cli::text::grouped;
use crate::progress::Progress as _;
use crate::proto::v1::{EventFilter, GetInclusionProofRequest};
use crate::verify::{Leaf, Part, Scope};

/// Most proofs that are asked for at once: enough to keep a server busy that is far away.
const IN_FLIGHT: usize = 64;

/// Verifies the records that fit, up to the checkpoint; answers what to keep.
pub(super) async fn verify(
    run: &mut Run,
    filter: EventFilter,
    scope: Scope,
    verdict: &mut Verdict,
) -> Result<Vec<u8>, Stop> {
    let kept = run.keeper.load(|bytes, origin| Part::from_bytes(bytes, origin, &scope))?;
    let mut part = kept.unwrap_or_else(|| Part::of(scope));
    verdict.tally = part.tally();
    let (begun, size) = (verdict.tally.records, run.found.size);
    // What was proved to be in earlier trees is in this one, if it continues them.
    let seen = run.seen.as_ref().map(|seen| (seen.size, seen.root));
    let proved_in = part.proved_in().filter(|proved_in| Some(*proved_in) != seen);
    for (earlier, root) in seen.into_iter().chain(proved_in) {
        if earlier > size {
            return Err(Stop::Unsound(put_back(earlier, size)));
        }
        run.hold_to(earlier, &root).await?;
    }
    let mut source = Source::open(&mut run.audit, filter, part.reached(), size).await?;
    run.progress.begin("verifying a part of the log", size);
    loop {
        let lot = match source.lot().await {
            Ok(Some(lot)) => lot,
            Ok(None) => break,
            Err(stop) => {
                run.keeper.keep(&part.to_bytes(run.keeper.origin()))?;
                return Err(stop);
            }
        };
        let take =
            |Item { position, record, clear }: Item| part.take(position, &record, clear.as_deref());
        let leaves = lot.into_iter().map(take).collect::<Result<Vec<_>, _>>()?;
        prove(run, leaves).await?;
        part.proved(source.reached(), &run.found);
        verdict.tally = part.tally();
        verdict.read = verdict.tally.records - begun;
        run.progress.reached(source.reached());
        if run.keeper.is_due() {
            run.keeper.keep(&part.to_bytes(run.keeper.origin()))?;
        }
    }
    if source.reached() < size {
        let (reached, size) = (grouped(source.reached()), grouped(size));
        let why = format!("the stream ended at position {reached}, and {size} are signed");
        return Err(Stop::Unsound(why));
    }
    part.proved(size, &run.found);
    verdict.continues = run.seen.as_ref().map(|seen| seen.size);
    Ok(part.to_bytes(run.keeper.origin()))
}

/// Holds each record to the checkpoint, by a proof of its own.
async fn prove(run: &Run, leaves: Vec<Leaf>) -> Result<(), Stop> {
    let mut leaves = leaves.into_iter();
    let mut asked = JoinSet::new();
    loop {
        while asked.len() < IN_FLIGHT
            && let Some(leaf) = leaves.next()
        {
            let mut audit = run.audit.clone();
            let (position, tree_size) = (leaf.position(), run.found.size);
            let request = GetInclusionProofRequest { position, tree_size };
            asked.spawn(async move { (leaf, audit.get_inclusion_proof(request).await) });
        }
        let Some(answered) = asked.join_next().await else { return Ok(()) };
        let (leaf, answer) = answered.map_err(|error| Failure::Local(error.to_string()))?;
        let proof = hashes(answer?.into_inner().hashes);
        let proof = proof.ok_or_else(|| {
            Stop::Unsound(format!("the proof for position {} is none", leaf.position()))
        })?;
        leaf.hold_to(&run.found, &proof)?;
    }
}
