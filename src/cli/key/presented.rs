//! `keyledger key authenticate`, `whoami` and `report-leak`: what takes a key's own text, from standard
//! input or a file.

use clap::Args;

use crate::cli::failure::{Exit, Failure};
use crate::cli::options::ChangeArgs;
use crate::cli::secret::SecretInput;
use crate::cli::session::Session;
use crate::proto::v1;

#[derive(Debug, Args)]
pub(in crate::cli) struct AuthenticateArgs {
    #[command(flatten)]
    key: SecretInput,
    /// The tenant the request is for: the key must belong to it
    #[arg(long)]
    tenant: Option<String>,
    /// What the key must be allowed to do: all of them; repeated or separated by commas
    #[arg(long = "require", value_name = "PERMISSION", value_delimiter = ',')]
    required: Vec<String>,
    /// What the use costs of its account's requests a minute; 0: nothing [default: 1]
    #[arg(long, value_name = "NUMBER")]
    cost: Option<u32>,
    /// Address the request came from
    #[arg(long, value_name = "ADDRESS")]
    source_ip: Option<String>,
    /// What the key is used for, in your words
    #[arg(long, value_name = "TEXT", default_value_t, hide_default_value = true)]
    action: String,
    /// What the request says it came from
    #[arg(long, value_name = "TEXT", default_value_t, hide_default_value = true)]
    user_agent: String,
    /// Decide no earlier than at this position
    #[arg(long, value_name = "POSITION", default_value_t, hide_default_value = true)]
    min_position: u64,
}

impl AuthenticateArgs {
    fn request(self, api_key: String) -> v1::AuthenticateRequest {
        let context = v1::AuthenticateContext {
            action: self.action,
            source_ip: self.source_ip.unwrap_or_default(),
            user_agent: self.user_agent,
        };
        v1::AuthenticateRequest {
            api_key,
            tenant_id: self.tenant,
            required_permissions: self.required,
            context: (context != v1::AuthenticateContext::default()).then_some(context),
            cost: self.cost,
            min_position: self.min_position,
        }
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WhoamiArgs {
    #[command(flatten)]
    key: SecretInput,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ReportLeakArgs {
    #[command(flatten)]
    key: SecretInput,
    /// Where it was found, such as the address of a page; kept with the event
    #[arg(long, value_name = "TEXT", default_value_t, hide_default_value = true)]
    source: String,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Answers [`Exit::Done`] for a key that is allowed and [`Exit::Refused`] for one that is denied.
pub(super) async fn authenticate(
    args: AuthenticateArgs,
    session: &mut Session,
) -> Result<Exit, Failure> {
    let key = args.key.read()?;
    let mut keys = session.connect().await?.keys();
    let request = args.request(key.reveal().to_owned());
    let answer = keys.authenticate(request).await?.into_inner();
    session.output.one(&answer)?;
    Ok(verdict(&answer))
}

/// Only what is clearly allowed is.
fn verdict(answer: &v1::AuthenticateResponse) -> Exit {
    if answer.outcome() == v1::Outcome::Allowed { Exit::Done } else { Exit::Refused }
}

pub(super) async fn whoami(args: WhoamiArgs, session: &mut Session) -> Result<Exit, Failure> {
    let key = args.key.read()?;
    let mut keys = session.client.connect(Some(&key)).await?.keys();
    let answer = keys.who_am_i(v1::WhoAmIRequest {}).await?.into_inner();
    session.output.one(&answer)?;
    Ok(Exit::Done)
}

pub(super) async fn report_leak(
    args: ReportLeakArgs,
    session: &mut Session,
) -> Result<Exit, Failure> {
    let key = args.key.read()?;
    let mut keys = session.connect().await?.keys();
    let request = v1::ReportLeakedKeyRequest {
        api_key: key.reveal().to_owned(),
        source: args.source,
        on_behalf_of: args.change.on_behalf_of(),
        request_id: args.change.request_id,
    };
    let answer = keys.report_leaked_key(request).await?.into_inner();
    session.output.one(&answer)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::verdict;
    use crate::cli::failure::Exit;
    use crate::cli::key::KeyCommand;
    use crate::cli::tests::{Parsed, parse};
    use crate::proto::v1;

    fn request(options: &[&str]) -> v1::AuthenticateRequest {
        let Parsed::Key(KeyCommand::Authenticate(args)) =
            parse(&[&["key", "authenticate"], options].concat())
        else {
            panic!("authenticates a key")
        };
        args.request("kl_live_x".to_owned())
    }

    #[test]
    fn a_key_alone_is_sent_alone() {
        let expected =
            v1::AuthenticateRequest { api_key: "kl_live_x".to_owned(), ..Default::default() };
        assert_eq!(request(&[]), expected);
    }

    #[test]
    fn every_option_is_sent() {
        let line = [
            "--tenant",
            "acme",
            "--require",
            "a,b",
            "--require",
            "c",
            "--source-ip",
            "::1",
            "--action",
            "read",
            "--user-agent",
            "curl",
            "--cost",
            "0",
            "--min-position",
            "9",
        ];
        let expected = v1::AuthenticateRequest {
            api_key: "kl_live_x".to_owned(),
            tenant_id: Some("acme".to_owned()),
            required_permissions: ["a", "b", "c"].map(str::to_owned).into(),
            context: Some(v1::AuthenticateContext {
                action: "read".to_owned(),
                source_ip: "::1".to_owned(),
                user_agent: "curl".to_owned(),
            }),
            cost: Some(0),
            min_position: 9,
        };
        assert_eq!(request(&line), expected);
    }

    #[test]
    fn only_allowed_is_success() {
        for (outcome, expected) in [
            (v1::Outcome::Allowed.into(), Exit::Done),
            (v1::Outcome::Denied.into(), Exit::Refused),
            (v1::Outcome::Unspecified.into(), Exit::Refused),
            (9, Exit::Refused),
        ] {
            assert_eq!(
                verdict(&v1::AuthenticateResponse { outcome, ..Default::default() }),
                expected
            );
        }
    }
}
