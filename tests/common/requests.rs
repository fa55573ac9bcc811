//! Requests of every RPC: nothing is wrong with them, and what they are about is there, or never was.

use keyledger::domain::caller;
use keyledger::proto::v1::{self, Role};
use prost::Message as _;

use super::check::check;
use super::usage::{at, idle, of_key, of_tenant, other_id};
use super::{Client, START, new_key};

/// What calls are about.
#[derive(Clone, Debug)]
pub struct Target {
    pub tenant: String,
    pub account: String,
    /// A key, and its secret.
    pub key: String,
    pub secret: String,
    /// A key that was rotated.
    pub rotated: String,
    /// The secret of a key that was found somewhere.
    pub leaked: String,
    pub caller: String,
    /// An account without keys.
    pub erased: String,
}

impl Target {
    /// In `acme`, made anew where calls change it.
    pub async fn made(admin: &Client, rotated: &str) -> Self {
        let (key, secret) = admin.create_key("billing", "changed").await;
        let (_, leaked) = admin.create_key("billing", "leaked").await;
        let (caller, _) = admin.create_caller(&[Role::Authenticator], &["acme"]).await;
        let erased = format!("erased-{}", caller.caller_id);
        admin.put_account(&erased, "standard", &[]).await;
        Target {
            tenant: "acme".to_owned(),
            account: "billing".to_owned(),
            key: key.key_id,
            secret,
            rotated: rotated.to_owned(),
            leaked,
            caller: caller.caller_id,
            erased,
        }
    }

    /// The like of it that never was.
    pub fn absent(&self) -> Self {
        Target {
            tenant: "nowhere".to_owned(),
            account: "nothing".to_owned(),
            key: "key_00000000000000000".to_owned(),
            secret: other_id(&self.secret),
            rotated: "key_00000000000000000".to_owned(),
            leaked: other_id(&self.leaked),
            caller: "caller_00000000000000000".to_owned(),
            erased: "nothing".to_owned(),
        }
    }
}

/// Whether a caller of a role may call what is for these roles.
pub fn may(role: Role, allowed: &[caller::Role]) -> bool {
    let name = role.as_str_name().trim_start_matches("ROLE_").to_lowercase();
    role == Role::Admin || allowed.iter().any(|allowed| allowed.name() == name)
}

/// A request of an RPC that is about a target and nothing is wrong with.
pub fn request(path: &str, of: &Target) -> Vec<u8> {
    let (service, rpc) = path.rsplit_once('/').expect("a path");
    match service {
        "/keyledger.v1.KeyService" => of_keys(rpc, of),
        "/keyledger.v1.AccountService" => of_accounts(rpc, of),
        "/keyledger.v1.AuditService" => of_history(rpc, of),
        "/keyledger.v1.UsageService" => of_usage(rpc, of),
        "/keyledger.v1.AdminService" => of_admin(rpc, of),
        "/envoy.service.auth.v3.Authorization" => Some(check(&[("x-api-key", &of.secret)], &[])),
        "/grpc.health.v1.Health" => Some(Vec::new()),
        // Which services there are.
        "/grpc.reflection.v1.ServerReflection" => Some(vec![0x3a, 0]),
        _ => None,
    }
    .unwrap_or_else(|| panic!("{path} is not walked"))
}

fn of_keys(rpc: &str, of: &Target) -> Option<Vec<u8>> {
    let key_id = of.key.clone();
    let overlap = Some(prost_types::Duration::default());
    Some(match rpc {
        "Authenticate" => {
            let api_key = of.secret.clone();
            v1::AuthenticateRequest { api_key, ..Default::default() }.encode_to_vec()
        }
        "AuthenticateStream" => {
            let request =
                v1::AuthenticateRequest { api_key: of.secret.clone(), ..Default::default() };
            let request = Some(request);
            v1::AuthenticateStreamRequest { tag: 1, request }.encode_to_vec()
        }
        "CreateKey" => new_key(&of.tenant, &of.account, "new").encode_to_vec(),
        "GetKey" => v1::GetKeyRequest { key_id }.encode_to_vec(),
        "ListKeys" => {
            let tenant_id = of.tenant.clone();
            v1::ListKeysRequest { tenant_id, ..Default::default() }.encode_to_vec()
        }
        "UpdateKey" => {
            let key = Some(v1::Key { key_id, name: "changed".to_owned(), ..Default::default() });
            let update_mask = Some(prost_types::FieldMask { paths: vec!["name".to_owned()] });
            v1::UpdateKeyRequest { key, update_mask, ..Default::default() }.encode_to_vec()
        }
        "DisableKey" => v1::DisableKeyRequest { key_id, ..Default::default() }.encode_to_vec(),
        "EnableKey" => v1::EnableKeyRequest { key_id, ..Default::default() }.encode_to_vec(),
        "RotateKey" => {
            v1::RotateKeyRequest { key_id, overlap, ..Default::default() }.encode_to_vec()
        }
        "RevokeKey" => v1::RevokeKeyRequest { key_id, ..Default::default() }.encode_to_vec(),
        "ReportLeakedKey" => {
            let api_key = of.leaked.clone();
            v1::ReportLeakedKeyRequest { api_key, ..Default::default() }.encode_to_vec()
        }
        "WhoAmI" => Vec::new(),
        _ => return None,
    })
}

fn of_accounts(rpc: &str, of: &Target) -> Option<Vec<u8>> {
    let (tenant_id, account_id) = (of.tenant.clone(), of.account.clone());
    Some(match rpc {
        "PutAccount" => {
            let plan = "enterprise".to_owned();
            let account = Some(v1::Account { tenant_id, account_id, plan, ..Default::default() });
            v1::PutAccountRequest { account, ..Default::default() }.encode_to_vec()
        }
        "GetAccount" => v1::GetAccountRequest { tenant_id, account_id }.encode_to_vec(),
        "ListAccounts" => {
            v1::ListAccountsRequest { tenant_id, ..Default::default() }.encode_to_vec()
        }
        _ => return None,
    })
}

fn of_history(rpc: &str, of: &Target) -> Option<Vec<u8>> {
    let (tenant_id, account_id, key_id) = (of.tenant.clone(), of.account.clone(), of.key.clone());
    Some(match rpc {
        "StreamEvents" => {
            let filter = Some(v1::EventFilter { tenant_id, ..Default::default() });
            v1::StreamEventsRequest { filter, ..Default::default() }.encode_to_vec()
        }
        "GetKeyTimeline" => {
            v1::GetKeyTimelineRequest { key_id, ..Default::default() }.encode_to_vec()
        }
        "GetKeyAt" => {
            let at = Some(v1::get_key_at_request::At::Time(at(START).expect("a time")));
            v1::GetKeyAtRequest { key_id, at }.encode_to_vec()
        }
        "GetAccountAt" => {
            let at = Some(v1::get_account_at_request::At::Time(at(START).expect("a time")));
            v1::GetAccountAtRequest { tenant_id, account_id, at }.encode_to_vec()
        }
        "GetCheckpoint" => v1::GetCheckpointRequest { min_size: 1 }.encode_to_vec(),
        "GetInclusionProof" => {
            v1::GetInclusionProofRequest { position: 1, tree_size: 2 }.encode_to_vec()
        }
        "GetConsistencyProof" => {
            v1::GetConsistencyProofRequest { from_size: 1, to_size: 2 }.encode_to_vec()
        }
        "GetVerifierKey" => Vec::new(),
        _ => return None,
    })
}

fn of_usage(rpc: &str, of: &Target) -> Option<Vec<u8>> {
    Some(match rpc {
        "GetKeyUsage" => of_key(&of.key, v1::Granularity::Hour).encode_to_vec(),
        "QueryUsage" => of_tenant(&of.tenant, &[v1::GroupBy::Account]).encode_to_vec(),
        "ListIdleKeys" => idle(&of.tenant, 60).encode_to_vec(),
        "GetStragglers" => {
            let key_id = of.rotated.clone();
            v1::GetStragglersRequest { key_id, ..Default::default() }.encode_to_vec()
        }
        "ListSignals" => {
            let (tenant_id, start_time) = (of.tenant.clone(), at(START));
            v1::ListSignalsRequest { tenant_id, start_time, ..Default::default() }.encode_to_vec()
        }
        _ => return None,
    })
}

fn of_admin(rpc: &str, of: &Target) -> Option<Vec<u8>> {
    let caller_id = of.caller.clone();
    let overlap = Some(prost_types::Duration::default());
    Some(match rpc {
        "GetStatus" | "Backup" | "RotatePepper" => Vec::new(),
        // The first: another is in force, if it is asked in the order of the table.
        "RetirePepper" => {
            v1::RetirePepperRequest { version: 1, ..Default::default() }.encode_to_vec()
        }
        "ListPepperDependents" => {
            v1::ListPepperDependentsRequest { version: 1, ..Default::default() }.encode_to_vec()
        }
        "CreateCaller" => {
            let (name, tenants) = ("made".to_owned(), vec![of.tenant.clone()]);
            let roles = vec![Role::Authenticator.into()];
            v1::CreateCallerRequest { name, roles, tenants, ..Default::default() }.encode_to_vec()
        }
        "RotateCaller" => {
            v1::RotateCallerRequest { caller_id, overlap, ..Default::default() }.encode_to_vec()
        }
        "RevokeCaller" => {
            v1::RevokeCallerRequest { caller_id, ..Default::default() }.encode_to_vec()
        }
        "EraseAccount" => {
            let (tenant_id, account_id) = (of.tenant.clone(), of.erased.clone());
            v1::EraseAccountRequest { tenant_id, account_id, ..Default::default() }.encode_to_vec()
        }
        "ListCallers" => {
            v1::ListCallersRequest { page_size: 1000, ..Default::default() }.encode_to_vec()
        }
        _ => return None,
    })
}
