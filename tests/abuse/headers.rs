//! Headers that are too many, too large, without an end, or a little text that stands for much.

use crate::common::raw_http2::{self, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, Wire};
use crate::target::Target;

/// More than the server lets headers have.
const TOO_MUCH: usize = 64 * 1024;

/// CVE-2024-27316: headers that go on for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_without_an_end_end_the_connection() {
    let target = Target::start().await;
    let part = raw_http2::block(&[("x-filler", &"x".repeat(16_000))]);
    for _ in 0..4 {
        let mut wire = Wire::connect(target.address(), &[]);
        let begun = wire.frame(HEADERS, 0, 1, &raw_http2::block(&target.fields()));
        begun.expect("taken");
        // Up to 32 MiB; it is cut long before.
        let cut = (0..2048).find(|_| wire.frame(CONTINUATION, 0, 1, &part).is_err());
        target.answers().await;
        assert!(cut.is_some(), "it took all of them");
    }
    target.holds().await;
}

/// The same in parts that hold nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_in_endless_empty_parts_end_the_connection() {
    let target = Target::start().await;
    let mut wire = Wire::connect(target.address(), &[]);
    wire.frame(HEADERS, 0, 1, &raw_http2::block(&target.fields())).expect("taken");
    let parts = raw_http2::frame(CONTINUATION, 0, 1, &[]).repeat(1000);
    let cut = (0..2000).find(|_| wire.raw(&parts).is_err());
    assert!(cut.is_some(), "it took all of them");
    target.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_over_the_bound_are_refused_and_reach_no_handler() {
    let target = Target::start().await;
    let filler = "x".repeat(TOO_MUCH);
    let mut fields = target.fields();
    fields.push(("x-filler", &filler));
    let block = raw_http2::block(&fields);
    let parts: Vec<_> = block.chunks(16_000).collect();
    for _ in 0..20 {
        let mut wire = Wire::connect(target.address(), &[]);
        let mut sent = wire.frame(HEADERS, END_STREAM, 1, parts[0]);
        for (n, part) in parts.iter().enumerate().skip(1) {
            let flags = if n + 1 == parts.len() { END_HEADERS } else { 0 };
            sent = sent.and_then(|()| wire.frame(CONTINUATION, flags, 1, part));
        }
        // 431, a reset, or the end of the connection: no message in any case.
        let answer = wire.wait_for(|frame| frame.stream == 1 || frame.kind == raw_http2::GOAWAY);
        assert!(answer.is_none_or(|frame| frame.kind != raw_http2::DATA), "{sent:?}");
        target.answers().await;
    }
    target.holds().await;
}

/// One entry of the dynamic table, named thousands of times by a byte each: 4 MB of headers in 4 KB, in each of many
/// streams.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_little_that_unpacks_to_much_is_not_unpacked_whole() {
    let target = Target::start().await;
    let bomb = "x".repeat(3900);
    for _ in 0..5 {
        let mut wire = Wire::connect(target.address(), &[]);
        let (mut block, _) = raw_http2::indexed(&[("x-bomb", &bomb)]);
        let mut streams = 0;
        for n in 0..200 {
            let fields = raw_http2::block(&target.fields());
            let whole = [&fields[..], &block, &vec![0x80 | 62; 8000]].concat();
            block.clear();
            if wire.frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &whole).is_err() {
                break;
            }
            streams += 1;
        }
        target.answers().await;
        assert!(streams > 0);
    }
    target.holds().await;
}
