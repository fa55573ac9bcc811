//! The files of a data directory beside the ledger: format, anchor, keys, credential, and what should
//! not be there.

use std::fs;
use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use super::fold::{FOREIGN, LEFTOVER};
use super::journals;
use crate::app::check::{Finding, Report, Severity};
use crate::domain::ids::CallerId;
use crate::domain::key_format::{self, Environment, KeyPrefix, PresentedKey};
use crate::domain::tag::{KeyTag, Purpose};
use crate::ledger::anchor::{Anchor, AnchorState};
use crate::ledger::data_dir::{self, DataDir, NameKind};
use crate::projection::table_writer::TableWriter;
use crate::vault::{DataKeys, KekRing, KeySources, PepperRing, SigningRing, VaultError};

/// The file of the first admin's credential.
const CREDENTIAL: &str = "admin.credential";

/// What the files beside the ledger say.
pub(super) struct Found {
    pub(super) anchored: Option<AnchorState>,
    pub(super) peppers: Option<PepperRing>,
    pub(super) data_keys: Option<DataKeys>,
}

/// Looks at every file beside the ledger by itself.
pub(super) fn check(
    data_dir: &DataDir,
    keys: &KeySources,
    prefix: &KeyPrefix,
    report: &mut Report,
) -> Found {
    check_format(data_dir, report);
    let anchored = check_anchor(&data_dir.anchor(), report);
    let peppers = check_peppers(keys, report);
    check_signing_keys(keys, report);
    let data_keys = check_data_keys(data_dir, keys, report);
    if let Err(finding) = credential(data_dir, prefix) {
        report.add(finding);
    }
    journals::check(data_dir, report);
    check_names(data_dir, keys, report);
    Found { anchored, peppers, data_keys }
}

/// Holds what lies beside the ledger to what the ledger says.
pub(super) fn check_against(
    table: &TableWriter,
    peppers: &PepperRing,
    data_dir: &DataDir,
    prefix: &KeyPrefix,
    report: &mut Report,
) {
    if let Err(error) = peppers.verify(table.table().peppers().in_use()) {
        report.add(vault_finding(&error));
    }
    if let Ok(Some(presented)) = credential(data_dir, prefix)
        && !is_somebodys(&presented, table, peppers)
    {
        let what = "is no caller's credential any more, or another installation's";
        report.add(Finding::new(Severity::Warning, CREDENTIAL, what));
    }
}

/// `FORMAT` says what this program reads.
fn check_format(data_dir: &DataDir, report: &mut Report) {
    let what = match data_dir.has_format() {
        Ok(true) => return,
        Ok(false) => "is missing though the directory has been in use".to_owned(),
        Err(error) => error.to_string(),
    };
    report.add(Finding::new(Severity::Damage, "FORMAT", what));
}

/// Both slots of the anchor are whole; answers what it says.
fn check_anchor(path: &Path, report: &mut Report) -> Option<AnchorState> {
    match Anchor::examine(path) {
        Ok(found) => {
            if let Some(slot) = found.damaged_slot {
                report.add(Finding::new(Severity::Warning, "anchor", anchor_slot(slot)));
            }
            Some(found.state)
        }
        Err(error) => {
            report.add(Finding::new(Severity::Damage, "anchor", error));
            None
        }
    }
}

/// What is said of a damaged slot of the anchor beside a whole one.
pub(in crate::app) fn anchor_slot(slot: usize) -> String {
    format!("slot {slot} of the head anchor is truncated or altered; the other holds")
}

/// Every pepper that can be told is whole; answers them.
fn check_peppers(keys: &KeySources, report: &mut Report) -> Option<PepperRing> {
    PepperRing::open(keys).map_err(|error| report.add(vault_finding(&error))).ok()
}

/// Every signing key file is whole. There is none before the first start of a version that signs.
fn check_signing_keys(keys: &KeySources, report: &mut Report) {
    match SigningRing::open(keys) {
        Ok(_) | Err(VaultError::MissingSigningKey { .. }) => {}
        Err(unfit) => report.add(vault_finding(&unfit)),
    }
}

/// Every key-encryption key and every slot of the data key file is whole; answers them.
fn check_data_keys(data_dir: &DataDir, keys: &KeySources, report: &mut Report) -> Option<DataKeys> {
    let keks = KekRing::open(keys);
    let opened = keks.and_then(|keks| DataKeys::open_to_read(&data_dir.data_keys(), keks));
    let keys = opened.map_err(|error| report.add(vault_finding(&error))).ok()?;
    if keys.unfinished() > 0 {
        let what = format!("{} bytes at the end are of an unfinished append", keys.unfinished());
        report.add(Finding::new(Severity::Note, "datakeys", what));
    }
    Some(keys)
}

/// A finding about a key file or the data key file.
pub(super) fn vault_finding(error: &VaultError) -> Finding {
    let place = match error {
        VaultError::MissingPepper { version } | VaultError::WrongPepper { version } => {
            format!("keys/pepper-{version}.key")
        }
        VaultError::MissingKek { version } | VaultError::WrongKek { version } => {
            format!("keys/kek-{version}.key")
        }
        VaultError::LooseKeyFile { key }
        | VaultError::DamagedKeyFile { key }
        | VaultError::MixedUpKeyFile { key, .. } => format!("keys/{}", key.file_name()),
        VaultError::MisnamedKeyFile { file } => format!("keys/{file}"),
        VaultError::Unsupplied { place, .. } => place.clone(),
        VaultError::MisnamedVariable { variable } => variable.clone(),
        VaultError::Io { path, .. } => name_of(path),
        _ => "datakeys".to_owned(),
    };
    Finding::new(Severity::Damage, place, error)
}

/// The admin's credential, if it has not been moved away.
///
/// # Errors
/// What is wrong with its file.
fn credential(data_dir: &DataDir, prefix: &KeyPrefix) -> Result<Option<PresentedKey>, Finding> {
    let text = match fs::read(data_dir.admin_credential()) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Finding::new(Severity::Damage, CREDENTIAL, error)),
    };
    let line = str::from_utf8(&text).ok().and_then(|text| text.strip_suffix('\n'));
    let presented = line.and_then(|line| key_format::parse(prefix, line).ok());
    match presented.filter(|key| key.environment == Environment::Service) {
        Some(presented) => Ok(Some(presented)),
        None => {
            let what = format!("is truncated or altered, or its prefix is not {}", prefix.as_str());
            Err(Finding::new(Severity::Damage, CREDENTIAL, what))
        }
    }
}

/// Whether the credential is one of a caller's, in force or on its way out.
fn is_somebodys(presented: &PresentedKey, table: &TableWriter, peppers: &PepperRing) -> bool {
    let id = CallerId(presented.id);
    let is_of = |stored: &KeyTag| {
        let pepper = peppers.get(stored.pepper);
        pepper.is_some_and(|pepper| {
            pepper.tag(Purpose::Caller, &id.0, &presented.secret).matches(&stored.tag)
        })
    };
    table.table().caller(&id).is_some_and(|caller| {
        is_of(&caller.tag) || caller.retiring.as_ref().is_some_and(|old| is_of(&old.tag))
    })
}

/// Names at the top and in `keys/` that are not keyledger's. What lies beside keys elsewhere is not looked at.
fn check_names(data_dir: &DataDir, keys: &KeySources, report: &mut Report) {
    for name in names_in(data_dir.path()) {
        match data_dir::kind_of(&name) {
            NameKind::Ours => {}
            NameKind::Leftover => report.add(Finding::new(Severity::Note, name, LEFTOVER)),
            NameKind::Foreign => report.add(Finding::new(Severity::Warning, name, FOREIGN)),
        }
    }
    if !keys.dir().starts_with(data_dir.path()) {
        return;
    }
    for name in names_in(keys.dir()) {
        let place = format!("keys/{name}");
        if name.ends_with(".key.tmp") {
            report.add(Finding::new(Severity::Note, place, LEFTOVER));
        } else if !name.ends_with(".key") {
            report.add(Finding::new(Severity::Note, place, FOREIGN));
        }
    }
}

/// The names in a directory, in order; none of one that cannot be listed, which others report.
pub(super) fn names_in(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
