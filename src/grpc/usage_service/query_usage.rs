//! QueryUsage.

use std::net::IpAddr;

use prost::Message as _;
use tonic::Request;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::query_usage::{UsageQuestion, UsageRows, Wanted};
use crate::app::usage_question::{Counted, MAX_ROWS, UsageFilter};
use crate::domain::ids::{AccountId, TenantId};
use crate::domain::source::parse_source;
use crate::domain::usage::MAX_ACTION;
use crate::grpc::call::identity;
use crate::grpc::decode::{Violations, decode, when};
use crate::grpc::encode::{position, time};
use crate::grpc::usage_service::encode;
use crate::proto::v1::{self, QueryUsageRequest, QueryUsageResponse};

pub(super) async fn handle(
    app: &App,
    request: Request<QueryUsageRequest>,
) -> Result<QueryUsageResponse, AppError> {
    let identity = identity(&request)?;
    let question = decode(|bad| read(bad, request.into_inner()))?;
    let found = app.query_usage(&identity, question).await?;
    Ok(answer(found))
}

fn read(bad: &mut Violations, mut message: QueryUsageRequest) -> Option<UsageQuestion> {
    let granularity = bad.granularity(message.granularity);
    let range = bad.range(message.start_time, message.end_time, granularity.flatten());
    let group_by = bad.group_by(&message.group_by);
    let token = std::mem::take(&mut message.page_token);
    let size = std::mem::take(&mut message.page_size);
    let wanted = if message.top_n == 0 {
        let list = [b"QueryUsage ".as_slice(), &message.encode_to_vec()].concat();
        bad.page(size, token, list).map(Wanted::Page)
    } else {
        read_top(bad, message.top_n, size != 0 || !token.is_empty())
    };
    let (tenant, filter) = read_filter(bad, message.filter.unwrap_or_default())?;
    granularity?;
    Some(UsageQuestion { range: range?, tenant, filter, group_by: group_by?, wanted: wanted? })
}

fn read_top(bad: &mut Violations, top_n: i32, paged: bool) -> Option<Wanted> {
    if paged {
        return bad.refuse("top_n", "must not be set together with page_size or page_token");
    }
    let top = usize::try_from(top_n).ok().filter(|top| *top <= MAX_ROWS).map(Wanted::Top);
    top.or_else(|| bad.refuse("top_n", format_args!("must be 0 to {MAX_ROWS}")))
}

/// What the uses must be like: the tenant, and the rest.
fn read_filter(
    bad: &mut Violations,
    filter: v1::UsageFilter,
) -> Option<(Option<TenantId>, UsageFilter)> {
    let v1::UsageFilter { tenant_id, account_id, key_id, caller_id, action, source, reason } =
        filter;
    let tenant = when(!tenant_id.is_empty(), || bad.tenant("filter.tenant_id", &tenant_id));
    let account = when(!account_id.is_empty(), || {
        if tenant_id.is_empty() {
            return bad.refuse("filter.account_id", "must come with tenant_id");
        }
        bad.parsed("filter.account_id", AccountId::parse(&account_id))
    });
    let key = when(!key_id.is_empty(), || bad.key_id("filter.key_id", &key_id));
    let caller = when(!caller_id.is_empty(), || bad.caller_id("filter.caller_id", &caller_id));
    let fits = bad.short_text("filter.action", action.as_deref().unwrap_or_default(), MAX_ACTION);
    let source = when(!source.is_empty(), || read_source(bad, &source));
    let outcome = bad.use_outcome("filter.reason", reason);
    fits?;
    let (account, key, caller) = (account?, key?, caller?);
    let (source, outcome) = (source?, outcome?);
    // Whose tenants these are, the use case knows.
    Some((tenant?, UsageFilter { tenants: None, account, key, caller, action, source, outcome }))
}

fn read_source(bad: &mut Violations, text: &str) -> Option<IpAddr> {
    parse_source(text).or_else(|| bad.refuse("filter.source", "must be an IPv4 or IPv6 address"))
}

fn answer(found: Counted<UsageRows>) -> QueryUsageResponse {
    let Counted { value, position: at, complete_until } = found;
    let UsageRows { rows, detail, next, range, unattributed, gaps } = value;
    QueryUsageResponse {
        rows: rows.iter().map(|row| encode::row(row, detail)).collect(),
        next_page_token: next.unwrap_or_default(),
        start_time: Some(time(range.from)),
        end_time: Some(time(range.until)),
        complete_until: Some(time(complete_until)),
        position: position(at),
        unattributed,
        gaps: gaps.iter().map(encode::gap).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::page::{MAX_TOKEN_LEN, PageRequest};
    use crate::domain::usage::UseOutcome;
    use crate::grpc::decode::tests::violated;

    fn good() -> QueryUsageRequest {
        QueryUsageRequest {
            start_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
            group_by: vec![v1::GroupBy::Key.into()],
            ..Default::default()
        }
    }

    fn question(message: QueryUsageRequest) -> UsageQuestion {
        decode(|bad| read(bad, message)).expect("valid")
    }

    fn list(message: QueryUsageRequest) -> Vec<u8> {
        match question(message).wanted {
            Wanted::Page(page) => page.list,
            Wanted::Top(_) => panic!("a page is asked for"),
        }
    }

    #[test]
    fn every_field_is_held_to_its_bound_under_its_own_path() {
        let filter = v1::UsageFilter {
            tenant_id: "/".to_owned(),
            account_id: "/".to_owned(),
            key_id: "key_".to_owned(),
            caller_id: "caller_".to_owned(),
            action: Some("a".repeat(129)),
            source: "localhost".to_owned(),
            reason: Some(99),
        };
        let worst = QueryUsageRequest {
            start_time: None,
            end_time: Some(prost_types::Timestamp { seconds: 0, nanos: -1 }),
            granularity: 9,
            filter: Some(filter),
            group_by: vec![99],
            top_n: 0,
            page_size: 1001,
            page_token: "0".repeat(MAX_TOKEN_LEN + 1),
        };
        let fields = [
            "granularity",
            "start_time",
            "end_time",
            "group_by[0]",
            "page_size",
            "page_token",
            "filter.tenant_id",
            "filter.account_id",
            "filter.key_id",
            "filter.caller_id",
            "filter.action",
            "filter.source",
            "filter.reason",
        ];
        assert_eq!(violated(|bad| read(bad, worst)), fields);
    }

    #[test]
    fn the_most_used_are_bounded_and_come_without_pages() {
        let of = |top_n, page_size, token: &str| {
            let page_token = token.to_owned();
            violated(|bad| read(bad, QueryUsageRequest { top_n, page_size, page_token, ..good() }))
        };
        for (top_n, page_size, token) in [(-1, 0, ""), (1001, 0, ""), (1, 1, ""), (1, 0, "00")] {
            assert_eq!(of(top_n, page_size, token), ["top_n"]);
        }
        let top = question(QueryUsageRequest { top_n: 1000, ..good() });
        assert!(matches!(top.wanted, Wanted::Top(1000)));
        assert!(matches!(question(good()).wanted, Wanted::Page(PageRequest { size: 50, .. })));
    }

    #[test]
    fn an_account_is_named_within_its_tenant() {
        let filter =
            v1::UsageFilter { account_id: "billing".to_owned(), ..v1::UsageFilter::default() };
        let message = QueryUsageRequest { filter: Some(filter), ..good() };
        assert_eq!(violated(|bad| read(bad, message)), ["filter.account_id"]);
    }

    #[test]
    fn an_action_that_was_not_given_and_allowed_uses_can_be_asked_for() {
        let of = |filter| question(QueryUsageRequest { filter: Some(filter), ..good() }).filter;
        assert_eq!(of(v1::UsageFilter::default()), UsageFilter::default());
        let named = v1::UsageFilter {
            action: Some(String::new()),
            source: "::ffff:192.0.2.1".to_owned(),
            reason: Some(0),
            ..Default::default()
        };
        let expected = UsageFilter {
            action: Some(String::new()),
            source: Some("192.0.2.1".parse().expect("an address")),
            outcome: Some(UseOutcome::Allowed),
            ..UsageFilter::default()
        };
        assert_eq!(of(named), expected);
    }

    #[test]
    fn a_list_is_named_by_all_that_chooses_its_rows_and_not_by_its_pages() {
        let one = list(good());
        assert_eq!(
            list(QueryUsageRequest { page_size: 7, page_token: "00".to_owned(), ..good() }),
            one
        );
        assert_ne!(list(QueryUsageRequest { granularity: 1, ..good() }), one);
        let filter = v1::UsageFilter { action: Some(String::new()), ..Default::default() };
        assert_ne!(list(QueryUsageRequest { filter: Some(filter), ..good() }), one);
    }
}
