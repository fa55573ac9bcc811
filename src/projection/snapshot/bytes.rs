//! Numbers, ids and texts as bytes and back. Numbers are big-endian.

use crate::domain::ids::Position;
use crate::domain::time::Time;

/// Bytes not yet read. Everything answers none where the bytes end too soon or have no meaning.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A length or count of 4 bytes.
    pub(super) fn length(&mut self) -> Option<usize> {
        usize::try_from(self.u32()?).ok()
    }

    pub(super) fn position(&mut self) -> Option<Position> {
        Position::new(self.u64()?)
    }

    pub(super) fn time(&mut self) -> Option<Time> {
        self.array().map(i64::from_be_bytes).map(Time::from_micros)
    }

    /// A text of at most 255 bytes behind its length.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = self.u8()?;
        str::from_utf8(self.take(usize::from(length))?).ok()
    }

    /// The value, if all bytes have been read.
    pub(super) fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

/// Bytes being written.
pub(super) trait Put {
    /// A length or count of 4 bytes. What is counted came out of one record, so it is far smaller.
    fn put_length(&mut self, length: usize);
    fn put_position(&mut self, position: Position);
    fn put_time(&mut self, time: Time);
    /// A text behind its length; ids, names and permissions have at most 128 bytes.
    fn put_text(&mut self, text: &str);
}

impl Put for Vec<u8> {
    fn put_length(&mut self, length: usize) {
        self.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }

    fn put_position(&mut self, position: Position) {
        self.extend(position.get().to_be_bytes());
    }

    fn put_time(&mut self, time: Time) {
        self.extend(time.as_micros().to_be_bytes());
    }

    fn put_text(&mut self, text: &str) {
        self.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.extend(text.as_bytes());
    }
}
