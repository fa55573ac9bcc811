//! The trace that a request is part of, in the form of W3C Trace Context.

use crate::domain::ids::TraceId;

/// The header that says so.
pub const TRACEPARENT: &str = "traceparent";

/// The trace of a request, of all values of its `traceparent`. Of several none is picked.
#[must_use]
pub fn trace_of_all<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<TraceId> {
    let mut values = values.into_iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    trace_of(str::from_utf8(value).ok()?)
}

/// The trace of a `traceparent`: `version-trace-parent-flags` in lower-case hexadecimal. One that breaks the rules
/// counts as none.
#[must_use]
pub fn trace_of(traceparent: &str) -> Option<TraceId> {
    let mut parts = traceparent.split('-');
    let (version, trace) = (hex(parts.next()?, 2)?, hex(parts.next()?, 32)?);
    let (parent, _flags) = (hex(parts.next()?, 16)?, hex(parts.next()?, 2)?);
    // Version 0 ends here, ff is none; a later version may go on.
    let ends = version != 0 || parts.next().is_none();
    let valid = ends && version != 0xff && trace != 0 && parent != 0;
    valid.then(|| TraceId(trace.to_be_bytes()))
}

fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let valid = text.len() == digits && text.bytes().all(lower);
    if valid { u128::from_str_radix(text, 16).ok() } else { None }
}
