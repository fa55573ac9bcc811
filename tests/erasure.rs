//! An erased account: none of its keys works, and nothing personal of it is shown, now or of the past.

mod common;

use common::desk::events as history;
use common::erasure::{Scene, account, erase, erased, is_anns, on_behalf_of, scene, shows_nothing};
use common::usage::context;
use common::{new_key, reason};
use keyledger::proto::v1::{self, DenialReason};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_account_is_closed_by_one_event_and_its_keys_are_denied_for_it() {
    let Scene { server: _server, admin, ann, secret, before, .. } = scene().await;
    let erased = erased(&admin, "ann").await;
    assert_eq!((erased.data_keys, erased.replayed), (2, false), "its own and one of a month");
    let added: Vec<_> = history(&admin).await.split_off(before.len());
    let of_ann: Vec<_> = added.iter().filter(|event| is_anns(event)).collect();
    let [event] = of_ann[..] else { panic!("{of_ann:?}") };
    assert_eq!(event.position, erased.position);
    let kind = event.event.as_ref().and_then(|event| event.kind.clone());
    assert_eq!(kind, Some(v1::event::Kind::AccountErased(v1::AccountErased {})));

    let answer = admin.authenticate(&secret, &[]).await;
    assert_eq!(answer.denial_reason(), DenialReason::AccountInactive);
    assert_eq!(answer.evidence_position, erased.position);
    assert_eq!((answer.key_id.as_str(), answer.principal), (ann.key_id.as_str(), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_personal_is_shown_as_erased_and_the_rest_as_it_was() {
    let Scene { server, admin, ann, .. } = scene().await;
    erased(&admin, "ann").await;
    shows_nothing(&admin, &ann).await;
    let server = server.restart().await;
    shows_nothing(&server.admin().await, &ann).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_of_an_erased_account_is_known_without_what_was_personal() {
    let Scene { server: _server, admin, ann, before, .. } = scene().await;
    erased(&admin, "ann").await;
    let position = before.last().expect("some").position;
    let at = Some(v1::get_key_at_request::At::Position(position));
    let request = v1::GetKeyAtRequest { key_id: ann.key_id.clone(), at };
    let then = admin.audit.clone().get_key_at(request).await.expect("then").into_inner();
    let then = then.key_snapshot.expect("a snapshot");
    assert!(then.valid, "it was allowed then");
    let (key, account) = (then.key.expect("a key"), then.account.expect("an account"));
    assert!(key.erased && key.name.is_empty() && account.erased);
    assert_eq!(account.status(), v1::AccountStatus::Active);

    let at = Some(v1::get_account_at_request::At::Position(history(&admin).await.len() as u64));
    let (tenant_id, account_id) = ("acme".to_owned(), "ann".to_owned());
    let request = v1::GetAccountAtRequest { tenant_id, account_id, at };
    let now = admin.audit.clone().get_account_at(request).await.expect("now").into_inner();
    let now = now.account_snapshot.expect("a snapshot");
    assert_eq!((now.valid, now.denial_reason()), (false, DenialReason::AccountInactive));
    assert!(now.evidence_position > position);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_account_is_never_put_again_and_its_keys_are_changed_no_more() {
    let Scene { server: _server, admin, ann, before, .. } = scene().await;
    erased(&admin, "ann").await;
    let refused = |status: tonic::Status| (status.code(), reason(&status).0);
    let closed = (Code::FailedPrecondition, "ACCOUNT_CLOSED".to_owned());

    let put = admin.accounts.clone().put_account(account("ann", "Ann Again")).await;
    assert_eq!(refused(put.expect_err("refused")), closed);
    let create = admin.keys.clone().create_key(new_key("acme", "ann", "another")).await;
    assert_eq!(refused(create.expect_err("refused")), closed);
    let update = v1::UpdateKeyRequest {
        key: Some(v1::Key { key_id: ann.key_id.clone(), name: "n".to_owned(), ..ann.clone() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["name".to_owned()] }),
        ..Default::default()
    };
    assert_eq!(refused(admin.keys.clone().update_key(update).await.expect_err("refused")), closed);
    let disable = v1::DisableKeyRequest {
        key_id: ann.key_id.clone(),
        comment: "why".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        refused(admin.keys.clone().disable_key(disable).await.expect_err("refused")),
        closed
    );
    assert_eq!(history(&admin).await.len(), before.len() + 1, "nothing was recorded");
    // What says nothing more about it is done.
    admin.revoke(&ann.key_id).await.expect("revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn erasing_again_changes_nothing_and_a_repeat_is_answered_as_the_first_time() {
    let Scene { server: _server, admin, before, .. } = scene().await;
    let request = v1::EraseAccountRequest {
        request_id: "5b1f3c2e-7a64-4a0e-9a53-0d9be2b1c001".to_owned(),
        comment: "asked by letter".to_owned(),
        on_behalf_of: on_behalf_of("privacy desk"),
        ..erase("ann")
    };
    let stale = v1::EraseAccountRequest { expected_position: Some(1), ..erase("ann") };
    let refused = admin.admin.clone().erase_account(stale).await.expect_err("moved");
    assert_eq!(refused.code(), Code::Aborted);

    let first = admin.admin.clone().erase_account(request.clone()).await.expect("erased");
    let first = first.into_inner();
    let repeat = admin.admin.clone().erase_account(request).await.expect("erased").into_inner();
    assert_eq!((repeat.position, repeat.replayed, repeat.data_keys), (first.position, true, 0));
    let again = erased(&admin, "ann").await;
    assert_eq!((again.position, again.replayed, again.data_keys), (first.position, false, 0));
    let events = history(&admin).await;
    assert_eq!(events.len(), before.len() + 1);
    let event = events.last().expect("the erasure");
    let disclosure = event.disclosure.as_ref().expect("it outlasts the account");
    assert_eq!(disclosure.comment, "asked by letter");
    assert!(!event.erased);

    let unknown = admin.admin.clone().erase_account(erase("nobody")).await.expect_err("none");
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_presented_while_their_account_is_erased_and_each_answer_is_one_or_the_other() {
    let Scene { server: _server, admin, secret, .. } = scene().await;
    let asked = || {
        let request = v1::AuthenticateRequest {
            api_key: secret.clone(),
            context: context("read", "203.0.113.77", ""),
            ..Default::default()
        };
        let mut keys = admin.keys.clone();
        tokio::spawn(async move { keys.authenticate(request).await })
    };
    let mut answers: Vec<_> = (0..40).map(|_| asked()).collect();
    let erasing = tokio::spawn({
        let admin = admin.clone();
        async move { erased(&admin, "ann").await }
    });
    answers.extend((0..40).map(|_| asked()));
    let position = erasing.await.expect("no panic").position;
    for answer in answers {
        let answer = answer.await.expect("no panic").expect("an answer").into_inner();
        match answer.outcome() {
            v1::Outcome::Allowed => assert!(answer.position < position),
            _ => assert_eq!(answer.denial_reason(), DenialReason::AccountInactive),
        }
    }
    let late = asked().await.expect("no panic").expect("an answer").into_inner();
    assert_eq!(late.denial_reason(), DenialReason::AccountInactive);
}
