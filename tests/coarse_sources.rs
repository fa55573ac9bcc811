//! Where keys are used from, as it is shown to who may read the history and to who may not.

mod common;

use std::time::Duration;

use common::usage::{MINUTE, at, context, of_tenant, put_on_record, use_key};
use common::{Client, START, TestServer};
use keyledger::proto::v1::{self, GroupBy, Role, SignalKind};

const DAY: Duration = Duration::from_hours(24);

/// Clients of an analyst, and of one who is an auditor too; both of one tenant.
async fn two_analysts(server: &TestServer) -> [Client; 2] {
    let admin = server.admin().await;
    let (_, coarse) = admin.create_caller(&[Role::Analyst], &["acme"]).await;
    let (_, exact) = admin.create_caller(&[Role::Analyst, Role::Auditor], &["acme"]).await;
    [server.client(&coarse).await, server.client(&exact).await]
}

async fn uses(client: &Client, secret: &str, source: &str, agent: &str, times: usize) {
    use_key(client, secret, times, true, context("read", source, agent)).await;
}

/// Sources and how often keys were used from there.
async fn by_source(client: &Client, source: &str) -> Vec<(String, u64)> {
    let question = of_tenant("acme", &[GroupBy::Source]);
    let mut filter = question.filter.clone().expect("a filter");
    source.clone_into(&mut filter.source);
    let question = v1::QueryUsageRequest { filter: Some(filter), ..question };
    let answer = client.query(question).await;
    assert_eq!(answer.unattributed, 0);
    let row = |row: v1::UsageRow| (row.source, row.counts.expect("always set").allowed);
    answer.rows.into_iter().map(row).collect()
}

fn told(rows: &[(&str, u64)]) -> Vec<(String, u64)> {
    rows.iter().map(|(source, uses)| ((*source).to_owned(), *uses)).collect()
}

#[tokio::test]
async fn an_analyst_sees_networks_added_up_and_no_filter_tells_addresses_apart() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &[]).await;
    let (_, secret) = admin.create_key("billing", "used").await;
    for (source, times) in [
        ("192.0.2.1", 1),
        ("192.0.2.9", 2),
        ("192.0.3.1", 4),
        ("2001:db8:1:1::1", 8),
        ("2001:db8:1:2::1", 16),
        ("2001:db8:2::1", 32),
        ("", 64),
    ] {
        uses(&admin, &secret, source, "", times).await;
    }
    let (server, _) = put_on_record(server).await;
    let [coarse, exact] = two_analysts(&server).await;
    let networks = [
        ("", 64),
        ("192.0.2.0/24", 3),
        ("192.0.3.0/24", 4),
        ("2001:db8:1::/48", 24),
        ("2001:db8:2::/48", 32),
    ];
    assert_eq!(by_source(&coarse, "").await, told(&networks));
    let addresses = [
        ("", 64),
        ("192.0.2.1", 1),
        ("192.0.2.9", 2),
        ("192.0.3.1", 4),
        ("2001:db8:1:1::1", 8),
        ("2001:db8:1:2::1", 16),
        ("2001:db8:2::1", 32),
    ];
    assert_eq!(by_source(&exact, "").await, told(&addresses));

    // One that was used and one that was not are answered alike.
    for asked in ["192.0.2.9", "192.0.2.77", "::ffff:192.0.2.0"] {
        assert_eq!(by_source(&coarse, asked).await, told(&[("192.0.2.0/24", 3)]), "{asked}");
    }
    for asked in ["2001:db8:1:2::1", "2001:db8:1:ffff::1"] {
        assert_eq!(by_source(&coarse, asked).await, told(&[("2001:db8:1::/48", 24)]), "{asked}");
    }
    assert_eq!(by_source(&exact, "192.0.2.9").await, told(&[("192.0.2.9", 2)]));
    assert_eq!(by_source(&exact, "192.0.2.77").await, []);
}

#[tokio::test]
async fn stragglers_from_one_network_are_one_way_with_the_agents_of_all() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &[]).await;
    let (key, secret) = admin.create_key("billing", "used").await;
    let request = v1::RotateKeyRequest {
        key_id: key.key_id.clone(),
        overlap: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        ..Default::default()
    };
    admin.keys.clone().rotate_key(request).await.expect("rotated");
    uses(&admin, &secret, "192.0.2.1", "one", 1).await;
    server.clock.advance(Duration::from_secs(1));
    uses(&admin, &secret, "192.0.2.2", "two", 2).await;
    let (server, _) = put_on_record(server).await;
    let [coarse, exact] = two_analysts(&server).await;
    let ways = async |client: &Client| {
        let key_id = key.key_id.clone();
        let request = v1::GetStragglersRequest { key_id, ..Default::default() };
        let answer = client.usage.clone().get_stragglers(request).await.expect("an answer");
        let way = |way: v1::Straggler| (way.source, way.allowed, way.user_agents);
        answer.into_inner().stragglers.into_iter().map(way).collect::<Vec<_>>()
    };
    let agents = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(ways(&coarse).await, [("192.0.2.0/24".to_owned(), 3, agents(&["two", "one"]))]);
    let exactly = [
        ("192.0.2.2".to_owned(), 2, agents(&["two"])),
        ("192.0.2.1".to_owned(), 1, agents(&["one"])),
    ];
    assert_eq!(ways(&exact).await, exactly);
}

#[tokio::test]
async fn signals_name_networks_to_an_analyst() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &[]).await;
    let (key, secret) = admin.create_key("billing", "used").await;
    uses(&admin, &secret, "198.51.100.1", "", 1).await;
    server.clock.advance(DAY);
    uses(&admin, &secret, "198.51.100.1", "", 1).await;
    let (server, admin) = put_on_record(server).await;
    server.clock.advance(MINUTE);
    admin.revoke(&key.key_id).await.expect("revoked");
    for source in ["192.0.2.1", "192.0.2.2", "192.0.3.1"] {
        use_key(&admin, &secret, 1, false, context("", source, "")).await;
    }
    let (server, _) = put_on_record(server).await;
    server.clock.advance(MINUTE);
    let [coarse, exact] = two_analysts(&server).await;
    let sources = async |client: &Client| {
        let request = v1::ListSignalsRequest { start_time: at(START), ..Default::default() };
        let answer = client.usage.clone().list_signals(request).await.expect("an answer");
        let signals = answer.into_inner().signals;
        let tried = signals.into_iter().find(|one| one.kind() == SignalKind::EndedKeyTried);
        tried.expect("found").sources
    };
    let mut exactly = sources(&exact).await;
    exactly.sort();
    assert_eq!(exactly, ["192.0.2.1", "192.0.2.2", "192.0.3.1"]);
    let mut coarsely = sources(&coarse).await;
    coarsely.sort();
    assert_eq!(coarsely, ["192.0.2.0/24", "192.0.3.0/24"]);
}
