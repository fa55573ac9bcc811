//! Hash tiles, held to the records as they are read. Nothing is lost with them: they are made of the log.

use std::path::Path;

use crate::app::check::{Finding, Report, Severity};
use crate::ledger::frame::Frame;
use crate::merkle::tile::TileId;
use crate::projection::tiles::{Fault, HeldTiles};

/// What is said besides of a tile that is at fault.
const CURE: &str = "nothing is lost: the server makes it again when a proof needs it or the scrub comes by, \
                    keyledger admin rebuild at once";

/// The tiles of a directory that is being checked.
pub(super) struct Tiles {
    held: HeldTiles,
    /// Tiles that are not there, and none behind them so far: they may not have been made yet.
    missing: Vec<TileId>,
    /// Whether the records come one after the other so far: else it is not known what tiles they make.
    follows: bool,
}

impl Tiles {
    pub(super) fn new(dir: &Path) -> Self {
        Tiles { held: HeldTiles::new(dir), missing: Vec::new(), follows: true }
    }

    /// Holds the tiles that the next frame completes to it.
    pub(super) fn hold(&mut self, frame: &Frame, report: &mut Report) {
        self.follows &= self.held.goes_on_with(frame);
        if !self.follows {
            return;
        }
        for (id, _, fault) in self.held.take(frame) {
            match fault {
                Some(Fault::Missing) => self.missing.push(id),
                Some(Fault::Altered) => report.add(finding(id, "is torn or altered")),
                None if id.level == 0 => {
                    let missing = self.missing.drain(..);
                    missing.for_each(|id| report.add(finding(id, "is missing")));
                }
                None => {}
            }
        }
    }
}

fn finding(id: TileId, what: &str) -> Finding {
    Finding::new(Severity::Warning, format!("tiles/{id}"), format!("{what}; {CURE}"))
}
