//! Keys are issued with their secret shown once, and authenticated with the account's permissions.

mod common;

use common::{TestServer, fields, new_key, reason};
use keyledger::proto::v1::{self, DenialReason, KeyProblem, Outcome};
use tonic::Code;

#[tokio::test]
async fn a_new_key_is_allowed_and_its_principal_says_for_whom_it_speaks() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &["reports:*"]).await;
    let request = v1::CreateKeyRequest {
        metadata: [("team".to_owned(), "red".to_owned())].into(),
        scopes: Some(v1::Scopes { permissions: vec!["reports:read".to_owned()] }),
        ..new_key("acme", "billing", "ci")
    };
    let created = admin.keys.clone().create_key(request).await.expect("created").into_inner();
    let key = created.key.expect("a key");
    assert!(created.secret.starts_with("kl_live_"));
    assert_eq!(created.secret.len(), "kl_live_".len() + 17 + 43 + 6);
    assert!(key.hint.starts_with("kl_live_") && key.hint.ends_with('…'));
    assert_eq!(key.position, created.position);
    assert_eq!(key.state(), v1::KeyState::Active);

    let answer = admin.authenticate(&created.secret, &["reports:read"]).await;
    assert_eq!(answer.outcome(), Outcome::Allowed);
    assert_eq!(answer.key_id, key.key_id);
    assert!(answer.position >= created.position);
    let principal = answer.principal.expect("a principal");
    assert_eq!(principal.key_name, "ci");
    assert_eq!((principal.tenant_id.as_str(), principal.account_id.as_str()), ("acme", "billing"));
    assert_eq!(principal.permissions, ["reports:read"]);
    assert_eq!(principal.plan, "standard");
    assert_eq!(principal.environment, "live");
    assert_eq!(principal.metadata["team"], "red");
}

#[tokio::test]
async fn each_way_a_key_can_be_wrong_has_its_own_reason_and_one_public_message() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &["reports:*"]).await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    let (_, other) = admin.create_key("billing", "other").await;

    let wrong_secret = {
        // The id of one key with the secret of another; the checksum is made right.
        let body = format!("{}{}", &secret[..25], &other[25..68]);
        let check = keyledger::domain::base62::encode(&crc32(body.as_bytes()).to_be_bytes());
        format!("{body}{check}")
    };
    let mut typo = secret.clone().into_bytes();
    typo[30] = if typo[30] == b'a' { b'b' } else { b'a' };
    let typo = String::from_utf8(typo).expect("ascii");
    let cases = [
        ("", DenialReason::MissingKey, KeyProblem::Unspecified),
        (&*format!("Bearer {secret}"), DenialReason::MalformedKey, KeyProblem::HasScheme),
        (&*format!("{secret} "), DenialReason::MalformedKey, KeyProblem::HasWhitespace),
        (&secret[..40], DenialReason::MalformedKey, KeyProblem::BadLength),
        ("ghp_abcdef", DenialReason::MalformedKey, KeyProblem::ForeignPrefix),
        (&server.admin_credential(), DenialReason::MalformedKey, KeyProblem::ForeignPrefix),
        (&*typo, DenialReason::MalformedKey, KeyProblem::BadChecksum),
        (&*wrong_secret, DenialReason::UnknownKey, KeyProblem::Unspecified),
        (
            &*secret.replace("kl_live_", "kl_test_"),
            DenialReason::MalformedKey,
            KeyProblem::BadChecksum,
        ),
    ];
    for (presented, denial, problem) in cases {
        let answer = admin.authenticate(presented, &[]).await;
        assert_eq!(answer.outcome(), Outcome::Denied);
        assert_eq!((answer.denial_reason(), answer.key_problem()), (denial, problem));
        assert_eq!(answer.public_message, "Invalid API Key");
        assert_eq!(answer.key_id, "", "no key id before the secret has matched");
        assert!(answer.principal.is_none());
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[tokio::test]
async fn a_test_key_with_its_environment_rewritten_is_unknown() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let request =
        v1::CreateKeyRequest { environment: "test".to_owned(), ..new_key("acme", "billing", "t") };
    let secret = admin.keys.clone().create_key(request).await.expect("created").into_inner().secret;
    assert!(secret.starts_with("kl_test_"));
    assert_eq!(admin.verdict(&secret).await, Ok(()));
    let body = secret[..68].replace("kl_test_", "kl_live_");
    let check = keyledger::domain::base62::encode(&crc32(body.as_bytes()).to_be_bytes());
    assert_eq!(admin.verdict(&format!("{body}{check}")).await, Err(DenialReason::UnknownKey));
}

#[tokio::test]
async fn a_permission_the_account_or_the_scopes_lack_is_refused() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &["reports:*", "jobs:run"]).await;
    let (_, whole) = admin.create_key("billing", "whole").await;
    let request = v1::CreateKeyRequest {
        scopes: Some(v1::Scopes {
            permissions: vec!["reports:read".to_owned(), "admin:*".to_owned()],
        }),
        ..new_key("acme", "billing", "narrow")
    };
    let narrow = admin.keys.clone().create_key(request).await.expect("created").into_inner().secret;
    let cases: [(&str, &[&str], bool); 7] = [
        (&whole, &["reports:read", "jobs:run"], true),
        (&whole, &["reports:read:all"], true),
        (&whole, &["reports"], false),
        (&whole, &["reports:read", "jobs:stop"], false),
        (&narrow, &["reports:read"], true),
        (&narrow, &["reports:write"], false),
        (&narrow, &["admin:all"], false),
    ];
    for (secret, required, allowed) in cases {
        let answer = admin.authenticate(secret, required).await;
        let expected =
            if allowed { DenialReason::Unspecified } else { DenialReason::PermissionMissing };
        assert_eq!(answer.denial_reason(), expected, "{required:?}");
        if !allowed {
            assert_eq!(answer.public_message, "Unauthorized");
            assert!(answer.evidence_position > 0);
        }
    }
}

#[tokio::test]
async fn empty_scopes_grant_nothing_and_stay_set() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &["*"]).await;
    let request = v1::CreateKeyRequest {
        scopes: Some(v1::Scopes::default()),
        ..new_key("acme", "billing", "nothing")
    };
    let created = admin.keys.clone().create_key(request).await.expect("created").into_inner();
    let key = admin.get_key(&created.key.expect("a key").key_id).await.expect("found");
    assert_eq!(key.scopes, Some(v1::Scopes::default()));
    let answer = admin.authenticate(&created.secret, &["a"]).await;
    assert_eq!(answer.denial_reason(), DenialReason::PermissionMissing);
    assert_eq!(admin.verdict(&created.secret).await, Ok(()));
}

#[tokio::test]
async fn a_key_bound_to_sources_is_refused_elsewhere_and_where_the_source_is_unknown() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let request = v1::CreateKeyRequest {
        allowed_cidrs: vec!["192.0.2.0/24".to_owned(), "2001:db8::/32".to_owned()],
        ..new_key("acme", "billing", "bound")
    };
    let secret = admin.keys.clone().create_key(request).await.expect("created").into_inner().secret;
    let ask = |source: &str| v1::AuthenticateRequest {
        api_key: secret.clone(),
        context: Some(v1::AuthenticateContext {
            source_ip: source.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let cases = [
        ("192.0.2.77", true),
        ("::ffff:192.0.2.77", true),
        ("2001:db8::7", true),
        ("198.51.100.1", false),
        ("", false),
        ("no address", false),
    ];
    let server = server.restart().await;
    let admin = server.admin().await;
    for (source, allowed) in cases {
        let answer =
            admin.keys.clone().authenticate(ask(source)).await.expect("an answer").into_inner();
        let expected =
            if allowed { DenialReason::Unspecified } else { DenialReason::SourceNotAllowed };
        assert_eq!(answer.denial_reason(), expected, "{source:?}");
    }
}

#[tokio::test]
async fn the_tenant_of_the_request_is_kept_to() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    let ask = |tenant: &str| v1::AuthenticateRequest {
        api_key: secret.clone(),
        tenant_id: Some(tenant.to_owned()),
        ..Default::default()
    };
    let of = |request| {
        let mut keys = admin.keys.clone();
        async move { keys.authenticate(request).await.expect("an answer").into_inner() }
    };
    assert_eq!(of(ask("acme")).await.outcome(), Outcome::Allowed);
    let foreign = of(ask("globex")).await;
    assert_eq!(foreign.denial_reason(), DenialReason::TenantMismatch);
    assert_eq!(foreign.public_message, "Unauthorized");
}

#[tokio::test]
async fn a_decision_can_be_demanded_no_earlier_than_a_position() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (key, secret) = admin.create_key("billing", "ci").await;
    let ask = |min_position| v1::AuthenticateRequest {
        api_key: secret.clone(),
        min_position,
        ..Default::default()
    };
    let answer = admin.keys.clone().authenticate(ask(key.position)).await.expect("an answer");
    assert_eq!(answer.into_inner().outcome(), Outcome::Allowed);
    let refused = admin.keys.clone().authenticate(ask(key.position + 1)).await.expect_err("beyond");
    assert_eq!(refused.code(), Code::OutOfRange);
    assert_eq!(reason(&refused).0, "POSITION_BEYOND_HEAD");
}

#[tokio::test]
async fn the_cap_of_a_plan_is_exact_under_two_hundred_creations_at_once() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let mut creating = tokio::task::JoinSet::new();
    for n in 0..200 {
        let mut keys = admin.keys.clone();
        creating.spawn(async move {
            keys.create_key(new_key("acme", "billing", &format!("k{n}"))).await
        });
    }
    let (mut made, mut refused) = (0, 0);
    while let Some(result) = creating.join_next().await {
        match result.expect("no panic") {
            Ok(_) => made += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::FailedPrecondition);
                let (reason, metadata) = reason(&status);
                assert_eq!(reason, "ACTIVE_KEY_LIMIT");
                assert_eq!((&*metadata["limit"], &*metadata["active"]), ("5", "5"));
                refused += 1;
            }
        }
    }
    assert_eq!((made, refused), (5, 195));
}

#[tokio::test]
async fn an_expired_key_is_refused_frees_its_place_and_never_revives() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let expire_time =
        prost_types::Timestamp { seconds: common::START.as_micros() / 1_000_000 + 60, nanos: 0 };
    let request = v1::CreateKeyRequest {
        expire_time: Some(expire_time),
        ..new_key("acme", "billing", "brief")
    };
    let secret = admin.keys.clone().create_key(request).await.expect("created").into_inner().secret;
    for n in 0..4 {
        admin.create_key("billing", &format!("lasting {n}")).await;
    }
    assert_eq!(admin.verdict(&secret).await, Ok(()));
    server.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(admin.verdict(&secret).await, Err(DenialReason::Expired));
    server.clock.step_wall_to(common::START);
    assert_eq!(
        admin.verdict(&secret).await,
        Err(DenialReason::Expired),
        "the wall clock stepped back"
    );
    admin.create_key("billing", "in the freed place").await;
    let server = server.restart().await;
    assert_eq!(server.admin().await.verdict(&secret).await, Err(DenialReason::Expired));
}

#[tokio::test]
async fn an_unknown_account_and_a_bad_field_are_told_apart() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let mut keys = admin.keys.clone();
    let refused = keys.create_key(new_key("acme", "nobody", "k")).await.expect_err("no account");
    assert_eq!(
        (refused.code(), reason(&refused).0.as_str()),
        (Code::NotFound, "ACCOUNT_NOT_FOUND")
    );
    let refused = keys.create_key(new_key("", "no/body", "")).await.expect_err("bad fields");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(fields(&refused), ["tenant_id", "account_id", "name"]);
}
