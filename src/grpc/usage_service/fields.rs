//! The fields of questions on uses.

use prost_types::Timestamp;

use crate::app::usage_question::{Dimension, Granularity, MAX_GROUP_BY};
use crate::app::usage_range::AskedRange;
use crate::domain::usage::UseOutcome;
use crate::grpc::decode::Violations;
use crate::grpc::enums;
use crate::proto::v1;

impl Violations {
    /// When the uses were.
    pub(super) fn range(
        &mut self,
        start: Option<Timestamp>,
        end: Option<Timestamp>,
        granularity: Option<Granularity>,
    ) -> Option<AskedRange> {
        let start = self.time("start_time", start);
        let start = start.and_then(|start| self.required("start_time", start));
        let end = self.time("end_time", end);
        Some(AskedRange { start: start?, end: end?, granularity })
    }

    /// How long buckets are; none if that is left unspecified.
    pub(super) fn granularity(&mut self, number: i32) -> Option<Option<Granularity>> {
        use v1::Granularity as Wire;
        match Wire::try_from(number) {
            Ok(Wire::Unspecified) => Some(None),
            Ok(Wire::Minute) => Some(Some(Granularity::Minute)),
            Ok(Wire::Hour) => Some(Some(Granularity::Hour)),
            Ok(Wire::Day) => Some(Some(Granularity::Day)),
            Err(_) => self.refuse("granularity", "must be MINUTE, HOUR or DAY"),
        }
    }

    /// What rows are told apart by: some things, each once.
    pub(super) fn group_by(&mut self, numbers: &[i32]) -> Option<Vec<Dimension>> {
        use v1::GroupBy as Wire;
        if numbers.is_empty() {
            return self.refuse("group_by", format_args!("must have 1 to {MAX_GROUP_BY} entries"));
        }
        let group_by =
            self.each("group_by", MAX_GROUP_BY, numbers, |number| match Wire::try_from(*number) {
                Ok(Wire::Tenant) => Ok(Dimension::Tenant),
                Ok(Wire::Account) => Ok(Dimension::Account),
                Ok(Wire::Key) => Ok(Dimension::Key),
                Ok(Wire::Caller) => Ok(Dimension::Caller),
                Ok(Wire::Action) => Ok(Dimension::Action),
                Ok(Wire::Source) => Ok(Dimension::Source),
                Ok(Wire::Reason) => Ok(Dimension::Reason),
                Ok(Wire::Unspecified) | Err(_) => {
                    Err("must be a GroupBy that this server knows, not UNSPECIFIED")
                }
            })?;
        let twice = |at: usize| group_by[..at].contains(&group_by[at]);
        match (0..group_by.len()).find(|at| twice(*at)) {
            Some(at) => self.refuse(&format!("group_by[{at}]"), "must not be there before"),
            None => Some(group_by),
        }
    }

    /// What was answered about a key whose secret was right; none if that is left open.
    pub(super) fn use_outcome(
        &mut self,
        field: &str,
        number: Option<i32>,
    ) -> Option<Option<UseOutcome>> {
        let Some(number) = number else { return Some(None) };
        let known = v1::DenialReason::try_from(number).ok();
        let of_keys = UseOutcome::ALL.iter().copied().filter(|outcome| outcome.is_of_key());
        let found = of_keys.into_iter().find(|outcome| known == Some(enums::use_outcome(*outcome)));
        let must =
            "must be UNSPECIFIED or a reason for which a key is denied whose secret is right";
        found.map(Some).or_else(|| self.refuse(field, must))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::decode::decode;
    use crate::grpc::decode::tests::violated;

    #[test]
    fn each_granularity_and_group_has_its_number_and_others_are_refused() {
        let granularity = |number| decode(|bad| bad.granularity(number)).ok();
        let expected = [
            Some(None),
            Some(Some(Granularity::Minute)),
            Some(Some(Granularity::Hour)),
            Some(Some(Granularity::Day)),
            None,
        ];
        assert_eq!([0, 1, 2, 3, 4].map(granularity), expected);
        let group = |number| decode(|bad| bad.group_by(&[number])).ok().map(|found| found[0]);
        let expected = [
            Dimension::Tenant,
            Dimension::Account,
            Dimension::Key,
            Dimension::Caller,
            Dimension::Action,
            Dimension::Source,
            Dimension::Reason,
        ];
        assert_eq!([1, 2, 3, 4, 5, 6, 7].map(group), expected.map(Some));
        assert_eq!([-1, 0, 8].map(group), [None; 3]);
    }

    #[test]
    fn one_to_three_different_things_tell_rows_apart() {
        assert_eq!(violated(|bad| bad.group_by(&[])), ["group_by"]);
        assert_eq!(violated(|bad| bad.group_by(&[1, 2, 3, 4])), ["group_by"]);
        assert_eq!(violated(|bad| bad.group_by(&[1, 9, 0])), ["group_by[1]", "group_by[2]"]);
        assert_eq!(violated(|bad| bad.group_by(&[3, 1, 3])), ["group_by[2]"]);
        assert!(decode(|bad| bad.group_by(&[3, 1, 2])).is_ok());
    }

    #[test]
    fn a_reason_is_one_of_a_key_that_was_presented_with_its_secret() {
        let outcome = |number| decode(|bad| bad.use_outcome("reason", number)).ok();
        assert_eq!(outcome(None), Some(None));
        assert_eq!(outcome(Some(0)), Some(Some(UseOutcome::Allowed)));
        let expired = v1::DenialReason::Expired.into();
        assert_eq!(outcome(Some(expired)), Some(Some(UseOutcome::Expired)));
        for number in [-1, v1::DenialReason::UnknownKey.into(), 99] {
            assert_eq!(violated(|bad| bad.use_outcome("reason", Some(number))), ["reason"]);
        }
    }

    #[test]
    fn a_range_must_have_a_beginning() {
        assert_eq!(violated(|bad| bad.range(None, None, None)), ["start_time"]);
        let beyond = Some(Timestamp { seconds: i64::MAX, nanos: 0 });
        assert_eq!(violated(|bad| bad.range(beyond, beyond, None)), ["start_time", "end_time"]);
    }
}
