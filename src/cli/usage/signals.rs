//! `keyledger usage signals`.

use clap::Args;
use jiff::Timestamp;

use super::range::RangeArgs;
use super::report::Signals;
use crate::cli::failure::{Exit, Failure};
use crate::cli::options::Paging;
use crate::cli::session::Session;
use crate::cli::times::now;
use crate::proto::v1;

#[derive(Debug, Args)]
pub(in crate::cli) struct SignalsArgs {
    /// Only this tenant's [default: all you may see]
    #[arg(long, default_value = "", hide_default_value = true)]
    tenant: String,
    #[command(flatten)]
    range: RangeArgs,
    #[command(flatten)]
    paging: Paging,
}

impl SignalsArgs {
    fn request(&self, now: Timestamp) -> Result<v1::ListSignalsRequest, Failure> {
        let bounds = self.range.bounds(now)?;
        Ok(v1::ListSignalsRequest {
            tenant_id: self.tenant.clone(),
            start_time: Some(bounds.start),
            end_time: bounds.end,
            ..Default::default()
        })
    }
}

pub(super) async fn run(args: SignalsArgs, session: &mut Session) -> Result<Exit, Failure> {
    let first = args.request(now())?;
    let mut usage = session.connect().await?.usage();
    let (mut all, mut last) = (Vec::new(), v1::ListSignalsResponse::default());
    let fetch = async |page_size, page_token| {
        let request = v1::ListSignalsRequest { page_size, page_token, ..first.clone() };
        last = usage.list_signals(request).await?.into_inner();
        Ok((std::mem::take(&mut last.signals), last.next_page_token.clone()))
    };
    let take = |page| {
        all.extend(page);
        Ok(())
    };
    args.paging.walk(fetch, take).await?;
    last.signals = all;
    session.output.report(&Signals(last))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use crate::cli::tests::{Parsed, parse};
    use crate::cli::usage::UsageCommand;
    use crate::proto::v1;

    #[test]
    fn nothing_said_asks_for_all_of_the_last_day() {
        let request = |options: &[&str]| {
            let line = [&["usage", "signals"], options].concat();
            let Parsed::Usage(UsageCommand::Signals(args)) = parse(&line) else {
                panic!("signals")
            };
            args.request(Timestamp::UNIX_EPOCH).expect("is one")
        };
        let start_time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let expected =
            v1::ListSignalsRequest { start_time: start_time(-86_400), ..Default::default() };
        assert_eq!(request(&[]), expected);
        let sent = request(&["--tenant", "acme", "--last", "1h"]);
        assert_eq!((sent.tenant_id.as_str(), sent.start_time), ("acme", start_time(-3600)));
    }
}
