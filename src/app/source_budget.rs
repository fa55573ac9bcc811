//! How much may come from one source of calls that no caller stands behind.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::app::error::AppError;

/// The most sources kept at once: at about 60 bytes each, 4 MB. When there are more, those whose
/// budget is whole again are forgotten; if none is, new sources are refused until one is.
const MAX_SOURCES: usize = 65_536;

/// Calls a source may make at once, and in each minute after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerMinute(pub u32);

/// One token bucket a source. IPv6 sources are told apart by their /64.
#[derive(Debug)]
pub struct SourceBudget {
    limit: PerMinute,
    buckets: Mutex<HashMap<Option<IpAddr>, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// When the bucket would be full again; in time that never steps.
    full_at: Duration,
}

impl SourceBudget {
    /// A budget of `limit` for each source.
    #[must_use]
    pub fn new(limit: PerMinute) -> Self {
        SourceBudget { limit, buckets: Mutex::new(HashMap::new()) }
    }

    /// Spends one call of a source's budget at `now`.
    ///
    /// # Errors
    /// [`AppError::SourceOverloaded`] with when to try again.
    pub fn spend(&self, source: Option<IpAddr>, now: Duration) -> Result<(), AppError> {
        let minute = Duration::from_secs(60);
        let each = minute / self.limit.0.max(1);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let source = source.map(network_of);
        if !buckets.contains_key(&source) && buckets.len() >= MAX_SOURCES {
            buckets.retain(|_, bucket| bucket.full_at > now);
            if buckets.len() >= MAX_SOURCES {
                return Err(AppError::SourceOverloaded { retry_after: each });
            }
        }
        let bucket = buckets.entry(source).or_insert(Bucket { full_at: now });
        let full_at = bucket.full_at.max(now) + each;
        let over = (full_at - now).saturating_sub(minute);
        if !over.is_zero() {
            return Err(AppError::SourceOverloaded { retry_after: over });
        }
        bucket.full_at = full_at;
        Ok(())
    }
}

/// An IPv6 holder commonly has a whole /64 to call from.
fn network_of(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn a_source_spends_its_budget_and_gets_it_back_over_a_minute() {
        let budget = SourceBudget::new(PerMinute(60));
        let start = Duration::from_secs(1000);
        for _ in 0..60 {
            budget.spend(source("192.0.2.1"), start).expect("within the budget");
        }
        let refused = budget.spend(source("192.0.2.1"), start);
        assert!(matches!(refused, Err(AppError::SourceOverloaded { retry_after })
            if retry_after == Duration::from_secs(1)));
        budget.spend(source("192.0.2.2"), start).expect("another source");
        budget.spend(source("192.0.2.1"), start + Duration::from_secs(1)).expect("one came back");
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_budget() {
        let budget = SourceBudget::new(PerMinute(1));
        budget.spend(source("2001:db8::1"), Duration::ZERO).expect("the first");
        assert!(budget.spend(source("2001:db8::2"), Duration::ZERO).is_err());
        budget.spend(source("2001:db8:0:1::1"), Duration::ZERO).expect("another network");
    }

    #[test]
    fn more_sources_than_are_kept_are_refused_until_one_is_forgotten() {
        let budget = SourceBudget::new(PerMinute(60));
        for n in 0..MAX_SOURCES {
            let address = IpAddr::from(u32::try_from(n).expect("small").to_be_bytes());
            budget.spend(Some(address), Duration::ZERO).expect("room");
        }
        assert!(budget.spend(source("192.0.2.1"), Duration::ZERO).is_err());
        budget.spend(source("192.0.2.1"), Duration::from_secs(2)).expect("forgotten by then");
    }
}
