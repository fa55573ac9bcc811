//! Times and spans as people type and read them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::{Clock as _, SystemClock};

/// Units of a typed span, in seconds.
const UNITS: [(char, u64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// A time as typed: itself, or so long from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// An instant.
    At(Timestamp),
    /// This long after the command is run.
    After(Duration),
}

impl When {
    /// The instant meant, for a message.
    ///
    /// # Errors
    /// If it is later than a timestamp can say.
    pub(super) fn from(self, now: Timestamp) -> Result<prost_types::Timestamp, String> {
        let instant = match self {
            When::At(instant) => instant,
            When::After(span) => SignedDuration::try_from(span)
                .and_then(|span| now.checked_add(span))
                .map_err(|_| "the time is too far in the future".to_owned())?,
        };
        let (seconds, nanos) = (instant.as_second(), instant.subsec_nanosecond());
        Ok(prost_types::Timestamp { seconds, nanos }.normalized())
    }
}

/// A past time as typed: itself, or so long before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Past {
    /// An instant.
    At(Timestamp),
    /// This long before the command is run.
    Ago(Duration),
}

impl Past {
    /// The instant meant, for a message.
    ///
    /// # Errors
    /// If it is earlier than a timestamp can say.
    pub(super) fn from(self, now: Timestamp) -> Result<prost_types::Timestamp, String> {
        match self {
            Past::At(instant) => When::At(instant).from(now),
            Past::Ago(span) => before(now, span),
        }
    }
}

/// The instant `span` before `now`, for a message.
///
/// # Errors
/// If it is earlier than a timestamp can say.
pub(super) fn before(now: Timestamp, span: Duration) -> Result<prost_types::Timestamp, String> {
    let instant = SignedDuration::try_from(span).and_then(|span| now.checked_sub(span));
    let instant = instant.map_err(|_| "the span is too long".to_owned())?;
    let (seconds, nanos) = (instant.as_second(), instant.subsec_nanosecond());
    Ok(prost_types::Timestamp { seconds, nanos }.normalized())
}

/// The time now, by this machine's clock.
pub(super) fn now() -> Timestamp {
    Timestamp::from_microsecond(SystemClock::new().wall().as_micros()).unwrap_or(Timestamp::MAX)
}

/// Parses a time: RFC 3339, or a span from now such as `30d` or `+30d`.
pub(super) fn parse_when(text: &str) -> Result<When, String> {
    if let Ok(span) = parse_span(text.strip_prefix('+').unwrap_or(text)) {
        return Ok(When::After(span));
    }
    text.parse().map(When::At).map_err(|_| {
        "expected a time such as 2027-01-31T09:00:00Z, or a span from now such as 30d or 12h30m"
            .to_owned()
    })
}

/// Parses a past time: RFC 3339, or a span before now such as `30d`.
pub(super) fn parse_past(text: &str) -> Result<Past, String> {
    if let Ok(span) = parse_span(text) {
        return Ok(Past::Ago(span));
    }
    text.parse().map(Past::At).map_err(|_| {
        "expected a time such as 2027-01-31T09:00:00Z, or a span before now such as 30d or 12h30m"
            .to_owned()
    })
}

/// Parses a span: whole numbers with the units w, d, h, m, s, such as `90d`, `1h30m` or `0s`.
pub(super) fn parse_span(text: &str) -> Result<Duration, String> {
    let fault = || "expected a span such as 90d, 1h30m or 0s (units: w, d, h, m, s)".to_owned();
    let mut seconds = 0_u64;
    let mut number = String::new();
    for character in text.chars() {
        if character.is_ascii_digit() {
            number.push(character);
            continue;
        }
        let (_, unit) = UNITS.iter().find(|(letter, _)| *letter == character).ok_or_else(fault)?;
        let count: u64 = number.parse().map_err(|_| fault())?;
        seconds = count
            .checked_mul(*unit)
            .and_then(|part| seconds.checked_add(part))
            .ok_or_else(fault)?;
        number.clear();
    }
    if text.is_empty() || !number.is_empty() {
        return Err(fault());
    }
    Ok(Duration::from_secs(seconds))
}

/// A typed span for a message.
///
/// # Errors
/// If it is longer than a message can say.
pub(super) fn message_span(span: Duration) -> Result<prost_types::Duration, String> {
    prost_types::Duration::try_from(span).map_err(|_| "the span is too long".to_owned())
}

/// A message's time in RFC 3339, for programs.
pub(super) fn rfc3339(time: &prost_types::Timestamp) -> String {
    instant(time).map_or_else(|| raw(time), |instant| instant.to_string())
}

/// A message's time to the second, for people: `2026-11-23 05:30:12Z`.
pub(super) fn humane(time: &prost_types::Timestamp) -> String {
    instant(time)
        .map_or_else(|| raw(time), |instant| instant.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// A message's time to the minute, for people: `2026-11-23 05:30Z`.
pub(super) fn minute(time: &prost_types::Timestamp) -> String {
    instant(time)
        .map_or_else(|| raw(time), |instant| instant.strftime("%Y-%m-%d %H:%MZ").to_string())
}

/// The time of day of a message's time in UTC: `05:30:12Z`.
pub(super) fn time_of_day(time: &prost_types::Timestamp) -> String {
    instant(time).map_or_else(|| raw(time), |instant| instant.strftime("%H:%M:%SZ").to_string())
}

/// The day of a message's time in UTC, for narrow columns.
pub(super) fn day(time: &prost_types::Timestamp) -> String {
    instant(time).map_or_else(|| raw(time), |instant| instant.strftime("%Y-%m-%d").to_string())
}

/// A span for people, by its two largest units: `3 d 4 h`.
pub(super) fn humane_span(span: Duration) -> String {
    let mut rest = span.as_secs();
    let mut parts = Vec::new();
    for (letter, unit) in UNITS.into_iter().filter(|(letter, _)| *letter != 'w') {
        if rest >= unit && parts.len() < 2 {
            let name = if letter == 'm' { "min".to_owned() } else { letter.to_string() };
            parts.push(format!("{} {name}", rest / unit));
        }
        rest %= unit;
    }
    if !parts.is_empty() {
        return parts.join(" ");
    }
    if span.is_zero() { "0 s".to_owned() } else { "under 1 s".to_owned() }
}

/// A message's span for people who wait for its end: whole seconds, rounded up.
pub(super) fn humane_wait(span: &prost_types::Duration) -> String {
    let seconds = span.seconds.saturating_add(i64::from(span.nanos > 0));
    humane_span(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// A message's span for programs, as protobuf writes it in JSON: `58.25s`.
pub(super) fn span(span: &prost_types::Duration) -> String {
    let below = format!("{:09}", span.nanos);
    match below.trim_end_matches('0') {
        "" => format!("{}s", span.seconds),
        below => format!("{}.{below}s", span.seconds),
    }
}

fn instant(time: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// A time beyond what a calendar can say, which no server should send.
fn raw(time: &prost_types::Timestamp) -> String {
    format!("{} s after 1970", time.seconds)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::{
        Past, When, day, humane, humane_span, humane_wait, minute, parse_past, parse_span,
        parse_when, rfc3339, span, time_of_day,
    };

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn spans_add_up_their_parts() {
        assert_eq!(parse_span("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_span("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(parse_span("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse_span("1w1s"), Ok(Duration::from_secs(604_801)));
    }

    #[test]
    fn a_span_needs_a_unit_for_each_number_and_must_fit() {
        for text in [
            "",
            "0",
            "1h30",
            "h",
            "1y",
            "-1h",
            "1.5h",
            "1 h",
            "99999999999999999999s",
            "18446744073709551615w",
        ] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_is_an_instant_or_a_span_from_now() {
        assert_eq!(parse_when("+30d"), Ok(When::After(Duration::from_secs(30 * 86_400))));
        assert_eq!(parse_when("30d"), parse_when("+30d"));
        assert_eq!(
            parse_when("2027-01-31T09:00:00+01:00"),
            Ok(When::At(at("2027-01-31T08:00:00Z")))
        );
        for text in ["", "tomorrow", "2027-01-31", "2027-01-31T09:00:00", "+2027-01-31T09:00:00Z"] {
            assert!(parse_when(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_span_from_now_ends_that_long_after_now() {
        let now = at("2026-11-23T05:30:12.25Z");
        let time = When::After(Duration::from_secs(86_400)).from(now).expect("in range");
        assert_eq!(rfc3339(&time), "2026-11-24T05:30:12.25Z");
        assert!(When::After(Duration::from_secs(u64::MAX)).from(now).is_err());
        assert!(When::After(Duration::from_secs(10_000 * 366 * 86_400)).from(now).is_err());
    }

    #[test]
    fn a_past_time_is_an_instant_or_a_span_before_now() {
        let now = at("2026-11-23T05:30:12.25Z");
        assert_eq!(parse_past("1d"), Ok(Past::Ago(Duration::from_secs(86_400))));
        let shown =
            |text| parse_past(text).and_then(|past| past.from(now)).map(|time| rfc3339(&time));
        assert_eq!(shown("1d").as_deref(), Ok("2026-11-22T05:30:12.25Z"));
        assert_eq!(shown("2027-01-31T09:00:00+01:00").as_deref(), Ok("2027-01-31T08:00:00Z"));
        for text in ["", "+1d", "-1d", "yesterday", "99999999999w"] {
            assert!(shown(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_instant_before_1970_keeps_its_value() {
        let time =
            When::At(at("1969-12-31T23:59:59.5Z")).from(now_is_not_used()).expect("in range");
        assert_eq!((time.seconds, time.nanos), (-1, 500_000_000));
        assert_eq!(rfc3339(&time), "1969-12-31T23:59:59.5Z");
    }

    fn now_is_not_used() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    #[test]
    fn times_are_shown_to_the_second_in_utc() {
        let time = prost_types::Timestamp { seconds: 1_795_411_812, nanos: 999_000_000 };
        assert_eq!(rfc3339(&time), "2026-11-23T05:30:12.999Z");
        assert_eq!(humane(&time), "2026-11-23 05:30:12Z");
        assert_eq!(day(&time), "2026-11-23");
        assert_eq!(
            (minute(&time), time_of_day(&time)),
            ("2026-11-23 05:30Z".to_owned(), "05:30:12Z".to_owned())
        );
        assert_eq!(
            humane(&prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
            "9223372036854775807 s after 1970"
        );
    }

    #[test]
    fn a_span_of_a_message_is_written_whole_and_waited_for_to_its_end() {
        let message = |seconds, nanos| prost_types::Duration { seconds, nanos };
        let both = |span_of| (span(&span_of), humane_wait(&span_of));
        assert_eq!(both(message(0, 0)), ("0s".to_owned(), "0 s".to_owned()));
        assert_eq!(both(message(58, 1000)), ("58.000001s".to_owned(), "59 s".to_owned()));
        assert_eq!(both(message(60, 500_000_000)), ("60.5s".to_owned(), "1 min 1 s".to_owned()));
    }

    #[test]
    fn spans_are_shown_by_their_two_largest_units() {
        let shown = |seconds| humane_span(Duration::from_secs(seconds));
        assert_eq!(shown(0), "0 s");
        assert_eq!(shown(59), "59 s");
        assert_eq!(shown(5_400), "1 h 30 min");
        assert_eq!(shown(90_061), "1 d 1 h");
        assert_eq!(shown(86_400 + 5), "1 d 5 s");
        assert_eq!(humane_span(Duration::from_millis(2)), "under 1 s");
    }
}
