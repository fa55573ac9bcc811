//! `keyledger admin rotate-pepper`: another pepper, and the end of an old one.

use clap::Args;
use serde_json::{Value, json};

use super::confirm::{Consent, ask};
use super::connect::Authorized;
use super::failure::{Exit, Failure};
use super::options::{ChangeArgs, Paging};
use super::output::{Fields, Resource, Row};
use super::resources::{enum_or_dash, named};
use super::session::Session;
use super::text::{grouped, or_dash, plain};
use super::times::humane;
use crate::proto::v1;
use crate::proto::v1::admin_service_client::AdminServiceClient;
use crate::proto::v1::pepper_dependent::Dependent;

#[derive(Debug, Args)]
pub(super) struct RotatePepperArgs {
    /// Retire the old pepper of this number instead: keys and callers that still depend on it stop its retirement
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u16).range(1..))]
    retire: Option<u16>,
    /// Only list the keys and callers that would end if it were retired now
    #[arg(long, requires = "retire", conflicts_with = "force")]
    list: bool,
    /// Retire it though some still depend on it: they end with it, for ever. Asks first
    #[arg(long, requires = "retire", requires = "expect")]
    force: bool,
    /// With --force: how many keys and callers are known to end. Refused if there are more or fewer
    #[arg(long, value_name = "N", requires = "force")]
    expect: Option<u64>,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    change: ChangeArgs,
}

type Admin = AdminServiceClient<Authorized>;

/// Does what is asked.
pub(super) async fn run(args: RotatePepperArgs, session: &mut Session) -> Result<Exit, Failure> {
    match args.retire {
        None => rotate(args, session).await?,
        Some(version) if args.list => list(version.into(), &args.paging, session).await?,
        Some(version) => retire(version.into(), args, session).await?,
    }
    Ok(Exit::Done)
}

async fn rotate(args: RotatePepperArgs, session: &mut Session) -> Result<(), Failure> {
    let mut admin = session.connect().await?.admin();
    let on_behalf_of = args.change.on_behalf_of();
    let request = v1::RotatePepperRequest { request_id: args.change.request_id, on_behalf_of };
    let answer = admin.rotate_pepper(request).await?.into_inner();
    session.output.one(&answer)
}

async fn retire(
    version: u32,
    args: RotatePepperArgs,
    session: &mut Session,
) -> Result<(), Failure> {
    let must_ask = args.force && args.consent.must_ask()?;
    let expected_remaining = args.expect.unwrap_or(0);
    let mut admin = session.connect().await?.admin();
    if must_ask {
        let ended = grouped(expected_remaining);
        let question = format!(
            "Retire pepper {version}? {ended} keys and callers that still depend on it stop working at once and for ever."
        );
        ask(question).await?;
    }
    let request = v1::RetirePepperRequest {
        version,
        force: args.force,
        expected_remaining,
        on_behalf_of: args.change.on_behalf_of(),
        request_id: args.change.request_id,
    };
    let answer = admin.retire_pepper(request).await?.into_inner();
    session.output.one(&answer)
}

async fn list(version: u32, paging: &Paging, session: &mut Session) -> Result<(), Failure> {
    let mut admin = session.connect().await?.admin();
    let fetch = async |size, token| page(&mut admin, version, size, token).await;
    paging.show(&mut session.output, fetch).await
}

async fn page(
    admin: &mut Admin,
    version: u32,
    page_size: i32,
    page_token: String,
) -> Result<(Vec<v1::PepperDependent>, String), Failure> {
    let request = v1::ListPepperDependentsRequest { version, page_size, page_token };
    let answer = admin.list_pepper_dependents(request).await?.into_inner();
    Ok((answer.dependents, answer.next_page_token))
}

impl Resource for v1::RotatePepperResponse {
    fn json(&self) -> Value {
        json!({"version": self.version, "position": self.position, "replayed": self.replayed})
    }

    fn fields(&self) -> Fields {
        vec![
            ("pepper in force", self.version.to_string()),
            ("position", self.position.to_string()),
            ("replayed", yes_or_no(self.replayed)),
        ]
    }
}

impl Resource for v1::RetirePepperResponse {
    fn json(&self) -> Value {
        json!({"destroyed": self.destroyed, "position": self.position, "replayed": self.replayed})
    }

    fn fields(&self) -> Fields {
        let file = match self.destroyed {
            true => {
                "destroyed; destroy the copies kept elsewhere once no backup from before needs them"
            }
            false => "not the server's to remove, as its log says: destroy it where it is kept",
        };
        vec![
            ("retired at", self.position.to_string()),
            ("its file", file.to_owned()),
            ("replayed", yes_or_no(self.replayed)),
        ]
    }
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

impl Resource for v1::PepperDependent {
    fn json(&self) -> Value {
        match &self.dependent {
            Some(Dependent::Key(key)) => json!({"key": key.json()}),
            Some(Dependent::Caller(caller)) => json!({"caller": caller.json()}),
            None => json!({}),
        }
    }

    fn fields(&self) -> Fields {
        match &self.dependent {
            Some(Dependent::Key(key)) => key.fields(),
            Some(Dependent::Caller(caller)) => caller.fields(),
            None => Vec::new(),
        }
    }
}

impl Row for v1::PepperDependent {
    const COLUMNS: &'static [&'static str] = &["ID", "NAME", "OWNER", "STATE", "LAST USED"];

    fn cells(&self) -> Vec<String> {
        match &self.dependent {
            Some(Dependent::Key(key)) => vec![
                plain(&key.key_id),
                or_dash(&key.name),
                format!("{}/{}", plain(&key.tenant_id), plain(&key.account_id)),
                enum_or_dash::<v1::KeyState>(key.state),
                key.last_use_time.as_ref().map_or_else(|| "never".to_owned(), humane),
            ],
            Some(Dependent::Caller(caller)) => vec![
                plain(&caller.caller_id),
                or_dash(&caller.name),
                or_dash(&caller.owner),
                "caller".to_owned(),
                "—".to_owned(),
            ],
            None => vec![named("of a newer server", ""); Self::COLUMNS.len()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Format;
    use crate::cli::output::tests::{listed, shown};
    use crate::cli::resources::tests::assert_fields_of_message;
    use crate::cli::tests::{Parsed, parse, refused};

    const ROTATE: [&str; 2] = ["admin", "rotate-pepper"];

    #[test]
    fn force_needs_a_number_and_goes_with_a_retirement_alone() {
        let line = |rest: &[&'static str]| [&ROTATE, rest].concat();
        for wrong in [
            &["--list"][..],
            &["--force", "--expect", "1"],
            &["--retire", "1", "--force"],
            &["--retire", "1", "--expect", "1"],
            &["--retire", "1", "--list", "--force", "--expect", "1"],
            &["--retire", "0"],
        ] {
            refused(&line(wrong));
        }
        let right = line(&["--retire", "1", "--force", "--expect", "3"]);
        let Parsed::RotatePepper(args) = parse(&right) else { panic!("retires") };
        assert_eq!((args.retire, args.expect), (Some(1), Some(3)));
    }

    #[test]
    fn answers_have_the_fields_of_the_api() {
        let rotated = v1::RotatePepperResponse { version: 2, position: 7, replayed: false };
        assert_fields_of_message("RotatePepperResponse", &rotated.json());
        let retired = v1::RetirePepperResponse { destroyed: true, position: 7, replayed: false };
        assert_fields_of_message("RetirePepperResponse", &retired.json());
        assert!(shown(Format::Table, &retired).contains("destroyed"));
    }

    #[test]
    fn those_who_depend_on_a_pepper_are_told_in_one_table() {
        let key = v1::Key {
            key_id: "key_1".to_owned(),
            tenant_id: "acme".to_owned(),
            account_id: "billing".to_owned(),
            ..Default::default()
        };
        let caller = v1::Caller { caller_id: "caller_1".to_owned(), ..Default::default() };
        let rows = [Dependent::Caller(Box::new(caller)), Dependent::Key(Box::new(key))]
            .map(|dependent| v1::PepperDependent { dependent: Some(dependent) });
        let table = listed(Format::Table, &rows);
        assert!(table.contains("acme/billing") && table.contains("caller_1"), "{table}");
        let lines = listed(Format::Json, &rows);
        assert!(lines.starts_with(r#"{"caller":{"caller_id":"caller_1""#), "{lines}");
    }
}
