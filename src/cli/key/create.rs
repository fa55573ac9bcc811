//! `keyledger key create`.

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use crate::cli::failure::{Exit, Failure};
use crate::cli::issued::{Issued, SecretOutput};
use crate::cli::options::{ChangeArgs, pairs, parse_pair};
use crate::cli::output::Resource as _;
use crate::cli::secret::SecretText;
use crate::cli::session::Session;
use crate::cli::times::{When, now, parse_when};
use crate::proto::v1;

#[derive(Debug, Args)]
pub(in crate::cli) struct CreateArgs {
    /// The tenant
    tenant: String,
    /// The account within the tenant
    account: String,
    /// What people call the key: 1 to 200 characters
    #[arg(long)]
    name: String,
    /// Permissions to narrow the key to; repeated or separated by commas [default: all its account may do]
    #[arg(long = "scope", value_name = "PERMISSION", value_delimiter = ',')]
    scopes: Vec<String>,
    /// Where the key is meant to be used
    #[arg(long, default_value = "live", value_parser = ["live", "test"])]
    environment: String,
    /// When the key ends: a time such as 2027-01-31T09:00:00Z, or 90d from now [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_when)]
    expires: Option<When>,
    /// Addresses it may be used from; repeated or separated by commas [default: any]
    #[arg(long = "allow-cidr", value_name = "CIDR", value_delimiter = ',')]
    allowed_cidrs: Vec<String>,
    /// What is kept with the key and answered with each use; repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    metadata: Vec<(String, String)>,
    #[command(flatten)]
    place: SecretOutput,
    #[command(flatten)]
    change: ChangeArgs,
}

impl CreateArgs {
    fn request(self, now: Timestamp) -> Result<v1::CreateKeyRequest, Failure> {
        Ok(v1::CreateKeyRequest {
            on_behalf_of: self.change.on_behalf_of(),
            tenant_id: self.tenant,
            account_id: self.account,
            name: self.name,
            scopes: (!self.scopes.is_empty()).then_some(v1::Scopes { permissions: self.scopes }),
            environment: self.environment,
            expire_time: self
                .expires
                .map(|when| when.from(now))
                .transpose()
                .map_err(Failure::Usage)?,
            allowed_cidrs: self.allowed_cidrs,
            metadata: pairs(&self.metadata)?,
            request_id: self.change.request_id,
        })
    }
}

pub(super) async fn run(mut args: CreateArgs, session: &mut Session) -> Result<Exit, Failure> {
    let place = std::mem::take(&mut args.place);
    let request = args.request(now())?;
    let mut keys = session.connect().await?.keys();
    let file = place.open()?;
    let answer = keys.create_key(request).await?.into_inner();
    issued(answer).hand_over(file, &mut session.output)?;
    Ok(Exit::Done)
}

fn issued(answer: v1::CreateKeyResponse) -> Issued {
    let key = answer.key.unwrap_or_default();
    Issued {
        name: "secret",
        json: json!({"key": key.json(), "secret": null, "position": answer.position, "replayed": answer.replayed}),
        fields: key.fields(),
        secret: SecretText::new(answer.secret),
        of: key.key_id,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::issued;
    use crate::cli::failure::Failure;
    use crate::cli::key::KeyCommand;
    use crate::cli::resources::tests::assert_fields_of_message;
    use crate::cli::tests::{Parsed, parse, refused};
    use crate::proto::v1;

    fn request(options: &[&str]) -> Result<v1::CreateKeyRequest, Failure> {
        let Parsed::Key(KeyCommand::Create(args)) =
            parse(&[&["key", "create", "acme", "billing"], options].concat())
        else {
            panic!("creates a key")
        };
        args.request(Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_key_is_live_unscoped_and_without_end_unless_said() {
        let request = request(&["--name", "export"]).expect("is one");
        let expected = v1::CreateKeyRequest {
            tenant_id: "acme".to_owned(),
            account_id: "billing".to_owned(),
            name: "export".to_owned(),
            environment: "live".to_owned(),
            ..Default::default()
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn every_option_is_sent() {
        let sent = request(&[
            "--name",
            "export",
            "--scope",
            "a,b",
            "--environment",
            "test",
            "--expires",
            "+1d",
            "--allow-cidr",
            "192.0.2.0/24",
            "--metadata",
            "team=data",
            "--metadata",
            "tier=",
            "--request-id",
            "u",
            "--ticket",
            "T-1",
        ])
        .expect("is one");
        let expected = v1::CreateKeyRequest {
            tenant_id: "acme".to_owned(),
            account_id: "billing".to_owned(),
            name: "export".to_owned(),
            scopes: Some(v1::Scopes { permissions: vec!["a".to_owned(), "b".to_owned()] }),
            environment: "test".to_owned(),
            expire_time: Some(prost_types::Timestamp { seconds: 86_400, nanos: 0 }),
            allowed_cidrs: vec!["192.0.2.0/24".to_owned()],
            metadata: [("team", "data"), ("tier", "")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            request_id: "u".to_owned(),
            on_behalf_of: Some(v1::OnBehalfOf { ticket: "T-1".to_owned(), ..Default::default() }),
        };
        assert_eq!(sent, expected);
    }

    #[test]
    fn faulty_values_are_usage_errors() {
        assert!(
            refused(&["key", "create", "acme", "billing", "--expires", "soon"]).contains("30d")
        );
        assert!(
            refused(&["key", "create", "acme", "billing", "--environment", "svc"]).contains("live")
        );
        refused(&["key", "create", "acme", "billing", "--metadata", "team"]);
        refused(&["key", "create", "acme"]);
        assert!(refused(&["key", "create", "acme", "billing"]).contains("--name"));
        let twice = request(&["--name", "n", "--metadata", "a=1", "--metadata", "a=2"]);
        assert!(matches!(twice, Err(Failure::Usage(_))));
    }

    #[test]
    fn a_new_key_is_answered_with_the_fields_of_the_api() {
        let made =
            issued(v1::CreateKeyResponse { secret: "kl_live_x".to_owned(), ..Default::default() });
        assert_fields_of_message("CreateKeyResponse", &made.json);
        assert!(!made.json.to_string().contains("kl_live_x"));
    }
}
