//! `keyledger audit at`.

use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Fields, Resource};
use crate::cli::resources::{enum_or_dash, enum_or_null, time};
use crate::cli::session::Session;
use crate::cli::text::{grouped, joined};
use crate::cli::times::{Past, humane, now, parse_past};
use crate::proto::v1::{self, get_account_at_request, get_key_at_request};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("moment").required(true))]
pub(in crate::cli) struct AtArgs {
    /// A key, key_…, or a tenant
    subject: String,
    /// The account within the tenant
    account: Option<String>,
    /// The instant: a time such as 2026-01-31T09:00:00Z, or so long ago, such as 7d
    #[arg(long, value_name = "TIME", group = "moment", value_parser = parse_past)]
    time: Option<Past>,
    /// The last position to take into account
    #[arg(long, group = "moment", value_name = "POSITION", value_parser = clap::value_parser!(u64).range(1..))]
    position: Option<u64>,
}

pub(super) async fn run(args: AtArgs, session: &mut Session) -> Result<Exit, Failure> {
    let time = args.time.map(|past| past.from(now())).transpose().map_err(Failure::Usage)?;
    let mut audit = session.connect().await?.audit();
    if let Some(account_id) = args.account {
        use get_account_at_request::At;
        let at = time.map(At::Time).or(args.position.map(At::Position));
        let request = v1::GetAccountAtRequest { tenant_id: args.subject, account_id, at };
        let answer = audit.get_account_at(request).await?.into_inner();
        session.output.one(&answer.account_snapshot.unwrap_or_default())?;
    } else {
        use get_key_at_request::At;
        let at = time.map(At::Time).or(args.position.map(At::Position));
        let request = v1::GetKeyAtRequest { key_id: args.subject, at };
        let answer = audit.get_key_at(request).await?.into_inner();
        session.output.one(&answer.key_snapshot.unwrap_or_default())?;
    }
    Ok(Exit::Done)
}

/// Whether it was valid, or why not and since which event.
fn verdict(valid: bool, reason: i32, evidence: u64) -> String {
    let by = if evidence > 0 { format!(", by event {evidence}") } else { String::new() };
    if valid {
        "yes".to_owned()
    } else {
        format!("no: {}{by}", enum_or_dash::<v1::DenialReason>(reason))
    }
}

fn plan(plan: Option<&v1::PlanDefinition>) -> String {
    let Some(plan) = plan else { return "not defined then".to_owned() };
    let limit =
        |limit: Option<u32>| limit.map_or("any number of".to_owned(), |n| grouped(n.into()));
    let (keys, requests) = (limit(plan.active_keys), limit(plan.requests_per_minute));
    format!("{}: {keys} active keys, {requests} requests a minute", plan.name)
}

fn plan_json(plan: Option<&v1::PlanDefinition>) -> Value {
    plan.map_or(Value::Null, |plan| {
        json!({
            "name": plan.name,
            "active_keys": plan.active_keys,
            "requests_per_minute": plan.requests_per_minute,
        })
    })
}

impl Resource for v1::KeySnapshot {
    fn json(&self) -> Value {
        json!({
            "valid": self.valid,
            "denial_reason": enum_or_null::<v1::DenialReason>(self.denial_reason),
            "evidence_position": self.evidence_position,
            "key": self.key.as_ref().map(Resource::json),
            "account": self.account.as_ref().map(Resource::json),
            "permissions": self.permissions,
            "plan": plan_json(self.plan.as_ref()),
            "position": self.position,
            "time": time(self.time.as_ref()),
            "policy_position": self.policy_position,
            "uses_as_of": time(self.uses_as_of.as_ref()),
        })
    }

    fn fields(&self) -> Fields {
        let mut fields = vec![
            ("as of", self.time.as_ref().map(humane).unwrap_or_default()),
            ("behind position", self.position.to_string()),
            ("valid", verdict(self.valid, self.denial_reason, self.evidence_position)),
        ];
        let Some(key) = &self.key else {
            fields.push(("key", "not made yet".to_owned()));
            return fields;
        };
        fields.push(("granted", joined(&self.permissions, "nothing")));
        fields.push(("plan", plan(self.plan.as_ref())));
        if let Some(account) = &self.account {
            fields.push(("account was", enum_or_dash::<v1::AccountStatus>(account.status)));
        }
        let as_of = self.uses_as_of.as_ref();
        fields.push(("uses up to", as_of.map_or_else(|| "none on record".to_owned(), humane)));
        fields.extend(key.fields());
        fields
    }
}

impl Resource for v1::AccountSnapshot {
    fn json(&self) -> Value {
        json!({
            "valid": self.valid,
            "denial_reason": enum_or_null::<v1::DenialReason>(self.denial_reason),
            "evidence_position": self.evidence_position,
            "account": self.account.as_ref().map(Resource::json),
            "permissions": self.permissions,
            "plan": plan_json(self.plan.as_ref()),
            "position": self.position,
            "time": time(self.time.as_ref()),
            "policy_position": self.policy_position,
        })
    }

    fn fields(&self) -> Fields {
        let mut fields = vec![
            ("as of", self.time.as_ref().map(humane).unwrap_or_default()),
            ("behind position", self.position.to_string()),
            ("valid", verdict(self.valid, self.denial_reason, self.evidence_position)),
        ];
        let Some(account) = &self.account else {
            fields.push(("account", "not registered yet".to_owned()));
            return fields;
        };
        fields.push(("held", joined(&self.permissions, "nothing")));
        fields.push(("plan then", plan(self.plan.as_ref())));
        fields.extend(account.fields());
        fields
    }
}
