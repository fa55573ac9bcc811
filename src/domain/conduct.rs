//! What callers did that changed nothing, and yet is on record: what they read of the history, and what they
//! were refused. Folded by the minute ([`window`]), so that a record stands for many calls.

pub mod window;

use std::borrow::Cow;
use std::num::NonZeroU32;

use crate::domain::event::{Event, Proposal};
use crate::domain::ids::{AccountId, CallerId, KeyId, Position, TenantId, TraceId};
use crate::domain::sealed::Private;
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::domain::usage::used::Place;

/// The most addresses that a record of refused calls counts apart.
pub const MAX_SOURCES: usize = 16;

/// The most calls that a record of refused calls has with their particulars.
pub const MAX_SAMPLES: usize = 8;

/// The most bytes of an RPC's name.
pub const MAX_RPC: usize = 128;

/// The name of an RPC: service and method, with a slash between.
pub type Rpc = Cow<'static, str>;

/// What a call named, as far as it was well-formed: ids, never a secret or a personal field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Named {
    /// The tenant.
    pub tenant: Option<TenantId>,
    /// The account of it.
    pub account: Option<AccountId>,
    /// The key.
    pub key: Option<KeyId>,
    /// The caller that the call was about.
    pub caller: Option<CallerId>,
}

/// What reads are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reader {
    /// Who read.
    pub caller: CallerId,
    /// How.
    pub rpc: Rpc,
    /// What was asked for.
    pub named: Named,
}

/// Somebody read the history, so often within one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRead {
    /// When the window begins.
    pub window: Time,
    /// Who read what; none: these are all others, beyond the bound.
    pub reader: Option<Reader>,
    /// How many calls began; 0: streams went on.
    pub calls: u64,
    /// How many events or snapshots were handed out.
    pub events: u64,
    /// The lowest and the highest position of them.
    pub positions: Option<(Position, Position)>,
    /// When the first of this was.
    pub first: Time,
    /// When the last of this was.
    pub last: Time,
}

/// What refusals are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Refused {
    /// Who was refused; none: nobody who presented a valid credential.
    pub caller: Option<CallerId>,
    /// What was refused.
    pub rpc: Rpc,
    /// Why: the number of a reason of the API.
    pub reason: u32,
}

/// How many refused calls came from one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedSource {
    /// The address, among the sealed sources.
    pub source: NonZeroU32,
    /// How many, at least 1.
    pub count: u64,
}

/// One refused call with its particulars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCall {
    /// When it was refused.
    pub time: Time,
    /// The trace it was part of.
    pub trace_id: Option<TraceId>,
    /// What it named.
    pub named: Named,
    /// Where it came from, among the sealed sources; none: it is not listed.
    pub source: Place,
}

/// Calls were refused, so often within one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallsRefused {
    /// When the window begins.
    pub window: Time,
    /// Who was refused what; none: these are all others, beyond the bound.
    pub refused: Option<Refused>,
    /// How many, at least 1.
    pub count: u64,
    /// When the first of them was.
    pub first: Time,
    /// When the last of them was.
    pub last: Time,
    /// How many came from where, as far as there is room.
    pub sources: Vec<RefusedSource>,
    /// The first of them.
    pub samples: Vec<RefusedCall>,
}

/// What is to go on record.
#[derive(Clone, Debug)]
pub enum RecordConduct {
    /// Reads of the history.
    Read(Box<AuditRead>),
    /// Refused calls, and their sealed sources.
    Refused(Box<CallsRefused>, Option<Private>),
}

/// Decides that conduct goes on record, as facts about the service: who is bound to tenants is not shown them.
#[must_use]
pub fn decide(record: &RecordConduct) -> Vec<Proposal> {
    let (event, private) = match record {
        RecordConduct::Read(read) => (Event::AuditRead(read.clone()), None),
        RecordConduct::Refused(refused, private) => {
            (Event::CallsRefused(refused.clone()), private.clone())
        }
    };
    vec![Proposal { subject: Subject::Service, event, private }]
}

fn is_rpc(rpc: &str) -> bool {
    (1..=MAX_RPC).contains(&rpc.len())
}

impl AuditRead {
    /// Whether it can be: something was read, by an RPC that has a name, and it began before it ended.
    #[must_use]
    pub fn holds_together(&self) -> bool {
        let named = self.reader.as_ref().is_none_or(|reader| is_rpc(&reader.rpc));
        let ordered = self.positions.is_none_or(|(low, high)| low <= high);
        named && ordered && self.first <= self.last && (self.calls > 0 || self.events > 0)
    }
}

impl CallsRefused {
    /// Leaves out where calls came from.
    pub fn forget_origins(&mut self) {
        self.sources.clear();
        for sample in &mut self.samples {
            sample.source = None;
        }
    }

    /// Whether it can be: calls were refused, to an RPC that has a name, and no more than those came from the
    /// addresses or are told.
    #[must_use]
    pub fn holds_together(&self) -> bool {
        let named = self.refused.as_ref().is_none_or(|refused| is_rpc(&refused.rpc));
        let placed = self.sources.iter().map(|source| u128::from(source.count)).sum::<u128>();
        let told = self.samples.len() as u64;
        let counted = self.sources.iter().all(|source| source.count > 0);
        let covered = placed <= u128::from(self.count) && told <= self.count;
        named && counted && covered && self.count > 0 && self.first <= self.last
    }
}
