//! `keyledger key get` and `list`.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use crate::cli::failure::{Exit, Failure};
use crate::cli::options::{Paging, pairs, parse_pair};
use crate::cli::session::Session;
use crate::cli::times::{When, before, now, parse_span, parse_when};
use crate::cli::words::choice;
use crate::proto::v1;

#[derive(Debug, Args)]
pub(in crate::cli) struct GetArgs {
    /// The key, key_…
    key_id: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// The tenant
    tenant: String,
    /// Only keys of this account
    #[arg(long, default_value_t, hide_default_value = true)]
    account: String,
    /// Only keys in these states; repeated or separated by commas
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',',
          value_parser = choice::<v1::KeyState>(), ignore_case = true)]
    states: Vec<v1::KeyState>,
    /// Only keys whose name begins so
    #[arg(long, value_name = "TEXT", default_value_t, hide_default_value = true)]
    name_prefix: String,
    /// Only keys with this in their metadata; repeated: all of them
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    metadata: Vec<(String, String)>,
    /// Only keys that expire before: a time such as 2027-01-31T09:00:00Z, or 30d from now
    #[arg(long, value_name = "TIME", value_parser = parse_when)]
    expire_before: Option<When>,
    /// Only keys that have not been used for a span such as 30d, never used ones too
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    unused_for: Option<Duration>,
    #[command(flatten)]
    paging: Paging,
}

impl ListArgs {
    /// The request for the first page.
    fn request(&self, now: Timestamp) -> Result<v1::ListKeysRequest, Failure> {
        let filter = v1::KeyFilter {
            states: self.states.iter().copied().map(i32::from).collect(),
            name_prefix: self.name_prefix.clone(),
            metadata: pairs(&self.metadata)?,
            expire_before: self
                .expire_before
                .map(|when| when.from(now))
                .transpose()
                .map_err(Failure::Usage)?,
            unused_since: self
                .unused_for
                .map(|span| before(now, span))
                .transpose()
                .map_err(Failure::Usage)?,
        };
        Ok(v1::ListKeysRequest {
            tenant_id: self.tenant.clone(),
            account_id: self.account.clone(),
            filter: (filter != v1::KeyFilter::default()).then_some(filter),
            ..Default::default()
        })
    }
}

pub(super) async fn get(args: GetArgs, session: &mut Session) -> Result<Exit, Failure> {
    let mut keys = session.connect().await?.keys();
    let answer = keys.get_key(v1::GetKeyRequest { key_id: args.key_id }).await?.into_inner();
    session.output.one(&answer.key.unwrap_or_default())?;
    Ok(Exit::Done)
}

pub(super) async fn list(args: ListArgs, session: &mut Session) -> Result<Exit, Failure> {
    let first = args.request(now())?;
    let mut keys = session.connect().await?.keys();
    let fetch = async |page_size, page_token| {
        let request = v1::ListKeysRequest { page_size, page_token, ..first.clone() };
        let answer = keys.list_keys(request).await?.into_inner();
        Ok((answer.keys, answer.next_page_token))
    };
    args.paging.show(&mut session.output, fetch).await?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use crate::cli::key::KeyCommand;
    use crate::cli::tests::{Parsed, parse, refused};
    use crate::proto::v1;

    fn request(options: &[&str]) -> v1::ListKeysRequest {
        let Parsed::Key(KeyCommand::List(args)) =
            parse(&[&["key", "list", "acme"], options].concat())
        else {
            panic!("lists keys")
        };
        args.request(Timestamp::UNIX_EPOCH).expect("is one")
    }

    #[test]
    fn nothing_to_filter_by_sends_no_filter() {
        let expected = v1::ListKeysRequest { tenant_id: "acme".to_owned(), ..Default::default() };
        assert_eq!(request(&[]), expected);
        assert_eq!(request(&["--account", "billing"]).filter, None);
    }

    #[test]
    fn every_filter_is_sent() {
        let line = [
            "--state",
            "active,retiring",
            "--state",
            "REVOKED",
            "--name-prefix",
            "n",
            "--metadata",
            "a=b",
            "--expire-before",
            "1h",
            "--unused-for",
            "1m",
        ];
        let expected = v1::KeyFilter {
            states: vec![
                v1::KeyState::Active.into(),
                v1::KeyState::Retiring.into(),
                v1::KeyState::Revoked.into(),
            ],
            name_prefix: "n".to_owned(),
            metadata: [("a".to_owned(), "b".to_owned())].into(),
            expire_before: Some(prost_types::Timestamp { seconds: 3_600, nanos: 0 }),
            unused_since: Some(prost_types::Timestamp { seconds: -60, nanos: 0 }),
        };
        assert_eq!(request(&line).filter, Some(expected));
    }

    #[test]
    fn page_sizes_and_limits_have_bounds() {
        for (option, value) in
            [("--page-size", "0"), ("--page-size", "1001"), ("--limit", "0"), ("--state", "gone")]
        {
            refused(&["key", "list", "acme", option, value]);
        }
    }
}
