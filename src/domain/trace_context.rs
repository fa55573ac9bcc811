//! The trace that a request is part of, in the form of W3C Trace Context.

use crate::domain::ids::TraceId;

/// The header that says so.
pub const TRACEPARENT: &str = "traceparent";

/// What a `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span of whoever sent it.
    pub parent: [u8; 8],
    /// Whether whoever sent it records the trace.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads `version-trace-parent-flags` in lower-case hexadecimal. One that breaks the rules counts as none.
    #[must_use]
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.split('-');
        let (version, trace) = (hex(parts.next()?, 2)?, hex(parts.next()?, 32)?);
        let (parent, flags) = (hex(parts.next()?, 16)?, hex(parts.next()?, 2)?);
        // Version 0 ends here, ff is none; a later version may go on.
        let ends = version != 0 || parts.next().is_none();
        let valid = ends && version != 0xff && trace != 0 && parent != 0;
        let [.., a, b, c, d, e, f, g, h] = parent.to_be_bytes();
        valid.then(|| TraceContext {
            trace: TraceId(trace.to_be_bytes()),
            parent: [a, b, c, d, e, f, g, h],
            sampled: flags & 1 == 1,
        })
    }
}

/// What all values of a request's `traceparent` say. Of several none is picked.
#[must_use]
pub fn context_of_all<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<TraceContext> {
    let mut values = values.into_iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    TraceContext::parse(str::from_utf8(value).ok()?)
}

/// The trace of a request, of all values of its `traceparent`.
#[must_use]
pub fn trace_of_all<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<TraceId> {
    context_of_all(values).map(|context| context.trace)
}

fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let valid = text.len() == digits && text.bytes().all(lower);
    if valid { u128::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_flag_says_whether_the_trace_is_recorded() {
        let read = |flags: &str| {
            let text = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
            TraceContext::parse(&text)
        };
        let sampled = read("01").expect("valid");
        assert_eq!(sampled.parent, [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
        assert_eq!(sampled.trace.0[..2], [0x4b, 0xf9]);
        let flags = ["00", "01", "02", "03"].map(|flags| read(flags).expect("valid").sampled);
        assert_eq!(flags, [false, true, false, true]);
        assert_eq!(read("1"), None);
    }
}
