//! Whom or what a record is about.

use std::sync::Arc;

use crate::domain::ids::{AccountRef, CallerId, KeyId};

/// Whom or what an event is about; its records form one chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A key of an account.
    Key(Arc<AccountRef>, KeyId),
    /// An account itself.
    Account(Arc<AccountRef>),
    /// A caller.
    Caller(CallerId),
    /// The service.
    Service,
}
