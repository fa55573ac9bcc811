//! Callers that want more than there is: they are held to their share, others are answered meanwhile.

mod common;

use common::parked::Parked;
use common::raw_http2::{self, Wire};
use common::{Client, TestServer, reason};
use keyledger::proto::v1::{self, Outcome, Role};
use prost::Message as _;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const AUTHENTICATE: &str = "/keyledger.v1.KeyService/Authenticate";
const ROOM: &str = "[limits]\ncalls_in_flight = 40\n[plans.free]\n";

struct House {
    server: TestServer,
    admin: Client,
    key: v1::Key,
    secret: String,
}

impl House {
    async fn start() -> House {
        let server = TestServer::builder().config(ROOM).start().await;
        let admin = server.admin().await;
        admin.put_account("billing", "free", &[]).await;
        let (key, secret) = admin.create_key("billing", "ci").await;
        House { server, admin, key, secret }
    }

    async fn authenticator(&self) -> String {
        self.admin.create_caller(&[Role::Authenticator], &[]).await.1
    }

    fn question(&self) -> Vec<u8> {
        v1::AuthenticateRequest { api_key: self.secret.clone(), ..Default::default() }
            .encode_to_vec()
    }

    /// Begins so many calls that wait for their messages, and waits until no more than `most` do. Answers those, and
    /// what the others were refused with.
    async fn park(
        &self,
        credential: &str,
        count: usize,
        most: usize,
    ) -> (Vec<Parked>, Vec<Status>) {
        let channel = self.server.channel().await;
        let calls = (0..count).map(|_| Parked::call(channel.clone(), AUTHENTICATE, credential));
        let mut calls: Vec<_> = calls.collect();
        let mut refused = Vec::new();
        while calls.len() > most {
            let (done, waiting): (Vec<_>, Vec<_>) =
                calls.into_iter().partition(|call| call.answer.is_finished());
            calls = waiting;
            for call in done {
                refused.push(call.answer.await.expect("no panic"));
            }
            assert_eq!(self.admin.verdict(&self.secret).await, Ok(()), "others are answered");
        }
        (calls, refused)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_gets_half_of_the_room_and_is_told_when_to_come_back_and_others_get_all_they_ask()
{
    let house = House::start().await;
    let (hog, other) = (house.authenticator().await, house.authenticator().await);
    let (held, refused) = house.park(&hog, 100, 20).await;
    for status in &refused {
        assert_eq!(
            (status.code(), reason(status).0.as_str()),
            (Code::ResourceExhausted, "OVERLOADED")
        );
        let details = status.get_error_details();
        assert!(details.retry_info().is_some_and(|retry| retry.retry_delay.is_some()));
    }
    let other = house.server.client(&other).await;
    for _ in 0..100 {
        assert_eq!(other.verdict(&house.secret).await, Ok(()));
    }
    let mut at_once = JoinSet::new();
    for _ in 0..9 {
        let (client, secret) = (other.clone(), house.secret.clone());
        at_once.spawn(async move { client.verdict(&secret).await });
    }
    assert_eq!(at_once.join_all().await, [Ok(()); 9]);
    let mut answered = 0;
    for call in held {
        // One that came at the same instant as others may have been refused for their sake.
        answered += usize::from(call.finish(&house.question()).await.code() == Code::Ok);
    }
    assert!(answered >= 15, "what was let in is answered: {answered}");
    let hog = house.server.client(&hog).await;
    assert_eq!(hog.verdict(&house.secret).await, Ok(()), "and its room is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_calls_on_many_connections_is_answered_and_so_is_everybody_else() {
    let house = House::start().await;
    let (hog, other) = (house.authenticator().await, house.authenticator().await);
    let mut flood = JoinSet::new();
    for _ in 0..10 {
        let client = house.server.client(&hog).await;
        for _ in 0..20 {
            let (client, secret) = (client.clone(), house.secret.clone());
            flood.spawn(async move {
                let mut answered = 0;
                while answered < 5 {
                    let question =
                        v1::AuthenticateRequest { api_key: secret.clone(), ..Default::default() };
                    match client.keys.clone().authenticate(question).await {
                        Ok(answer) => {
                            assert_eq!(answer.into_inner().outcome(), Outcome::Allowed);
                            answered += 1;
                        }
                        Err(status) => assert_eq!(reason(&status).0, "OVERLOADED"),
                    }
                }
            });
        }
    }
    let other = house.server.client(&other).await;
    let mut beside = 0;
    while !flood.is_empty() {
        assert_eq!(other.verdict(&house.secret).await, Ok(()), "nobody else is refused");
        beside += 1;
        if let Some(ended) = flood.try_join_next() {
            ended.expect("no panic");
        }
    }
    assert!(beside >= 200, "one look for each of its tasks");
}

#[tokio::test]
async fn what_its_client_no_longer_waits_for_is_not_done() {
    let house = House::start().await;
    let authorization = format!("Bearer {}", house.server.admin_credential());
    let revoke = v1::RevokeKeyRequest { key_id: house.key.key_id.clone(), ..Default::default() };
    let mut fields = raw_http2::fields("/keyledger.v1.KeyService/RevokeKey", &authorization);
    let answered = async |fields: &[(&str, &str)]| {
        let (address, block) = (house.server.address.clone(), raw_http2::block(fields));
        let message = revoke.encode_to_vec();
        let call = move || {
            let mut wire = Wire::connect(&address, &[]);
            wire.call(1, &block, &message).expect("sent");
            let answer =
                wire.wait_for(|frame| frame.stream == 1 && frame.kind == raw_http2::HEADERS);
            // A refusal ends with its first headers; what was done has an answer behind them.
            answer.expect("an answer").flags & raw_http2::END_STREAM == 0
        };
        tokio::task::spawn_blocking(call).await.expect("no panic")
    };
    fields.push(("grpc-timeout", "1n"));
    assert!(!answered(&fields).await);
    assert_eq!(house.admin.verdict(&house.secret).await, Ok(()));
    fields.pop();
    fields.push(("grpc-timeout", "1H"));
    assert!(answered(&fields).await);
    let denied = house.admin.verdict(&house.secret).await;
    assert_eq!(denied, Err(v1::DenialReason::Revoked));
}
