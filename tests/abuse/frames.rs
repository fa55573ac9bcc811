//! Frames that are cheap to send: resets, pings, settings, windows, and what is no frame at all.

use crate::common::raw_http2::{self, END_HEADERS, Wire};
use crate::target::Target;

/// HTTP/2's code for who does too much of what is allowed.
const ENHANCE_YOUR_CALM: u32 = 11;
const FLOW_CONTROL_ERROR: u32 = 3;

/// CVE-2023-44487: streams are reset as soon as they are opened, so that no bound on open streams is ever reached.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_opens_and_resets_streams_is_ended() {
    let target = Target::start().await;
    let (first, again) = raw_http2::indexed(&target.fields());
    for _ in 0..20 {
        let mut wire = Wire::connect(target.address(), &[]);
        let mut bytes = Vec::new();
        for n in 0..1000 {
            let stream = 2 * n + 1;
            let block = if n == 0 { &first } else { &again };
            bytes.extend(raw_http2::frame(raw_http2::HEADERS, END_HEADERS, stream, block));
            bytes.extend(raw_http2::frame(raw_http2::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        // The server may have ended the connection before it has read all.
        let _ = wire.raw(&bytes);
        target.answers().await;
        let code = wire.wait_for_end();
        assert!(matches!(code, None | Some(ENHANCE_YOUR_CALM)), "{code:?}");
    }
    target.holds().await;
}

/// The same so slowly that each stream has been looked at before it is reset: it costs what a call costs, and the good
/// caller does not wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_reset_while_they_wait_for_their_message_leave_nothing_behind() {
    let target = Target::start().await;
    let (first, again) = raw_http2::indexed(&target.fields());
    let mut wire = Wire::connect(target.address(), &[]);
    for batch in 0..200 {
        let streams = (0..10).map(|n| 2 * (10 * batch + n) + 1);
        for stream in streams.clone().take(9) {
            let block = if stream == 1 { &first } else { &again };
            wire.frame(raw_http2::HEADERS, END_HEADERS, stream, block).expect("taken");
        }
        // Streams are looked at in their order: all before the one that is answered have been.
        let last = streams.clone().next_back().expect("ten");
        wire.call(last, &again, &target.question()).expect("taken");
        let answer = wire.wait_for(|frame| frame.stream == last && frame.kind == raw_http2::DATA);
        answer.expect("answered");
        for stream in streams.take(9) {
            wire.frame(raw_http2::RST_STREAM, 0, stream, &8_u32.to_be_bytes()).expect("taken");
        }
        if batch % 10 == 0 {
            target.answers().await;
        }
    }
    wire.call(4001, &again, &target.question()).expect("taken");
    wire.wait_for(|frame| frame.stream == 4001 && frame.kind == raw_http2::DATA).expect("answered");
    target.holds().await;
}

/// CVE-2019-9512 and CVE-2019-9515: each asks for an answer that the client never reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_and_settings_whose_answers_nobody_reads_pile_up_nowhere() {
    let target = Target::start().await;
    for kind in [raw_http2::PING, raw_http2::SETTINGS] {
        let payload = if kind == raw_http2::PING { &[7; 8][..] } else { &[] };
        let flood = raw_http2::frame(kind, 0, 0, payload).repeat(1000);
        let wires = (0..4).map(|_| Wire::connect(target.address(), &[]).impatient());
        let mut wires: Vec<_> = wires.collect();
        for _ in 0..50 {
            wires.retain_mut(|wire| wire.raw(&flood).is_ok());
            target.answers().await;
        }
    }
    target.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_overflows_ends_its_connection() {
    let target = Target::start().await;
    for _ in 0..20 {
        let mut wire = Wire::connect(target.address(), &[]);
        for _ in 0..2 {
            let _ = wire.frame(raw_http2::WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes());
        }
        let code = wire.wait_for_end();
        assert!(matches!(code, None | Some(FLOW_CONTROL_ERROR)), "{code:?}");
        target.answers().await;
    }
    target.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_http_2_ends_its_connection() {
    let target = Target::start().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = raw_http2::frame(raw_http2::SETTINGS, 0, 0, &[]);
    let nonsense: [Vec<u8>; 6] = [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(10),
        vec![0xff; 4096],
        // A frame over the 16 KiB that were agreed on; data of no stream; headers of an even stream; no headers at all.
        [&preface[..], &settings, &raw_http2::frame(raw_http2::DATA, 0, 1, &[0; 40_000])].concat(),
        [&preface[..], &settings, &raw_http2::frame(raw_http2::DATA, 0, 99, &[0; 10])].concat(),
        [&preface[..], &settings, &raw_http2::frame(raw_http2::HEADERS, END_HEADERS, 2, &[0x82])]
            .concat(),
        [
            &preface[..],
            &settings,
            &raw_http2::frame(raw_http2::HEADERS, END_HEADERS, 1, &[0xff; 64]),
        ]
        .concat(),
    ];
    for bytes in nonsense {
        let mut wire = Wire::silent(target.address());
        let _ = wire.raw(&bytes);
        wire.wait_for_end();
        target.answers().await;
    }
    target.holds().await;
}
