//! AuditService.

mod at;
mod get_key_timeline;
mod proofs;
mod stream_events;

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::app::App;
use crate::grpc::status::answer;
use crate::proto::v1;
use crate::proto::v1::audit_service_server::AuditService;

/// Serves AuditService.
#[derive(Debug)]
pub(super) struct AuditApi {
    app: Arc<App>,
}

impl AuditApi {
    pub(super) fn new(app: Arc<App>) -> Self {
        AuditApi { app }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AuditService for AuditApi {
    type StreamEventsStream = stream_events::Answers;

    async fn stream_events(
        &self,
        request: Request<v1::StreamEventsRequest>,
    ) -> Answer<stream_events::Answers> {
        answer(stream_events::handle(&self.app, &request), None)
    }

    async fn get_key_timeline(
        &self,
        request: Request<v1::GetKeyTimelineRequest>,
    ) -> Answer<v1::GetKeyTimelineResponse> {
        answer(get_key_timeline::handle(&self.app, request).await, None)
    }

    async fn get_key_at(
        &self,
        request: Request<v1::GetKeyAtRequest>,
    ) -> Answer<v1::GetKeyAtResponse> {
        answer(at::key(&self.app, request).await, None)
    }

    async fn get_account_at(
        &self,
        request: Request<v1::GetAccountAtRequest>,
    ) -> Answer<v1::GetAccountAtResponse> {
        answer(at::account(&self.app, request).await, None)
    }

    async fn get_checkpoint(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Answer<v1::GetCheckpointResponse> {
        answer(proofs::checkpoint(&self.app, &request).await, None)
    }

    async fn get_inclusion_proof(
        &self,
        request: Request<v1::GetInclusionProofRequest>,
    ) -> Answer<v1::GetInclusionProofResponse> {
        answer(proofs::inclusion(&self.app, &request).await, None)
    }

    async fn get_consistency_proof(
        &self,
        request: Request<v1::GetConsistencyProofRequest>,
    ) -> Answer<v1::GetConsistencyProofResponse> {
        answer(proofs::consistency(&self.app, &request).await, None)
    }

    async fn get_verifier_key(
        &self,
        request: Request<v1::GetVerifierKeyRequest>,
    ) -> Answer<v1::GetVerifierKeyResponse> {
        answer(proofs::verifier_key(&self.app, &request), None)
    }
}
