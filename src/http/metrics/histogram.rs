//! Histograms as the format has them: counts up to each bound, over all bounds, and the sum.

use super::Page;
use crate::counting::Distribution;

/// What values are in, and are written as.
#[derive(Clone, Copy)]
pub(super) struct Unit {
    bound: fn(u64) -> String,
    sum: fn(u64) -> String,
}

/// Nanoseconds, written as seconds.
pub(super) const SECONDS: Unit = Unit { bound: seconds_of_bound, sum: seconds };

/// Whole things.
pub(super) const WHOLE: Unit = Unit { bound: whole, sum: whole };

fn whole(value: u64) -> String {
    value.to_string()
}

fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// Without the noughts at the end: the bound is part of the name of its series.
fn seconds_of_bound(nanos: u64) -> String {
    seconds(nanos).trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Page {
    /// A histogram without labels.
    pub(super) fn histogram(&mut self, name: &str, help: &str, found: &Distribution, unit: Unit) {
        self.describe(name, "histogram", help);
        self.distribution(name, "", found, unit);
    }

    /// The samples of a histogram; `labels` without braces.
    pub(super) fn distribution(
        &mut self,
        name: &str,
        labels: &str,
        found: &Distribution,
        unit: Unit,
    ) {
        let separator = if labels.is_empty() { "" } else { "," };
        let all = found.count();
        let bounds = found.up_to().map(|(bound, count)| ((unit.bound)(bound), count));
        for (bound, count) in bounds.chain([("+Inf".to_owned(), all)]) {
            let bucket = format!("{{{labels}{separator}le=\"{bound}\"}}");
            self.sample(&format!("{name}_bucket"), &bucket, count);
        }
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        self.sample(&format!("{name}_sum"), &labels, (unit.sum)(found.sum()));
        self.sample(&format!("{name}_count"), &labels, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_seconds_without_noughts_at_their_end() {
        let cases = [
            (50_000, "0.00005"),
            (2_500_000, "0.0025"),
            (1_000_000_000, "1"),
            (10_000_000_000, "10"),
        ];
        for (nanos, text) in cases {
            assert_eq!(seconds_of_bound(nanos), text);
        }
    }
}
