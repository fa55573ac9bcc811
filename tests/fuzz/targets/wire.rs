//! Messages of protobuf as fields, so that they can be made up and changed and are messages still
//! (<https://protobuf.dev/programming-guides/encoding/>).

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number in as many bytes as it needs.
    Number(u64),
    /// A text, bytes, or a message.
    Bytes(Vec<u8>),
    /// Eight bytes, or four.
    Fixed(Vec<u8>),
}

/// A field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its number.
    pub number: u64,
    /// What it holds.
    pub value: Value,
}

/// The fields of a message; none if the bytes are none.
#[must_use]
pub fn fields(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let mut take = |length: usize| -> Option<Vec<u8>> {
            let (taken, rest) = bytes.split_at_checked(length)?;
            bytes = rest;
            Some(taken.to_vec())
        };
        let value = match tag & 7 {
            1 => Value::Fixed(take(8)?),
            5 => Value::Fixed(take(4)?),
            0 => Value::Number(varint(&mut bytes)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (taken, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Value::Bytes(taken.to_vec())
            }
            _ => return None,
        };
        found.push(Field { number: tag >> 3, value });
    }
    Some(found)
}

/// The bytes of a message.
#[must_use]
pub fn encode(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Field { number, value } in fields {
        let kind = match value {
            Value::Number(_) => 0,
            Value::Bytes(_) => 2,
            Value::Fixed(fixed) if fixed.len() == 8 => 1,
            Value::Fixed(_) => 5,
        };
        put_varint(&mut bytes, number << 3 | kind);
        match value {
            Value::Number(number) => put_varint(&mut bytes, *number),
            Value::Fixed(fixed) => bytes.extend(fixed),
            Value::Bytes(held) => {
                put_varint(&mut bytes, held.len() as u64);
                bytes.extend(held);
            }
        }
    }
    bytes
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}
