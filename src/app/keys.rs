//! The keys of an installation, as a start finds them.

use crate::app::erase_account::finish_erasures;
use crate::projection::table_writer::TableWriter;
use crate::vault::{Vault, VaultError};

/// Holds the keys to what the log needs, cuts off what was never used of the data keys, and wipes what was erased.
///
/// # Errors
/// The first key that is missing, unfit or wrong.
pub(crate) fn hold_to_the_log(vault: &mut Vault, table: &mut TableWriter) -> Result<(), VaultError> {
    vault.verify_peppers(&table.peppers().collect::<Vec<_>>())?;
    vault.data_keys.cut_unfinished()?;
    finish_erasures(vault, table)
}
