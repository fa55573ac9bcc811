//! From the fields of a request to the types of the house. All that is wrong with a request is told
//! at once; what is told names the field and its bound, never what the field held.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use prost_types::{FieldMask, Timestamp};
use uuid::Uuid;

use crate::app::error::{AppError, FieldViolation};
use crate::app::page::{DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, MAX_TOKEN_LEN, PageRequest};
use crate::app::rotate_key::{MAX_OVERLAP, MIN_IDLE};
use crate::domain::ids::{AccountId, AccountRef, CallerId, KeyId, Position, TenantId};
use crate::domain::key_format::{Environment, MAX_PRESENTED_BYTES};
use crate::domain::permission::{MAX_PERMISSIONS, Permission, Permissions};
use crate::domain::personal::OnBehalfOf;
use crate::domain::source::{MAX_SOURCE_RANGES, SourceRange};
use crate::domain::time::Time;
use crate::proto::v1;

/// The most violations a refusal tells: a status is sent as HTTP/2 headers, of which some clients
/// take no more than 8 KiB.
const MAX_VIOLATIONS: usize = 16;

/// The most characters of a name and of other texts of one line.
pub(super) const MAX_LINE: usize = 200;

/// The most characters of a ticket's reference. With the other bounds it keeps what one command
/// records within 32 KiB.
const MAX_TICKET: usize = 100;

/// The most characters of a comment: room for the story of an incident.
pub(super) const MAX_COMMENT: usize = 1000;

/// The most entries of a key's metadata. With the bytes of an entry it keeps a record to one frame.
const MAX_METADATA: usize = 32;
/// The most bytes of the name of an entry.
const MAX_METADATA_NAME: usize = 64;
/// The most bytes of the value of an entry.
const MAX_METADATA_VALUE: usize = 512;

/// Seconds of 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, between which timestamps are.
const TIMESTAMP_SECONDS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

const NANOS: RangeInclusive<i32> = 0..=999_999_999;

/// What is wrong with a request, so far. Every method that returns none has noted why.
#[derive(Debug, Default)]
pub(super) struct Violations(Vec<FieldViolation>);

/// Reads a whole request: what `read` makes of it if it has noted no violation.
///
/// # Errors
/// [`AppError::Invalid`] with all violations.
pub(super) fn decode<T>(read: impl FnOnce(&mut Violations) -> Option<T>) -> Result<T, AppError> {
    let mut bad = Violations::default();
    match read(&mut bad) {
        Some(value) if bad.0.is_empty() => Ok(value),
        _ => Err(AppError::Invalid(bad.0)),
    }
}

/// What `read` makes of a field that the request names; none inside if it does not name it.
pub(super) fn when<T>(named: bool, read: impl FnOnce() -> Option<T>) -> Option<Option<T>> {
    if named { read().map(Some) } else { Some(None) }
}

impl Violations {
    /// Notes that a field is not as it must be.
    pub(super) fn refuse<T>(&mut self, field: &str, must: impl Display) -> Option<T> {
        if self.0.len() < MAX_VIOLATIONS {
            self.0.push(FieldViolation::new(field, must.to_string()));
        }
        None
    }

    /// What was parsed, or a note why it could not be.
    pub(super) fn parsed<T>(&mut self, field: &str, parsed: Result<T, impl Display>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(must) => self.refuse(field, must),
        }
    }

    /// A part of the request that must be there.
    pub(super) fn required<T>(&mut self, field: &str, value: Option<T>) -> Option<T> {
        value.or_else(|| self.refuse(field, "must be set"))
    }

    /// Every item of a list of at most `most`, parsed. A longer list is not looked at.
    pub(super) fn each<I, T, E: Display>(
        &mut self,
        field: &str,
        most: usize,
        items: &[I],
        parse: impl Fn(&I) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        if items.len() > most {
            return self.refuse(field, format_args!("must have at most {most} entries"));
        }
        let mut parsed = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            match parse(item) {
                Ok(value) => parsed.push(value),
                Err(must) => {
                    let _: Option<T> = self.refuse(&format!("{field}[{at}]"), must);
                }
            }
        }
        (parsed.len() == items.len()).then_some(parsed)
    }

    /// A tenant.
    pub(super) fn tenant(&mut self, field: &str, text: &str) -> Option<TenantId> {
        self.parsed(field, TenantId::parse(text))
    }

    /// An account by the names in two fields of one message, whose path with its dot is `within`.
    pub(super) fn account(
        &mut self,
        within: &str,
        tenant: &str,
        account: &str,
    ) -> Option<AccountRef> {
        let tenant = self.tenant(&format!("{within}tenant_id"), tenant);
        let account = self.parsed(&format!("{within}account_id"), AccountId::parse(account));
        Some(AccountRef { tenant: tenant?, account: account? })
    }

    /// The id of a key.
    pub(super) fn key_id(&mut self, field: &str, text: &str) -> Option<KeyId> {
        KeyId::parse(text).or_else(|| self.refuse(field, "must be `key_` and 17 base62 digits"))
    }

    /// The id of a caller.
    pub(super) fn caller_id(&mut self, field: &str, text: &str) -> Option<CallerId> {
        let must = "must be `caller_` and 17 base62 digits";
        CallerId::parse(text).or_else(|| self.refuse(field, must))
    }

    /// The text of a key, whatever it may be.
    pub(super) fn api_key(&mut self, field: &str, text: &str) -> Option<()> {
        if text.len() > MAX_PRESENTED_BYTES {
            return self.refuse(field, format_args!("must be at most {MAX_PRESENTED_BYTES} bytes"));
        }
        Some(())
    }

    /// A name, which must be there.
    pub(super) fn name(&mut self, field: &str, text: String) -> Option<String> {
        if text.is_empty() || !fits(&text, MAX_LINE, char::is_control) {
            let must = format_args!(
                "must be 1 to {MAX_LINE} characters, none of them a control character"
            );
            return self.refuse(field, must);
        }
        Some(text)
    }

    /// A text of one line, which may be empty.
    pub(super) fn line(&mut self, field: &str, text: String) -> Option<String> {
        self.short_line(field, MAX_LINE, text)
    }

    fn short_line(&mut self, field: &str, most: usize, text: String) -> Option<String> {
        if !fits(&text, most, char::is_control) {
            let must =
                format_args!("must be at most {most} characters, none of them a control character");
            return self.refuse(field, must);
        }
        Some(text)
    }

    /// Checks a text of one line and at most `most` bytes, which may be empty.
    pub(super) fn short_text(&mut self, field: &str, text: &str, most: usize) -> Option<()> {
        if text.len() > most || text.chars().any(char::is_control) {
            let must =
                format_args!("must be at most {most} bytes without a control character among them");
            return self.refuse(field, must);
        }
        Some(())
    }

    /// A text of any lines and at most `most` characters, which may be empty.
    pub(super) fn prose(&mut self, field: &str, most: usize, text: String) -> Option<String> {
        if !fits(&text, most, |c| c.is_control() && c != '\n') {
            let must = format_args!(
                "must be at most {most} characters, none of them a control character but line feeds"
            );
            return self.refuse(field, must);
        }
        Some(text)
    }

    /// A set of permissions.
    pub(super) fn permissions(&mut self, field: &str, words: &[String]) -> Option<Permissions> {
        let words = self.each(field, MAX_PERMISSIONS, words, |word| Permission::parse(word))?;
        Some(Permissions::new(words))
    }

    /// As [`Violations::permissions`], for those that stay texts.
    pub(super) fn check_permissions(&mut self, field: &str, words: &[String]) -> Option<()> {
        self.each(field, MAX_PERMISSIONS, words, |word| Permission::check(word)).map(|_| ())
    }

    /// The scopes of a key in the message at `field`; none if there is no such message.
    pub(super) fn scopes(
        &mut self,
        field: &str,
        scopes: Option<&v1::Scopes>,
    ) -> Option<Option<Permissions>> {
        let Some(scopes) = scopes else { return Some(None) };
        self.permissions(&format!("{field}.permissions"), &scopes.permissions).map(Some)
    }

    /// Address ranges.
    pub(super) fn cidrs(&mut self, field: &str, texts: &[String]) -> Option<Vec<SourceRange>> {
        self.each(field, MAX_SOURCE_RANGES, texts, |text| SourceRange::parse(text))
    }

    /// A key's metadata. An entry at fault is not named: its name is the caller's data too.
    pub(super) fn metadata(
        &mut self,
        field: &str,
        entries: BTreeMap<String, String>,
    ) -> Option<BTreeMap<String, String>> {
        if entries.len() > MAX_METADATA {
            return self.refuse(field, format_args!("must have at most {MAX_METADATA} entries"));
        }
        let named = |name: &String| (1..=MAX_METADATA_NAME).contains(&name.len());
        let valued = |value: &String| value.len() <= MAX_METADATA_VALUE;
        let plain = |text: &String| !text.contains(char::is_control);
        if entries
            .iter()
            .all(|(name, value)| named(name) && valued(value) && plain(name) && plain(value))
        {
            return Some(entries);
        }
        let must = format_args!(
            "must have names of 1 to {MAX_METADATA_NAME} bytes and values of at most \
             {MAX_METADATA_VALUE} bytes, without control characters"
        );
        self.refuse(field, must)
    }

    /// What a key is for; a caller's credential is no key.
    pub(super) fn environment(&mut self, field: &str, word: &str) -> Option<Environment> {
        let known = Environment::parse(word).filter(|known| *known != Environment::Service);
        known.or_else(|| self.refuse(field, "must be `live` or `test`"))
    }

    /// An instant; none if it is unset. Finer parts of a second than microseconds are dropped.
    pub(super) fn time(&mut self, field: &str, time: Option<Timestamp>) -> Option<Option<Time>> {
        let Some(Timestamp { seconds, nanos }) = time else { return Some(None) };
        if !TIMESTAMP_SECONDS.contains(&seconds) || !NANOS.contains(&nanos) {
            return self
                .refuse(field, "must be in the years 0001 to 9999, its nanos 0 to 999999999");
        }
        Some(Some(Time::from_micros(seconds * 1_000_000 + i64::from(nanos / 1000))))
    }

    /// How long what is replaced still works.
    pub(super) fn overlap(&mut self, span: Option<prost_types::Duration>) -> Option<Duration> {
        let bounds = "0 s to 90 days; 0 s ends it at once";
        self.span("overlap", span, Duration::ZERO..=MAX_OVERLAP, bounds)
    }

    /// A span that must be there; `told` says its bounds.
    pub(super) fn span(
        &mut self,
        field: &str,
        span: Option<prost_types::Duration>,
        bounds: RangeInclusive<Duration>,
        told: &str,
    ) -> Option<Duration> {
        let span = span.and_then(whole_span).filter(|span| bounds.contains(span));
        span.or_else(|| self.refuse(field, format_args!("must be set, {told}")))
    }

    /// For how long nobody must use what is replaced for it to end before the overlap does; none: it does
    /// not. Parts of a microsecond are dropped.
    pub(super) fn idle(
        &mut self,
        span: Option<prost_types::Duration>,
        overlap: Option<Duration>,
    ) -> Option<Option<Duration>> {
        let Some(span) = span else { return Some(None) };
        let bounds = MIN_IDLE..=overlap.unwrap_or(MAX_OVERLAP);
        let span = whole_span(span).filter(|span| bounds.contains(span));
        let micros = |span: Duration| Duration::new(span.as_secs(), span.subsec_micros() * 1000);
        let must = "must be from 60 s to the overlap, or unset";
        span.map(|span| Some(micros(span))).or_else(|| self.refuse("retire_when_idle_for", must))
    }

    /// The name of a call; none if it has none.
    pub(super) fn request_id(&mut self, text: &str) -> Option<Option<[u8; 16]>> {
        if text.is_empty() {
            return Some(None);
        }
        // The one form of this length is the hyphenated one.
        let hyphenated = text.len() == uuid::fmt::Hyphenated::LENGTH;
        let id = Uuid::try_parse(text).ok().filter(|id| hyphenated && !id.is_nil());
        let must =
            "must be a UUID of hexadecimal digits in groups of 8-4-4-4-12, not all of them 0";
        id.map(|id| Some(id.into_bytes())).or_else(|| self.refuse("request_id", must))
    }

    /// For whom the caller says it acts; none if it says nothing.
    pub(super) fn on_behalf_of(
        &mut self,
        said: Option<&v1::OnBehalfOf>,
    ) -> Option<Option<OnBehalfOf>> {
        let Some(said) = said else { return Some(None) };
        let subject = self.line("on_behalf_of.subject", said.subject.clone());
        let ticket = self.short_line("on_behalf_of.ticket", MAX_TICKET, said.ticket.clone());
        let note = self.prose("on_behalf_of.note", MAX_LINE, said.note.clone());
        let read = OnBehalfOf { subject: subject?, ticket: ticket?, note: note? };
        Some(Some(read).filter(|read| *read != OnBehalfOf::default()))
    }

    /// Where a resource is expected to be; none if the caller does not say.
    pub(super) fn expected_position(&mut self, at: Option<u64>) -> Option<Option<Position>> {
        let Some(at) = at else { return Some(None) };
        let position = Position::new(at).map(Some);
        position.or_else(|| self.refuse("expected_position", "must be at least 1, or unset"))
    }

    /// A page of the list that `list` names.
    pub(super) fn page(&mut self, size: i32, token: String, list: Vec<u8>) -> Option<PageRequest> {
        let size = match usize::try_from(size) {
            Ok(0) => Some(DEFAULT_PAGE_SIZE),
            Ok(size) if size <= MAX_PAGE_SIZE => Some(size),
            _ => self.refuse("page_size", format_args!("must be 0 to {MAX_PAGE_SIZE}")),
        };
        let token = if token.len() <= MAX_TOKEN_LEN {
            Some(token)
        } else {
            let must =
                format_args!("must be a next_page_token, at most {MAX_TOKEN_LEN} characters");
            self.refuse("page_token", must)
        };
        Some(PageRequest { size: size?, token: token?, list })
    }

    /// The fields that a mask names, of those that it may name. Empty if there is no mask.
    pub(super) fn mask(
        &mut self,
        mask: Option<&FieldMask>,
        known: &[&'static str],
    ) -> Option<Vec<&'static str>> {
        let paths = mask.map_or(&[][..], |mask| &mask.paths);
        let find = |path: &String| known.iter().find(|known| *known == path).copied();
        let must = || format!("must be one of {}", known.join(", "));
        self.each("update_mask.paths", known.len(), paths, |path| find(path).ok_or_else(must))
    }
}

/// A span that is not negative and well-formed.
fn whole_span(span: prost_types::Duration) -> Option<Duration> {
    let (seconds, nanos) = (u64::try_from(span.seconds).ok()?, u32::try_from(span.nanos).ok()?);
    NANOS.contains(&span.nanos).then(|| Duration::new(seconds, nanos))
}

/// Whether a text has at most `most` characters and none that is `barred`.
fn fits(text: &str, most: usize, barred: impl Fn(char) -> bool) -> bool {
    text.chars().take(most + 1).count() <= most && !text.contains(barred)
}

#[cfg(test)]
#[path = "decode_tests.rs"]
pub(super) mod tests;
