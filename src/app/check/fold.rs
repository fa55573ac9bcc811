//! The records of a ledger that is being checked, through the rules and the vault.

use std::path::Path;

use super::snapshots::Standing;
use super::tiles::Tiles;
use crate::app::check::{Finding, Report, Severity};
use crate::app::recovery::BadRecord;
use crate::app::sealing;
use crate::app::status::bytes_below;
use crate::domain::apply::apply;
use crate::domain::event::Recorded;
use crate::domain::ids::Position;
use crate::ledger::anchor::AnchorState;
use crate::ledger::engine::LedgerError;
use crate::ledger::frame::Frame;
use crate::ledger::record;
use crate::ledger::replay::ReplayError;
use crate::ledger::volumes::check::{Problem, Watch};
use crate::merkle::Frontier;
use crate::progress::Progress;
use crate::projection::table_writer::TableWriter;
use crate::vault::{DataKeys, OpenError};

/// Where findings about records are.
const PLACE: &str = "ledger";

/// Folds the records and writes down what is wrong with them.
pub(super) struct Fold<'a> {
    report: &'a mut Report,
    table: TableWriter,
    data_keys: Option<&'a DataKeys>,
    anchored: Option<AnchorState>,
    snapshots: Vec<Standing>,
    tiles: Tiles,
    progress: &'a dyn Progress,
    read: u64,
    /// Nothing is missing so far, so that each record must follow from those before.
    follows: bool,
}

impl<'a> Fold<'a> {
    pub(super) fn new(
        report: &'a mut Report,
        data_keys: Option<&'a DataKeys>,
        anchored: Option<AnchorState>,
        snapshots: Vec<Standing>,
        tiles: Tiles,
        progress: &'a dyn Progress,
    ) -> Self {
        let table = TableWriter::default();
        Fold {
            report,
            table,
            data_keys,
            anchored,
            snapshots,
            tiles,
            progress,
            read: 0,
            follows: true,
        }
    }

    /// Begins to tell how far it is: the files below `ledger` are all there is to read.
    pub(super) fn begin(&self, ledger: &Path) {
        self.progress.begin("checking the ledger", bytes_below(ledger));
    }

    /// Ends the fold: `tree` is that over all records, if it is known. Answers the table if nothing was
    /// missing.
    pub(super) fn finish(self, tree: Option<&Frontier>) -> Option<TableWriter> {
        let Fold { report, table, anchored, snapshots, progress, follows, .. } = self;
        progress.end();
        let keys = table.table();
        report.accounts = keys.account_count();
        report.keys = keys.key_count();
        report.callers = keys.callers().len();
        if let Some(tree) = tree {
            report.head = Position::new(tree.size());
            report.root = Some(tree.root());
            let behind = snapshots.iter().filter(|found| found.position.get() > tree.size());
            behind.for_each(|found| report.add(found.not_of_this_log()));
        }
        if let (Some(anchored), Some(tree)) = (anchored, tree) {
            let head = tree.size();
            let wrong: Option<ReplayError<BadRecord>> = match anchored.position {
                Some(anchored) if head < anchored.get() => {
                    Some(ReplayError::EndsBeforeAnchor { head, anchored })
                }
                None if anchored.root != Frontier::new().root() => {
                    Some(ReplayError::OtherThanAnchor { anchored: 0 })
                }
                _ => None,
            };
            if let Some(wrong) = wrong {
                report.add(Finding::new(Severity::Damage, PLACE, wrong).at(anchored.position));
            }
        }
        follows.then_some(table)
    }

    /// Folds one record, opens what is sealed in it.
    fn take(&mut self, position: Position, bytes: &[u8]) -> Result<(), BadRecord> {
        let mut fact = record::decode(bytes)?;
        if fact.position != position {
            return Err(BadRecord::Misplaced(fact.position));
        }
        if let (Some(data_keys), Some(private)) = (self.data_keys, &fact.private) {
            let id = private.sealed.data_key;
            let opened = if data_keys.is_known(id) {
                open(data_keys, &mut fact).map_err(BadRecord::Personal)
            } else {
                Err(BadRecord::DataKeyMissing(id.0))
            };
            match opened {
                Ok(is_open) => self.report.opened += u64::from(is_open),
                // What the record did is known all the same.
                Err(error) => self.refuse(position, error),
            }
        }
        if self.follows {
            apply(&mut self.table, &fact)?;
        }
        Ok(())
    }

    fn refuse(&mut self, position: Position, reason: BadRecord) {
        let what = ReplayError::Refused { position, reason };
        self.report.add(Finding::new(Severity::Damage, PLACE, what).at(Some(position)));
    }

    /// Holds a frame to the snapshots that stand in it: each stands at the end of a frame.
    fn hold_to_snapshots(&mut self, frame: &Frame) {
        for found in &self.snapshots {
            let inside = (frame.first()..=frame.last()).contains(&found.position);
            if inside && (found.position != frame.last() || found.root != frame.root()) {
                self.report.add(found.not_of_this_log());
            }
        }
    }

    /// Holds a frame that has the anchored position to the anchor, which names the end of a frame.
    fn hold_to_anchor(&mut self, frame: &Frame) {
        let Some(AnchorState { position: Some(anchored), root }) = self.anchored else { return };
        let inside = (frame.first()..=frame.last()).contains(&anchored);
        if inside && (anchored != frame.last() || root != frame.root()) {
            let what: ReplayError<BadRecord> =
                ReplayError::OtherThanAnchor { anchored: anchored.get() };
            self.report.add(Finding::new(Severity::Damage, PLACE, what).at(Some(anchored)));
        }
    }
}

/// Opens what is sealed in a record; false if it is erased.
fn open(data_keys: &DataKeys, fact: &mut Recorded) -> Result<bool, OpenError> {
    match sealing::open(data_keys, fact) {
        Ok(_) => sealing::open_sources(data_keys, fact).map(|()| true),
        Err(OpenError::Erased) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Watch for Fold<'_> {
    fn frame(&mut self, frame: &Frame) {
        self.hold_to_anchor(frame);
        self.hold_to_snapshots(frame);
        self.tiles.hold(frame, self.report);
        for (position, bytes) in frame.records() {
            self.report.records += 1;
            if let Err(error) = self.take(position, bytes) {
                self.follows = false;
                self.refuse(position, error);
            }
        }
    }

    fn read(&mut self, bytes: u64) {
        self.read += bytes;
        self.progress.reached(self.read);
    }

    fn problem(&mut self, name: &str, problem: Problem) {
        let place = if name.is_empty() { PLACE.to_owned() } else { format!("{PLACE}/{name}") };
        let (severity, position, what) = match problem {
            Problem::Damaged(error) => (Severity::Damage, error.position(), error.to_string()),
            Problem::NotRead => (Severity::Damage, None, NOT_READ.to_owned()),
            Problem::Leftover => (Severity::Note, None, LEFTOVER.to_owned()),
            // The top of the directory must be as it was made; elsewhere the engine looks for its own.
            Problem::Foreign if name.contains('/') => (Severity::Warning, None, FOREIGN.to_owned()),
            Problem::Foreign => (Severity::Damage, None, LedgerError::Foreign.to_string()),
        };
        self.follows &= severity != Severity::Damage;
        self.report.add(Finding::new(severity, place, what).at(position));
    }
}

const NOT_READ: &str = "not read: the volume before it is damaged, so where it begins is not known";

/// What is said of things that an interruption leaves.
pub(super) const LEFTOVER: &str = "left by an interruption: the next start clears it away";

/// What is said of files that are not keyledger's.
pub(super) const FOREIGN: &str = "not keyledger's";
