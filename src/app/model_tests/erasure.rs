//! What becomes of accounts that are erased, told once more and apart from the rules that this is held against.

use super::model::{About, Model, Status};
use super::rules::{Cause, Outcome, no};

impl Model {
    pub(super) fn erase(&mut self, id: usize, cause: Cause) -> Outcome {
        match self.accounts.get(&id) {
            None => return no("AccountNotFound"),
            Some(account) if account.erased => return Ok(None),
            Some(_) => {}
        }
        let place = self.note("AccountErased", About::Account(id), cause);
        if let Some(account) = self.accounts.get_mut(&id) {
            (account.status, account.erased) = (Status::Closed, true);
            (account.place, account.status_place) = (place, place);
        }
        Ok(Some(place))
    }

    /// Refuses what would seal something under a key that is destroyed.
    pub(super) fn refuse_if_erased(&self, account: usize) -> Result<(), String> {
        if self.accounts[&account].erased { no("AccountClosed") } else { Ok(()) }
    }
}
