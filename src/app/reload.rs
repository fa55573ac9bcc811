//! What is taken of a configuration file that changes while the server runs, and how that goes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::app::App;
use crate::app::own_command::OwnCommandError;
use crate::domain::command::{Act, Command};
use crate::domain::event::{Actor, Mechanism};
use crate::domain::policy::Policy;
use crate::ledger::lanes::Lane;

/// The most settings that are named; of more it is told how many.
const NAMED_AT_MOST: usize = 16;

/// What the server, which reads the file, tells of it.
#[derive(Debug, Default)]
pub struct ReloadState(Mutex<ReloadFigures>);

/// How it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadFigures {
    /// How many times something of the file was taken since the start.
    pub taken: u64,
    /// Why nothing of the file as it is now is taken; none: it is in force, but for what waits.
    pub refused: Option<String>,
    /// The settings that are otherwise in the file than in force, and that only a start takes.
    pub waiting: BTreeSet<String>,
}

impl ReloadState {
    /// Tells why nothing of the file as it is now is taken.
    pub fn refuse(&self, why: String) {
        self.lock().refused = Some(why);
    }

    /// Tells that the file as it is now is in force, but for the settings that wait for a start; and whether
    /// something of it was `taken` for that.
    pub fn settle(&self, waiting: BTreeSet<String>, taken: bool) {
        let mut figures = self.lock();
        *figures =
            ReloadFigures { taken: figures.taken + u64::from(taken), refused: None, waiting };
    }

    /// How it goes.
    #[must_use]
    pub fn figures(&self) -> ReloadFigures {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, ReloadFigures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReloadFigures {
    /// What somebody should look at, for people.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let refused = self.refused.as_ref().map(|why| {
            format!(
                "the configuration file cannot be taken as it is now, and what was before is still in force: {why}"
            )
        });
        let waiting = (!self.waiting.is_empty()).then(|| {
            format!(
                "a restart is needed for changed settings to be in force: {}",
                named(&self.waiting)
            )
        });
        refused.into_iter().chain(waiting)
    }
}

/// The names in one text.
#[must_use]
pub fn named(settings: &BTreeSet<String>) -> String {
    let names: Vec<_> = settings.iter().take(NAMED_AT_MOST).map(String::as_str).collect();
    let more = match settings.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", names.join(", "))
}

impl App {
    /// Where the server tells how reading the configuration file again goes.
    #[must_use]
    pub fn reload(&self) -> Arc<ReloadState> {
        Arc::clone(&self.reload)
    }

    /// Puts other plans and roles in force and on record, unless accounts use one that would be no more.
    ///
    /// # Errors
    /// [`OwnCommandError`]; those before are still in force.
    pub async fn change_policy(&self, policy: Policy) -> Result<(), OwnCommandError> {
        let actor = Actor { caller: None, mechanism: Mechanism::Service };
        let act = Act::ChangePolicy(policy);
        let command = Command { act, actor, trace_id: None, request: None };
        let answer = self.writer.submit(Lane::Background, command)?;
        answer.await.map_err(|_| OwnCommandError::WriterStopped)??;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_or_waits_is_warned_of_until_it_does_not() {
        let state = ReloadState::default();
        let warnings = || state.figures().warnings().collect::<Vec<_>>();
        assert_eq!(warnings(), [""; 0]);
        state.refuse("line 3".to_owned());
        assert!(warnings()[0].ends_with("line 3"), "{:?}", warnings());
        state.settle(["grpc_addr".to_owned(), "key_prefix".to_owned()].into(), true);
        assert_eq!(warnings().len(), 1);
        assert!(warnings()[0].ends_with(": grpc_addr, key_prefix"), "{:?}", warnings());
        state.settle((0..20).map(|n| format!("setting {n:02}")).collect(), true);
        assert!(warnings()[0].ends_with(", setting 15 and 4 more"), "{:?}", warnings());
        state.settle(BTreeSet::new(), false);
        assert_eq!(warnings(), [""; 0]);
        assert_eq!(state.figures().taken, 2);
    }
}
