//! KeyService, one file an operation.

mod authenticate;
mod authenticate_stream;
mod create_key;
mod get_key;
mod list_keys;
mod report_leaked_key;
mod revoke_key;
mod rotate_key;
mod switch_key;
mod update_key;
mod who_am_i;

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};

use crate::app::App;
use crate::domain::requests::Method;
use crate::grpc::status::answer;
use crate::proto::v1;
use crate::proto::v1::key_service_server::KeyService;

/// Serves KeyService.
#[derive(Debug)]
pub(super) struct KeyApi {
    app: Arc<App>,
}

impl KeyApi {
    pub(super) fn new(app: Arc<App>) -> Self {
        KeyApi { app }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl KeyService for KeyApi {
    async fn authenticate(
        &self,
        request: Request<v1::AuthenticateRequest>,
    ) -> Answer<v1::AuthenticateResponse> {
        answer(authenticate::handle(&self.app, request).await, None)
    }

    type AuthenticateStreamStream =
        authenticate_stream::Answers<Streaming<v1::AuthenticateStreamRequest>>;

    async fn authenticate_stream(
        &self,
        request: Request<Streaming<v1::AuthenticateStreamRequest>>,
    ) -> Answer<Self::AuthenticateStreamStream> {
        answer(authenticate_stream::handle(&self.app, request), None)
    }

    async fn create_key(
        &self,
        request: Request<v1::CreateKeyRequest>,
    ) -> Answer<v1::CreateKeyResponse> {
        answer(create_key::handle(&self.app, request).await, Some(Method::CreateKey))
    }

    async fn get_key(&self, request: Request<v1::GetKeyRequest>) -> Answer<v1::GetKeyResponse> {
        answer(get_key::handle(&self.app, request).await, None)
    }

    async fn list_keys(
        &self,
        request: Request<v1::ListKeysRequest>,
    ) -> Answer<v1::ListKeysResponse> {
        answer(list_keys::handle(&self.app, request).await, None)
    }

    async fn update_key(
        &self,
        request: Request<v1::UpdateKeyRequest>,
    ) -> Answer<v1::UpdateKeyResponse> {
        answer(update_key::handle(&self.app, request).await, Some(Method::UpdateKey))
    }

    async fn disable_key(
        &self,
        request: Request<v1::DisableKeyRequest>,
    ) -> Answer<v1::DisableKeyResponse> {
        answer(switch_key::disable(&self.app, request).await, Some(Method::DisableKey))
    }

    async fn enable_key(
        &self,
        request: Request<v1::EnableKeyRequest>,
    ) -> Answer<v1::EnableKeyResponse> {
        answer(switch_key::enable(&self.app, request).await, Some(Method::EnableKey))
    }

    async fn rotate_key(
        &self,
        request: Request<v1::RotateKeyRequest>,
    ) -> Answer<v1::RotateKeyResponse> {
        answer(rotate_key::handle(&self.app, request).await, Some(Method::RotateKey))
    }

    async fn revoke_key(
        &self,
        request: Request<v1::RevokeKeyRequest>,
    ) -> Answer<v1::RevokeKeyResponse> {
        answer(revoke_key::handle(&self.app, request).await, Some(Method::RevokeKey))
    }

    async fn report_leaked_key(
        &self,
        request: Request<v1::ReportLeakedKeyRequest>,
    ) -> Answer<v1::ReportLeakedKeyResponse> {
        answer(report_leaked_key::handle(&self.app, request).await, Some(Method::ReportLeakedKey))
    }

    async fn who_am_i(&self, request: Request<v1::WhoAmIRequest>) -> Answer<v1::WhoAmIResponse> {
        answer(who_am_i::handle(&self.app, &request).await, None)
    }
}
