//! The first admin's credential: a file of one line in the data directory.
//!
//! Order at a first start: the credential is written aside and synced, then the caller is put on
//! record, then the file gets its name. A start that finds the file aside looks whether the record
//! came to be: if so the file gets its name, if not it is thrown away and made again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::own_command::{self, OwnCommandError};
use crate::app::sealing;
use crate::domain::caller::{Role, Roles};
use crate::domain::caller_rules::CreateCaller;
use crate::domain::command::Act;
use crate::domain::event::{CallerCreated, EventKind, Mechanism};
use crate::domain::ids::CallerId;
use crate::domain::key_format::{self, Environment};
use crate::domain::personal::Personal;
use crate::domain::subject::Subject;
use crate::domain::tag::Purpose;
use crate::durable_file::{is_there, sync_parent, write_new};
use crate::ledger::data_dir::DataDir;
use crate::ledger::lanes::Lane;
use crate::random;

/// Only the owner may read a credential.
const PRIVATE: u32 = 0o600;

/// Why an admin's credential cannot be made or kept.
#[derive(Debug, Error)]
pub enum CredentialError {
    /// The file system failed.
    #[error("the admin credential file {}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is a file where the credential would go.
    #[error("{} exists already: move it away or name another file", .0.display())]
    Exists(PathBuf),
    /// The admin could not be put on record.
    #[error(transparent)]
    Own(#[from] OwnCommandError),
    /// The caller could not be sealed.
    #[error("the admin's name cannot be sealed: {0}")]
    Sealing(AppError),
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> CredentialError {
    move |source| CredentialError::Io { path: path.to_owned(), source }
}

/// Sees to it that there is an admin if there never was a caller; finishes or undoes what an
/// interrupted start left. Answers where a new credential lies.
///
/// # Errors
/// [`CredentialError`].
pub(crate) fn ensure(app: &App, data_dir: &DataDir) -> Result<Option<PathBuf>, CredentialError> {
    let path = data_dir.admin_credential();
    if settle(app, &path)? {
        return Ok(Some(path));
    }
    if !app.table.callers().is_empty() {
        return Ok(None);
    }
    make(app, &path, Mechanism::Service).map(|()| Some(path))
}

/// Makes another admin of everything for an operator who has lost the last one's credential, and
/// puts its credential into a new file at `path`. On record as made offline. Blocks.
///
/// # Errors
/// [`CredentialError`]; [`CredentialError::Exists`] if the file is there.
pub fn recover(app: &App, path: &Path) -> Result<(), CredentialError> {
    if is_there(path).map_err(io_error(path))? {
        return Err(CredentialError::Exists(path.to_owned()));
    }
    let aside = aside(path);
    let text = fs::read_to_string(&aside).ok().map(Zeroizing::new);
    let ours = |text: &str| key_format::parse(&app.prefix, text.trim_end_matches('\n')).is_ok();
    let there = is_there(&aside).map_err(io_error(&aside))?;
    if there && !text.is_some_and(|text| ours(&text)) {
        return Err(CredentialError::Exists(aside));
    }
    // A run that was interrupted after its record has made the admin already.
    if settle(app, path)? { Ok(()) } else { make(app, path, Mechanism::Offline) }
}

fn make(app: &App, path: &Path, mechanism: Mechanism) -> Result<(), CredentialError> {
    let aside = aside(path);
    let id = CallerId(random::bytes(&*app.random));
    let minted = app.mint(Purpose::Caller, Environment::Service, &id.0);
    let line = Zeroizing::new(format!("{}\n", minted.text.expose()));
    write_new(&aside, line.as_bytes(), PRIVATE).map_err(io_error(&aside))?;
    let name = match mechanism {
        Mechanism::Offline => "recovered admin",
        _ => "first admin",
    };
    let personal = Personal { name: name.to_owned(), ..Personal::default() };
    let subject = Subject::Caller(id);
    let data_keys = &app.vault.data_keys;
    let private =
        sealing::seal(data_keys, &*app.random, &subject, EventKind::CallerCreated, &personal)
            .map_err(CredentialError::Sealing)?;
    let roles = Roles::of(&[Role::Admin]);
    let tenants = Arc::from([]);
    let created = CallerCreated {
        tag: minted.tag,
        roles,
        tenants,
        expire_time: None,
        certificate_name: None,
    };
    let act = Act::CreateCaller(CreateCaller { caller: id, created, private });
    own_command::commit(app, Lane::Commands, mechanism, act)?;
    give_name(&aside, path)
}

/// Finishes or throws away a credential that an interrupted run left aside. True if it was finished.
fn settle(app: &App, path: &Path) -> Result<bool, CredentialError> {
    let aside = aside(path);
    let text = match fs::read_to_string(&aside) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_error(&aside)(error)),
    };
    if app.identify(text.trim_end_matches('\n')).is_ok() {
        give_name(&aside, path)?;
        return Ok(true);
    }
    fs::remove_file(&aside).and_then(|()| sync_parent(&aside)).map_err(io_error(&aside))?;
    Ok(false)
}

fn give_name(aside: &Path, path: &Path) -> Result<(), CredentialError> {
    if is_there(path).map_err(io_error(path))? {
        return Err(CredentialError::Exists(path.to_owned()));
    }
    fs::rename(aside, path).and_then(|()| sync_parent(path)).map_err(io_error(path))
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}
