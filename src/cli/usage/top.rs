//! `keyledger usage top`.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;

use super::range::RangeArgs;
use super::report::Top;
use crate::cli::failure::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::times::now;
use crate::cli::words::{ApiEnum as _, choice};
use crate::proto::v1;

/// The word for uses that were not denied.
const ALLOWED: &str = "allowed";

#[derive(Debug, Args)]
pub(in crate::cli) struct TopArgs {
    /// What to tell uses apart by: one to three, separated by commas
    #[arg(long, value_name = "WHAT", value_delimiter = ',', default_value = "key",
          value_parser = choice::<v1::GroupBy>(), ignore_case = true)]
    by: Vec<v1::GroupBy>,
    #[command(flatten)]
    range: RangeArgs,
    /// How many to show, 1 to 1000
    #[arg(short = 'n', long = "number", value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(i32).range(1..=1_000))]
    number: i32,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Which uses to count: those that fit all that is given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Only uses")]
struct FilterArgs {
    /// Of keys of this tenant
    #[arg(long, default_value_t, hide_default_value = true)]
    tenant: String,
    /// Of keys of this account
    #[arg(long, requires = "tenant", default_value_t, hide_default_value = true)]
    account: String,
    /// Of this key, key_…
    #[arg(long, value_name = "KEY_ID", default_value_t, hide_default_value = true)]
    key: String,
    /// Asked about by this calling service, caller_…
    #[arg(long, value_name = "CALLER_ID", default_value_t, hide_default_value = true)]
    caller: String,
    /// For this action; an empty one: for none that was given
    #[arg(long)]
    action: Option<String>,
    /// From this address; from its network, to who is no auditor
    #[arg(long, value_name = "ADDRESS", default_value_t, hide_default_value = true)]
    source: String,
    /// With this answer: allowed, or denied for this reason
    #[arg(long, value_name = "REASON", value_parser = answers(), ignore_case = true)]
    reason: Option<v1::DenialReason>,
}

fn answers() -> impl TypedValueParser<Value = v1::DenialReason> {
    let of_keys =
        || v1::DenialReason::all().filter(|reason| *reason > v1::DenialReason::UnknownKey);
    let words = std::iter::once(ALLOWED.to_owned()).chain(of_keys().map(|one| one.typed_name()));
    PossibleValuesParser::new(words).map(move |typed: String| {
        let denied = of_keys().find(|reason| reason.typed_name().eq_ignore_ascii_case(&typed));
        denied.unwrap_or(v1::DenialReason::Unspecified)
    })
}

impl TopArgs {
    fn request(&self, now: Timestamp) -> Result<v1::QueryUsageRequest, Failure> {
        let bounds = self.range.bounds(now)?;
        let FilterArgs { tenant, account, key, caller, action, source, reason } = &self.filter;
        let filter = v1::UsageFilter {
            tenant_id: tenant.clone(),
            account_id: account.clone(),
            key_id: key.clone(),
            caller_id: caller.clone(),
            action: action.clone(),
            source: source.clone(),
            reason: reason.map(i32::from),
        };
        Ok(v1::QueryUsageRequest {
            start_time: Some(bounds.start),
            end_time: bounds.end,
            filter: (filter != v1::UsageFilter::default()).then_some(filter),
            group_by: self.by.iter().copied().map(i32::from).collect(),
            top_n: self.number,
            ..Default::default()
        })
    }
}

pub(super) async fn run(args: TopArgs, session: &mut Session) -> Result<Exit, Failure> {
    let request = args.request(now())?;
    let mut usage = session.connect().await?.usage();
    let answer = usage.query_usage(request).await?.into_inner();
    session.output.report(&Top { by: args.by, answer })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use crate::cli::tests::{Parsed, parse, refused};
    use crate::cli::usage::UsageCommand;
    use crate::proto::v1;

    fn request(options: &[&str]) -> v1::QueryUsageRequest {
        let line = [&["usage", "top"], options].concat();
        let Parsed::Usage(UsageCommand::Top(args)) = parse(&line) else { panic!("the top") };
        args.request(Timestamp::UNIX_EPOCH).expect("is one")
    }

    #[test]
    fn nothing_said_asks_for_the_keys_used_most_in_the_last_day() {
        let expected = v1::QueryUsageRequest {
            start_time: Some(prost_types::Timestamp { seconds: -86_400, nanos: 0 }),
            group_by: vec![v1::GroupBy::Key.into()],
            top_n: 20,
            ..Default::default()
        };
        assert_eq!(request(&[]), expected);
    }

    #[test]
    fn what_to_tell_apart_and_every_filter_are_sent() {
        let sent = request(&[
            "--by",
            "caller,REASON",
            "-n",
            "7",
            "--tenant",
            "acme",
            "--account",
            "billing",
            "--key",
            "key_1",
            "--caller",
            "caller_1",
            "--action",
            "",
            "--source",
            "::1",
            "--reason",
            "rate-limited",
        ]);
        assert_eq!(sent.group_by, [v1::GroupBy::Caller, v1::GroupBy::Reason].map(i32::from));
        let expected = v1::UsageFilter {
            tenant_id: "acme".to_owned(),
            account_id: "billing".to_owned(),
            key_id: "key_1".to_owned(),
            caller_id: "caller_1".to_owned(),
            action: Some(String::new()),
            source: "::1".to_owned(),
            reason: Some(v1::DenialReason::RateLimited.into()),
        };
        assert_eq!((sent.filter, sent.top_n), (Some(expected), 7));
        let allowed = request(&["--reason", "Allowed"]).filter.expect("a filter");
        assert_eq!(allowed.reason, Some(0));
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        for options in [
            &["--by", "colour"][..],
            &["--by", ""],
            &["-n", "0"],
            &["-n", "1001"],
            &["--account", "billing"],
            &["--reason", "unknown-key"],
        ] {
            refused(&[&["usage", "top"], options].concat());
        }
    }
}
