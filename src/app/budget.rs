//! How much may go wrong in a minute from one source of calls, or for one caller.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::config::Limits;
use crate::domain::ids::CallerId;
use crate::domain::rate_window::RateLimit;

/// The most holders kept at once: at about 60 bytes each, 4 MB. When there are more, those whose
/// budget is whole again are forgotten; if none is, new holders are refused until one is.
const MAX_HOLDERS: usize = 65_536;

/// How often those to be forgotten are looked for at most: it takes a look at each.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(1);

const MINUTE: Duration = Duration::from_secs(60);

/// What a holder may spend at once, and in each minute after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PerMinute(u32);

/// One token bucket for each holder: a network, a caller.
#[derive(Debug)]
struct Budgets<K> {
    limit: PerMinute,
    kept: Mutex<Kept<K>>,
}

#[derive(Debug)]
struct Kept<K> {
    buckets: HashMap<K, Bucket>,
    /// When those to be forgotten were looked for last; in time that never steps.
    swept: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// When the bucket would be full again; in time that never steps.
    full_at: Duration,
}

impl<K: Eq + Hash> Budgets<K> {
    /// A budget of `limit` for each holder.
    fn new(limit: PerMinute) -> Self {
        let kept = Kept { buckets: HashMap::new(), swept: None };
        Budgets { limit, kept: Mutex::new(kept) }
    }

    /// Spends one of a holder's budget at `now`.
    ///
    /// # Errors
    /// What there is of the budget, with when to try again, if it is spent.
    fn spend(&self, holder: K, now: Duration) -> Result<(), RateLimit> {
        let each = MINUTE / self.limit.0.max(1);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.buckets.contains_key(&holder) && !kept.make_room(now) {
            return Err(self.spent(MINUTE, each));
        }
        let bucket = kept.buckets.entry(holder).or_insert(Bucket { full_at: now });
        let full_at = bucket.full_at.max(now) + each;
        let over = (full_at - now).saturating_sub(MINUTE);
        if !over.is_zero() {
            return Err(self.spent(bucket.full_at.saturating_sub(now), over));
        }
        bucket.full_at = full_at;
        Ok(())
    }

    fn spent(&self, reset_after: Duration, retry_after: Duration) -> RateLimit {
        RateLimit { limit: self.limit.0, remaining: 0, reset_after, retry_after: Some(retry_after) }
    }
}

impl<K: Eq + Hash> Kept<K> {
    /// Whether there is room for one more, some being forgotten if there was none.
    fn make_room(&mut self, now: Duration) -> bool {
        let due = self.swept.is_none_or(|last| last + BETWEEN_SWEEPS <= now);
        if self.buckets.len() >= MAX_HOLDERS && due {
            self.swept = Some(now);
            self.buckets.retain(|_, bucket| bucket.full_at > now);
        }
        self.buckets.len() < MAX_HOLDERS
    }
}

/// The network that an address counts for: an IPv6 holder commonly has a whole /64 to call from.
fn network_of(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// What may be tried of keys that are none. Nobody whose key is known is ever charged or refused here.
#[derive(Debug)]
pub(crate) struct Guessing {
    /// None: the peer has no address.
    who_am_i: Budgets<Option<IpAddr>>,
    by_source: Budgets<IpAddr>,
    by_caller: Budgets<CallerId>,
}

impl Guessing {
    pub(crate) fn new(limits: &Limits) -> Self {
        Guessing {
            who_am_i: Budgets::new(PerMinute(limits.who_am_i_per_source)),
            by_source: Budgets::new(PerMinute(limits.unknown_keys_per_source)),
            by_caller: Budgets::new(PerMinute(limits.unknown_keys_per_caller)),
        }
    }

    /// Charges a WhoAmI that failed at `now` to where it came from.
    ///
    /// # Errors
    /// The budget that is spent.
    pub(crate) fn who_am_i_failed(
        &self,
        source: Option<IpAddr>,
        now: Duration,
    ) -> Result<(), RateLimit> {
        self.who_am_i.spend(source.map(network_of), now)
    }

    /// Charges an unknown key at `now` to where it came from, if that is known, and to the caller that asked. What its
    /// source may not try costs the caller nothing, so that one source does not use up what is there for the others.
    ///
    /// # Errors
    /// The budget that is spent.
    pub(crate) fn unknown_key(
        &self,
        caller: CallerId,
        source: Option<IpAddr>,
        now: Duration,
    ) -> Result<(), RateLimit> {
        if let Some(source) = source {
            self.by_source.spend(network_of(source), now)?;
        }
        self.by_caller.spend(caller, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> IpAddr {
        network_of(text.parse().expect("an address"))
    }

    #[test]
    fn a_holder_spends_its_budget_and_gets_it_back_over_a_minute() {
        let budget = Budgets::new(PerMinute(60));
        let start = Duration::from_secs(1000);
        for _ in 0..60 {
            budget.spend(network("192.0.2.1"), start).expect("within the budget");
        }
        let refused = budget.spend(network("192.0.2.1"), start);
        let spent = RateLimit {
            limit: 60,
            remaining: 0,
            reset_after: Duration::from_secs(60),
            retry_after: Some(Duration::from_secs(1)),
        };
        assert_eq!(refused, Err(spent));
        budget.spend(network("192.0.2.2"), start).expect("another source");
        budget.spend(network("192.0.2.1"), start + Duration::from_secs(1)).expect("one came back");
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_budget() {
        let budget = Budgets::new(PerMinute(1));
        budget.spend(network("2001:db8::1"), Duration::ZERO).expect("the first");
        assert!(budget.spend(network("2001:db8::2"), Duration::ZERO).is_err());
        budget.spend(network("2001:db8:0:1::1"), Duration::ZERO).expect("another network");
        budget.spend(network("192.0.2.1"), Duration::ZERO).expect("an IPv4 address");
        assert!(budget.spend(network("::ffff:192.0.2.1"), Duration::ZERO).is_err(), "the same");
    }

    #[test]
    fn more_holders_than_are_kept_are_refused_until_one_is_forgotten() {
        let budget = Budgets::new(PerMinute(60));
        for n in 0..MAX_HOLDERS {
            budget.spend(n, Duration::ZERO).expect("room");
        }
        assert!(budget.spend(MAX_HOLDERS, Duration::ZERO).is_err());
        budget.spend(0, Duration::ZERO).expect("one that is kept");
        budget.spend(MAX_HOLDERS, Duration::from_secs(2)).expect("forgotten by then");
    }

    #[test]
    fn one_source_does_not_spend_what_its_caller_may_try_for_others() {
        let limits =
            Limits { unknown_keys_per_source: 2, unknown_keys_per_caller: 4, ..Limits::default() };
        let guessing = Guessing::new(&limits);
        let (caller, now) = (CallerId([1; 12]), Duration::ZERO);
        let spend = |source: Option<&str>| {
            let spent = guessing.unknown_key(caller, source.map(network), now);
            spent.map_err(|spent| spent.limit)
        };
        let tried = [(); 4].map(|()| spend(Some("192.0.2.1")));
        assert_eq!(tried, [Ok(()), Ok(()), Err(2), Err(2)]);
        assert_eq!(spend(Some("192.0.2.2")), Ok(()));
        assert_eq!(spend(None), Ok(()), "from nowhere known");
        assert_eq!(spend(Some("192.0.2.3")), Err(4), "the caller's is spent");
        let other = guessing.unknown_key(CallerId([2; 12]), None, now);
        assert_eq!(other, Ok(()), "another caller");
    }
}
