//! The configuration file while the server runs: what can be taken of it without a restart is taken when it changes or
//! the process gets a SIGHUP, all of it or nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::app::App;
use crate::app::own_command::OwnCommandError;
use crate::app::reload::named;
use crate::config::Config;
use crate::config::settings::is_reloaded;

/// How often is looked whether the file has changed.
const EVERY: Duration = Duration::from_secs(5);

/// Tells one state of the file from another; none if it cannot be read.
type Found = Option<[u8; 32]>;

/// What is to be served with, by what the file holds; or why nothing can be.
type Resolve = dyn Fn(&str) -> Result<Config, String> + Send + Sync;

/// A configuration file that may be read again.
pub struct ConfigFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What it held when it was read.
    pub text: String,
    /// What is to be served with, by what it holds; or why nothing can be.
    pub resolve: Box<Resolve>,
    /// Called with each configuration that something was taken of.
    pub taken: Box<dyn Fn(&Config) + Send + Sync>,
}

impl fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Watches the file.
pub(super) struct Reloader {
    file: ConfigFile,
    /// What is in force.
    running: Config,
    /// What the file held when it was judged last; none: it could not be read.
    judged: Found,
    /// What it held at the last look. Else a file that is being written would be taken half.
    seen: Found,
    hangups: Option<Signal>,
}

impl Reloader {
    /// Begins to take SIGHUP, which would else end the process.
    pub(super) fn new(file: ConfigFile, running: Config) -> Self {
        let hangups = signal(SignalKind::hangup());
        let hangups = hangups.inspect_err(|error| {
            tracing::error!(%error, "SIGHUP cannot be taken: the configuration file is looked at all the same");
        });
        let judged = Some(digest(&file.text));
        Reloader { file, running, judged, seen: judged, hangups: hangups.ok() }
    }

    /// Looks at the file from time to time, and whenever the process gets a SIGHUP, until it is dropped.
    pub(super) async fn keep(mut self, app: Weak<App>) {
        let mut due = tokio::time::interval(EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                _ = due.tick() => false,
                () = hangup(self.hangups.as_mut()) => true,
            };
            let Some(app) = app.upgrade() else { return };
            self.look(&app, asked).await;
        }
    }

    /// Takes what the file holds if it differs from what was judged last and two looks found it so, or if somebody
    /// `asked` for it.
    async fn look(&mut self, app: &Arc<App>, asked: bool) {
        let path = self.file.path.clone();
        let read = tokio::task::spawn_blocking(move || Config::read_text(&path)).await;
        let Ok(text) = read.inspect_err(
            |error| tracing::error!(%error, "internal fault: reading the configuration file"),
        ) else {
            return;
        };
        let found = text.as_ref().ok().map(|text| digest(text));
        let settled = std::mem::replace(&mut self.seen, found) == found;
        if !asked && (found == self.judged || !settled) {
            return;
        }
        self.judged = found;
        let config = text.map_err(|error| error.to_string());
        let config = config.and_then(|text| (self.file.resolve)(&text));
        let taken = match config {
            Ok(config) => self.take(app, config).await,
            Err(why) => Err(why),
        };
        if let Err(why) = taken {
            tracing::warn!(
                why,
                "the configuration file cannot be taken as it is now: what was before is still in force"
            );
            app.reload().refuse(why);
        }
    }

    /// Takes what can be taken of a configuration.
    async fn take(&mut self, app: &Arc<App>, config: Config) -> Result<(), String> {
        let changed = self.running.differences(&config).map_err(|error| error.to_string())?;
        let (now, waiting): (BTreeSet<_>, BTreeSet<_>) =
            changed.into_iter().partition(|name| is_reloaded(name));
        if !now.is_empty() {
            let put = app.change_policy(config.policy.clone()).await;
            if let Err(OwnCommandError::NotTaken(_)) = put {
                // It may be taken at the next look.
                self.judged = None;
            }
            put.map_err(|error| error.to_string())?;
            (self.file.taken)(&config);
            self.running.policy = config.policy;
            self.running.log.level = config.log.level;
            tracing::info!(
                settings = named(&now),
                "changed settings of the configuration file are in force"
            );
        }
        if !waiting.is_empty() {
            let settings = named(&waiting);
            tracing::warn!(settings, "changed settings of the configuration file need a restart");
        }
        if now.is_empty() && waiting.is_empty() {
            tracing::info!("the configuration file says what is in force");
        }
        app.reload().settle(waiting, !now.is_empty());
        Ok(())
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// The next SIGHUP; never, if none can be taken.
pub(super) async fn hangup(hangups: Option<&mut Signal>) {
    let told = match hangups {
        Some(hangups) => hangups.recv().await,
        None => None,
    };
    if told.is_none() {
        std::future::pending::<()>().await;
    }
}
