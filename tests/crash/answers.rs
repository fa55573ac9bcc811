//! What the server has answered, and when: read from the bytes it sent, at the operation by which
//! the last byte of an answer left. No client's clock is involved.
//!
//! The bytes are HTTP/2 (RFC 9113, section 4.1); an answer is one gRPC message in DATA frames.

use std::collections::HashMap;

use bytes::{Buf, Bytes};

use super::trace::Op;

/// From the operation of this index on, the server has said that the log reaches this position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub op: usize,
    pub position: u64,
}

const FRAME_HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const GRPC_PREFIX_BYTES: usize = 5;

/// The answers that name a position, in the order in which they left.
pub fn answers(ops: &[Op]) -> Vec<Answer> {
    let mut connections: HashMap<u64, Connection> = HashMap::new();
    let mut found = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        match op {
            // Numbers of sockets are used again by the next process.
            Op::Start => connections.clear(),
            Op::Sent { socket, data } => {
                let messages = connections.entry(*socket).or_default().take(data);
                let positions = messages.iter().filter_map(position_in);
                found.extend(positions.map(|position| Answer { op: at, position }));
            }
            _ => {}
        }
    }
    found
}

#[derive(Default)]
struct Connection {
    rest: Vec<u8>,
    streams: HashMap<u32, Vec<u8>>,
}

impl Connection {
    /// Takes what was sent; answers the messages that are whole with it.
    fn take(&mut self, sent: &[u8]) -> Vec<Bytes> {
        self.rest.extend_from_slice(sent);
        let mut messages = Vec::new();
        while let Some((header, behind)) = self.rest.split_first_chunk::<FRAME_HEADER_BYTES>() {
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            if behind.len() < length {
                break;
            }
            let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
            if header[3] == DATA {
                let received = self.streams.entry(stream).or_default();
                received.extend_from_slice(&behind[..length]);
                messages.extend(whole_message(received));
            }
            self.rest.drain(..FRAME_HEADER_BYTES + length);
        }
        messages
    }
}

fn whole_message(received: &mut Vec<u8>) -> Option<Bytes> {
    let (prefix, message) = received.split_first_chunk::<GRPC_PREFIX_BYTES>()?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    let message = message.get(..length).map(Bytes::copy_from_slice)?;
    received.drain(..GRPC_PREFIX_BYTES + length);
    Some(message)
}

/// The position an answer names: a change's is field 14, a status has its head in field 2 beside a
/// root of 32 bytes in field 3, a verdict its position in field 9 beside an outcome in field 1.
fn position_in(message: &Bytes) -> Option<u64> {
    let (mut numbers, mut lengths) = (HashMap::new(), HashMap::new());
    let mut rest = message.clone();
    while rest.has_remaining() {
        let key = varint(&mut rest)?;
        match key & 7 {
            0 => drop(numbers.insert(key >> 3, varint(&mut rest)?)),
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                if rest.len() < length {
                    return None;
                }
                rest.advance(length);
                lengths.insert(key >> 3, length);
            }
            _ => return None,
        }
    }
    let number = |field: u64| numbers.get(&field).copied();
    let status = number(2).filter(|_| lengths.get(&3) == Some(&32));
    number(14).or(status).or_else(|| number(9).filter(|_| number(1).is_some()))
}

fn varint(bytes: &mut Bytes) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        if !bytes.has_remaining() {
            return None;
        }
        let byte = bytes.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[test]
fn an_answer_counts_from_the_operation_that_sent_its_last_byte() {
    let revoked = [0x0a, 2, b'h', b'i', 0x70, 0x96, 1];
    let mut stream = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream.extend([0, 0, 12, DATA, 0, 0, 0, 0, 1, 0, 0, 0, 0, 7]);
    stream.extend(revoked);
    let sent = |data: &[u8]| Op::Sent { socket: 7, data: Bytes::copy_from_slice(data) };
    let (first, second) = stream.split_at(stream.len() - 1);
    let other = Op::Sent { socket: 8, data: Bytes::from_static(b"\0\0\0\x04\0\0\0\0\0") };
    let ops = [Op::Start, sent(first), other, sent(second)];
    assert_eq!(answers(&ops), [Answer { op: 3, position: 150 }]);
    assert_eq!(answers(&ops[..3]), []);
}

#[test]
fn a_status_and_a_verdict_name_positions_and_a_page_does_not() {
    let mut status = vec![0x10, 9, 0x1a, 32];
    status.extend([0; 32]);
    assert_eq!(position_in(&Bytes::from(status)), Some(9));
    assert_eq!(position_in(&Bytes::from_static(&[8, 1, 0x48, 7])), Some(7));
    assert_eq!(position_in(&Bytes::from_static(&[0x0a, 1, 0x48])), None);
}
