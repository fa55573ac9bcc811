//! The rules of keyledger, pure: no I/O, no clock, no random source, no async runtime.
//!
//! [`command::decide`] turns a command and the facts so far into events or a refusal;
//! [`apply::apply`] folds an event into the facts and has no rules of its own;
//! [`verdict::judge`] is the verdict of Authenticate.

pub mod account;
pub mod account_rules;
pub mod apply;
pub mod base62;
pub mod caller;
pub mod caller_rules;
pub mod certificate_name;
pub mod command;
pub mod conduct;
pub mod denials;
pub mod event;
pub mod facts;
pub mod ids;
pub mod key;
pub mod key_format;
pub mod key_rules;
pub mod log_state;
pub mod notices;
pub mod open_keys;
pub mod overlay;
pub mod peppers;
pub mod permission;
pub mod personal;
pub mod policy;
pub mod policy_rules;
pub mod proxied;
pub mod rate_window;
pub mod refusal;
pub mod requests;
pub mod sealed;
pub mod signing;
pub mod source;
pub mod source_detail;
pub mod subject;
pub mod tag;
#[cfg(test)]
pub(crate) mod testing;
pub mod time;
pub mod trace_context;
pub mod usage;
pub mod verdict;
