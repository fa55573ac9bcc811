//! AccountService.

mod put_account;

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::app::App;
use crate::app::error::AppError;
use crate::domain::requests::Method;
use crate::grpc::call::identity;
use crate::grpc::decode::decode;
use crate::grpc::encode;
use crate::grpc::status::answer;
use crate::proto::v1::account_service_server::AccountService;
use crate::proto::v1::{
    GetAccountRequest, GetAccountResponse, ListAccountsRequest, ListAccountsResponse,
    PutAccountRequest, PutAccountResponse,
};

/// Serves AccountService.
#[derive(Debug)]
pub(super) struct AccountApi {
    app: Arc<App>,
}

impl AccountApi {
    pub(super) fn new(app: Arc<App>) -> Self {
        AccountApi { app }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AccountService for AccountApi {
    async fn put_account(&self, request: Request<PutAccountRequest>) -> Answer<PutAccountResponse> {
        answer(put_account::handle(&self.app, request).await, Some(Method::PutAccount))
    }

    async fn get_account(&self, request: Request<GetAccountRequest>) -> Answer<GetAccountResponse> {
        answer(get_account(&self.app, &request).await, None)
    }

    async fn list_accounts(
        &self,
        request: Request<ListAccountsRequest>,
    ) -> Answer<ListAccountsResponse> {
        answer(list_accounts(&self.app, request).await, None)
    }
}

async fn get_account(
    app: &App,
    request: &Request<GetAccountRequest>,
) -> Result<GetAccountResponse, AppError> {
    let identity = identity(request)?;
    let GetAccountRequest { tenant_id, account_id } = request.get_ref();
    let name = decode(|bad| bad.account("", tenant_id, account_id))?;
    let view = app.get_account(&identity, &name).await?;
    Ok(GetAccountResponse { account: Some(encode::account(view)) })
}

async fn list_accounts(
    app: &App,
    request: Request<ListAccountsRequest>,
) -> Result<ListAccountsResponse, AppError> {
    let identity = identity(&request)?;
    let message = request.into_inner();
    let (tenant, page) = decode(|bad| {
        let tenant = bad.tenant("tenant_id", &message.tenant_id);
        let list = format!("ListAccounts {}", message.tenant_id).into_bytes();
        let page = bad.page(message.page_size, message.page_token, list);
        Some((tenant?, page?))
    })?;
    let found = app.list_accounts(&identity, &tenant, &page).await?;
    Ok(ListAccountsResponse {
        accounts: found.items.into_iter().map(encode::account).collect(),
        next_page_token: found.next.unwrap_or_default(),
    })
}
