//! Streams and connections that take room and do nothing with it.

use crate::common::raw_http2::{self, END_HEADERS, END_STREAM, HEADERS, Wire};
use crate::target::Target;

const INITIAL_WINDOW_SIZE: u16 = 4;

/// As many streams as a connection may have open.
const STREAMS: u32 = 1024;

/// The answers of thousands of calls, none of which is ever read: their client says that it has no room for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_takes_pile_up_to_a_bound() {
    let target = Target::start().await;
    let (first, again) = raw_http2::indexed(&target.fields());
    let question = target.question();
    let mut wires = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::connect(target.address(), &[(INITIAL_WINDOW_SIZE, 0)]).impatient();
        for n in 0..STREAMS + 100 {
            let block = if n == 0 { &first } else { &again };
            wire.call(2 * n + 1, block, &question).expect("taken");
            if n % 100 == 0 {
                target.answers().await;
            }
        }
        // Over the bound on streams they are refused.
        let refused = wire.wait_for(|frame| frame.kind == raw_http2::RST_STREAM).expect("told");
        assert_eq!(refused.payload, 7_u32.to_be_bytes(), "REFUSED_STREAM");
        wires.push(wire);
    }
    target.answers().await;
    target.holds().await;
}

/// Thousands of calls whose message never comes: they fill their caller's share of the room and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_without_a_message_fill_their_callers_share_alone() {
    let target = Target::start().await;
    let (first, again) = raw_http2::indexed(&target.fields());
    let mut wires = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::connect(target.address(), &[]);
        for n in 0..STREAMS {
            let block = if n == 0 { &first } else { &again };
            wire.frame(HEADERS, END_HEADERS, 2 * n + 1, block).expect("taken");
            if n % 100 == 0 {
                target.answers().await;
            }
        }
        wires.push(wire);
    }
    // The last of them are over the share, and told so.
    let last = wires.last_mut().expect("four");
    last.wait_for(|frame| frame.kind == HEADERS).expect("refused");
    target.answers().await;
    target.holds().await;
}

/// Thousands of watches of the health, which anyone may ask for and which last: a connection gets a few.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_of_health_are_bounded_on_each_connection() {
    let target = Target::start().await;
    let fields = raw_http2::fields("/grpc.health.v1.Health/Watch", "none");
    let (first, again) = raw_http2::indexed(&fields);
    let mut wires = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::connect(target.address(), &[]);
        for n in 0..STREAMS {
            let block = if n == 0 { &first } else { &again };
            wire.call(2 * n + 1, block, &[]).expect("taken");
            if n % 100 == 0 {
                target.answers().await;
            }
        }
        // Refused at once; one that is let through has headers and an answer that goes on.
        let refused = wire.wait_for(|frame| frame.kind == HEADERS && frame.flags & END_STREAM != 0);
        assert!(
            refused.expect("told").stream > 2 * 8,
            "a client that watches a service or two is not"
        );
        wires.push(wire);
    }
    target.answers().await;
    target.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_cost_little_and_take_nothing_from_others() {
    let target = Target::start().await;
    let mut wires = Vec::new();
    for n in 0..500 {
        // Some never say what they speak.
        wires.push(Wire::silent(target.address()));
        wires.push(Wire::connect(target.address(), &[]));
        if n % 50 == 0 {
            target.answers().await;
        }
    }
    target.answers().await;
    drop(wires);
    target.holds().await;
}
