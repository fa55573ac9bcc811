//! Uses as the bytes that a frame of the usage journal holds, and back.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use thiserror::Error;

use crate::domain::ids::{AccountId, AccountRef, CallerId, KeyId, Position, TenantId, TraceId};
use crate::domain::time::Time;
use crate::domain::usage::{Tried, Use, UseOutcome};
use crate::proto::ledger as wire;
use crate::usage::recorder::{Shed, Timed};

/// The uses of one flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// How long the windows are that they are folded into; whole seconds.
    pub span: Duration,
    /// The uses, in the order in which they are folded.
    pub uses: Vec<Use>,
    /// What was dropped since the flush before.
    pub shed: Option<Shed>,
}

/// Bytes of a journal that are no uses of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("field {0} of the uses is missing or out of range")]
pub struct NotUses(pub &'static str);

/// Puts what a flush is of at the end of `bytes`, in the clear. Its uses follow, by an [`Encoder`]: messages of
/// protobuf that stand one behind the other read as one, with all their uses in order.
pub fn encode_head(span: Duration, shed: Option<Shed>, bytes: &mut Vec<u8>) {
    let head = wire::JournaledUses {
        span_seconds: u32::try_from(span.as_secs()).unwrap_or(u32::MAX),
        uses: Vec::new(),
        shed: shed.map(|shed| wire::ShedUses {
            from: shed.from.as_micros(),
            to: shed.to.as_micros(),
            lost: shed.count,
        }),
    };
    append(&head, bytes);
}

fn append(message: &wire::JournaledUses, bytes: &mut Vec<u8>) {
    message.encode(bytes).expect("a vector has room for any message");
}

/// Writes uses behind the head of their flush. Keeps the room that one use takes, so that the next needs none.
#[derive(Debug)]
pub struct Encoder {
    /// Of one use.
    message: wire::JournaledUses,
}

impl Default for Encoder {
    fn default() -> Self {
        let uses = vec![wire::JournaledUse::default()];
        Encoder { message: wire::JournaledUses { uses, ..wire::JournaledUses::default() } }
    }
}

impl Encoder {
    /// Puts the bytes of a use at the end of `bytes`, in the clear.
    pub fn put(&mut self, used: &Use, bytes: &mut Vec<u8>) {
        fill(&mut self.message.uses[0], used);
        append(&self.message, bytes);
    }
}

/// Sets every field.
fn fill(message: &mut wire::JournaledUse, used: &Use) {
    message.outcome = i32::from(used.outcome as u8);
    set(&mut message.caller_id, used.caller.as_ref().map(|id| &id.0[..]));
    message.action.clone_from(&used.action);
    match &used.source {
        Some(IpAddr::V4(source)) => set(&mut message.source, Some(&source.octets())),
        Some(IpAddr::V6(source)) => set(&mut message.source, Some(&source.octets())),
        None => message.source.clear(),
    }
    message.agent.clone_from(&used.agent);
    set(&mut message.trace_id, used.trace_id.as_ref().map(|id| &id.0[..]));
    message.required_permissions.clone_from(&used.required);
    message.position = used.position.map_or(0, Position::get);
    message.time = used.time.as_micros();
    message.cost = used.cost;
    message.alone = used.alone;
    let (key, account, presented) = match &used.tried {
        Tried::Key(key, account) => (Some(key), Some(account), None),
        Tried::Unknown(presented) => (None, None, presented.as_ref()),
    };
    set(&mut message.key_id, key.map(|id| &id.0[..]));
    set(&mut message.presented_key, presented.map(|id| &id.0[..]));
    message.tenant_id.clear();
    message.account_id.clear();
    if let Some(account) = account {
        message.tenant_id.push_str(account.tenant.as_str());
        message.account_id.push_str(account.account.as_str());
    }
}

fn set(field: &mut Vec<u8>, value: Option<&[u8]>) {
    field.clear();
    field.extend_from_slice(value.unwrap_or_default());
}

/// Reads the flushes of a journal; accounts that come again share one name.
#[derive(Debug, Default)]
pub struct Decoder {
    accounts: HashSet<Arc<AccountRef>>,
}

impl Decoder {
    /// The uses of the clear bytes of one flush.
    ///
    /// # Errors
    /// [`NotUses`] names what is wrong.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Flushed, NotUses> {
        let message = wire::JournaledUses::decode(bytes).map_err(|_| NotUses("uses"))?;
        if message.span_seconds == 0 {
            return Err(NotUses("span_seconds"));
        }
        let uses = message.uses.into_iter().map(|used| self.decode_use(used));
        Ok(Flushed {
            span: Duration::from_secs(message.span_seconds.into()),
            uses: uses.collect::<Result<_, _>>()?,
            shed: message.shed.map(|shed| Shed {
                from: Time::from_micros(shed.from),
                to: Time::from_micros(shed.to),
                count: shed.lost,
            }),
        })
    }

    fn decode_use(&mut self, message: wire::JournaledUse) -> Result<Use, NotUses> {
        let number = u8::try_from(message.outcome).ok();
        let outcome = number.and_then(UseOutcome::from_number).ok_or(NotUses("outcome"))?;
        let tried = if outcome.is_of_key() {
            let key = optional(&message.key_id, "key_id")?.map(KeyId).ok_or(NotUses("key_id"))?;
            Tried::Key(key, self.account(&message.tenant_id, &message.account_id)?)
        } else {
            Tried::Unknown(optional(&message.presented_key, "presented_key")?.map(KeyId))
        };
        let source = match message.source.len() {
            0 => None,
            4 => optional::<4>(&message.source, "source")?.map(IpAddr::from),
            _ => optional::<16>(&message.source, "source")?.map(IpAddr::from),
        };
        Ok(Use {
            tried,
            outcome,
            caller: optional(&message.caller_id, "caller_id")?.map(CallerId),
            action: message.action,
            source,
            agent: message.agent,
            trace_id: optional(&message.trace_id, "trace_id")?.map(TraceId),
            required: message.required_permissions,
            position: Position::new(message.position),
            time: Time::from_micros(message.time),
            cost: message.cost,
            alone: message.alone,
        })
    }

    fn account(&mut self, tenant: &str, account: &str) -> Result<Arc<AccountRef>, NotUses> {
        let name = AccountRef {
            tenant: TenantId::parse(tenant).map_err(|_| NotUses("tenant_id"))?,
            account: AccountId::parse(account).map_err(|_| NotUses("account_id"))?,
        };
        if let Some(known) = self.accounts.get(&name) {
            return Ok(Arc::clone(known));
        }
        let name = Arc::new(name);
        self.accounts.insert(Arc::clone(&name));
        Ok(name)
    }
}

impl Timed for Use {
    fn time(&self) -> Time {
        self.time
    }
}

fn optional<const N: usize>(bytes: &[u8], field: &'static str) -> Result<Option<[u8; N]>, NotUses> {
    if bytes.is_empty() {
        return Ok(None);
    }
    bytes.try_into().map(Some).map_err(|_| NotUses(field))
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
