//! The name by which a client certificate speaks for a caller: a SPIFFE id or a DNS name.
//!
//! Each has one spelling, so that names are the same if their bytes are. They name services, not people.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Most bytes of a SPIFFE id (SPIFFE-ID, section 2.3).
pub const MAX_SPIFFE_ID_BYTES: usize = 2048;

/// Most bytes of the trust domain of a SPIFFE id (SPIFFE-ID, section 2.3).
const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// Most bytes of a DNS name as text (RFC 1035, section 2.3.4, less what only the wire needs).
pub const MAX_DNS_NAME_BYTES: usize = 253;

/// Most bytes of one label of a DNS name.
const MAX_LABEL_BYTES: usize = 63;

/// What every SPIFFE id begins with.
const SPIFFE_SCHEME: &str = "spiffe://";

/// A name that a certificate may speak for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateName {
    /// A URI among the certificate's names.
    Spiffe(SpiffeId),
    /// A DNS name among them.
    Dns(DnsName),
}

/// The SPIFFE id of a workload: `spiffe://<trust domain>/<path>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId(Arc<str>);

/// A DNS name in lower case, without a wildcard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(Arc<str>);

/// Why a text is no SPIFFE id of a workload. Never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SpiffeIdError {
    /// The text is too long.
    #[error("must be at most {MAX_SPIFFE_ID_BYTES} bytes")]
    TooLong,
    /// The text begins otherwise, or has no path.
    #[error("must have the form spiffe://<trust domain>/<path>")]
    BadForm,
    /// The trust domain is empty, too long or has another character.
    #[error(
        "must have a trust domain of 1 to {MAX_TRUST_DOMAIN_BYTES} lower-case letters, digits and . _ -"
    )]
    BadTrustDomain,
    /// A part of the path is empty, `.`, `..` or has another character.
    #[error(
        "must have a path whose parts are letters, digits and . _ -, none of them empty, . or .."
    )]
    BadPath,
}

/// Why a text is no DNS name. Never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DnsNameError {
    /// The text is too long.
    #[error("must be at most {MAX_DNS_NAME_BYTES} bytes")]
    TooLong,
    /// A label is empty, too long or has another character.
    #[error(
        "must be a DNS name in lower case: labels of 1 to {MAX_LABEL_BYTES} letters, digits and inner hyphens, \
         with dots between"
    )]
    BadLabel,
    /// The last label is a number, as of an address.
    #[error("must be a name, not an address")]
    Address,
}

impl SpiffeId {
    /// Parses the id of a workload (SPIFFE-ID, section 2). That of a trust domain itself, which has no path,
    /// is none.
    ///
    /// # Errors
    /// [`SpiffeIdError`] if the text has another form.
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        if text.len() > MAX_SPIFFE_ID_BYTES {
            return Err(SpiffeIdError::TooLong);
        }
        let rest = text.strip_prefix(SPIFFE_SCHEME).ok_or(SpiffeIdError::BadForm)?;
        let (domain, path) = rest.split_once('/').ok_or(SpiffeIdError::BadForm)?;
        let lower =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        let fits = (1..=MAX_TRUST_DOMAIN_BYTES).contains(&domain.len());
        if !fits || !domain.bytes().all(lower) {
            return Err(SpiffeIdError::BadTrustDomain);
        }
        let plain = |b: u8| lower(b) || b.is_ascii_uppercase();
        let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
        if !path.split('/').all(is_part) {
            return Err(SpiffeIdError::BadPath);
        }
        Ok(SpiffeId(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl DnsName {
    /// Parses a name in lower case.
    ///
    /// # Errors
    /// [`DnsNameError`] if the text has another form.
    pub fn parse(text: &str) -> Result<Self, DnsNameError> {
        if text.len() > MAX_DNS_NAME_BYTES {
            return Err(DnsNameError::TooLong);
        }
        if !text.split('.').all(is_label) {
            return Err(DnsNameError::BadLabel);
        }
        let last = text.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(DnsNameError::Address);
        }
        Ok(DnsName(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=MAX_LABEL_BYTES).contains(&label.len())
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl CertificateName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            CertificateName::Spiffe(id) => id.as_str(),
            CertificateName::Dns(name) => name.as_str(),
        }
    }

    /// The SPIFFE id, if it is one.
    #[must_use]
    pub fn spiffe_id(&self) -> Option<&str> {
        match self {
            CertificateName::Spiffe(id) => Some(id.as_str()),
            CertificateName::Dns(_) => None,
        }
    }

    /// The DNS name, if it is one.
    #[must_use]
    pub fn dns(&self) -> Option<&str> {
        match self {
            CertificateName::Dns(name) => Some(name.as_str()),
            CertificateName::Spiffe(_) => None,
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_names_a_workload_of_a_trust_domain() {
        for text in [
            "spiffe://example.org/gateway",
            "spiffe://example.org/ns/prod/sa/Gateway_1.x",
            "spiffe://a_b-c/..x/.y",
        ] {
            assert_eq!(SpiffeId::parse(text).expect(text).as_str(), text);
        }
        let longest = format!("spiffe://d/{}", "p".repeat(MAX_SPIFFE_ID_BYTES - 11));
        assert!(SpiffeId::parse(&longest).is_ok());
        assert_eq!(SpiffeId::parse(&format!("{longest}p")), Err(SpiffeIdError::TooLong));
    }

    #[test]
    fn what_has_two_spellings_or_none_is_no_spiffe_id() {
        use SpiffeIdError::{BadForm, BadPath, BadTrustDomain};
        let long_domain = format!("spiffe://{}/x", "d".repeat(MAX_TRUST_DOMAIN_BYTES + 1));
        for (text, why) in [
            ("", BadForm),
            ("https://example.org/x", BadForm),
            ("SPIFFE://example.org/x", BadForm),
            ("spiffe://example.org", BadForm),
            ("spiffe:///x", BadTrustDomain),
            ("spiffe://Example.org/x", BadTrustDomain),
            ("spiffe://example.org:80/x", BadTrustDomain),
            ("spiffe://user@example.org/x", BadTrustDomain),
            (&long_domain, BadTrustDomain),
            ("spiffe://example.org/", BadPath),
            ("spiffe://example.org/x/", BadPath),
            ("spiffe://example.org/x//y", BadPath),
            ("spiffe://example.org/x/../y", BadPath),
            ("spiffe://example.org/./x", BadPath),
            ("spiffe://example.org/x%2Fy", BadPath),
            ("spiffe://example.org/x?y", BadPath),
            ("spiffe://example.org/x#y", BadPath),
            ("spiffe://example.org/ä", BadPath),
        ] {
            assert_eq!(SpiffeId::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_dns_name_is_labels_in_lower_case() {
        for text in ["gateway", "gateway.prod.example.org", "1.example", "xn--bcher-kva.example"] {
            assert_eq!(DnsName::parse(text).expect(text).as_str(), text);
        }
        let label = "a".repeat(MAX_LABEL_BYTES);
        assert!(DnsName::parse(&label).is_ok());
        let longest = format!("{}y", "x.".repeat(126));
        assert_eq!(longest.len(), MAX_DNS_NAME_BYTES);
        assert!(DnsName::parse(&longest).is_ok());
        assert_eq!(DnsName::parse(&format!("{longest}y")), Err(DnsNameError::TooLong));
        let too_long = format!("{label}a");
        for text in ["", ".", "a.", ".a", "a..b", "A.b", "*.b", "a_b", "-a", "a-", "ä", &too_long]
        {
            assert_eq!(DnsName::parse(text), Err(DnsNameError::BadLabel), "{text}");
        }
        for text in ["10.0.0.1", "7"] {
            assert_eq!(DnsName::parse(text), Err(DnsNameError::Address), "{text}");
        }
    }
}
