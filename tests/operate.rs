//! What runs beside the keys: health, reflection, status.

mod common;

use common::TestServer;
use keyledger::proto::v1;
use tonic::Code;

#[tokio::test]
async fn health_is_open_and_reflection_is_for_callers() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_request::MessageRequest,
    };

    let server = TestServer::start().await;
    let mut health = HealthClient::new(server.channel().await);
    for service in ["", "keyledger.v1.KeyService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(request).await.expect("open").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    let ask = || {
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let request = ServerReflectionRequest { host: String::new(), message_request };
        tokio_stream::once(request)
    };
    let mut anonymous = ServerReflectionClient::new(server.channel().await);
    let refused = anonymous.server_reflection_info(ask()).await.expect_err("no credential");
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut request = tonic::Request::new(ask());
    let bearer = format!("Bearer {}", server.admin_credential()).parse().expect("ascii");
    request.metadata_mut().insert("authorization", bearer);
    let mut answers =
        anonymous.server_reflection_info(request).await.expect("a caller").into_inner();
    let answer = answers.message().await.expect("an answer").expect("one");
    assert!(format!("{answer:?}").contains("keyledger.v1.KeyService"));
}

#[tokio::test]
async fn the_status_names_version_head_root_and_counts() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (key, _) = admin.create_key("billing", "ci").await;
    server.clock.advance(std::time::Duration::from_secs(5));
    let status = admin
        .admin
        .clone()
        .get_status(v1::GetStatusRequest {})
        .await
        .expect("a status")
        .into_inner();
    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(status.head, key.position);
    assert_eq!(status.tree_root.len(), 32);
    let counts = status.counts.expect("counts");
    assert_eq!((counts.accounts, counts.keys, counts.callers), (1, 1, 1));
    assert_eq!(status.uptime.expect("an uptime").seconds, 5);
    assert!(status.anchor_position <= status.head);
    assert!(status.engine.expect("an engine").disk_bytes > 0);
}
