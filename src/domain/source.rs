//! Where a key may be used from: address ranges, and the addresses held against them.
//!
//! An IPv4 address has one form here: the IPv4-mapped IPv6 form `::ffff:a.b.c.d` is turned into it
//! on both sides, so that how a proxy writes an address does not decide.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use thiserror::Error;

/// Most ranges of one key.
pub const MAX_SOURCE_RANGES: usize = 32;

/// Bits before the IPv4 address in an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// Why a text is no address range. Never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SourceError {
    /// What is before the `/`, or all of the text, is no address.
    #[error("must begin with an IPv4 or IPv6 address")]
    BadAddress,
    /// What is after the `/` is no number of bits that the address has.
    #[error("must have after / a decimal number of bits, at most 32 (IPv4) or 128 (IPv6)")]
    BadLength,
}

/// A range of addresses, without host bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceRange(IpNet);

impl SourceRange {
    /// Parses `address/bits`, or `address` alone for just that address. Host bits are dropped. A
    /// range of IPv4-mapped addresses is that range of IPv4 addresses; a shorter IPv6 prefix, such
    /// as `::/0`, holds no IPv4 address.
    ///
    /// # Errors
    /// [`SourceError`] if the text has another form.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        // The standard library reads the address: ipnet would let octets begin with 0, which
        // other programs read as octal.
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| SourceError::BadAddress)?;
        let range = match bits {
            None => IpNet::from(address),
            Some(bits) => {
                let bits = parse_bits(bits).ok_or(SourceError::BadLength)?;
                IpNet::new(address, bits).map_err(|_| SourceError::BadLength)?
            }
        };
        Ok(SourceRange(unmapped(range).trunc()))
    }

    /// Whether `source` is in the range.
    #[must_use]
    pub fn contains(&self, source: IpAddr) -> bool {
        self.0.contains(&source.to_canonical())
    }
}

impl fmt::Display for SourceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn parse_bits(text: &str) -> Option<u8> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    if plain && !padded { text.parse().ok() } else { None }
}

fn unmapped(range: IpNet) -> IpNet {
    let IpNet::V6(v6) = range else { return range };
    let mapped = v6.addr().to_ipv4_mapped();
    let bits = v6.prefix_len().checked_sub(MAPPED_BITS);
    let v4 = mapped.zip(bits).and_then(|(address, bits)| Ipv4Net::new(address, bits).ok());
    v4.map_or(range, IpNet::V4)
}

/// The address that `text` is; none if it is none. IPv4-mapped addresses become IPv4.
#[must_use]
pub fn parse_source(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// Where a key may be used from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sources {
    /// Anywhere.
    #[default]
    Any,
    /// Only from these ranges.
    Only(Arc<[SourceRange]>),
    /// It is bound to ranges, but they could not be opened. So it may be used from nowhere.
    Unreadable,
}

impl Sources {
    /// What a request means by `ranges`: none given, no bound. Sorted, each once.
    #[must_use]
    pub fn requested(mut ranges: Vec<SourceRange>) -> Self {
        ranges.sort_unstable();
        ranges.dedup();
        if ranges.is_empty() { Sources::Any } else { Sources::Only(ranges.into()) }
    }

    /// Whether a use from `source` is allowed; none: the address is not known.
    #[must_use]
    pub fn admits(&self, source: Option<IpAddr>) -> bool {
        match self {
            Sources::Any => true,
            Sources::Only(ranges) => {
                source.is_some_and(|source| ranges.iter().any(|range| range.contains(source)))
            }
            Sources::Unreadable => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn range(text: &str) -> SourceRange {
        SourceRange::parse(text).expect("valid")
    }

    fn only(texts: &[&str]) -> Sources {
        Sources::Only(texts.iter().map(|text| range(text)).collect())
    }

    #[test]
    fn ranges_are_written_in_one_form() {
        let forms = [
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8::1/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:c000:207/128", "192.0.2.7/32"),
            ("::/0", "::/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
            ("::192.0.2.7/128", "::c000:207/128"),
        ];
        for (text, form) in forms {
            assert_eq!(range(text).to_string(), form);
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "/8", "x", "10.0.0", "010.0.0.1/8", "10.0.0.1 ", " 10.0.0.1", "fe80::1%1"]
        {
            assert_eq!(SourceRange::parse(text), Err(SourceError::BadAddress), "{text}");
        }
        let bits = ["", "33", "-1", "+8", "08", "8 ", "256", "8/8", "255.0.0.0"];
        for text in bits.map(|bits| format!("10.0.0.0/{bits}")) {
            assert_eq!(SourceRange::parse(&text), Err(SourceError::BadLength), "{text}");
        }
        assert_eq!(SourceRange::parse("::/129"), Err(SourceError::BadLength));
    }

    #[test]
    fn a_source_is_admitted_if_it_is_in_some_range() {
        let sources = only(&["192.0.2.0/24", "2001:db8::/32"]);
        for text in ["192.0.2.0", "192.0.2.255", "::ffff:192.0.2.9", "2001:db8::1"] {
            assert!(sources.admits(parse_source(text)), "{text}");
        }
        for text in ["192.0.3.0", "::ffff:192.0.3.0", "2001:db9::1", "::192.0.2.9"] {
            assert!(!sources.admits(parse_source(text)), "{text}");
        }
        let mapped = Ipv4Addr::new(192, 0, 2, 9).to_ipv6_mapped();
        assert!(sources.admits(Some(IpAddr::V6(mapped))), "normalised whoever parsed it");
        assert!(!only(&["::/0", "::ffff:0:0/95"]).admits(parse_source("::ffff:192.0.2.1")));
    }

    #[test]
    fn bound_keys_need_an_address_and_unreadable_bounds_admit_nothing() {
        let here = parse_source("192.0.2.1");
        assert!(here.is_some());
        assert!(Sources::Any.admits(None) && Sources::Any.admits(here));
        assert!(!only(&["0.0.0.0/0", "::/0"]).admits(None));
        assert!(only(&["0.0.0.0/0"]).admits(here));
        assert!(!Sources::Unreadable.admits(here) && !Sources::Unreadable.admits(None));
        assert!(!only(&[]).admits(here));
        assert_eq!(parse_source("192.0.2.1:80"), None);
        assert_eq!(parse_source(""), None);
    }

    #[test]
    fn requested_ranges_are_a_set_and_none_means_anywhere() {
        assert_eq!(Sources::requested(Vec::new()), Sources::Any);
        let twice = vec![range("::1"), range("10.0.0.1/8"), range("10.0.0.2/8")];
        assert_eq!(Sources::requested(twice), only(&["10.0.0.0/8", "::1/128"]));
    }

    proptest! {
        #[test]
        fn a_range_holds_exactly_the_addresses_that_begin_as_it_does(
            a: u32, near: u32, bits in 0..=32_u8,
        ) {
            // Differs from `a` in low bits only, so that it is near the edge of the range.
            let b = a ^ (near >> (near % 32));
            let range = range(&format!("{}/{bits}", Ipv4Addr::from(a)));
            let same = (u64::from(a ^ b) >> (32 - bits)) == 0;
            prop_assert_eq!(range.contains(IpAddr::V4(b.into())), same);
        }

        #[test]
        fn an_ipv6_range_does_too(a: u128, at in 0..128_u32, bits in 1..=128_u8) {
            let b = a ^ (1 << at);
            let range = range(&format!("{}/{bits}", Ipv6Addr::from(a)));
            prop_assert!(range.contains(IpAddr::V6(a.into())));
            prop_assert_eq!(range.contains(IpAddr::V6(b.into())), at < u32::from(128 - bits));
        }

        #[test]
        fn a_range_reads_back_as_itself(a: u128, b: u32, wide in 0..=128_u8, short in 0..=32_u8) {
            let v6 = range(&format!("{}/{wide}", Ipv6Addr::from(a)));
            let v4 = range(&format!("{}/{short}", Ipv4Addr::from(b)));
            prop_assert_eq!(range(&v6.to_string()), v6);
            prop_assert_eq!(range(&v4.to_string()), v4);
        }
    }
}
