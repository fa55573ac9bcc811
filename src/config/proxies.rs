//! `http_addr` and `[proxies]`: where proxies ask that do not speak gRPC, and what they say.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use http::HeaderName;
use serde::{Deserialize, Serialize};

use crate::domain::proxied::context::ClientAddress;

use super::{ADDR_OR_OFF, ConfigError, parse_addr_or_off, setting};

/// The most proxies one behind the other.
const MAX_HOPS: usize = 16;

/// How proxies ask over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySettings {
    /// Where HTTP is served; none: nowhere. It is not encrypted.
    pub http_addr: Option<SocketAddr>,
    /// Where the address of a client is told; none: it is not known.
    pub client_address: Option<ClientAddress>,
}

impl Default for ProxySettings {
    fn default() -> Self {
        let http_addr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080));
        ProxySettings { http_addr: Some(http_addr), client_address: None }
    }
}

impl ProxySettings {
    /// Whether HTTP is served on an address that other machines reach.
    #[must_use]
    pub fn is_beyond_loopback(&self) -> bool {
        self.http_addr.is_some_and(|address| !address.ip().is_loopback())
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileProxies {
    client_address_header: Option<String>,
    trusted_hops: Option<usize>,
}

impl FileProxies {
    pub(super) fn of(settings: &ProxySettings) -> Self {
        let address = settings.client_address.as_ref();
        FileProxies {
            client_address_header: address.map(|address| address.header.clone()),
            trusted_hops: address.map(|address| address.trusted_hops),
        }
    }

    /// The settings, each within its bounds.
    pub(super) fn settings(&self, http_addr: Option<&str>) -> Result<ProxySettings, ConfigError> {
        let http_addr = match http_addr {
            None => ProxySettings::default().http_addr,
            Some(text) => {
                parse_addr_or_off(text).ok_or_else(|| setting("http_addr", ADDR_OR_OFF))?
            }
        };
        Ok(ProxySettings { http_addr, client_address: self.client_address()? })
    }

    fn client_address(&self) -> Result<Option<ClientAddress>, ConfigError> {
        let hops = "proxies.trusted_hops";
        let Some(header) = &self.client_address_header else {
            return match self.trusted_hops {
                None => Ok(None),
                Some(_) => Err(setting(hops, "needs proxies.client_address_header")),
            };
        };
        let header = header.to_ascii_lowercase();
        if HeaderName::from_bytes(header.as_bytes()).is_err() {
            return Err(setting("proxies.client_address_header", "must be the name of a header"));
        }
        match self.trusted_hops.unwrap_or(1) {
            trusted_hops @ 1..=MAX_HOPS => Ok(Some(ClientAddress { header, trusted_hops })),
            _ => Err(setting(hops, format!("must be from 1 to {MAX_HOPS}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn a_client_is_known_by_a_header_that_is_named_and_by_no_other() {
        let read = |text: &str| Config::parse(text).map(|config| config.proxies.client_address);
        assert_eq!(read("").expect("valid"), None);
        let header = |trusted_hops| ClientAddress { header: "x-real-ip".to_owned(), trusted_hops };
        let named = "[proxies]\nclient_address_header = \"X-Real-IP\"\n";
        assert_eq!(read(named).expect("valid"), Some(header(1)));
        let two = format!("{named}trusted_hops = 2\n");
        assert_eq!(read(&two).expect("valid"), Some(header(2)));
        let served = |text| Config::parse(text).expect("valid").proxies.http_addr;
        let addresses = ["", "http_addr = \"[::1]:0\"", "http_addr = \"off\""].map(served);
        let shown = addresses.map(|address| address.map(|address| address.to_string()));
        assert_eq!(shown, [Some("127.0.0.1:8080".to_owned()), Some("[::1]:0".to_owned()), None]);
        for (text, name) in [
            ("http_addr = \"s3cret\"\n".to_owned(), "http_addr"),
            ("[proxies]\ntrusted_hops = 2\n".to_owned(), "proxies.trusted_hops"),
            (format!("{named}trusted_hops = 0\n"), "proxies.trusted_hops"),
            (
                "[proxies]\nclient_address_header = \"s3 cret\"\n".to_owned(),
                "client_address_header",
            ),
        ] {
            let said = read(&text).expect_err("refused").to_string();
            assert!(said.contains(name) && !said.contains("s3"), "{said}");
        }
    }
}
