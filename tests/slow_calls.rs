//! Calls whose message comes late or is no message: sent byte by byte, as a hostile client would.

mod common;

use common::parked::Parked;
use common::{Client, TestServer, fields, reason};
use keyledger::proto::v1::{self, Role};
use prost::Message;

async fn started() -> (TestServer, Client) {
    let server = TestServer::builder().config("[plans.unlimited]\n").start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "unlimited", &[]).await;
    (server, admin)
}

#[tokio::test]
async fn a_caller_revoked_while_its_calls_wait_for_their_messages_does_nothing_more() {
    let (server, admin) = started().await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    let (caller, credential) = admin.create_caller(&[Role::Admin], &[]).await;
    let park = async |path: &str| Parked::call(server.channel().await, path, &credential);
    let create = park("/keyledger.v1.AdminService/CreateCaller").await;
    let authenticate = park("/keyledger.v1.KeyService/Authenticate").await;
    let list = park("/keyledger.v1.AdminService/ListCallers").await;
    // The server has seen the headers of all three by the time it answers a call behind them.
    server.client(&credential).await.authenticate(&secret, &[]).await;
    let request = v1::RevokeCallerRequest { caller_id: caller.caller_id, ..Default::default() };
    admin.admin.clone().revoke_caller(request).await.expect("revoked");
    let new = v1::CreateCallerRequest {
        name: "back door".to_owned(),
        owner: "nobody".to_owned(),
        roles: vec![Role::Admin.into()],
        ..Default::default()
    };
    let ask = v1::AuthenticateRequest { api_key: secret, ..Default::default() };
    let late = [
        create.finish(&new.encode_to_vec()).await,
        authenticate.finish(&ask.encode_to_vec()).await,
        list.finish(&[]).await,
    ];
    for refused in late {
        assert_eq!(reason(&refused).0, "CALLER_CREDENTIAL_INVALID", "{refused:?}");
    }
    let callers = admin.admin.clone().list_callers(v1::ListCallersRequest::default()).await;
    assert_eq!(callers.expect("a page").into_inner().callers.len(), 2, "nobody was made");
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_refused_with_its_field() {
    let (server, _) = started().await;
    let path = "/keyledger.v1.KeyService/CreateKey";
    let call = Parked::call(server.channel().await, path, &server.admin_credential());
    // Field 1, tenant_id: one byte, 0xff.
    let refused = call.finish(&[0x0a, 0x01, 0xff]).await;
    assert_eq!(fields(&refused), ["tenant_id"]);
}

#[tokio::test]
async fn calls_without_a_caller_fill_no_room_of_callers() {
    let (server, admin) = started().await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    let channel = server.channel().await;
    let path = "/keyledger.v1.KeyService/WhoAmI";
    let parked: Vec<_> =
        (0..100).map(|_| Parked::call(channel.clone(), path, "nonsense")).collect();
    // Those over the bound are refused at once; when 36 have been, the room is full.
    let mut refused = 0;
    let mut waiting = parked;
    while refused < 36 {
        let (done, still): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|call| call.answer.is_finished());
        for call in done {
            assert_eq!(reason(&call.answer.await.expect("no panic")).0, "OVERLOADED");
            refused += 1;
        }
        waiting = still;
        assert_eq!(admin.verdict(&secret).await, Ok(()), "callers are answered meanwhile");
    }
    assert_eq!(waiting.len(), 64);
}
