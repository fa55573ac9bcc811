//! The headers of the request that is asked about.

use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use zeroize::Zeroizing;

/// Headers as they were sent, keys among them: wiped when they are dropped.
pub(super) struct Sent(Vec<(String, Zeroizing<Vec<u8>>)>);

impl Sent {
    /// The headers in either form that Envoy has for them: all of one name as one text, or, with
    /// `encode_raw_headers`, each as it came.
    pub(super) fn of(request: HttpRequest) -> Self {
        let texts = request.headers.into_iter();
        let texts = texts.map(|(name, value)| (name, Zeroizing::new(value.into_bytes())));
        let raw = request.header_map.unwrap_or_default().headers.into_iter().map(|header| {
            let (text, raw) = (header.value.into_bytes(), header.raw_value);
            (header.key, Zeroizing::new(if raw.is_empty() { text } else { raw }))
        });
        Sent(texts.chain(raw).collect())
    }

    /// All values of a name.
    pub(super) fn all(&self, name: &str) -> Vec<&[u8]> {
        let of_it = self.0.iter().filter(|(sent, _)| sent.eq_ignore_ascii_case(name));
        of_it.map(|(_, value)| value.as_slice()).collect()
    }

    /// The value of a name that is there once.
    pub(super) fn one(&self, name: &str) -> Option<&[u8]> {
        match self.all(name)[..] {
            [value] => Some(value),
            _ => None,
        }
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue};

    use super::*;

    #[test]
    fn headers_are_read_in_both_forms() {
        let texts = [("authorization".to_owned(), "Bearer a,Bearer b".to_owned())].into();
        let sent = Sent::of(HttpRequest { headers: texts, ..Default::default() });
        assert_eq!(sent.one("Authorization"), Some(&b"Bearer a,Bearer b"[..]));
        let raw = |value: &[u8]| HeaderValue {
            key: "authorization".to_owned(),
            value: String::new(),
            raw_value: value.to_owned(),
        };
        let map = HeaderMap { headers: vec![raw(b"Bearer a"), raw(b"\xff")] };
        let sent = Sent::of(HttpRequest { header_map: Some(map), ..Default::default() });
        assert_eq!(sent.all("authorization"), [&b"Bearer a"[..], b"\xff"]);
        assert_eq!(sent.one("authorization"), None);
        assert_eq!(sent.names().collect::<Vec<_>>(), ["authorization"; 2]);
    }
}
