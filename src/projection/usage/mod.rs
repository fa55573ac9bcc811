//! The usage projection: how often keys were used, by minute, hour and day, folded from the log into a
//! database on disk that is made for such questions.
//!
//! The log stays the truth: the file may be thrown away at any time and is made anew. It holds no address in the
//! clear, in no file of the database.

mod compare;
mod error;
mod fold;
mod gaps;
mod key;
mod labels;
mod levels;
mod names;
mod query;
mod reader;
mod retention;
mod scan;
mod schema;
mod signals;
mod sources;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

pub use error::UsageStoreError;
pub use levels::Stretch;
pub use reader::{AT_ONCE, UsageReader};
pub use signals::{MAX_NAMED, Signal, SignalPlace, Signals};
pub use store::UsageStore;

use crate::domain::ids::{AccountId, CallerId, KeyId, Position, TenantId};
use crate::domain::time::Time;
use crate::domain::usage::UseOutcome;
use crate::domain::usage::used::GapCause;

/// Most rows of a page, of a top, and of a page of ways.
pub const MAX_ROWS: usize = 1_000;

/// Most dimensions that rows are told apart by.
pub const MAX_GROUP_BY: usize = 3;

/// Most buckets of a range that rows are told apart by.
pub const MAX_BUCKETS: usize = 1_500;

/// For how long buckets are kept: no finer one for longer than a coarser one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Of minutes.
    pub minutes: Duration,
    /// Of hours.
    pub hours: Duration,
    /// Of days.
    pub days: Duration,
}

/// How long a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Granularity {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day in UTC.
    Day,
}

impl Granularity {
    /// All, the finest first.
    pub const ALL: [Granularity; 3] = [Granularity::Minute, Granularity::Hour, Granularity::Day];

    /// How long such a bucket is.
    #[must_use]
    pub const fn span(self) -> Duration {
        match self {
            Granularity::Minute => Duration::from_mins(1),
            Granularity::Hour => Duration::from_hours(1),
            Granularity::Day => Duration::from_hours(24),
        }
    }
}

/// A span of time, from its beginning until before its end; on the bounds of minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The beginning.
    pub from: Time,
    /// Where it is over.
    pub until: Time,
}

/// What rows are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// The tenant of the key.
    Tenant,
    /// The account of the key, within its tenant.
    Account,
    /// The key.
    Key,
    /// The calling service.
    Caller,
    /// What the key was used for.
    Action,
    /// The address the request came from.
    Source,
    /// The outcome.
    Reason,
}

impl Dimension {
    /// Whether it is of the ways in which a key is used, of which a window tells a bounded number apart.
    #[must_use]
    pub fn is_of_ways(self) -> bool {
        matches!(self, Dimension::Caller | Dimension::Action | Dimension::Source)
    }
}

/// What uses must be like to be counted: all that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// The tenant is one of these; none: any.
    pub tenants: Option<Vec<TenantId>>,
    /// The account, of whichever tenant.
    pub account: Option<AccountId>,
    /// The key.
    pub key: Option<KeyId>,
    /// The calling service.
    pub caller: Option<CallerId>,
    /// What it was for; empty: it was not given.
    pub action: Option<String>,
    /// Where it came from.
    pub source: Option<IpAddr>,
    /// The outcome.
    pub outcome: Option<UseOutcome>,
}

impl UsageFilter {
    /// Whether it asks for something that is not known of every use.
    #[must_use]
    pub fn is_of_ways(&self) -> bool {
        self.caller.is_some() || self.action.is_some() || self.source.is_some()
    }
}

/// Which rows, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// So many, those with the most uses first; rows with equally many as pages have them.
    Top(usize),
    /// By bucket, then by what rows are told apart by, in that order.
    Page {
        /// Those behind the page that this was the [`Rows::next`] of; none: from the first on.
        after: Option<Vec<u8>>,
        /// At most so many.
        size: usize,
    },
}

/// A question about the uses of many keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageQuery {
    /// When the uses were; on the bounds of buckets of the granularity.
    pub range: Range,
    /// The buckets that rows are told apart by too; none: a row is of the whole range.
    pub granularity: Option<Granularity>,
    /// What the uses are like.
    pub filter: UsageFilter,
    /// What rows are told apart by, each once.
    pub group_by: Vec<Dimension>,
    /// Which rows.
    pub order: Order,
}

/// How often, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often each outcome came, those that came, ascending.
    pub by_outcome: Vec<(UseOutcome, u64)>,
    /// When the first allowed use was decided. None: there is none, or the uses are of ways, which are
    /// counted and not timed.
    pub first_use: Option<Time>,
    /// When the last allowed use was decided. None as `first_use` is.
    pub last_use: Option<Time>,
}

/// The uses of a key in one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// When it begins.
    pub start: Time,
    /// How often, and when.
    pub counts: Counts,
}

/// The uses of one group. What rows are not told apart by is none; so is what is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// When the bucket begins.
    pub bucket: Option<Time>,
    /// The tenant; of accounts and keys too.
    pub tenant: Option<TenantId>,
    /// The account; of keys too.
    pub account: Option<AccountId>,
    /// The key.
    pub key: Option<KeyId>,
    /// The calling service; none: the key's holder asked itself.
    pub caller: Option<CallerId>,
    /// What it was for; none: it was not given.
    pub action: Option<String>,
    /// Where it came from; none: it was not given, or is `erased`.
    pub source: Option<IpAddr>,
    /// The outcome.
    pub outcome: Option<UseOutcome>,
    /// Caller, action and source of these uses are not known: more ways came in a window than are told
    /// apart.
    pub other: bool,
    /// The sources of these uses were known and are not any more: their data key is destroyed.
    pub erased: bool,
    /// How often, and when.
    pub counts: Counts,
}

/// Rows of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// The rows that have uses.
    pub rows: Vec<Row>,
    /// Asks for the page behind this one; none: it was the last, or no page was asked for.
    pub next: Option<Vec<u8>>,
    /// How many uses fit all else, but it is not known whether they fit the caller, action or source of the filter:
    /// they are in no row.
    pub unattributed: u64,
}

/// One way in which a key was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The calling service; none: the key's holder asked itself, or `other`.
    pub caller: Option<CallerId>,
    /// What it was for; none: it was not given, or `other`.
    pub action: Option<String>,
    /// Where it came from; none: it was not given, or is `erased`, or `other`.
    pub source: Option<IpAddr>,
    /// Caller, action and source are not known.
    pub other: bool,
    /// The source was known and is not any more.
    pub erased: bool,
    /// How often it was allowed.
    pub allowed: u64,
    /// How often it was denied.
    pub denied: u64,
    /// When the last bucket with such a use begins, of the finest buckets that are kept of its time.
    pub last_bucket: Time,
}

/// Ways of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// The ways, latest first, then most uses first.
    pub ways: Vec<Way>,
    /// Asks for the page behind this one; none: it was the last.
    pub next: Option<Vec<u8>>,
}

/// A span of time of which uses may be missing from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The event that says so.
    pub position: Position,
    /// After when uses may be missing.
    pub from: Time,
    /// From when none is missing any more.
    pub to: Time,
    /// How many are missing, of all tenants together; none: not known.
    pub lost: Option<u64>,
    /// Why.
    pub cause: GapCause,
}

/// An answer, and what it takes into account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsOf<T> {
    /// All events up to this one; none: nothing has been folded.
    pub position: Option<Position>,
    /// The answer.
    pub value: T,
}
