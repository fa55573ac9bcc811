//! GetKeyAt and GetAccountAt.

use std::sync::Arc;

use prost_types::Timestamp;
use tonic::Request;

use crate::app::App;
use crate::app::audit::{AccountSnapshot, KeySnapshot, Moment};
use crate::app::error::AppError;
use crate::domain::account::Account;
use crate::domain::ids::Position;
use crate::domain::policy::Plan;
use crate::domain::verdict::Denied;
use crate::grpc::call::identity;
use crate::grpc::decode::{Violations, decode};
use crate::grpc::encode::{self, position, time, words};
use crate::grpc::enums;
use crate::proto::v1::get_account_at_request::At as AccountMoment;
use crate::proto::v1::get_key_at_request::At as KeyMoment;
use crate::proto::v1::{
    self, GetAccountAtRequest, GetAccountAtResponse, GetKeyAtRequest, GetKeyAtResponse,
};

pub(super) async fn key(
    app: &Arc<App>,
    request: Request<GetKeyAtRequest>,
) -> Result<GetKeyAtResponse, AppError> {
    let identity = identity(&request)?;
    let (id, moment) = decode(|bad| {
        let message = request.get_ref();
        let id = bad.key_id("key_id", &message.key_id);
        let moment = match message.at {
            Some(KeyMoment::Time(time)) => at_time(bad, time),
            Some(KeyMoment::Position(position)) => at_position(bad, position),
            None => bad.refuse("at", "must have time or position set"),
        };
        Some((id?, moment?))
    })?;
    let snapshot = app.key_at(&identity, id, moment).await?;
    Ok(GetKeyAtResponse { key_snapshot: Some(key_snapshot(snapshot)) })
}

pub(super) async fn account(
    app: &Arc<App>,
    request: Request<GetAccountAtRequest>,
) -> Result<GetAccountAtResponse, AppError> {
    let identity = identity(&request)?;
    let (name, moment) = decode(|bad| {
        let message = request.get_ref();
        let name = bad.account("", &message.tenant_id, &message.account_id);
        let moment = match message.at {
            Some(AccountMoment::Time(time)) => at_time(bad, time),
            Some(AccountMoment::Position(position)) => at_position(bad, position),
            None => bad.refuse("at", "must have time or position set"),
        };
        Some((name?, moment?))
    })?;
    let snapshot = app.account_at(&identity, name, moment).await?;
    Ok(GetAccountAtResponse { account_snapshot: Some(account_snapshot(snapshot)) })
}

fn at_time(bad: &mut Violations, time: Timestamp) -> Option<Moment> {
    bad.time("time", Some(time))?.map(Moment::Time)
}

fn at_position(bad: &mut Violations, position: u64) -> Option<Moment> {
    let found = Position::new(position).map(Moment::Position);
    found.or_else(|| bad.refuse("position", "must be at least 1"))
}

fn key_snapshot(snapshot: KeySnapshot) -> v1::KeySnapshot {
    let KeySnapshot { standpoint, key, denied, permissions, policy, uses_as_of } = snapshot;
    let existed = key.is_some();
    let unknown = v1::DenialReason::UnknownKey;
    let (valid, denial_reason, evidence_position) = verdict(existed, unknown, denied);
    let plan = plan(key.as_ref().map(|(_, account)| &*account.account), policy.plan);
    let (key, account) =
        key.map(|(key, account)| (encode::key(key), encode::account(account))).unzip();
    v1::KeySnapshot {
        valid,
        denial_reason,
        evidence_position,
        key,
        account,
        permissions: words(&permissions),
        plan,
        position: position(standpoint.position),
        time: Some(time(standpoint.time)),
        policy_position: position(policy.position),
        uses_as_of: uses_as_of.map(time),
    }
}

fn account_snapshot(snapshot: AccountSnapshot) -> v1::AccountSnapshot {
    let AccountSnapshot { standpoint, account, denied, permissions, policy } = snapshot;
    let inactive = v1::DenialReason::AccountInactive;
    let (valid, denial_reason, evidence_position) = verdict(account.is_some(), inactive, denied);
    v1::AccountSnapshot {
        valid,
        denial_reason,
        evidence_position,
        plan: plan(account.as_ref().map(|account| &*account.account), policy.plan),
        account: account.map(encode::account),
        permissions: words(&permissions),
        position: position(standpoint.position),
        time: Some(time(standpoint.time)),
        policy_position: position(policy.position),
    }
}

/// Whether it was valid, why not, and the event that caused it; `absent` if it had not come to be.
fn verdict(existed: bool, absent: v1::DenialReason, denied: Option<Denied>) -> (bool, i32, u64) {
    match denied {
        _ if !existed => (false, absent.into(), 0),
        Some(denied) => {
            (false, enums::denial_reason(denied.denial).into(), position(denied.evidence))
        }
        None => (true, 0, 0),
    }
}

fn plan(account: Option<&Account>, plan: Option<Plan>) -> Option<v1::PlanDefinition> {
    let Plan { active_keys, requests_per_minute } = plan?;
    let name = account?.state.plan.to_string();
    Some(v1::PlanDefinition { name, active_keys, requests_per_minute })
}
