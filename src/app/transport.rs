//! How encryption of connections goes: told by the server, which does it, to whoever asks how the service is.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::time::Time;

/// How long before the end of the certificate that is warned of: time to have another one signed by hand.
const ENDS_SOON: Duration = Duration::from_hours(30 * 24);

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first instant.
    pub from: Time,
    /// The last instant.
    pub until: Time,
}

/// What somebody should know of when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It is not valid yet.
    NotYet(Time),
    /// It is not valid for much longer.
    EndsSoon(Time),
    /// It is not valid any more.
    Over(Time),
}

impl Validity {
    /// What somebody should know at `now`; none if all is well.
    #[must_use]
    pub fn doubt_at(&self, now: Time) -> Option<Doubt> {
        if now < self.from {
            Some(Doubt::NotYet(self.from))
        } else if self.until < now {
            Some(Doubt::Over(self.until))
        } else if self.until.since(now) <= ENDS_SOON {
            Some(Doubt::EndsSoon(self.until))
        } else {
            None
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, time) = match self {
            Doubt::NotYet(from) => ("is not valid before", from),
            Doubt::EndsSoon(until) => ("is valid only until", until),
            Doubt::Over(until) => ("has not been valid since", until),
        };
        write!(f, "the TLS certificate {what} ")?;
        match jiff::Timestamp::from_microsecond(time.as_micros()) {
            Ok(time) => write!(f, "{time}")?,
            Err(_) => write!(f, "{time}")?,
        }
        f.write_str(": put another in its place")
    }
}

/// What the server tells.
#[derive(Debug, Default)]
pub struct TransportState {
    files: Mutex<Files>,
    failed: AtomicU64,
    cut: AtomicU64,
}

/// The files that connections are encrypted with.
#[derive(Debug, Default)]
struct Files {
    served: Option<Validity>,
    taken: u64,
    refused: Option<String>,
}

/// How it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportFigures {
    /// From when until when the certificate is valid that new connections see; none: they are not encrypted.
    pub certificate: Option<Validity>,
    /// What somebody should know of that.
    pub doubt: Option<Doubt>,
    /// How many times the files were taken since the start, the first time not counted.
    pub taken: u64,
    /// Why the files as they are now are not used, but those before; none: they are used.
    pub refused: Option<String>,
    /// How many handshakes failed since the start.
    pub handshakes_failed: u64,
    /// How many were cut: they took too long, or others were to have their room.
    pub handshakes_cut: u64,
}

impl TransportState {
    /// Tells that new connections see the first certificate.
    pub fn begin(&self, certificate: Validity) {
        self.files().served = Some(certificate);
    }

    /// Tells that new connections see another certificate, or the same with other settings beside it.
    pub fn take(&self, certificate: Validity) {
        let mut files = self.files();
        files.served = Some(certificate);
        files.refused = None;
        files.taken += 1;
    }

    /// Tells that the files are those in use again.
    pub fn settle(&self) {
        self.files().refused = None;
    }

    /// Tells why the files as they are now cannot be used.
    pub fn refuse(&self, why: String) {
        self.files().refused = Some(why);
    }

    /// Counts a handshake that failed.
    pub fn handshake_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a handshake that was cut.
    pub fn handshake_cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    /// How it goes at `now`.
    #[must_use]
    pub fn figures(&self, now: Time) -> TransportFigures {
        let files = self.files();
        TransportFigures {
            certificate: files.served,
            doubt: files.served.and_then(|certificate| certificate.doubt_at(now)),
            taken: files.taken,
            refused: files.refused.clone(),
            handshakes_failed: self.failed.load(Ordering::Relaxed),
            handshakes_cut: self.cut.load(Ordering::Relaxed),
        }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TransportFigures {
    /// What somebody should look at, for people.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let refused = self.refused.as_ref().map(|why| {
            format!(
                "the TLS files cannot be used as they are now, and those before are still: {why}"
            )
        });
        self.doubt.map(|doubt| doubt.to_string()).into_iter().chain(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::at;

    const DAY: i64 = 86_400;

    #[test]
    fn a_certificate_is_doubted_before_it_begins_and_from_thirty_days_before_its_end() {
        let (from, until) = (at(0), at(100 * DAY));
        let certificate = Validity { from, until };
        for (now, doubt) in [
            (at(-1), Some(Doubt::NotYet(from))),
            (at(0), None),
            (at(70 * DAY - 1), None),
            (at(70 * DAY), Some(Doubt::EndsSoon(until))),
            (at(100 * DAY), Some(Doubt::EndsSoon(until))),
            (at(100 * DAY + 1), Some(Doubt::Over(until))),
        ] {
            assert_eq!(certificate.doubt_at(now), doubt, "{now}");
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_warned_of_until_they_can() {
        let state = TransportState::default();
        let certificate = Validity { from: at(0), until: at(100 * DAY) };
        let warnings = || state.figures(at(0)).warnings().collect::<Vec<_>>();
        assert_eq!(state.figures(at(0)), TransportFigures::default());
        state.begin(certificate);
        assert_eq!(warnings(), [""; 0]);
        state.refuse("they do not match".to_owned());
        assert!(warnings()[0].ends_with("they do not match"));
        state.settle();
        assert_eq!(warnings(), [""; 0]);
        state.refuse("they do not match".to_owned());
        state.take(Validity { until: at(DAY), ..certificate });
        let expected = "the TLS certificate is valid only until 2001-09-10T01:46:40Z: put another in its place";
        assert_eq!(warnings(), [expected]);
        assert_eq!(state.figures(at(0)).taken, 1);
    }
}
