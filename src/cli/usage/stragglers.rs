//! `keyledger usage stragglers`.

use clap::Args;

use super::report::Stragglers;
use crate::cli::failure::{Exit, Failure};
use crate::cli::options::Paging;
use crate::cli::session::Session;
use crate::proto::v1;

#[derive(Debug, Args)]
pub(in crate::cli) struct StragglersArgs {
    /// The key that was rotated, key_…
    key_id: String,
    #[command(flatten)]
    paging: Paging,
}

pub(super) async fn run(args: StragglersArgs, session: &mut Session) -> Result<Exit, Failure> {
    let StragglersArgs { key_id, paging } = args;
    let mut usage = session.connect().await?.usage();
    let (mut all, mut last) = (Vec::new(), v1::GetStragglersResponse::default());
    let fetch = async |page_size, page_token| {
        let request = v1::GetStragglersRequest { key_id: key_id.clone(), page_size, page_token };
        last = usage.get_stragglers(request).await?.into_inner();
        Ok((std::mem::take(&mut last.stragglers), std::mem::take(&mut last.next_page_token)))
    };
    let take = |page| {
        all.extend(page);
        Ok(())
    };
    paging.walk(fetch, take).await?;
    last.stragglers = all;
    session.output.report(&Stragglers(last))?;
    Ok(Exit::Done)
}
