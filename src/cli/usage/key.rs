//! `keyledger usage key`.

use clap::Args;
use jiff::Timestamp;

use super::range::RangeArgs;
use super::report::KeyUsage;
use crate::cli::failure::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::times::now;
use crate::cli::words::choice;
use crate::proto::v1;

#[derive(Debug, Args)]
pub(in crate::cli) struct KeyArgs {
    /// The key, key_…
    key_id: String,
    #[command(flatten)]
    range: RangeArgs,
    /// The span of each bucket [default: one that suits the range]
    #[arg(long, value_name = "SPAN", value_parser = choice::<v1::Granularity>(), ignore_case = true)]
    granularity: Option<v1::Granularity>,
}

impl KeyArgs {
    fn request(&self, now: Timestamp) -> Result<v1::GetKeyUsageRequest, Failure> {
        let bounds = self.range.bounds(now)?;
        let granularity = self.granularity.unwrap_or_else(|| bounds.granularity());
        Ok(v1::GetKeyUsageRequest {
            key_id: self.key_id.clone(),
            start_time: Some(bounds.start),
            end_time: bounds.end,
            granularity: granularity.into(),
        })
    }
}

pub(super) async fn run(args: KeyArgs, session: &mut Session) -> Result<Exit, Failure> {
    let request = args.request(now())?;
    let mut usage = session.connect().await?.usage();
    let answer = usage.get_key_usage(request.clone()).await?.into_inner();
    session.output.report(&KeyUsage { request, answer })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use prost_types::Timestamp as Sent;

    use crate::cli::failure::Failure;
    use crate::cli::tests::{Parsed, parse, refused};
    use crate::cli::usage::UsageCommand;
    use crate::proto::v1;

    const NOW: i64 = 1_795_411_812;

    fn request(options: &[&str]) -> Result<v1::GetKeyUsageRequest, Failure> {
        let line = [&["usage", "key", "key_1"], options].concat();
        let Parsed::Usage(UsageCommand::Key(args)) = parse(&line) else { panic!("of a key") };
        args.request(Timestamp::from_second(NOW).expect("a time"))
    }

    #[test]
    fn nothing_said_asks_for_the_last_day_by_the_hour() {
        let expected = v1::GetKeyUsageRequest {
            key_id: "key_1".to_owned(),
            start_time: Some(Sent { seconds: NOW - 86_400, nanos: 0 }),
            end_time: None,
            granularity: v1::Granularity::Hour.into(),
        };
        assert_eq!(request(&[]).expect("is one"), expected);
    }

    #[test]
    fn buckets_suit_the_range_unless_they_are_named() {
        let of = |options: &[&str]| request(options).expect("is one").granularity();
        assert_eq!(of(&["--last", "3h"]), v1::Granularity::Minute);
        assert_eq!(of(&["--last", "7d"]), v1::Granularity::Hour);
        assert_eq!(of(&["--last", "30d"]), v1::Granularity::Day);
        assert_eq!(of(&["--from", "30d", "--to", "29d"]), v1::Granularity::Hour);
        assert_eq!(of(&["--last", "30d", "--granularity", "HOUR"]), v1::Granularity::Hour);
    }

    #[test]
    fn a_range_has_two_bounds_or_a_length() {
        let sent = request(&["--from", "2d", "--to", "2026-11-23T00:00:00Z"]).expect("is one");
        assert_eq!(sent.start_time.map(|time| time.seconds), Some(NOW - 2 * 86_400));
        assert_eq!(sent.end_time.map(|time| time.seconds), Some(1_795_392_000));
        assert!(matches!(request(&["--last", "99999999999w"]), Err(Failure::Usage(_))));
        for options in [
            &["--from", "1d", "--last", "1h"][..],
            &["--to", "1h"],
            &["--from", "yesterday"],
            &["--last", "-1h"],
            &["--granularity", "week"],
        ] {
            refused(&[&["usage", "key", "key_1"], options].concat());
        }
    }
}
