//! AdminService.

mod backup;
mod callers;
mod erase_account;
mod get_status;
mod peppers;

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::app::App;
use crate::domain::requests::Method;
use crate::grpc::status::answer;
use crate::proto::v1;
use crate::proto::v1::admin_service_server::AdminService;

/// Serves AdminService.
#[derive(Debug)]
pub(super) struct AdminApi {
    app: Arc<App>,
}

impl AdminApi {
    pub(super) fn new(app: Arc<App>) -> Self {
        AdminApi { app }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AdminService for AdminApi {
    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Answer<v1::GetStatusResponse> {
        answer(get_status::handle(&self.app, &request).await, None)
    }

    type BackupStream = backup::Parts;

    async fn backup(&self, request: Request<v1::BackupRequest>) -> Answer<backup::Parts> {
        answer(backup::handle(&self.app, request).await, None)
    }

    async fn create_caller(
        &self,
        request: Request<v1::CreateCallerRequest>,
    ) -> Answer<v1::CreateCallerResponse> {
        answer(callers::create(&self.app, request).await, Some(Method::CreateCaller))
    }

    async fn rotate_caller(
        &self,
        request: Request<v1::RotateCallerRequest>,
    ) -> Answer<v1::RotateCallerResponse> {
        answer(callers::rotate(&self.app, request).await, Some(Method::RotateCaller))
    }

    async fn revoke_caller(
        &self,
        request: Request<v1::RevokeCallerRequest>,
    ) -> Answer<v1::RevokeCallerResponse> {
        answer(callers::revoke(&self.app, request).await, Some(Method::RevokeCaller))
    }

    async fn list_callers(
        &self,
        request: Request<v1::ListCallersRequest>,
    ) -> Answer<v1::ListCallersResponse> {
        answer(callers::list(&self.app, request).await, None)
    }

    async fn erase_account(
        &self,
        request: Request<v1::EraseAccountRequest>,
    ) -> Answer<v1::EraseAccountResponse> {
        answer(erase_account::handle(&self.app, request).await, Some(Method::EraseAccount))
    }

    async fn rotate_pepper(
        &self,
        request: Request<v1::RotatePepperRequest>,
    ) -> Answer<v1::RotatePepperResponse> {
        answer(peppers::rotate(&self.app, request).await, Some(Method::RotatePepper))
    }

    async fn retire_pepper(
        &self,
        request: Request<v1::RetirePepperRequest>,
    ) -> Answer<v1::RetirePepperResponse> {
        answer(peppers::retire(&self.app, request).await, Some(Method::RetirePepper))
    }

    async fn list_pepper_dependents(
        &self,
        request: Request<v1::ListPepperDependentsRequest>,
    ) -> Answer<v1::ListPepperDependentsResponse> {
        answer(peppers::list(&self.app, request).await, None)
    }
}
