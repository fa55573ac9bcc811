//! Witnesses that are asked to cosign checkpoints, as C2SP tlog-witness has it: <https://c2sp.org/tlog-witness>.
//!
//! A witness remembers the largest checkpoint that it has cosigned, and cosigns another only if a proof shows
//! that it continues that one. So it has to be told from which size on; where that is not known, or somebody
//! else has asked it meanwhile, its answer says so.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::cosigned::Cosigned;
use super::post::{Answer, Poster};
use super::{NotKept, Place};
use crate::app::checkpoint::SignedCheckpoint;
use crate::config::Witness;
use crate::domain::ids::Position;
use crate::domain::time::Time;
use crate::ledger::engine::LedgerReader;
use crate::merkle::Hash;
use crate::merkle::cosignature::{WitnessKey, answered};
use crate::projection::tiles::Tiles;

/// How often a witness is asked in one attempt: to learn its size, and once more if it has grown meanwhile.
const ASKED: usize = 3;

/// What an answer is that says how many records a witness has seen.
const SIZE_TYPE: &str = "text/x.tlog.size";

/// What makes proofs for witnesses, until the log is closed.
pub(super) struct Prover {
    tiles: Arc<Tiles>,
    log: Mutex<Option<Arc<dyn LedgerReader>>>,
}

impl fmt::Debug for Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prover(…)")
    }
}

impl Prover {
    /// What proves by these tiles, and by the log for what no tile holds yet; nothing without a log.
    pub(super) fn new(tiles: Arc<Tiles>, log: Option<Arc<dyn LedgerReader>>) -> Self {
        Prover { tiles, log: Mutex::new(log) }
    }

    /// Lets go of the log, once a proof that is being made is made.
    pub(super) fn close(&self) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// That the tree of `to` records continues the one of `from`.
    fn prove(&self, from: u64, to: u64) -> Result<Vec<Hash>, NotKept> {
        let Some(position) = Position::new(from).filter(|_| from < to) else {
            return Ok(Vec::new());
        };
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let log = log.as_ref().ok_or(NotKept::Stopping)?;
        Ok(self.tiles.consistency(&**log, position, to)?)
    }
}

/// One witness.
pub(super) struct WitnessPlace {
    number: usize,
    key: WitnessKey,
    poster: Poster,
    prover: Arc<Prover>,
    cosigned: Arc<Cosigned>,
    /// How many records the largest checkpoint is of that it has cosigned, as far as is known.
    size: u64,
}

impl WitnessPlace {
    /// The witness of that number, which puts its cosignatures into `cosigned`.
    pub(super) fn new(
        number: usize,
        witness: &Witness,
        prover: &Arc<Prover>,
        cosigned: &Arc<Cosigned>,
    ) -> Self {
        WitnessPlace {
            number,
            key: witness.key.clone(),
            poster: Poster::new(&witness.add_checkpoint),
            prover: Arc::clone(prover),
            cosigned: Arc::clone(cosigned),
            size: 0,
        }
    }

    fn request(&self, signed: &SignedCheckpoint) -> Result<String, NotKept> {
        let mut body = format!("old {}\n", self.size);
        for hash in self.prover.prove(self.size, signed.checkpoint.size)? {
            let _ = writeln!(body, "{}", STANDARD.encode(hash.0));
        }
        Ok(format!("{body}\n{}", signed.note))
    }

    /// Learns how far the witness is; refuses what no further request mends.
    fn learn(&mut self, answer: &Answer, size: u64) -> Result<(), NotKept> {
        let digits = answer.body.strip_suffix('\n').unwrap_or(&answer.body);
        let said = digits.parse().ok().filter(|said| u64::to_string(said) == digits);
        let said = said.filter(|_| answer.media_type() == Some(SIZE_TYPE));
        let kept = match said {
            Some(kept) if kept > size => return Err(NotKept::WitnessedMore { kept, size }),
            // To one that is told its own size it says so if it has cosigned another root.
            Some(kept) if kept == self.size && kept == size => return Err(NotKept::OtherHistory),
            Some(kept) if kept != self.size => kept,
            _ => return Err(NotKept::Answered(answer.status)),
        };
        self.size = kept;
        Ok(())
    }
}

impl Place for WitnessPlace {
    fn keep(&mut self, signed: &SignedCheckpoint, _now: Time) -> Result<(), NotKept> {
        let size = signed.checkpoint.size;
        for _ in 0..ASKED {
            let answer = self.poster.ask(&self.request(signed)?)?;
            match answer.status {
                200 => {
                    let line = answered(&signed.checkpoint.text(), &answer.body, &self.key)
                        .map_err(NotKept::NoCosignature)?;
                    self.size = size;
                    return self.cosigned.add(signed, self.number, line);
                }
                409 => self.learn(&answer, size)?,
                403 => return Err(NotKept::UnknownToWitness("a key that signs it")),
                404 => return Err(NotKept::UnknownToWitness("its origin")),
                422 => return Err(NotKept::OtherHistory),
                status => return Err(NotKept::Answered(status)),
            }
        }
        Err(NotKept::Unsettled)
    }
}
