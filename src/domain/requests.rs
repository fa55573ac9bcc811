//! Calls that named themselves: a repeat is answered, not done again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::domain::ids::{CallerId, Position};
use crate::domain::subject::Subject;
use crate::domain::time::Time;

/// How long a request id is remembered.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// How many request ids are remembered at most: about 200 MB.
pub const REMEMBERED_AT_MOST: usize = 1_000_000;

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident = $number:literal),+ $(,)?) => {
        /// A changing RPC. Its number is in the log and never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Method {
            $($(#[$doc])* $name = $number),+
        }

        impl Method {
            /// The method of a number in the log.
            #[must_use]
            pub fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Method::$name),)+
                    _ => None,
                }
            }

            /// The number in the log.
            #[must_use]
            pub fn number(self) -> u32 {
                self as u32
            }
        }
    };
}

methods! {
    /// AccountService.PutAccount
    PutAccount = 1,
    /// KeyService.CreateKey
    CreateKey = 2,
    /// KeyService.UpdateKey
    UpdateKey = 3,
    /// KeyService.DisableKey
    DisableKey = 4,
    /// KeyService.EnableKey
    EnableKey = 5,
    /// KeyService.RotateKey
    RotateKey = 6,
    /// KeyService.RevokeKey
    RevokeKey = 7,
    /// KeyService.ReportLeakedKey
    ReportLeakedKey = 8,
    /// AdminService.CreateCaller
    CreateCaller = 9,
    /// AdminService.RotateCaller
    RotateCaller = 10,
    /// AdminService.RevokeCaller
    RevokeCaller = 11,
    /// AdminService.EraseAccount
    EraseAccount = 12,
    /// AdminService.RotatePepper
    RotatePepper = 20,
    /// AdminService.RetirePepper
    RetirePepper = 21,
}

/// A call's own name and a digest of what it asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The id the caller chose.
    pub id: [u8; 16],
    /// Which RPC.
    pub method: Method,
    /// A keyed hash of the request, to tell a repeat from another request.
    pub digest: [u8; 16],
}

/// What a request id is unique within: the caller and the RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey {
    /// Who called.
    pub caller: CallerId,
    /// Which RPC.
    pub method: Method,
    /// The id the caller chose.
    pub id: [u8; 16],
}

/// What a call did when it first came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The digest of what it asked.
    pub digest: [u8; 16],
    /// The last record it caused.
    pub position: Position,
    /// Whom or what that record is about.
    pub subject: Subject,
    /// When.
    pub time: Time,
}

/// The calls remembered, oldest first out. What is remembered follows from the records alone: the last
/// [`REMEMBERED_AT_MOST`] calls, less those that are [`REMEMBERED_FOR`] older than the newest.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    by_key: HashMap<RequestKey, Remembered>,
    /// By position. An entry whose call has a later one counts for nothing.
    in_order: VecDeque<(RequestKey, Position)>,
}

impl Requests {
    /// What the call did when it first came, if that is remembered at `now`.
    #[must_use]
    pub fn find(&self, key: &RequestKey, now: Time) -> Option<&Remembered> {
        self.by_key.get(key).filter(|found| now.since(found.time) < REMEMBERED_FOR)
    }

    /// Remembers what a call did, and forgets what is too old or too many.
    pub fn remember(&mut self, key: RequestKey, did: Remembered) {
        let now = did.time;
        // The records of one command follow each other, and the last counts.
        if self.in_order.back().is_some_and(|(last, _)| *last == key) {
            self.in_order.pop_back();
        }
        self.in_order.push_back((key, did.position));
        self.by_key.insert(key, did);
        while let Some((oldest, position)) = self.in_order.front() {
            let current = self.by_key.get(oldest).filter(|found| found.position == *position);
            let keep = current.is_some_and(|found| now.since(found.time) < REMEMBERED_FOR);
            if keep && self.by_key.len() <= REMEMBERED_AT_MOST {
                break;
            }
            if current.is_some() {
                self.by_key.remove(oldest);
            }
            self.in_order.pop_front();
        }
    }

    /// The calls remembered, in order of position.
    pub fn iter(&self) -> impl Iterator<Item = (&RequestKey, &Remembered)> {
        self.in_order.iter().filter_map(|(key, position)| {
            let found = self.by_key.get(key).filter(|found| found.position == *position)?;
            Some((key, found))
        })
    }

    /// The call of that name, however old; none if it is forgotten.
    #[must_use]
    pub fn get(&self, key: &RequestKey) -> Option<&Remembered> {
        self.by_key.get(key)
    }

    /// How many calls are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether no call is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> RequestKey {
        RequestKey { caller: CallerId([1; 12]), method: Method::CreateKey, id: [n; 16] }
    }

    fn did(position: u64, time: Time) -> Remembered {
        let position = Position::new(position).expect("not 0");
        Remembered { digest: [0; 16], position, subject: Subject::Service, time }
    }

    #[test]
    fn a_call_is_remembered_for_a_day_and_then_forgotten() {
        let mut requests = Requests::default();
        requests.remember(key(1), did(1, Time::EPOCH));
        let almost = Time::EPOCH.plus(REMEMBERED_FOR - Duration::from_micros(1));
        assert!(requests.find(&key(1), almost).is_some());
        assert!(requests.find(&key(1), Time::EPOCH.plus(REMEMBERED_FOR)).is_none());
        requests.remember(key(2), did(2, Time::EPOCH.plus(REMEMBERED_FOR)));
        assert_eq!(requests.len(), 1);
    }

    #[test]
    fn the_last_record_of_a_call_is_the_one_remembered() {
        let mut requests = Requests::default();
        requests.remember(key(1), did(1, Time::EPOCH));
        requests.remember(key(1), did(2, Time::EPOCH));
        let found = requests.find(&key(1), Time::EPOCH).expect("remembered");
        assert_eq!(found.position.get(), 2);
    }

    #[test]
    fn calls_are_listed_once_each_in_order_of_their_last_record() {
        let mut requests = Requests::default();
        for (position, n) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 1)] {
            requests.remember(key(n), did(position, Time::EPOCH));
        }
        let listed: Vec<_> = requests.iter().map(|(key, did)| (key.id[0], did.position)).collect();
        let place = |n| Position::new(n).expect("not 0");
        assert_eq!(listed, [(2, place(3)), (3, place(4)), (1, place(5))]);
    }

    #[test]
    fn the_same_id_of_another_caller_or_method_is_another_call() {
        let mut requests = Requests::default();
        requests.remember(key(1), did(1, Time::EPOCH));
        let other = RequestKey { method: Method::RotateKey, ..key(1) };
        assert!(requests.find(&other, Time::EPOCH).is_none());
        let other = RequestKey { caller: CallerId([2; 12]), ..key(1) };
        assert!(requests.find(&other, Time::EPOCH).is_none());
    }
}
