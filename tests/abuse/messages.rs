//! Messages that claim to be larger than they may be, that are compressed though nobody agreed to it, or that come a
//! byte at a time.

use crate::common::parked::Parked;
use crate::common::raw_http2::{self, DATA, END_HEADERS, HEADERS, Wire};
use crate::common::reason;
use crate::target::{AUTHENTICATE, Target};
use tonic::Code;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_claims_to_be_huge_is_refused_by_its_first_bytes() {
    let target = Target::start().await;
    let (first, again) = raw_http2::indexed(&target.fields());
    let mut wire = Wire::connect(target.address(), &[]);
    for n in 0..200 {
        let stream = 2 * n + 1;
        let block = if n == 0 { &first } else { &again };
        wire.frame(HEADERS, END_HEADERS, stream, block).expect("taken");
        // 4 GiB less a byte, of which a little follows. The call goes on: the refusal does not wait for its end.
        let claim = [&[0, 0xff, 0xff, 0xff, 0xff][..], &[7; 1000]].concat();
        wire.frame(DATA, 0, stream, &claim).expect("taken");
        let answer = wire.wait_for(|frame| frame.stream == stream).expect("answered");
        assert_eq!(answer.kind, HEADERS, "a status");
        if n % 20 == 0 {
            target.answers().await;
        }
    }
    target.holds().await;
}

/// 16 KiB of gzip that would unpack to 16 MiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_message_is_refused_and_not_unpacked() {
    use std::io::Write as _;

    let target = Target::start().await;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![0; 16 << 20]).expect("packed");
    let packed = packed.finish().expect("packed");
    assert!(packed.len() < 32 * 1024);
    let length = u32::try_from(packed.len()).expect("small").to_be_bytes();
    let message = [&[1][..], &length, &packed].concat();
    let channel = target.channel().await;
    let credential = target.bearer().trim_start_matches("Bearer ");
    for encoding in ["gzip", "deflate", "zstd", "identity"] {
        for _ in 0..10 {
            let headers = [("grpc-encoding", encoding)];
            let call = Parked::call_with(channel.clone(), AUTHENTICATE, credential, &headers);
            let refused = call.finish_raw(message.clone()).await;
            let expected = match encoding {
                "identity" => (Code::InvalidArgument, "MALFORMED_REQUEST"),
                _ => (Code::Unimplemented, "UNSUPPORTED"),
            };
            assert_eq!((refused.code(), reason(&refused).0.as_str()), expected, "{encoding}");
        }
        target.answers().await;
    }
    target.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_come_byte_by_byte_are_answered_and_hold_up_nobody() {
    let target = Target::start().await;
    let call = raw_http2::call(1, &raw_http2::block(&target.fields()), &target.question());
    let mut wires: Vec<_> = (0..20).map(|_| Wire::connect(target.address(), &[])).collect();
    for (n, byte) in call.iter().enumerate() {
        for wire in &mut wires {
            wire.raw(&[*byte]).expect("taken");
        }
        if n % 20 == 0 {
            target.answers().await;
        }
    }
    for wire in &mut wires {
        wire.wait_for(|frame| frame.stream == 1 && frame.kind == DATA).expect("answered");
    }
    target.holds().await;
}
