//! Which text of a request is the key.

/// The header that is looked at first, in the form `Bearer <key>`.
pub const AUTHORIZATION: &str = "authorization";

/// The header that holds a key alone, looked at if `authorization` holds none.
pub const X_API_KEY: &str = "x-api-key";

/// Headers that may hold a key: the service behind is to get none of them.
pub const HEADERS: [&str; 2] = [AUTHORIZATION, X_API_KEY];

/// Stands for what was sent in a form that holds no key: it is malformed, and told as one with a scheme.
const NO_KEY: &str = "Bearer ";

/// The key that a request presents, of all values of its two headers; empty if it presents none. What is there and
/// no key, such as two values, another scheme, or bytes that are no text, is answered as a text that is malformed.
///
/// One of two keys is never chosen: the proxy and the service behind might choose the other.
#[must_use]
pub fn presented<'a>(authorization: &[&'a [u8]], x_api_key: &[&'a [u8]]) -> &'a str {
    let bearer = match authorization {
        [] => None,
        [value] => Some(bearer(value)),
        _ => return NO_KEY,
    };
    match (bearer, x_api_key) {
        (Some(Some(key)), _) => text(key),
        (None, []) => "",
        // Another scheme, and nothing beside it.
        (Some(None), []) => NO_KEY,
        (_, [key]) => text(key),
        _ => NO_KEY,
    }
}

/// Whether a value of `authorization` is one that holds a key, if a bad one: another scheme is the service's own.
#[must_use]
pub fn is_bearer(value: &[u8]) -> bool {
    bearer(value).is_some()
}

/// What follows the scheme, if that is `Bearer`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked("bearer".len())?;
    let of_it = rest.is_empty() || rest.starts_with(b" ");
    (of_it && scheme.eq_ignore_ascii_case(b"bearer")).then(|| rest.get(1..).unwrap_or_default())
}

fn text(key: &[u8]) -> &str {
    std::str::from_utf8(key).unwrap_or(NO_KEY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::key_format::{KeyPrefix, KeyProblem, parse};

    fn of(authorization: &[&'static str], x_api_key: &[&'static str]) -> &'static str {
        let bytes = |values: &[&'static str]| -> Vec<_> {
            values.iter().map(|value| value.as_bytes()).collect()
        };
        presented(&bytes(authorization), &bytes(x_api_key))
    }

    #[test]
    fn a_bearer_goes_before_a_key_alone() {
        assert_eq!(of(&["Bearer k"], &[]), "k");
        assert_eq!(of(&["bEARER k"], &["l"]), "k");
        assert_eq!(of(&[], &["l"]), "l");
        assert_eq!(of(&["Basic k"], &["l"]), "l", "the service behind may have its own scheme");
    }

    #[test]
    fn nothing_and_an_empty_bearer_present_no_key() {
        for (authorization, x_api_key) in
            [(&[][..], &[][..]), (&["Bearer"], &[]), (&["Bearer "], &["l"]), (&[], &[""])]
        {
            assert_eq!(of(authorization, x_api_key), "", "{authorization:?} {x_api_key:?}");
        }
    }

    #[test]
    fn what_is_no_key_is_malformed_and_never_chosen_from() {
        let malformed: [(&[&'static str], &[&'static str]); 8] = [
            (&["Bearer k", "Bearer k"], &[]),
            (&["Bearer k", "Bearer k"], &["l"]),
            (&["Basic k"], &[]),
            (&["k"], &[]),
            (&["Bearerk"], &[]),
            (&[""], &[]),
            (&[], &["l", "l"]),
            (&["Basic k"], &["l", "m"]),
        ];
        for (authorization, x_api_key) in malformed {
            assert_eq!(of(authorization, x_api_key), NO_KEY, "{authorization:?} {x_api_key:?}");
        }
        assert_eq!(presented(&[b"Bearer \xff"], &[]), NO_KEY);
        assert_eq!(presented(&[], &[b"\xff"]), NO_KEY);
        let told = parse(&KeyPrefix::default(), NO_KEY).err();
        assert_eq!(told, Some(KeyProblem::HasScheme));
    }

    proptest! {
        #[test]
        fn a_key_is_the_whole_of_what_follows_the_scheme(
            authorization in proptest::collection::vec(any::<Vec<u8>>(), 0..3),
            x_api_key in proptest::collection::vec(any::<Vec<u8>>(), 0..3),
        ) {
            let [bearers, keys] = [&authorization, &x_api_key]
                .map(|values| values.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let key = presented(&bearers, &keys);
            let whole = |value: &Vec<u8>| value == key.as_bytes() || value.ends_with(&[b" ", key.as_bytes()].concat());
            let sent = authorization.iter().chain(&x_api_key).any(whole);
            prop_assert!(key.is_empty() || key == NO_KEY || sent);
        }
    }
}
