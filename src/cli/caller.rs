//! `keyledger admin caller`: those who call keyledger, and their credentials.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::answers::Changed;
use super::confirm::{Consent, ask};
use super::connect::Authorized;
use super::failure::{Exit, Failure};
use super::issued::{Issued, SecretOutput};
use super::options::{ChangeArgs, Paging};
use super::output::Resource as _;
use super::resources::named;
use super::secret::SecretText;
use super::session::Session;
use super::times::{When, humane_span, message_span, now, parse_span, parse_when};
use super::words::choice;
use crate::proto::v1;
use crate::proto::v1::admin_service_client::AdminServiceClient;

const CREATE_EXAMPLES: &str = "\
Example:
  A gateway that may authenticate the keys of one tenant:
    keyledger admin caller create --name gateway --role authenticator \\
      --tenant acme --secret-out gateway.token";

#[derive(Debug, Subcommand)]
pub(super) enum CallerCommand {
    /// Make a caller and show its credential, once
    #[command(after_help = CREATE_EXAMPLES)]
    Create(Box<CreateArgs>),
    /// Give a caller a new credential and show it, once; asks first
    Rotate(Box<RotateArgs>),
    /// Make a caller's credential stop working for ever; asks first
    Revoke(Box<RevokeArgs>),
    /// List all callers, revoked ones too
    List(Paging),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// What people call the caller
    #[arg(long)]
    name: String,
    /// Who answers for it: a person or a team
    #[arg(long, default_value_t, hide_default_value = true)]
    owner: String,
    /// What it may do; repeated or separated by commas
    #[arg(long = "role", value_name = "ROLE", required = true, value_delimiter = ',',
          value_parser = choice::<v1::Role>(), ignore_case = true)]
    roles: Vec<v1::Role>,
    /// Tenants it is bound to; repeated or separated by commas [default: all tenants]
    #[arg(long = "tenant", value_name = "TENANT", value_delimiter = ',')]
    tenants: Vec<String>,
    /// When its credential ends: a time such as 2027-01-31T09:00:00Z, or 90d from now [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_when, allow_hyphen_values = true)]
    expires: Option<When>,
    /// SPIFFE id by which a client certificate speaks for it, such as spiffe://example.org/gateway [default: none]
    #[arg(long, value_name = "ID", default_value_t, hide_default_value = true)]
    spiffe_id: String,
    /// DNS name by which a client certificate speaks for it, instead of a SPIFFE id [default: none]
    #[arg(
        long,
        value_name = "NAME",
        default_value_t,
        hide_default_value = true,
        conflicts_with = "spiffe_id"
    )]
    san: String,
    #[command(flatten)]
    place: SecretOutput,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// The caller
    caller_id: String,
    /// How long the credential before still works, such as 1h30m; 0s ends it at once
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    overlap: Duration,
    #[command(flatten)]
    place: SecretOutput,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// The caller
    caller_id: String,
    /// Why; kept with the event
    #[arg(long, default_value_t, hide_default_value = true)]
    comment: String,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    change: ChangeArgs,
}

type Admin = AdminServiceClient<Authorized>;

/// Does what is asked.
pub(super) async fn run(command: CallerCommand, session: &mut Session) -> Result<Exit, Failure> {
    match command {
        CallerCommand::Create(args) => create(*args, session).await?,
        CallerCommand::Rotate(args) => rotate(*args, session).await?,
        CallerCommand::Revoke(args) => revoke(*args, session).await?,
        CallerCommand::List(paging) => {
            let mut admin = session.connect().await?.admin();
            paging
                .show(&mut session.output, async |size, token| page(&mut admin, size, token).await)
                .await?;
        }
    }
    Ok(Exit::Done)
}

async fn create(args: CreateArgs, session: &mut Session) -> Result<(), Failure> {
    let expire_time =
        args.expires.map(|when| when.from(now())).transpose().map_err(Failure::Usage)?;
    let mut admin = session.connect().await?.admin();
    let file = args.place.open()?;
    let request = v1::CreateCallerRequest {
        on_behalf_of: args.change.on_behalf_of(),
        name: args.name,
        owner: args.owner,
        roles: args.roles.into_iter().map(i32::from).collect(),
        tenants: args.tenants,
        spiffe_id: args.spiffe_id,
        san: args.san,
        expire_time,
        request_id: args.change.request_id,
    };
    let answer = admin.create_caller(request).await?.into_inner();
    let caller = answer.caller.unwrap_or_default();
    issued(&caller, answer.credential, answer.position, answer.replayed)
        .hand_over(file, &mut session.output)
}

async fn rotate(args: RotateArgs, session: &mut Session) -> Result<(), Failure> {
    let must_ask = args.consent.must_ask()?;
    let overlap = message_span(args.overlap).map_err(Failure::Usage)?;
    let mut admin = session.connect().await?.admin();
    if must_ask {
        let who = who(&mut admin, &args.caller_id).await?;
        let ends = if args.overlap.is_zero() {
            "at once".to_owned()
        } else {
            format!("in {}", humane_span(args.overlap))
        };
        ask(format!("Rotate {who}? Its credential stops working {ends} and for ever.")).await?;
    }
    let file = args.place.open()?;
    let request = v1::RotateCallerRequest {
        on_behalf_of: args.change.on_behalf_of(),
        caller_id: args.caller_id,
        overlap: Some(overlap),
        request_id: args.change.request_id,
    };
    let answer = admin.rotate_caller(request).await?.into_inner();
    let caller = answer.caller.unwrap_or_default();
    issued(&caller, answer.credential, answer.position, answer.replayed)
        .hand_over(file, &mut session.output)
}

async fn revoke(args: RevokeArgs, session: &mut Session) -> Result<(), Failure> {
    let must_ask = args.consent.must_ask()?;
    let mut admin = session.connect().await?.admin();
    if must_ask {
        let who = who(&mut admin, &args.caller_id).await?;
        ask(format!("Revoke {who}? Its credential stops working at once and for ever.")).await?;
    }
    let request = v1::RevokeCallerRequest {
        on_behalf_of: args.change.on_behalf_of(),
        caller_id: args.caller_id,
        comment: args.comment,
        request_id: args.change.request_id,
    };
    let answer = admin.revoke_caller(request).await?.into_inner();
    session.output.one(&Changed {
        name: "caller",
        resource: answer.caller,
        position: answer.position,
        replayed: answer.replayed,
    })
}

fn issued(caller: &v1::Caller, credential: String, position: u64, replayed: bool) -> Issued {
    Issued {
        name: "credential",
        of: caller.caller_id.clone(),
        secret: SecretText::new(credential),
        json: json!({"caller": caller.json(), "credential": null, "position": position, "replayed": replayed}),
        fields: caller.fields(),
    }
}

async fn page(
    admin: &mut Admin,
    page_size: i32,
    page_token: String,
) -> Result<(Vec<v1::Caller>, String), Failure> {
    let request = v1::ListCallersRequest { page_size, page_token };
    let answer = admin.list_callers(request).await?.into_inner();
    Ok((answer.callers, answer.next_page_token))
}

/// The caller's id with its name, for a question.
async fn who(admin: &mut Admin, caller_id: &str) -> Result<String, Failure> {
    let mut name = String::new();
    let take = |page: Vec<v1::Caller>| {
        name.extend(
            page.into_iter().find(|caller| caller.caller_id == caller_id).map(|caller| caller.name),
        );
        Ok(())
    };
    Paging::ALL.walk(async |size, token| page(admin, size, token).await, take).await?;
    Ok(named(caller_id, &name))
}

#[cfg(test)]
mod tests {
    use super::{CallerCommand, issued};
    use crate::cli::resources::tests::assert_fields_of_message;
    use crate::cli::tests::{Parsed, parse, refused};
    use crate::proto::v1;

    #[test]
    fn a_caller_needs_a_name_and_a_role() {
        let line = [
            "admin",
            "caller",
            "create",
            "--name",
            "gateway",
            "--role",
            "issuer,Authenticator",
            "--tenant",
            "acme",
        ];
        let Parsed::Caller(CallerCommand::Create(args)) = parse(&line) else {
            panic!("creates a caller")
        };
        assert_eq!(args.roles, [v1::Role::Issuer, v1::Role::Authenticator]);
        assert_eq!(args.tenants, ["acme"]);
        assert!(refused(&line[..5]).contains("--role"));
        assert!(refused(&["admin", "caller", "create", "--role", "issuer"]).contains("--name"));
        assert!(
            refused(&["admin", "caller", "create", "--name", "x", "--role", "root"])
                .contains("authenticator")
        );
    }

    #[test]
    fn a_rotation_needs_an_overlap() {
        assert!(refused(&["admin", "caller", "rotate", "caller_1"]).contains("--overlap"));
        assert!(
            refused(&["admin", "caller", "rotate", "caller_1", "--overlap", "5"]).contains("1h30m")
        );
    }

    #[test]
    fn a_new_credential_is_answered_with_the_fields_of_the_api() {
        let made = issued(&v1::Caller::default(), "kl_svc_x".to_owned(), 3, false);
        assert_fields_of_message("CreateCallerResponse", &made.json);
        assert_fields_of_message("RotateCallerResponse", &made.json);
        assert!(!made.json.to_string().contains("kl_svc_x"));
    }
}
