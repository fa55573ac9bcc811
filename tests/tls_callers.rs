//! Callers known by the client certificate of their connection, with a bearer credential besides or none.

mod common;

use common::certificates::{Authority, Files, Pair, dns, spiffe};
use common::{Client, TestServer, fields, reason};
use keyledger::proto::v1::event::Kind;
use keyledger::proto::v1::stream_events_response::Answer;
use keyledger::proto::v1::{self, Role};
use tonic::{Code, Status};

const GATEWAY: &str = "spiffe://example.org/gateway";

/// A server that asks clients for certificates, and who signs what.
struct House {
    ours: Authority,
    clients: Authority,
    server: TestServer,
    _files: Files,
}

impl House {
    async fn new() -> Self {
        let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
        let files = Files::new(&ours.server(), Some(&clients));
        let config = files.config_asking("optional");
        let server = TestServer::builder().config(&config).start().await;
        House { ours, clients, server, _files: files }
    }

    async fn client(&self, shown: Option<&Pair>, credential: Option<&str>) -> Client {
        let channel = self.ours.connect(&self.server.address, shown).await.expect("let in");
        Client::new(channel, credential)
    }

    async fn admin(&self) -> Client {
        self.client(None, Some(&self.server.admin_credential())).await
    }
}

fn named(roles: &[Role], spiffe_id: &str, san: &str) -> v1::CreateCallerRequest {
    v1::CreateCallerRequest {
        name: "gateway".to_owned(),
        roles: roles.iter().map(|role| (*role).into()).collect(),
        spiffe_id: spiffe_id.to_owned(),
        san: san.to_owned(),
        ..Default::default()
    }
}

async fn create(
    admin: &Client,
    request: v1::CreateCallerRequest,
) -> Result<(v1::Caller, String), Status> {
    let made = admin.admin.clone().create_caller(request).await?.into_inner();
    Ok((made.caller.expect("a caller"), made.credential))
}

async fn revoke(admin: &Client, caller: &v1::Caller) {
    let caller_id = caller.caller_id.clone();
    let request = v1::RevokeCallerRequest { caller_id, ..Default::default() };
    admin.admin.clone().revoke_caller(request).await.expect("revoked");
}

/// Whether it is let through to what operators see, and if not, why.
async fn asks(client: &Client) -> Result<(), (Code, String)> {
    match client.admin.clone().get_status(v1::GetStatusRequest {}).await {
        Ok(_) => Ok(()),
        Err(status) => Err((status.code(), reason(&status).0)),
    }
}

fn unauthenticated<T>(reason: &str) -> Result<T, (Code, String)> {
    Err((Code::Unauthenticated, reason.to_owned()))
}

#[tokio::test]
async fn a_certificate_speaks_for_the_caller_it_names_also_after_a_restart() {
    let mut house = House::new().await;
    let admin = house.admin().await;
    let (caller, _) = create(&admin, named(&[Role::Operator], GATEWAY, "")).await.expect("made");
    assert_eq!((caller.spiffe_id.as_str(), caller.san.as_str()), (GATEWAY, ""));
    let dashboard = named(&[Role::Operator], "", "dashboard.example");
    let (caller, _) = create(&admin, dashboard).await.expect("made");
    assert_eq!((caller.spiffe_id.as_str(), caller.san.as_str()), ("", "dashboard.example"));
    let by_id = house.clients.client(vec![dns("elsewhere"), spiffe(GATEWAY)]);
    let by_name = house.clients.client(vec![dns("Dashboard.example")]);
    let nobody = house.clients.client(vec![dns("other.example"), spiffe("spiffe://example.org/x")]);
    for restarted in [false, true] {
        if restarted {
            house.server = house.server.restart().await;
        }
        assert_eq!(asks(&house.client(Some(&by_id), None).await).await, Ok(()));
        assert_eq!(asks(&house.client(Some(&by_name), None).await).await, Ok(()));
        let unknown = asks(&house.client(Some(&nobody), None).await).await;
        assert_eq!(unknown, unauthenticated("CALLER_CREDENTIAL_INVALID"));
        let neither = asks(&house.client(None, None).await).await;
        assert_eq!(neither, unauthenticated("CALLER_CREDENTIAL_MISSING"));
    }
}

#[tokio::test]
async fn roles_and_tenants_are_those_of_the_caller_and_what_it_does_is_on_record_as_its_own() {
    let house = House::new().await;
    let admin = house.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let request = v1::CreateCallerRequest {
        tenants: vec!["acme".to_owned()],
        ..named(&[Role::Issuer], GATEWAY, "")
    };
    let (caller, _) = create(&admin, request).await.expect("made");
    let shown = house.clients.client(vec![spiffe(GATEWAY)]);
    let issuer = house.client(Some(&shown), None).await;
    assert_eq!(asks(&issuer).await, Err((Code::PermissionDenied, "ROLE_MISSING".to_owned())));
    let foreign = common::new_key("globex", "billing", "ci");
    let refused = issuer.keys.clone().create_key(foreign).await.expect_err("foreign");
    assert_eq!(reason(&refused).0, "TENANT_NOT_ALLOWED");
    let (key, _) = issuer.create_key("billing", "ci").await;
    assert_eq!(key.created_by, caller.caller_id);
    let request = v1::StreamEventsRequest::default();
    let mut stream = admin.audit.clone().stream_events(request).await.expect("one").into_inner();
    let (mut made, mut created) = (None, None);
    while let Some(answer) = stream.message().await.expect("no error") {
        let Some(Answer::Event(event)) = answer.answer else { continue };
        let event = event.event.expect("decoded");
        match event.kind {
            Some(Kind::KeyCreated(_)) => made = event.actor,
            Some(Kind::CallerCreated(said)) => created = Some(said),
            _ => {}
        }
    }
    let actor = made.expect("on record");
    assert_eq!(actor.mechanism(), v1::Mechanism::ClientCertificate);
    assert_eq!(actor.caller_id, caller.caller_id);
    assert_eq!(created.expect("on record").spiffe_id, GATEWAY);
}

#[tokio::test]
async fn a_certificate_and_a_credential_of_different_callers_are_refused() {
    let house = House::new().await;
    let admin = house.admin().await;
    let operator = [Role::Operator];
    let (_, own) = create(&admin, named(&operator, GATEWAY, "")).await.expect("made");
    let (_, others) = create(&admin, named(&operator, "", "other.example")).await.expect("made");
    let shown = house.clients.client(vec![spiffe(GATEWAY)]);
    assert_eq!(asks(&house.client(Some(&shown), Some(&own)).await).await, Ok(()));
    let invalid = unauthenticated("CALLER_CREDENTIAL_INVALID");
    assert_eq!(asks(&house.client(Some(&shown), Some(&others)).await).await, invalid);
    let credential = house.server.admin_credential();
    assert_eq!(asks(&house.client(Some(&shown), Some(&credential)).await).await, invalid);
    let both = house.clients.client(vec![spiffe(GATEWAY), dns("other.example")]);
    assert_eq!(asks(&house.client(Some(&both), None).await).await, invalid);
    assert_eq!(asks(&house.client(Some(&both), Some(&own)).await).await, invalid);
    let nobody = house.clients.client(vec![dns("nobody.example")]);
    assert_eq!(asks(&house.client(Some(&nobody), Some(&own)).await).await, Ok(()));
    assert_eq!(asks(&house.client(Some(&nobody), Some("kl_svc_x")).await).await, invalid);
}

#[tokio::test]
async fn a_revoked_caller_is_refused_at_once_and_its_streams_end() {
    let house = House::new().await;
    let admin = house.admin().await;
    let roles = [Role::Operator, Role::Auditor];
    let (caller, _) = create(&admin, named(&roles, GATEWAY, "")).await.expect("made");
    let shown = house.clients.client(vec![spiffe(GATEWAY)]);
    let client = house.client(Some(&shown), None).await;
    let request = v1::StreamEventsRequest { follow: true, ..Default::default() };
    let mut stream = client.audit.clone().stream_events(request).await.expect("one").into_inner();
    // At the head: it waits for more.
    loop {
        let answer = stream.message().await.expect("no error").expect("it goes on");
        if let Some(Answer::Heartbeat(_)) = answer.answer {
            break;
        }
    }
    revoke(&admin, &caller).await;
    let invalid = unauthenticated("CALLER_CREDENTIAL_INVALID");
    assert_eq!(asks(&client).await, invalid);
    let ended = loop {
        match stream.message().await {
            Ok(answer) => assert!(answer.is_some(), "it ended in order"),
            Err(ended) => break ended,
        }
    };
    let told = (ended.code(), reason(&ended).0);
    assert_eq!(told, (Code::Unauthenticated, "CALLER_CREDENTIAL_INVALID".to_owned()));
    // The name is free, and whoever has the certificate is the next caller's.
    create(&admin, named(&[Role::Operator], GATEWAY, "")).await.expect("made");
    assert_eq!(asks(&client).await, Ok(()));
}

#[tokio::test]
async fn a_name_is_well_formed_and_of_one_caller_and_given_by_who_may_act_in_all_tenants() {
    let house = House::new().await;
    let admin = house.admin().await;
    let operator = [Role::Operator];
    create(&admin, named(&operator, GATEWAY, "")).await.expect("made");
    let taken = create(&admin, named(&operator, GATEWAY, "")).await.expect_err("taken");
    let told = (taken.code(), reason(&taken).0);
    assert_eq!(told, (Code::AlreadyExists, "CERTIFICATE_NAME_TAKEN".to_owned()));
    for (spiffe_id, san, field) in [
        ("spiffe://example.org", "", "spiffe_id"),
        ("", "*.example.org", "san"),
        ("spiffe://example.org/x", "example.org", "san"),
    ] {
        let refused = create(&admin, named(&operator, spiffe_id, san)).await.expect_err("invalid");
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec![field.into()]));
    }
    let (_, credential) = admin.create_caller(&[Role::Admin], &["acme"]).await;
    let of_acme = house.client(None, Some(&credential)).await;
    let request = |spiffe_id: &str| v1::CreateCallerRequest {
        tenants: vec!["acme".to_owned()],
        ..named(&[Role::Issuer], spiffe_id, "")
    };
    for spiffe_id in [GATEWAY, "spiffe://example.org/free"] {
        let refused = create(&of_acme, request(spiffe_id)).await.expect_err("not its to give");
        assert_eq!(reason(&refused).0, "GRANT_EXCEEDS_OWN", "whether it is taken is not said");
    }
    create(&of_acme, request("")).await.expect("made");
}
