//! UsageService, one file an operation.

mod encode;
mod fields;
mod get_key_usage;
mod get_stragglers;
mod list_idle_keys;
mod list_signals;
mod query_usage;

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::app::App;
use crate::grpc::status::answer;
use crate::proto::v1;
use crate::proto::v1::usage_service_server::UsageService;

/// Serves UsageService.
#[derive(Debug)]
pub(super) struct UsageApi {
    app: Arc<App>,
}

impl UsageApi {
    pub(super) fn new(app: Arc<App>) -> Self {
        UsageApi { app }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl UsageService for UsageApi {
    async fn get_key_usage(
        &self,
        request: Request<v1::GetKeyUsageRequest>,
    ) -> Answer<v1::GetKeyUsageResponse> {
        answer(get_key_usage::handle(&self.app, request).await, None)
    }

    async fn query_usage(
        &self,
        request: Request<v1::QueryUsageRequest>,
    ) -> Answer<v1::QueryUsageResponse> {
        answer(query_usage::handle(&self.app, request).await, None)
    }

    async fn list_idle_keys(
        &self,
        request: Request<v1::ListIdleKeysRequest>,
    ) -> Answer<v1::ListIdleKeysResponse> {
        answer(list_idle_keys::handle(&self.app, request).await, None)
    }

    async fn get_stragglers(
        &self,
        request: Request<v1::GetStragglersRequest>,
    ) -> Answer<v1::GetStragglersResponse> {
        answer(get_stragglers::handle(&self.app, request).await, None)
    }

    async fn list_signals(
        &self,
        request: Request<v1::ListSignalsRequest>,
    ) -> Answer<v1::ListSignalsResponse> {
        answer(list_signals::handle(&self.app, request).await, None)
    }
}
