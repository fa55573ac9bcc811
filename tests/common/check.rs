//! Calls as Envoy makes them.

use envoy_types::ext_authz::v3::pb::CheckRequest;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, attribute_context};
use prost::Message as _;

/// What Envoy asks about a request with those headers, on a route with those settings.
pub fn check(headers: &[(&str, &str)], settings: &[(&str, &str)]) -> Vec<u8> {
    let owned = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let http = Some(HttpRequest { headers: owned(headers), ..Default::default() });
    let attributes = AttributeContext {
        request: Some(attribute_context::Request { http, time: None }),
        context_extensions: owned(settings),
        ..Default::default()
    };
    CheckRequest { attributes: Some(attributes) }.encode_to_vec()
}
