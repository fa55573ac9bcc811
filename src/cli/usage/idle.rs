//! `keyledger usage idle`.

use std::time::Duration;

use clap::Args;

use crate::cli::failure::{Exit, Failure};
use crate::cli::options::Paging;
use crate::cli::session::Session;
use crate::cli::times::{message_span, parse_span};
use crate::proto::v1;

#[derive(Debug, Args)]
pub(in crate::cli) struct IdleArgs {
    /// The tenant
    #[arg(long)]
    tenant: String,
    /// For how long a key must not have been used, and how old it must at least be, such as 30d
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    unused_for: Duration,
    #[command(flatten)]
    paging: Paging,
}

pub(super) async fn run(args: IdleArgs, session: &mut Session) -> Result<Exit, Failure> {
    let first = v1::ListIdleKeysRequest {
        tenant_id: args.tenant,
        unused_for: Some(message_span(args.unused_for).map_err(Failure::Usage)?),
        ..Default::default()
    };
    let mut usage = session.connect().await?.usage();
    let fetch = async |page_size, page_token| {
        let request = v1::ListIdleKeysRequest { page_size, page_token, ..first.clone() };
        let answer = usage.list_idle_keys(request).await?.into_inner();
        Ok((answer.keys, answer.next_page_token))
    };
    args.paging.show(&mut session.output, fetch).await?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use crate::cli::tests::{parse, refused};

    #[test]
    fn tenant_and_span_must_be_named() {
        parse(&["usage", "idle", "--tenant", "acme", "--unused-for", "30d"]);
        refused(&["usage", "idle", "--tenant", "acme"]);
        refused(&["usage", "idle", "--unused-for", "30d"]);
        refused(&["usage", "idle", "--tenant", "acme", "--unused-for", "30"]);
    }
}
