//! What is read of certificates: until when the server's is valid, and what a client's names.

use std::time::Duration;

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::app::identify::certificate::{ClientCertificate, MAX_NAMES};
use crate::app::transport::Validity;
use crate::domain::certificate_name::{CertificateName, DnsName, SpiffeId};
use crate::domain::time::Time;

/// From when until when a certificate is valid; none if it is no certificate.
pub(super) fn validity(der: &CertificateDer<'_>) -> Option<Validity> {
    Certificate::from_der(der).ok().map(|certificate| validity_of(&certificate))
}

fn validity_of(certificate: &Certificate) -> Validity {
    let time = |since: Duration| Time::EPOCH.plus(since);
    let validity = certificate.tbs_certificate().validity();
    Validity {
        from: time(validity.not_before.to_unix_duration()),
        until: time(validity.not_after.to_unix_duration()),
    }
}

/// What a client's certificate says, which rustls has verified. One that cannot be told what it names, since it
/// breaks the rules or names too much, names nobody.
pub(super) fn of_client(der: &CertificateDer<'_>) -> ClientCertificate {
    let read = || {
        let certificate = Certificate::from_der(der).ok()?;
        let names = names(&certificate)?;
        Some(ClientCertificate::new(names, validity_of(&certificate).until))
    };
    read().unwrap_or_else(|| {
        tracing::debug!("a client certificate names nobody: it breaks the rules or names too much");
        ClientCertificate::new(Vec::new(), Time::EPOCH)
    })
}

/// What it names among its subject alternative names. Names of other kinds, and those that no caller can have, are
/// left out.
fn names(certificate: &Certificate) -> Option<Vec<CertificateName>> {
    let found = certificate.tbs_certificate().get_extension::<SubjectAltName>().ok()?;
    let Some((_critical, SubjectAltName(found))) = found else { return Some(Vec::new()) };
    let names: Vec<_> = found.iter().filter_map(name).collect();
    // A workload has one id (X509-SVID, section 2).
    let ids = names.iter().filter(|name| name.spiffe_id().is_some()).count();
    (ids <= 1 && names.len() <= MAX_NAMES).then_some(names)
}

fn name(name: &GeneralName) -> Option<CertificateName> {
    match name {
        GeneralName::UniformResourceIdentifier(uri) => {
            SpiffeId::parse(uri.as_str()).ok().map(CertificateName::Spiffe)
        }
        GeneralName::DnsName(name) => {
            let name = DnsName::parse(&name.as_str().to_ascii_lowercase());
            name.ok().map(CertificateName::Dns)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType, date_time_ymd};

    use super::*;

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(text.try_into().unwrap())
    }

    fn certificate(names: Vec<SanType>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2030, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn named(names: Vec<SanType>) -> Vec<String> {
        let said = of_client(&certificate(names));
        said.names().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn when_a_certificate_is_valid_is_read_from_it() {
        let seconds = |seconds: i64| Time::from_micros(seconds * 1_000_000);
        let read = validity(&certificate(Vec::new())).unwrap();
        assert_eq!((read.from, read.until), (seconds(1_577_836_800), seconds(1_893_456_000)));
        assert_eq!(validity(&CertificateDer::from(vec![0x30, 0])), None);
    }

    #[test]
    fn a_client_is_named_by_its_spiffe_id_and_its_dns_names() {
        let all =
            vec![uri("spiffe://example.org/gateway"), dns("Gateway.example.org"), dns("gateway")];
        let expected = ["spiffe://example.org/gateway", "gateway.example.org", "gateway"];
        assert_eq!(named(all), expected);
    }

    #[test]
    fn names_that_no_caller_can_have_are_left_out() {
        let others = vec![
            SanType::IpAddress([127, 0, 0, 1].into()),
            SanType::Rfc822Name("ada@example.org".try_into().unwrap()),
            uri("https://example.org/gateway"),
            uri("spiffe://example.org"),
            dns("*.example.org"),
        ];
        assert_eq!(named(others), [""; 0]);
        assert_eq!(named(Vec::new()), [""; 0]);
    }

    #[test]
    fn a_certificate_with_two_ids_or_too_many_names_or_none_at_all_names_nobody() {
        let two = vec![uri("spiffe://example.org/a"), uri("spiffe://example.org/b")];
        assert_eq!(named(two), [""; 0]);
        let numbered = |count: usize| (0..count).map(|n| dns(&format!("gateway-{n}"))).collect();
        assert_eq!(named(numbered(MAX_NAMES)).len(), MAX_NAMES);
        assert_eq!(named(numbered(MAX_NAMES + 1)), [""; 0]);
        assert!(of_client(&CertificateDer::from(vec![0x30, 0])).names().is_empty());
    }
}
