//! Of which time uses are asked for.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use crate::cli::failure::Failure;
use crate::cli::times::{Past, before, parse_past, parse_span};
use crate::proto::v1;

/// The span that is asked for if none is named.
const DAY: Duration = Duration::from_hours(24);

/// The longest spans that are shown by the minute and by the hour unless asked otherwise: charts of some 170
/// columns at most.
const BY_MINUTE: Duration = Duration::from_hours(3);
const BY_HOUR: Duration = Duration::from_hours(7 * 24);

#[derive(Debug, Args)]
pub(super) struct RangeArgs {
    /// From when on: a time such as 2027-01-31T09:00:00Z, or 7d for seven days ago
    #[arg(long, value_name = "TIME", value_parser = parse_past, conflicts_with = "last")]
    from: Option<Past>,
    /// Before when, as --from [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_past, requires = "from")]
    to: Option<Past>,
    /// The last 30m, 24h or 7d until now [default: 24h]
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    last: Option<Duration>,
}

/// The bounds of a range, for a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    pub(super) start: prost_types::Timestamp,
    /// None: now.
    pub(super) end: Option<prost_types::Timestamp>,
    /// How long that is about.
    span: Duration,
}

impl RangeArgs {
    /// The range meant.
    ///
    /// # Errors
    /// If a time is earlier than a timestamp can say.
    pub(super) fn bounds(&self, now: Timestamp) -> Result<Bounds, Failure> {
        let start = match self.from {
            Some(from) => from.from(now),
            None => before(now, self.last.unwrap_or(DAY)),
        };
        let start = start.map_err(Failure::Usage)?;
        let end = self.to.map(|to| to.from(now)).transpose().map_err(Failure::Usage)?;
        let last = end.map_or_else(|| now.as_second(), |end| end.seconds);
        let seconds = u64::try_from(last.saturating_sub(start.seconds)).unwrap_or(0);
        Ok(Bounds { start, end, span: Duration::from_secs(seconds) })
    }
}

impl Bounds {
    /// The buckets in which that span is seen at a glance.
    pub(super) fn granularity(&self) -> v1::Granularity {
        if self.span <= BY_MINUTE {
            v1::Granularity::Minute
        } else if self.span <= BY_HOUR {
            v1::Granularity::Hour
        } else {
            v1::Granularity::Day
        }
    }
}
