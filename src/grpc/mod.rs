//! The wire edge: decode, call the use case, encode. No rule is decided here.
//!
//! A call passes, in this order:
//!
//! 1. [`lanes`]: are there too many calls of who called last on its connection that have not begun;
//! 2. [`arrival`]: does its client still wait for an answer;
//! 3. [`traced`]: is it sampled; [`measured`]: from here on it is counted and timed;
//! 4. [`layer`]: is there such an RPC, is there room for the call, who calls, may it (by the one
//!    table of [`access`]), has its caller more under way than its share;
//! 5. tonic: the size of the message, its coding;
//! 6. the handler: `decode` reads the fields, the use case answers, `encode` writes the answer.
//!
//! A credential that was recognised on a connection is remembered there ([`remembered`]), and a stream ends with the
//! credential of its caller ([`ended`]).
//!
//! What fails, wherever, is told by the one table of `status`, whose documentation is
//! `error_reason.proto`.

pub mod access;
mod account_service;
mod admin_service;
pub mod arrival;
mod audit_service;
pub mod authorization;
mod call;
mod callers;
mod decode;
mod encode;
pub mod ended;
mod enums;
mod event;
mod key_service;
pub mod lanes;
pub mod layer;
pub mod long_calls;
pub mod measured;
pub mod open_calls;
pub mod remembered;
mod room;
pub mod status;
pub mod traced;
mod usage_service;

use std::sync::Arc;

use envoy_types::ext_authz::v3::pb::AuthorizationServer;
use tonic::service::Routes;

use crate::app::App;
use crate::grpc::account_service::AccountApi;
use crate::grpc::admin_service::AdminApi;
use crate::grpc::audit_service::AuditApi;
use crate::grpc::authorization::AuthorizationApi;
use crate::grpc::key_service::KeyApi;
use crate::grpc::usage_service::UsageApi;
use crate::proto::v1::account_service_server::AccountServiceServer;
use crate::proto::v1::admin_service_server::AdminServiceServer;
use crate::proto::v1::audit_service_server::AuditServiceServer;
use crate::proto::v1::key_service_server::KeyServiceServer;
use crate::proto::v1::usage_service_server::UsageServiceServer;

/// The most bytes of a request: twice what one with every field at its bound takes.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// The most bytes of an answer: room for a page of 1,000 keys with every field at its bound, about
/// 31 KB each. Clients commonly take 4 MiB unless told otherwise; smaller pages are smaller answers.
pub const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// The services of keyledger, to be served behind a [`layer::AccessLayer`] only. They neither read
/// nor write compressed messages: a small request must not become a large one here.
#[must_use]
pub fn routes(app: &Arc<App>) -> Routes {
    let keys = KeyServiceServer::new(KeyApi::new(Arc::clone(app)));
    let accounts = AccountServiceServer::new(AccountApi::new(Arc::clone(app)));
    let admin = AdminServiceServer::new(AdminApi::new(Arc::clone(app)));
    let audit = AuditServiceServer::new(AuditApi::new(Arc::clone(app)));
    let usage = UsageServiceServer::new(UsageApi::new(Arc::clone(app)));
    let authorization = AuthorizationServer::new(AuthorizationApi::new(Arc::clone(app)));
    macro_rules! bounded {
        ($service:ident) => {
            $service
                .max_decoding_message_size(MAX_REQUEST_BYTES)
                .max_encoding_message_size(MAX_ANSWER_BYTES)
        };
    }
    Routes::new(bounded!(keys))
        .add_service(bounded!(accounts))
        .add_service(bounded!(admin))
        .add_service(bounded!(audit))
        .add_service(bounded!(usage))
        .add_service(authorization.max_decoding_message_size(authorization::MAX_CHECK_BYTES))
}
