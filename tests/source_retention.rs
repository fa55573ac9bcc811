//! Where uses came from can be read until its time is over; that there were uses can be read for ever.

mod common;

use std::time::Duration;

use common::TestServer;
use common::usage::{context, of_all, put_on_record, use_key};
use keyledger::proto::v1::{self, GroupBy};

const SOURCE: &str = "203.0.113.77";
const DAY: Duration = Duration::from_hours(24);

/// The sources of an answer, whether they are erased, and how many uses came from there.
fn sources(answer: &v1::QueryUsageResponse) -> Vec<(&str, bool, u64)> {
    let allowed = |row: &v1::UsageRow| row.counts.as_ref().expect("always set").allowed;
    answer.rows.iter().map(|row| (row.source.as_str(), row.erased, allowed(row))).collect()
}

const SHOWN: [(&str, bool, u64); 1] = [(SOURCE, false, 3)];
const ERASED: [(&str, bool, u64); 1] = [("", true, 3)];

#[tokio::test(flavor = "multi_thread")]
async fn sources_are_erased_when_their_retention_is_over_and_counts_stay() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &[]).await;
    let (_, secret) = admin.create_key("billing", "used").await;
    use_key(&admin, &secret, 3, true, context("read", SOURCE, "an-agent/1")).await;
    let (server, admin) = put_on_record(server).await;
    let question = of_all(&[GroupBy::Source]);
    assert_eq!(sources(&admin.query(question.clone()).await), SHOWN);

    // Nearly over: the month has 30 days at least, and the retention is 400 days after its end.
    server.clock.advance(DAY * 399);
    let (server, admin) = put_on_record(server).await;
    assert_eq!(sources(&admin.query(question.clone()).await), SHOWN);

    server.clock.advance(DAY * 33);
    let (server, admin) = put_on_record(server).await;
    // It is looked for when a start is over, beside the calls.
    loop {
        let answer = admin.query(question.clone()).await;
        if sources(&answer) == ERASED {
            break;
        }
        assert_eq!(sources(&answer), SHOWN);
        tokio::task::yield_now().await;
    }
    // A projection that is folded anew says the same.
    let projections = server.data_dir().join("projections");
    let (clock, dir) = (std::sync::Arc::clone(&server.clock), server.stop().await);
    std::fs::remove_dir_all(&projections).expect("removed");
    let server = TestServer::builder().dir(&dir).clock(&clock).start().await;
    let admin = server.admin().await;
    assert_eq!(sources(&admin.query(question).await), ERASED);
}
