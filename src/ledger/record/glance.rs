//! What a record is about, read without decoding it: for who passes over many to find a few.
//!
//! It reads the top level of the encoded message only and trusts what is inside, so it MUST be shown
//! records of frames whose checksums hold. What is found is decoded whole before it is believed.

use super::RecordError;
use crate::domain::ids::{KeyId, Position};
use crate::domain::time::Time;

/// The number of a field in `record.proto`.
mod field {
    pub(super) const RECORD_TIME: u64 = 4;
    pub(super) const PREVIOUS_POSITION: u64 = 5;
    pub(super) const TENANT_ID: u64 = 6;
    pub(super) const ACCOUNT_ID: u64 = 7;
    pub(super) const KEY_ID: u64 = 8;
    pub(super) const CALLER_ID: u64 = 9;
    pub(super) const FIRST_EVENT: u64 = 20;
}

/// What a record is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Glance<'a> {
    /// When it was recorded.
    pub time: Time,
    /// The subject's record before it.
    pub previous: Option<Position>,
    /// The tenant; empty if it belongs to none.
    pub tenant: &'a str,
    /// The account; empty if it belongs to none.
    pub account: &'a str,
    /// The key it is about.
    pub key: Option<KeyId>,
    /// Whether it is about a caller.
    pub of_caller: bool,
    /// The number of its [`crate::domain::event::EventKind`].
    pub kind: u64,
}

/// What the record is about.
///
/// # Errors
/// [`RecordError::Malformed`] if the bytes are not the encoding of a message.
pub fn glance(bytes: &[u8]) -> Result<Glance<'_>, RecordError> {
    read(bytes).ok_or(RecordError::Malformed)
}

fn read(bytes: &[u8]) -> Option<Glance<'_>> {
    let mut found = Glance::default();
    let mut rest = Wire(bytes);
    while !rest.0.is_empty() {
        let tag = rest.varint()?;
        let (field, value) = (tag >> 3, rest.value(tag & 7)?);
        match (field, value) {
            (field::RECORD_TIME, Value::Number(micros)) => {
                found.time = Time::from_micros(micros.cast_signed());
            }
            (field::PREVIOUS_POSITION, Value::Number(position)) => {
                found.previous = Position::new(position);
            }
            (field::TENANT_ID, Value::Bytes(text)) => {
                found.tenant = std::str::from_utf8(text).ok()?
            }
            (field::ACCOUNT_ID, Value::Bytes(text)) => {
                found.account = std::str::from_utf8(text).ok()?;
            }
            (field::KEY_ID, Value::Bytes(id)) => found.key = Some(KeyId(id.try_into().ok()?)),
            (field::CALLER_ID, Value::Bytes(_)) => found.of_caller = true,
            (kind, Value::Bytes(_)) if kind >= field::FIRST_EVENT => found.kind = kind,
            _ => {}
        }
    }
    Some(found)
}

/// The value of a field.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Encoded fields that are not read yet (<https://protobuf.dev/programming-guides/encoding/>).
struct Wire<'a>(&'a [u8]);

impl<'a> Wire<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn value(&mut self, wire_type: u64) -> Option<Value<'a>> {
        match wire_type {
            0 => self.varint().map(Value::Number),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Some(Value::Bytes(bytes))
            }
            // A record has no fields of fixed width.
            _ => None,
        }
    }
}
