//! The keys of an installation, as a start finds and leaves them, and new ones.

use zeroize::Zeroizing;

use crate::app::erase_account::finish_erasures;
use crate::app::peppers;
use crate::progress::Progress;
use crate::projection::table_writer::TableWriter;
use crate::random::Random;
use crate::vault::key_name::{KeyName, Role};
use crate::vault::{DataKeys, Vault, VaultError, new_key};

/// The line of a new pepper.
#[must_use]
pub fn new_pepper(version: u16, random: &dyn Random) -> Zeroizing<String> {
    new_key(KeyName { role: Role::Pepper, version }, random)
}

/// The line of a new key-encryption key.
#[must_use]
pub fn new_kek(version: u16, random: &dyn Random) -> Zeroizing<String> {
    new_key(KeyName { role: Role::Kek, version }, random)
}

/// The line of a new key that signs checkpoints.
#[must_use]
pub fn new_signing_key(version: u16, random: &dyn Random) -> Zeroizing<String> {
    new_key(KeyName { role: Role::Signing, version }, random)
}

/// Holds the keys to what the log needs, destroys the peppers it has retired, cuts off what was never used of the data keys, ends destroying those that were
/// being destroyed, and puts the others under the newest key-encryption key.
///
/// # Errors
/// The first key that is missing, unfit or wrong; nothing is lost.
pub(crate) fn hold_to_the_log(
    vault: &mut Vault,
    table: &mut TableWriter,
    random: &dyn Random,
    progress: &dyn Progress,
) -> Result<(), VaultError> {
    peppers::settle(&vault.peppers, &table.table().peppers())?;
    vault.data_keys.cut_unfinished()?;
    finish_erasures(vault, table)?;
    rewrap(&mut vault.data_keys, random, progress)
}

fn rewrap(
    data_keys: &mut DataKeys,
    random: &dyn Random,
    progress: &dyn Progress,
) -> Result<(), VaultError> {
    let mut counts = data_keys.under_each_kek();
    let Some((newest, _)) = counts.pop_last() else { return Ok(()) };
    let count = counts.values().sum();
    if count == 0 {
        return Ok(());
    }
    progress.begin("wrapping data keys anew", count);
    let done = data_keys.rewrap(random, &mut |done| progress.reached(done));
    progress.end();
    done?;
    tracing::info!(
        count,
        version = newest,
        "all data keys lie under the newest key-encryption key"
    );
    Ok(())
}
