//! What the server has answered, and when: read from the bytes it sent, at the operation by which
//! the last byte of an answer left. No client's clock is involved.
//!
//! The bytes are HTTP/2 (RFC 9113, section 4.1); an answer is a gRPC message in DATA frames,
//! of which a stream has many.

use std::collections::HashMap;

use bytes::{Buf, Bytes};
use keyledger::proto::v1::{AuthenticateResponse, Outcome};
use prost::Message;

use super::journal::name_of;
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

/// From the operation of this index on, somebody has been told this of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub op: usize,
    /// Key and outcome, as they are counted.
    pub name: String,
}

/// The answers that name a position, in the order in which they left.
pub fn answers(ops: &[Op]) -> Vec<Answer> {
    let found = messages(ops).into_iter();
    found
        .filter_map(|(op, message)| Some(Answer { op, position: position_in(&message)? }))
        .collect()
}

/// The verdicts on keys, in the order in which they left.
pub fn verdicts(ops: &[Op]) -> Vec<Verdict> {
    let found = messages(ops).into_iter();
    found.filter_map(|(op, message)| Some(Verdict { op, name: verdict_in(&message)? })).collect()
}

fn verdict_in(message: &Bytes) -> Option<String> {
    let found = fields(message)?;
    verdict_position(&found)?;
    let verdict = AuthenticateResponse::decode(message.clone()).ok()?;
    let outcome = match verdict.outcome() {
        Outcome::Allowed => "Allowed".to_owned(),
        _ => format!("{:?}", verdict.denial_reason()),
    };
    Some(name_of(&verdict.key_id, &outcome))
}

fn messages(ops: &[Op]) -> Vec<(usize, Bytes)> {
    let mut connections: HashMap<u64, Connection> = HashMap::new();
    let mut found = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        match op {
            // Numbers of sockets are used again by the next process.
            Op::Start => connections.clear(),
            Op::Sent { socket, data } => {
                let messages = connections.entry(*socket).or_default().take(data);
                found.extend(messages.into_iter().map(|message| (at, message)));
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
                messages.extend(std::iter::from_fn(|| whole_message(received)));
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
/// root of 32 bytes in field 3, a verdict its position in field 9 beside an outcome in field 1. The
/// first part of a backup is a head in field 1, and nothing else.
fn position_in(message: &Bytes) -> Option<u64> {
    let found = fields(message)?;
    let verdict = verdict_position(&found);
    let Fields { numbers, texts } = found;
    let number = |field: u64| numbers.get(&field).copied();
    let status = number(2).filter(|_| is_hash(texts.get(&3)));
    let alone = texts.get(&1).filter(|_| texts.len() == 1 && numbers.is_empty());
    number(14).or(status).or(verdict).or_else(|| position_of_backup(alone?))
}

fn verdict_position(found: &Fields) -> Option<u64> {
    found.numbers.get(&9).copied().filter(|_| found.numbers.contains_key(&1))
}

/// The head of a backup has its position in field 4, between an origin in field 2 and a root in field 5
/// of 32 bytes each.
fn position_of_backup(head: &Bytes) -> Option<u64> {
    let Fields { numbers, texts } = fields(head)?;
    let is_head = is_hash(texts.get(&2)) && is_hash(texts.get(&5));
    numbers.get(&4).copied().filter(|_| is_head)
}

fn is_hash(text: Option<&Bytes>) -> bool {
    text.is_some_and(|text| text.len() == 32)
}

struct Fields {
    numbers: HashMap<u64, u64>,
    texts: HashMap<u64, Bytes>,
}

/// The fields of a message that has only numbers and what has a length.
fn fields(message: &Bytes) -> Option<Fields> {
    let (mut numbers, mut texts) = (HashMap::new(), HashMap::new());
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
                texts.insert(key >> 3, rest.split_to(length));
            }
            _ => return None,
        }
    }
    Some(Fields { numbers, texts })
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

#[test]
fn the_head_of_a_backup_names_a_position_though_other_parts_follow_in_its_frame() {
    let mut head = vec![8, 1, 0x12, 32];
    head.extend([7; 32]);
    head.extend([0x18, 1, 0x20, 9, 0x2a, 32]);
    head.extend([8; 32]);
    let mut part = vec![0x0a, u8::try_from(head.len()).expect("short")];
    part.extend(head);
    let data = [0x1a, 2, 0x70, 5];
    let mut payload = Vec::new();
    for message in [&data[..], &part[..], &data[..]] {
        payload.extend([0, 0, 0, 0, u8::try_from(message.len()).expect("short")]);
        payload.extend(message);
    }
    let mut frame = vec![0, 0, u8::try_from(payload.len()).expect("short"), DATA, 0, 0, 0, 0, 1];
    frame.extend(payload);
    let ops = [Op::Start, Op::Sent { socket: 7, data: Bytes::from(frame) }];
    assert_eq!(answers(&ops), [Answer { op: 1, position: 9 }]);
}
