//! Makes the hash tiles on disk what the log gives: offline.

use crate::app::rebuild::RebuildError;
use crate::config::Config;
use crate::domain::ids::Position;
use crate::ledger::data_dir::DataDir;
use crate::ledger::engine::Ledger;
use crate::ledger::volumes::VolumeLedger;
use crate::progress::Progress;
use crate::projection::tiles;
pub use crate::projection::tiles::Rebuilt as TilesRebuilt;

/// Reads the log from position 1 on, holds each whole tile to it, and makes anew those that are missing, torn or
/// altered.
///
/// # Errors
/// [`RebuildError`]; tiles that were made before it are right.
pub fn rebuild_tiles(
    config: &Config,
    progress: &dyn Progress,
) -> Result<TilesRebuilt, RebuildError> {
    let data_dir = DataDir::open_existing(&config.data_dir)?;
    let ledger = VolumeLedger::open(&data_dir.ledger(), config.ledger.volume_bytes)?;
    progress.begin("making hash tiles", Ledger::head(&ledger).map_or(0, Position::get));
    let rebuilt = tiles::rebuild(&data_dir.tiles(), &*ledger.reader(), &mut |position| {
        progress.reached(position);
    });
    progress.end();
    ledger.close()?;
    Ok(rebuilt?)
}
