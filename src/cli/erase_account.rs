//! `keyledger admin erase-account`.

use clap::Args;
use serde_json::{Value, json};

use super::answers::REPLAYED;
use super::confirm::{Consent, ask};
use super::failure::{Exit, Failure};
use super::options::ChangeArgs;
use super::output::{Fields, Resource};
use super::resources::named;
use super::session::Session;
use super::text::{grouped, plain};
use crate::proto::v1;

#[derive(Debug, Args)]
pub(super) struct EraseAccountArgs {
    /// The tenant
    tenant: String,
    /// The account within the tenant
    account: String,
    /// Why; kept with the event and not erased with the account: name nobody
    #[arg(long, default_value_t, hide_default_value = true)]
    comment: String,
    /// Fail if the account is not at this position: somebody else changed it
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(u64).range(1..))]
    expected_position: Option<u64>,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    change: ChangeArgs,
}

/// An account that is erased.
struct Erased {
    name: String,
    answer: v1::EraseAccountResponse,
}

impl Resource for Erased {
    fn json(&self) -> Value {
        json!({
            "data_keys": self.answer.data_keys,
            "position": self.answer.position,
            "replayed": self.answer.replayed,
        })
    }

    fn fields(&self) -> Fields {
        let destroyed = match self.answer.data_keys {
            0 => "none: they were destroyed before".to_owned(),
            keys => grouped(keys.into()),
        };
        let mut fields = vec![
            ("erased", self.name.clone()),
            ("data keys destroyed", destroyed),
            ("position", self.answer.position.to_string()),
        ];
        if self.answer.replayed {
            fields.push(("replayed", REPLAYED.to_owned()));
        }
        fields
    }
}

/// Erases the account, once that is confirmed.
pub(super) async fn run(args: EraseAccountArgs, session: &mut Session) -> Result<Exit, Failure> {
    let must_ask = args.consent.must_ask()?;
    let connected = session.connect().await?;
    let name = format!("{}/{}", plain(&args.tenant), plain(&args.account));
    if must_ask {
        let (tenant_id, account_id) = (args.tenant.clone(), args.account.clone());
        let request = v1::GetAccountRequest { tenant_id, account_id };
        let found = connected.accounts().get_account(request).await?.into_inner().account;
        let who = named(&name, &found.unwrap_or_default().display_name);
        ask(format!(
            "Erase {who}? None of its keys works any more, and nobody can read its names, addresses \
             and comments ever again."
        ))
        .await?;
    }
    let request = v1::EraseAccountRequest {
        on_behalf_of: args.change.on_behalf_of(),
        tenant_id: args.tenant,
        account_id: args.account,
        comment: args.comment,
        expected_position: args.expected_position,
        request_id: args.change.request_id,
    };
    let answer = connected.admin().erase_account(request).await?.into_inner();
    session.output.one(&Erased { name, answer })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::Erased;
    use crate::cli::output::Resource as _;
    use crate::cli::resources::tests::assert_fields_of_message;
    use crate::cli::tests::refused;
    use crate::proto::v1;

    #[test]
    fn an_erasure_is_answered_with_the_fields_of_the_api() {
        let erased = |data_keys| Erased {
            name: "acme/ann".to_owned(),
            answer: v1::EraseAccountResponse { data_keys, position: 7, replayed: false },
        };
        assert_fields_of_message("EraseAccountResponse", &erased(3).json());
        assert_eq!(erased(3).fields()[1].1, "3");
        assert!(erased(0).fields()[1].1.contains("before"));
    }

    #[test]
    fn an_erasure_names_one_account_and_a_position_that_can_be() {
        assert!(refused(&["admin", "erase-account", "acme"]).contains("<ACCOUNT>"));
        refused(&["admin", "erase-account", "acme", "ann", "--expected-position", "0"]);
    }
}
