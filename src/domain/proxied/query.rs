//! The query of a URL, as forms have it: `name=value` with `&` between them, percent-encoded, `+` for a space.

/// The most pairs that are read.
const MAX_PAIRS: usize = 128;

/// The pairs of a query; none if it is not of that form, not UTF-8, or of too many pairs: a part of it is never taken
/// for all.
#[must_use]
pub fn pairs(query: &str) -> Option<Vec<(String, String)>> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    let pairs = parts.take(MAX_PAIRS + 1).map(|part| {
        let (name, value) = part.split_once('=')?;
        Some((decoded(name)?, decoded(value)?))
    });
    let pairs: Vec<_> = pairs.collect::<Option<_>>()?;
    (pairs.len() <= MAX_PAIRS).then_some(pairs)
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(query: &str) -> Option<Vec<(String, String)>> {
        pairs(query)
    }

    #[test]
    fn a_query_is_read_as_a_form() {
        let expected = |pairs: &[(&str, &str)]| {
            let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            Some(owned.collect::<Vec<_>>())
        };
        assert_eq!(read(""), expected(&[]));
        assert_eq!(read("a=b&&c="), expected(&[("a", "b"), ("c", "")]));
        assert_eq!(read("a=b+c%3D%C3%A9&a=="), expected(&[("a", "b c=é"), ("a", "=")]));
    }

    #[test]
    fn what_is_of_another_form_is_no_query_at_all() {
        for query in ["a", "a=b&c", "a=%", "a=%4", "a=%4g", "a=%+4", "a=%ff"] {
            assert_eq!(read(query), None, "{query}");
        }
        assert_eq!(read(&"a=b&".repeat(MAX_PAIRS)).map(|pairs| pairs.len()), Some(MAX_PAIRS));
        assert_eq!(read(&"a=b&".repeat(MAX_PAIRS + 1)), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(names in proptest::collection::vec(any::<(String, String)>(), 0..8)) {
            use crate::domain::proxied::identity::encoded;
            let parts = names.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
            prop_assert_eq!(read(&parts.collect::<Vec<_>>().join("&")), Some(names));
        }
    }
}
