//! `keyledger key update`, `disable`, `enable` and `revoke`.

use clap::Args;
use jiff::Timestamp;
use prost_types::FieldMask;

use crate::cli::answers::Changed;
use crate::cli::confirm::{Consent, ask};
use crate::cli::connect::Authorized;
use crate::cli::failure::{Exit, Failure};
use crate::cli::options::{ChangeArgs, pairs, parse_pair};
use crate::cli::resources::named;
use crate::cli::session::Session;
use crate::cli::times::{When, now, parse_when};
use crate::cli::words::choice;
use crate::proto::v1;
use crate::proto::v1::key_service_client::KeyServiceClient;

#[derive(Debug, Args)]
pub(in crate::cli) struct UpdateArgs {
    /// The key, key_…
    key_id: String,
    #[command(flatten)]
    values: Values,
    /// Fail if the key is not at this position: somebody else changed it
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(u64).range(1..))]
    expected_position: Option<u64>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// What can be changed of a key; at least one must be.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Values {
    /// What people call the key; empty: nothing
    #[arg(long)]
    name: Option<String>,
    /// Metadata instead of all it has; repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    metadata: Vec<(String, String)>,
    /// Take all its metadata away
    #[arg(long, conflicts_with = "metadata")]
    clear_metadata: bool,
    /// Addresses it may be used from, instead of those it has; repeated or separated by commas
    #[arg(long = "allow-cidr", value_name = "CIDR", value_delimiter = ',')]
    allowed_cidrs: Vec<String>,
    /// Let it be used from anywhere
    #[arg(long, conflicts_with = "allowed_cidrs")]
    clear_cidrs: bool,
    /// Permissions to narrow the key to; they can never be widened again; repeated or separated by commas
    #[arg(long = "scope", value_name = "PERMISSION", value_delimiter = ',')]
    scopes: Vec<String>,
    /// When the key ends, earlier than now set: a time such as 2027-01-31T09:00:00Z, or 30d from now
    #[arg(long, value_name = "TIME", value_parser = parse_when)]
    expires: Option<When>,
}

impl UpdateArgs {
    fn request(self, now: Timestamp) -> Result<v1::UpdateKeyRequest, Failure> {
        let values = self.values;
        let given = [
            ("name", values.name.is_some()),
            ("metadata", !values.metadata.is_empty() || values.clear_metadata),
            ("allowed_cidrs", !values.allowed_cidrs.is_empty() || values.clear_cidrs),
            ("scopes", !values.scopes.is_empty()),
            ("expire_time", values.expires.is_some()),
        ];
        let paths = given
            .into_iter()
            .filter(|(_, given)| *given)
            .map(|(path, _)| path.to_owned())
            .collect();
        Ok(v1::UpdateKeyRequest {
            key: Some(v1::Key {
                key_id: self.key_id,
                name: values.name.unwrap_or_default(),
                metadata: pairs(&values.metadata)?,
                allowed_cidrs: values.allowed_cidrs,
                scopes: (!values.scopes.is_empty())
                    .then_some(v1::Scopes { permissions: values.scopes }),
                expire_time: values
                    .expires
                    .map(|when| when.from(now))
                    .transpose()
                    .map_err(Failure::Usage)?,
                ..Default::default()
            }),
            update_mask: Some(FieldMask { paths }),
            expected_position: self.expected_position,
            on_behalf_of: self.change.on_behalf_of(),
            request_id: self.change.request_id,
        })
    }
}

/// What `disable` and `enable` are given.
#[derive(Debug, Args)]
pub(in crate::cli) struct SwitchArgs {
    /// The key, key_…
    key_id: String,
    /// Why; kept with the event
    #[arg(long, value_name = "TEXT", default_value_t, hide_default_value = true)]
    comment: String,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RevokeArgs {
    /// The key, key_…
    key_id: String,
    /// Why; kept with the event
    #[arg(long, value_parser = choice::<v1::RevokeReason>(), ignore_case = true)]
    reason: Option<v1::RevokeReason>,
    /// Why, in words; kept with the event
    #[arg(long, value_name = "TEXT", default_value_t, hide_default_value = true)]
    comment: String,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) async fn update(args: UpdateArgs, session: &mut Session) -> Result<Exit, Failure> {
    let request = args.request(now())?;
    let answer = session.connect().await?.keys().update_key(request).await?.into_inner();
    show(session, answer.key, answer.position, answer.replayed)
}

pub(super) async fn disable(args: SwitchArgs, session: &mut Session) -> Result<Exit, Failure> {
    let request = v1::DisableKeyRequest {
        on_behalf_of: args.change.on_behalf_of(),
        key_id: args.key_id,
        comment: args.comment,
        request_id: args.change.request_id,
    };
    let answer = session.connect().await?.keys().disable_key(request).await?.into_inner();
    show(session, answer.key, answer.position, answer.replayed)
}

pub(super) async fn enable(args: SwitchArgs, session: &mut Session) -> Result<Exit, Failure> {
    let request = v1::EnableKeyRequest {
        on_behalf_of: args.change.on_behalf_of(),
        key_id: args.key_id,
        comment: args.comment,
        request_id: args.change.request_id,
    };
    let answer = session.connect().await?.keys().enable_key(request).await?.into_inner();
    show(session, answer.key, answer.position, answer.replayed)
}

pub(super) async fn revoke(args: RevokeArgs, session: &mut Session) -> Result<Exit, Failure> {
    let must_ask = args.consent.must_ask()?;
    let mut keys = session.connect().await?.keys();
    if must_ask {
        let which = which(&mut keys, &args.key_id).await?;
        ask(format!("Revoke {which}? It stops working at once and for ever.")).await?;
    }
    let request = v1::RevokeKeyRequest {
        on_behalf_of: args.change.on_behalf_of(),
        key_id: args.key_id,
        reason: args.reason.unwrap_or_default().into(),
        comment: args.comment,
        request_id: args.change.request_id,
    };
    let answer = keys.revoke_key(request).await?.into_inner();
    show(session, answer.key, answer.position, answer.replayed)
}

fn show(
    session: &mut Session,
    key: Option<v1::Key>,
    position: u64,
    replayed: bool,
) -> Result<Exit, Failure> {
    session.output.one(&Changed { name: "key", resource: key, position, replayed })?;
    Ok(Exit::Done)
}

/// The key's id with its name, for a question.
pub(super) async fn which(
    keys: &mut KeyServiceClient<Authorized>,
    key_id: &str,
) -> Result<String, Failure> {
    let request = v1::GetKeyRequest { key_id: key_id.to_owned() };
    let key = keys.get_key(request).await?.into_inner().key.unwrap_or_default();
    Ok(named(key_id, &key.name))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use crate::cli::key::KeyCommand;
    use crate::cli::tests::{Parsed, parse, refused};
    use crate::proto::v1;

    fn request(options: &[&str]) -> v1::UpdateKeyRequest {
        let Parsed::Key(KeyCommand::Update(args)) =
            parse(&[&["key", "update", "key_1"], options].concat())
        else {
            panic!("updates a key")
        };
        args.request(Timestamp::UNIX_EPOCH).expect("is one")
    }

    fn mask(options: &[&str]) -> Vec<String> {
        request(options).update_mask.expect("is set").paths
    }

    #[test]
    fn only_what_is_given_is_in_the_mask() {
        assert_eq!(mask(&["--name", ""]), ["name"]);
        assert_eq!(mask(&["--clear-metadata", "--clear-cidrs"]), ["metadata", "allowed_cidrs"]);
        assert_eq!(
            mask(&["--metadata", "a=b", "--allow-cidr", "::1"]),
            ["metadata", "allowed_cidrs"]
        );
        assert_eq!(mask(&["--scope", "a", "--expires", "1d"]), ["scopes", "expire_time"]);
    }

    #[test]
    fn the_values_and_the_expected_position_are_sent() {
        let sent = request(&["--scope", "a,b", "--expires", "1s", "--expected-position", "7"]);
        let key = sent.key.expect("is set");
        assert_eq!(key.key_id, "key_1");
        assert_eq!(key.scopes.expect("is set").permissions, ["a", "b"]);
        assert_eq!(key.expire_time, Some(prost_types::Timestamp { seconds: 1, nanos: 0 }));
        assert_eq!(sent.expected_position, Some(7));
        assert_eq!(request(&["--name", "n"]).expected_position, None);
    }

    #[test]
    fn an_update_of_nothing_is_refused() {
        assert!(refused(&["key", "update", "key_1"]).contains("--name"));
        refused(&["key", "update", "key_1", "--metadata", "a=b", "--clear-metadata"]);
        refused(&["key", "update", "key_1", "--allow-cidr", "::1", "--clear-cidrs"]);
    }

    #[test]
    fn a_reason_to_revoke_is_one_of_those_there_are() {
        let line = ["key", "revoke", "key_1", "--reason", "key-compromise", "-y"];
        let Parsed::Key(KeyCommand::Revoke(args)) = parse(&line) else { panic!("revokes a key") };
        assert_eq!(args.reason, Some(v1::RevokeReason::KeyCompromise));
        assert!(
            refused(&["key", "revoke", "key_1", "--reason", "bored"])
                .contains("privilege-withdrawn")
        );
    }
}
