//! ListKeys.

use prost::Message as _;
use tonic::Request;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::list_keys::KeyFilter;
use crate::app::page::PageRequest;
use crate::domain::ids::{AccountId, TenantId};
use crate::grpc::call::identity;
use crate::grpc::decode::{Violations, decode};
use crate::grpc::encode;
use crate::proto::v1::{self, ListKeysRequest, ListKeysResponse};

/// Which keys are asked for.
#[derive(Debug)]
struct Asked {
    tenant: TenantId,
    account: Option<AccountId>,
    filter: KeyFilter,
    page: PageRequest,
}

pub(super) async fn handle(
    app: &App,
    request: Request<ListKeysRequest>,
) -> Result<ListKeysResponse, AppError> {
    let identity = identity(&request)?;
    let asked = decode(|bad| read(bad, request.into_inner()))?;
    let Asked { tenant, account, filter, page } = asked;
    let found = app.list_keys(&identity, &tenant, account, &filter, &page).await?;
    Ok(ListKeysResponse {
        keys: found.items.into_iter().map(encode::key).collect(),
        next_page_token: found.next.unwrap_or_default(),
    })
}

fn read(bad: &mut Violations, mut message: ListKeysRequest) -> Option<Asked> {
    let tenant = bad.tenant("tenant_id", &message.tenant_id);
    let account = match message.account_id.as_str() {
        "" => Some(None),
        text => bad.parsed("account_id", AccountId::parse(text)).map(Some),
    };
    let token = std::mem::take(&mut message.page_token);
    let size = std::mem::take(&mut message.page_size);
    let list = [b"ListKeys ".as_slice(), &message.encode_to_vec()].concat();
    let page = bad.page(size, token, list);
    let filter = read_filter(bad, message.filter.unwrap_or_default());
    Some(Asked { tenant: tenant?, account: account?, filter: filter?, page: page? })
}

fn read_filter(bad: &mut Violations, filter: v1::KeyFilter) -> Option<KeyFilter> {
    let states = bad.key_states("filter.states", &filter.states);
    let name_prefix = bad.line("filter.name_prefix", filter.name_prefix);
    let metadata = bad.metadata("filter.metadata", filter.metadata);
    let expire_before = bad.time("filter.expire_before", filter.expire_before);
    let unused_since = bad.time("filter.unused_since", filter.unused_since);
    Some(KeyFilter {
        states: states?,
        name_prefix: name_prefix?,
        metadata: metadata?,
        expire_before: expire_before?,
        created_before: None,
        unused_since: unused_since?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::page::MAX_TOKEN_LEN;
    use crate::grpc::decode::tests::violated;

    fn of_acme() -> ListKeysRequest {
        ListKeysRequest { tenant_id: "acme".to_owned(), ..Default::default() }
    }

    fn list(message: ListKeysRequest) -> Vec<u8> {
        decode(|bad| read(bad, message)).expect("valid").page.list
    }

    #[test]
    fn a_list_is_named_by_all_that_chooses_its_keys_and_not_by_its_pages() {
        let one = list(of_acme());
        let paged = ListKeysRequest { page_size: 7, page_token: "00".to_owned(), ..of_acme() };
        assert_eq!(list(paged), one);
        let narrower = ListKeysRequest { account_id: "billing".to_owned(), ..of_acme() };
        assert_ne!(list(narrower), one);
        let filter = v1::KeyFilter { states: vec![1], ..Default::default() };
        let filtered = ListKeysRequest { filter: Some(filter), ..of_acme() };
        assert_ne!(list(filtered), one);
    }

    #[test]
    fn every_field_is_held_to_its_bound_under_its_own_path() {
        let filter = v1::KeyFilter {
            states: vec![1, 0],
            name_prefix: "n".repeat(201),
            metadata: [("m".repeat(65), String::new())].into(),
            expire_before: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
            unused_since: Some(prost_types::Timestamp { seconds: 0, nanos: -1 }),
        };
        let worst = ListKeysRequest {
            tenant_id: String::new(),
            account_id: "/".to_owned(),
            filter: Some(filter),
            page_size: 1001,
            page_token: "0".repeat(MAX_TOKEN_LEN + 1),
        };
        let fields = [
            "tenant_id",
            "account_id",
            "page_size",
            "page_token",
            "filter.states[1]",
            "filter.name_prefix",
            "filter.metadata",
            "filter.expire_before",
            "filter.unused_since",
        ];
        assert_eq!(violated(|bad| read(bad, worst)), fields);
    }
}
