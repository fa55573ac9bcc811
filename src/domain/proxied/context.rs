//! Where a request comes from.

use std::net::IpAddr;
use std::str::from_utf8;

use crate::domain::source::parse_source;
use crate::domain::usage::MAX_AGENT;

/// What the client's program calls itself; as much of it as is kept. Empty if that is not visible ASCII.
#[must_use]
pub fn agent(value: Option<&[u8]>) -> String {
    let visible = |text: &&str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let text = value.and_then(|value| from_utf8(value).ok()).filter(visible).unwrap_or_default();
    // Any place is one between characters.
    text.get(..MAX_AGENT).unwrap_or(text).to_owned()
}

/// Where a proxy writes the address of its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// The header, in lower case.
    pub header: String,
    /// How many proxies write there whose word counts, the one that asks us included. At least 1.
    pub trusted_hops: usize,
}

/// The client's address in all values of a header to which each proxy on the way adds, at its end, whom it was asked
/// by: so many from the right as there are proxies whose word counts, the one that asks us included. What is further
/// left the client may have written itself. None if there are fewer, or that is no address.
#[must_use]
pub fn client_address(values: &[&[u8]], trusted_hops: usize) -> Option<IpAddr> {
    let entries = values.iter().rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
    let entry = entries.into_iter().nth(trusted_hops.checked_sub(1)?)?;
    parse_source(from_utf8(entry).ok()?.trim_matches([' ', '\t']))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(values: &[&str], trusted_hops: usize) -> Option<String> {
        let values: Vec<_> = values.iter().map(|value| value.as_bytes()).collect();
        client_address(&values, trusted_hops).map(|address| address.to_string())
    }

    #[test]
    fn an_address_is_counted_from_the_right() {
        let of = |hops| address(&["192.0.2.1, 192.0.2.2", "192.0.2.3,\t2001:db8::4 "], hops);
        let at = ["2001:db8::4", "192.0.2.3", "192.0.2.2", "192.0.2.1"];
        for (hops, at) in (1..).zip(at) {
            assert_eq!(of(hops).as_deref(), Some(at), "{hops}");
        }
        assert_eq!(of(5), None);
        assert_eq!(of(0), None);
    }

    #[test]
    fn what_is_no_address_is_no_source_and_nothing_takes_its_place() {
        for text in ["", "unknown", "192.0.2.1:80", "192.0.2.1, ", "192.0.2.1, x"] {
            assert_eq!(address(&[text], 1), None, "{text}");
        }
        assert_eq!(client_address(&[b"192.0.2.1,\xff"], 1), None);
        assert_eq!(address(&["::ffff:192.0.2.1"], 1).as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn an_agent_is_visible_text_of_bounded_length() {
        assert_eq!(agent(Some(b"curl/8.1 (x)")), "curl/8.1 (x)");
        assert_eq!(agent(None), "");
        assert_eq!(agent(Some("é".as_bytes())), "");
        assert_eq!(agent(Some(b"a\nb")), "");
        assert_eq!(agent(Some(&[b'a'; 1000])).len(), MAX_AGENT);
    }

    proptest! {
        #[test]
        fn what_a_client_sends_changes_nothing_right_of_it(
            sent in proptest::collection::vec("[ -~]{0,40}", 0..4), hops in 1..4_usize,
        ) {
            let trusted = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
            let mut values: Vec<&[u8]> = sent.iter().map(|value| value.as_bytes()).collect();
            values.extend(trusted.iter().map(|value| value.as_bytes()));
            let expected = trusted[trusted.len() - hops].parse().ok();
            prop_assert_eq!(client_address(&values, hops), expected);
        }
    }
}
