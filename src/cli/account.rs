//! `keyledger account`: put accounts, read them.

use clap::{Args, Subcommand};
use prost_types::FieldMask;

use super::answers::Changed;
use super::failure::{Exit, Failure};
use super::options::{ChangeArgs, Paging};
use super::session::Session;
use super::words::choice;
use crate::proto::v1;

const PUT_EXAMPLES: &str = "\
Examples:
  Register an account, or change it:
    keyledger account put acme billing --plan standard --permission reports:read
  Suspend it, and with it every key of it:
    keyledger account put acme billing --status suspended";

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Register an account, or change it if it is there
    ///
    /// Only what is given is changed. A new account needs a plan.
    #[command(
        after_help = PUT_EXAMPLES,
        override_usage = "keyledger account put [OPTIONS] <TENANT> <ACCOUNT>"
    )]
    Put(Box<PutArgs>),
    /// Show one account
    Get(GetArgs),
    /// List the accounts of a tenant
    List(ListArgs),
}

#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// The tenant
    tenant: String,
    /// The account within the tenant
    account: String,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// The tenant
    tenant: String,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, Args)]
pub(super) struct PutArgs {
    /// The tenant; it need not be registered
    tenant: String,
    /// The account within the tenant
    account: String,
    #[command(flatten)]
    values: Values,
    /// Fail if the account is not at this position: somebody else changed it
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(u64).range(1..))]
    expected_position: Option<u64>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// What can be set of an account. At least one must be: an empty mask would mean all of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct Values {
    /// Plan that limits the account
    #[arg(long)]
    plan: Option<String>,
    /// Permissions it holds directly, instead of those it has; repeated or separated by commas
    #[arg(long = "permission", value_name = "PERMISSION", value_delimiter = ',')]
    permissions: Vec<String>,
    /// Take all its direct permissions away
    #[arg(long, conflicts_with = "permissions")]
    clear_permissions: bool,
    /// Roles it holds, instead of those it has; repeated or separated by commas
    #[arg(long = "role", value_name = "ROLE", value_delimiter = ',')]
    roles: Vec<String>,
    /// Take all its roles away
    #[arg(long, conflicts_with = "roles")]
    clear_roles: bool,
    /// Whether its keys work; closed is final
    #[arg(long, value_parser = choice::<v1::AccountStatus>(), ignore_case = true)]
    status: Option<v1::AccountStatus>,
    /// What people call it; empty: nothing
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
}

impl PutArgs {
    fn request(&self) -> v1::PutAccountRequest {
        let values = &self.values;
        let given = [
            ("display_name", values.display_name.is_some()),
            ("plan", values.plan.is_some()),
            ("permissions", !values.permissions.is_empty() || values.clear_permissions),
            ("roles", !values.roles.is_empty() || values.clear_roles),
            ("status", values.status.is_some()),
        ];
        let paths = given
            .into_iter()
            .filter(|(_, given)| *given)
            .map(|(path, _)| path.to_owned())
            .collect();
        v1::PutAccountRequest {
            account: Some(v1::Account {
                tenant_id: self.tenant.clone(),
                account_id: self.account.clone(),
                display_name: values.display_name.clone().unwrap_or_default(),
                plan: values.plan.clone().unwrap_or_default(),
                permissions: values.permissions.clone(),
                roles: values.roles.clone(),
                status: values.status.unwrap_or_default().into(),
                ..Default::default()
            }),
            update_mask: Some(FieldMask { paths }),
            expected_position: self.expected_position,
            request_id: self.change.request_id.clone(),
            on_behalf_of: self.change.on_behalf_of(),
        }
    }
}

/// Does what is asked.
pub(super) async fn run(command: AccountCommand, session: &mut Session) -> Result<Exit, Failure> {
    let mut accounts = session.connect().await?.accounts();
    let output = &mut session.output;
    match command {
        AccountCommand::Put(args) => {
            let answer = accounts.put_account(args.request()).await?.into_inner();
            output.one(&Changed {
                name: "account",
                resource: answer.account,
                position: answer.position,
                replayed: answer.replayed,
            })?;
        }
        AccountCommand::Get(GetArgs { tenant, account }) => {
            let request = v1::GetAccountRequest { tenant_id: tenant, account_id: account };
            output.one(
                &accounts.get_account(request).await?.into_inner().account.unwrap_or_default(),
            )?;
        }
        AccountCommand::List(ListArgs { tenant, paging }) => {
            let fetch = async |page_size, page_token| {
                let request =
                    v1::ListAccountsRequest { tenant_id: tenant.clone(), page_size, page_token };
                let answer = accounts.list_accounts(request).await?.into_inner();
                Ok((answer.accounts, answer.next_page_token))
            };
            paging.show(output, fetch).await?;
        }
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::AccountCommand;
    use crate::cli::tests::{Parsed, parse, refused};
    use crate::proto::v1;

    fn request(options: &[&str]) -> v1::PutAccountRequest {
        let Parsed::Account(AccountCommand::Put(args)) =
            parse(&[&["account", "put", "acme", "billing"], options].concat())
        else {
            panic!("puts an account")
        };
        args.request()
    }

    fn mask(options: &[&str]) -> Vec<String> {
        request(options).update_mask.expect("is set").paths
    }

    #[test]
    fn only_what_is_given_is_in_the_mask() {
        assert_eq!(mask(&["--plan", "standard"]), ["plan"]);
        assert_eq!(mask(&["--status", "SUSPENDED"]), ["status"]);
        assert_eq!(mask(&["--display-name", ""]), ["display_name"]);
        assert_eq!(mask(&["--clear-permissions", "--role", "reader"]), ["permissions", "roles"]);
        assert_eq!(mask(&["--clear-roles", "--permission", "a"]), ["permissions", "roles"]);
    }

    #[test]
    fn permissions_are_repeated_or_separated_by_commas() {
        let account =
            request(&["--permission", "a:b,a:c", "--permission", "d"]).account.expect("is set");
        assert_eq!(account.permissions, ["a:b", "a:c", "d"]);
        assert_eq!((account.tenant_id.as_str(), account.account_id.as_str()), ("acme", "billing"));
    }

    #[test]
    fn an_account_put_without_anything_to_set_is_refused() {
        assert!(refused(&["account", "put", "acme", "billing"]).contains("--plan"));
        assert!(
            refused(&["account", "put", "acme", "billing", "--request-id", "x"]).contains("--plan")
        );
    }

    #[test]
    fn to_set_and_to_clear_is_refused() {
        refused(&["account", "put", "t", "a", "--role", "r", "--clear-roles"]);
        refused(&["account", "put", "t", "a", "--permission", "r", "--clear-permissions"]);
        refused(&["account", "put", "t", "a", "--status", "unspecified"]);
        refused(&["account", "put", "t", "a", "--plan", "p", "--expected-position", "0"]);
    }
}
