//! PutAccount.

use tonic::Request;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::put_account::AccountChange;
use crate::domain::ids::AccountRef;
use crate::domain::permission::{PlanName, RoleName};
use crate::grpc::call::Incoming;
use crate::grpc::decode::{Violations, when};
use crate::grpc::encode;
use crate::proto::v1::{PutAccountRequest, PutAccountResponse};

/// What a mask may name.
const FIELDS: [&str; 5] = ["display_name", "plan", "permissions", "roles", "status"];

/// The most roles of an account.
const MAX_ROLES: usize = 64;

pub(super) async fn handle(
    app: &App,
    request: Request<PutAccountRequest>,
) -> Result<PutAccountResponse, AppError> {
    let (call, (account, change)) = Incoming::of(request)?.read(read)?;
    let changed = app.put_account(&call, account, &change).await?;
    Ok(PutAccountResponse {
        account: Some(encode::account(changed.resource)),
        position: changed.position.get(),
        replayed: changed.replayed,
    })
}

fn read(bad: &mut Violations, message: PutAccountRequest) -> Option<(AccountRef, AccountChange)> {
    let expected = bad.expected_position(message.expected_position);
    let mask = message.update_mask.filter(|mask| mask.paths != ["*"] && !mask.paths.is_empty());
    let mask = match mask {
        None => Some(FIELDS.to_vec()),
        Some(mask) => bad.mask(Some(&mask), &FIELDS),
    };
    let account = bad.required("account", message.account)?;
    let name = bad.account("account.", &account.tenant_id, &account.account_id);
    let named = |field| mask.as_ref().is_some_and(|mask| mask.contains(&field));
    let display_name =
        when(named("display_name"), || bad.line("account.display_name", account.display_name));
    let plan = when(named("plan"), || bad.parsed("account.plan", PlanName::parse(&account.plan)));
    let permissions =
        when(named("permissions"), || bad.permissions("account.permissions", &account.permissions));
    let roles = when(named("roles"), || read_roles(bad, &account.roles));
    let status = when(named("status"), || bad.account_status("account.status", account.status));
    let change = AccountChange {
        display_name: display_name?,
        plan: plan?,
        permissions: permissions?,
        roles: roles?,
        status: status?.flatten(),
        expected: expected?,
    };
    mask?;
    Some((name?, change))
}

fn read_roles(bad: &mut Violations, names: &[String]) -> Option<Vec<RoleName>> {
    let mut roles = bad.each("account.roles", MAX_ROLES, names, |name| RoleName::parse(name))?;
    roles.sort_unstable();
    roles.dedup();
    Some(roles)
}

#[cfg(test)]
mod tests {
    use prost_types::FieldMask;

    use super::*;
    use crate::domain::account::AccountStatus;
    use crate::grpc::decode::decode;
    use crate::grpc::decode::tests::violated;
    use crate::proto::v1::{self, Account};

    fn put(paths: Option<&[&str]>, account: Account) -> PutAccountRequest {
        let account =
            Account { tenant_id: "acme".to_owned(), account_id: "billing".to_owned(), ..account };
        let mask = |paths: &[&str]| FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        };
        let update_mask = paths.map(mask);
        PutAccountRequest { account: Some(account), update_mask, ..Default::default() }
    }

    fn on_standard() -> Account {
        Account { plan: "standard".to_owned(), ..Account::default() }
    }

    fn change(request: PutAccountRequest) -> AccountChange {
        decode(|bad| read(bad, request)).expect("valid").1
    }

    #[test]
    fn without_a_mask_all_is_set_but_an_unset_status() {
        for paths in [None, Some(&[][..]), Some(&["*"][..])] {
            let change = change(put(paths, on_standard()));
            assert_eq!(change.display_name.as_deref(), Some(""));
            assert_eq!(change.plan.as_ref().map(PlanName::as_str), Some("standard"));
            assert!(change.permissions.expect("set").is_empty());
            assert_eq!((change.roles, change.status), (Some(Vec::new()), None));
        }
    }

    #[test]
    fn with_a_mask_what_it_does_not_name_stays_and_is_not_looked_at() {
        let account = Account {
            plan: "NO PLAN".to_owned(),
            roles: vec![String::new()],
            status: v1::AccountStatus::Suspended.into(),
            ..Account::default()
        };
        let change = change(put(Some(&["status"]), account));
        assert_eq!(change.status, Some(AccountStatus::Suspended));
        assert!(change.plan.is_none() && change.roles.is_none());
        assert!(change.display_name.is_none() && change.permissions.is_none());
    }

    #[test]
    fn a_plan_cannot_be_emptied_and_a_mask_names_nothing_unknown() {
        assert_eq!(violated(|bad| read(bad, put(None, Account::default()))), ["account.plan"]);
        let request = put(Some(&["plan", "account.plan"]), on_standard());
        assert_eq!(violated(|bad| read(bad, request)), ["update_mask.paths[1]"]);
        let request = put(Some(&["*", "plan"]), on_standard());
        assert_eq!(violated(|bad| read(bad, request)), ["update_mask.paths[0]"]);
    }

    #[test]
    fn roles_are_a_set() {
        let roles = ["b", "a", "b"].map(str::to_owned).to_vec();
        let change = change(put(None, Account { roles, ..on_standard() }));
        let names: Vec<_> = change.roles.expect("set").iter().map(ToString::to_string).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn every_field_is_held_to_its_bound_under_its_own_path() {
        let account = Account {
            display_name: "\t".to_owned(),
            plan: "p".repeat(65),
            permissions: vec!["a".to_owned(); 65],
            roles: vec!["reader".to_owned(), "Reader".to_owned()],
            status: 9,
            ..Account::default()
        };
        let request = PutAccountRequest { expected_position: Some(0), ..put(None, account) };
        let fields = [
            "expected_position",
            "account.display_name",
            "account.plan",
            "account.permissions",
            "account.roles[1]",
            "account.status",
        ];
        assert_eq!(violated(|bad| read(bad, request)), fields);
        assert_eq!(violated(|bad| read(bad, PutAccountRequest::default())), ["account"]);
    }
}
