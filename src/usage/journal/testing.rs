//! What tests of journals and of the recorder share.

use std::path::Path;
use std::sync::Arc;

use super::{Cover, Header, JournalNumber, Journals};
use crate::config::Durability;
use crate::domain::ids::Position;
use crate::domain::time::Time;

/// A cover through which one can see: the bytes, and their place behind them.
pub(in crate::usage) struct Glass;

impl Cover for Glass {
    fn seal(&self, number: JournalNumber, sequence: u64, clear: &[u8]) -> Vec<u8> {
        [clear, &number.get().to_be_bytes(), &sequence.to_be_bytes()].concat()
    }

    fn open(&self, number: JournalNumber, sequence: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        let place = [number.get().to_be_bytes(), sequence.to_be_bytes()].concat();
        Some(sealed.strip_suffix(&place[..])?.to_vec())
    }
}

pub(in crate::usage) fn journals(path: &Path) -> Journals {
    Journals::open(path, Arc::new(Glass)).expect("a directory of journals")
}

/// As [`journals`], where a recorder may be at work: what it is about to make is not tidied away.
pub(in crate::usage) fn journals_in_use(path: &Path) -> Journals {
    Journals::look_at(path, Arc::new(Glass))
}

pub(in crate::usage) fn number(number: u64) -> JournalNumber {
    JournalNumber::new(number).expect("not 0")
}

pub(in crate::usage) fn time(micros: i64) -> Time {
    Time::from_micros(micros)
}

pub(in crate::usage) fn header(of: u64) -> Header {
    Header {
        number: number(of),
        head: Position::new(7),
        created: time(1_000),
        durability: Durability::BeforeReply,
        first_of_run: of == 1,
    }
}
