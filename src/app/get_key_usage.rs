//! GetKeyUsage.

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::usage_question::{Counted, TooMany, gaps};
use crate::app::usage_range::AskedRange;
use crate::domain::ids::KeyId;
use crate::projection::usage::{AsOf, Bucket, Counts, Gap, Granularity, Range};

/// The uses of a key.
#[derive(Debug)]
pub struct KeyUsage {
    /// Those buckets that have uses, ascending.
    pub buckets: Vec<Bucket>,
    /// All of them together.
    pub total: Counts,
    /// What was asked for, on the bounds of buckets.
    pub range: Range,
    /// Where uses may be missing.
    pub gaps: Vec<Gap>,
}

/// Buckets are bounded: there are never too many.
const TOO_MANY: TooMany =
    TooMany { field: "granularity", must: "must give fewer buckets: ask for a shorter range" };

impl App {
    /// GetKeyUsage.
    ///
    /// # Errors
    /// [`AppError`]: unknown key, a range that cannot be, a projection that is behind.
    pub async fn get_key_usage(
        &self,
        identity: &Identity,
        id: KeyId,
        start_end: AskedRange,
        granularity: Granularity,
    ) -> Result<Counted<KeyUsage>, AppError> {
        self.confirm(identity)?;
        self.visible_key(identity, &id)?;
        let asked = AskedRange { granularity: Some(granularity), ..start_end };
        let range = asked.settle(self.clock.wall(), &self.usage_kept())?;
        let identity = identity.clone();
        self.ask_usage(TOO_MANY, move |reader| {
            let AsOf { position, value: buckets } = reader.key_usage(&id, range, granularity)?;
            let total = total(&buckets);
            let gaps = gaps(reader, range, &identity)?;
            Ok(AsOf { position, value: KeyUsage { buckets, total, range, gaps } })
        })
        .await
    }
}

fn total(buckets: &[Bucket]) -> Counts {
    let mut total = Counts::default();
    for Bucket { counts, .. } in buckets {
        for (outcome, count) in &counts.by_outcome {
            match total.by_outcome.binary_search_by_key(outcome, |(known, _)| *known) {
                Ok(at) => total.by_outcome[at].1 = total.by_outcome[at].1.saturating_add(*count),
                Err(at) => total.by_outcome.insert(at, (*outcome, *count)),
            }
        }
        let firsts = [total.first_use, counts.first_use].into_iter().flatten();
        total.first_use = firsts.min();
        total.last_use = total.last_use.max(counts.last_use);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Time;
    use crate::domain::usage::UseOutcome::{Allowed, Expired, RateLimited};

    #[test]
    fn a_total_is_the_sum_of_its_buckets() {
        let at = |micros| Some(Time::from_micros(micros));
        let bucket = |by_outcome: &[_], first_use, last_use| Bucket {
            start: Time::EPOCH,
            counts: Counts { by_outcome: by_outcome.to_vec(), first_use, last_use },
        };
        let buckets = [
            bucket(&[(RateLimited, 1)], None, None),
            bucket(&[(Allowed, 2), (RateLimited, 3)], at(5), at(9)),
            bucket(&[(Allowed, 4), (Expired, 5)], at(11), at(12)),
        ];
        let expected = Counts {
            by_outcome: vec![(Allowed, 6), (Expired, 5), (RateLimited, 4)],
            first_use: at(5),
            last_use: at(12),
        };
        assert_eq!(total(&buckets), expected);
        assert_eq!(total(&[]), Counts::default());
    }
}
