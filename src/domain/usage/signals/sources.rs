//! Sources as they are compared: one network, one source.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Bits of an IPv6 address that name the network (RFC 4291, 2.5.4). One machine takes other addresses below
/// them from day to day (RFC 8981), and whoever has one has all of them: they are one source.
const NETWORK_BITS: u8 = 64;

/// An IPv4 address, or an IPv6 network of [`NETWORK_BITS`]. IPv4 neighbours are strangers in every large
/// network that rents out addresses, so IPv4 has no network here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceNetwork(IpAddr);

impl SourceNetwork {
    /// The network that an address is of.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        SourceNetwork(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let host = u128::MAX >> NETWORK_BITS;
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !host))
            }
        })
    }

    /// Its first address, to be named by: no other network has it.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        self.0
    }
}

impl fmt::Display for SourceNetwork {
    /// `192.0.2.1`, `2001:db8::/64`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(address) => write!(f, "{address}/{NETWORK_BITS}"),
        }
    }
}

/// Bytes of a name: the few sources of a key are never taken for each other.
pub const SOURCE_NAME_BYTES: usize = 8;

/// What a network is recognised by. It says nothing to who does not have what it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceName(pub [u8; SOURCE_NAME_BYTES]);

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> SourceNetwork {
        SourceNetwork::of(text.parse().expect("an address"))
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source_and_ipv4_neighbours_are_not() {
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
    }

    #[test]
    fn a_network_is_shown_as_such() {
        assert_eq!(network("2001:db8:0:1::7").to_string(), "2001:db8:0:1::/64");
        assert_eq!(network("192.0.2.1").to_string(), "192.0.2.1");
    }
}
