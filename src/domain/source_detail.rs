//! How exactly it is shown where uses came from: whole addresses are personal data, and who asks how keys are used
//! needs their networks at most.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits of an IPv4 address that are left of it as a network: 256 addresses, commonly the smallest routed block.
const IPV4_BITS: u8 = 24;

/// Bits of an IPv6 address that are left of it as a network: what one site is commonly given (RFC 6177).
const IPV6_BITS: u8 = 48;

/// How exactly sources are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceDetail {
    /// As addresses.
    #[default]
    Address,
    /// As networks: the first 24 bits of an IPv4 address, the first 48 of an IPv6 address.
    Network,
}

impl SourceDetail {
    /// What is shown of an address: itself, or the first address of its network.
    #[must_use]
    pub fn of(self, address: IpAddr) -> IpAddr {
        match (self, address.to_canonical()) {
            (SourceDetail::Address, address) => address,
            (SourceDetail::Network, IpAddr::V4(address)) => {
                let kept = !(u32::MAX >> IPV4_BITS);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & kept))
            }
            (SourceDetail::Network, IpAddr::V6(address)) => {
                let kept = !(u128::MAX >> IPV6_BITS);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & kept))
            }
        }
    }

    /// The same as text: `192.0.2.7` or `192.0.2.0/24`, `2001:db8::7` or `2001:db8::/48`.
    #[must_use]
    pub fn text(self, address: IpAddr) -> String {
        let shown = self.of(address);
        match (self, shown) {
            (SourceDetail::Address, _) => shown.to_string(),
            (SourceDetail::Network, IpAddr::V4(_)) => format!("{shown}/{IPV4_BITS}"),
            (SourceDetail::Network, IpAddr::V6(_)) => format!("{shown}/{IPV6_BITS}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(address: &str) -> [String; 2] {
        let address = address.parse().expect("an address");
        [SourceDetail::Address, SourceDetail::Network].map(|detail| detail.text(address))
    }

    #[test]
    fn of_a_network_its_addresses_cannot_be_told_apart_and_neighbours_can() {
        assert_eq!(texts("192.0.2.7"), ["192.0.2.7", "192.0.2.0/24"]);
        assert_eq!(texts("::ffff:192.0.2.255"), ["192.0.2.255", "192.0.2.0/24"]);
        assert_eq!(texts("192.0.3.7")[1], "192.0.3.0/24");
        assert_eq!(texts("2001:db8:1:2::3"), ["2001:db8:1:2::3", "2001:db8:1::/48"]);
        assert_eq!(texts("2001:db8:1:ffff:ffff:ffff:ffff:ffff")[1], "2001:db8:1::/48");
        assert_eq!(texts("2001:db8:2::")[1], "2001:db8:2::/48");
    }
}
