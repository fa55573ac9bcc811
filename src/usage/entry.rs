//! Uses as the bytes that a frame of the usage journal holds, and back.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use thiserror::Error;
use zeroize::Zeroizing;

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

/// The bytes of one flush, in the clear.
#[must_use]
pub fn encode(flushed: &Flushed) -> Zeroizing<Vec<u8>> {
    let message = wire::JournaledUses {
        span_seconds: u32::try_from(flushed.span.as_secs()).unwrap_or(u32::MAX),
        uses: flushed.uses.iter().map(encode_use).collect(),
        shed: flushed.shed.map(|shed| wire::ShedUses {
            from: shed.from.as_micros(),
            to: shed.to.as_micros(),
            lost: shed.count,
        }),
    };
    Zeroizing::new(message.encode_to_vec())
}

fn encode_use(used: &Use) -> wire::JournaledUse {
    let mut message = wire::JournaledUse {
        outcome: i32::from(used.outcome as u8),
        caller_id: used.caller.map(|id| id.0.to_vec()).unwrap_or_default(),
        action: used.action.clone(),
        source: match used.source {
            Some(IpAddr::V4(source)) => source.octets().to_vec(),
            Some(IpAddr::V6(source)) => source.octets().to_vec(),
            None => Vec::new(),
        },
        agent: used.agent.clone(),
        trace_id: used.trace_id.map(|id| id.0.to_vec()).unwrap_or_default(),
        required_permissions: used.required.clone(),
        position: used.position.map_or(0, Position::get),
        time: used.time.as_micros(),
        cost: used.cost,
        alone: used.alone,
        ..wire::JournaledUse::default()
    };
    match &used.tried {
        Tried::Key(key, account) => {
            message.key_id = key.0.to_vec();
            message.tenant_id = account.tenant.as_str().to_owned();
            message.account_id = account.account.as_str().to_owned();
        }
        Tried::Unknown(presented) => {
            message.presented_key = presented.map(|id| id.0.to_vec()).unwrap_or_default();
        }
    }
    message
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
