//! The request headers that tell the service behind a proxy who calls it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::domain::proxied::credential;

/// What all of them begin with.
pub const PREFIX: &str = "x-keyledger-";

/// The key.
pub const KEY_ID: &str = "x-keyledger-key-id";
/// Its name.
pub const KEY_NAME: &str = "x-keyledger-key-name";
/// The tenant of its account.
pub const TENANT: &str = "x-keyledger-tenant";
/// Its account.
pub const ACCOUNT: &str = "x-keyledger-account";
/// `live` or `test`.
pub const ENVIRONMENT: &str = "x-keyledger-environment";
/// The account's plan.
pub const PLAN: &str = "x-keyledger-plan";
/// The account's roles.
pub const ROLES: &str = "x-keyledger-roles";
/// What the key grants.
pub const PERMISSIONS: &str = "x-keyledger-permissions";
/// The position it was decided at.
pub const POSITION: &str = "x-keyledger-position";

/// All there are.
pub const ALL: [&str; 9] =
    [KEY_ID, KEY_NAME, TENANT, ACCOUNT, ENVIRONMENT, PLAN, ROLES, PERMISSIONS, POSITION];

/// The most bytes of a list in a header: servers commonly take 8 KiB of all headers. A longer one is left out whole,
/// since a part of it would be read as all.
const MAX_LIST_BYTES: usize = 4096;

/// Whether a header of a request is one that only we may set. Many servers read `_` in a header's name as `-`.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    let begins = name.as_bytes().get(..PREFIX.len());
    let same = |(given, ours): (&u8, u8)| {
        given.eq_ignore_ascii_case(&ours) || (*given == b'_' && ours == b'-')
    };
    begins.is_some_and(|begins| begins.iter().zip(PREFIX.bytes()).all(same))
}

/// A text as the value of a header: what is not a letter, a digit or one of `-._~:*` is percent-encoded, of its UTF-8.
#[must_use]
pub fn encoded(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:*".contains(&byte) {
            value.push(char::from(byte));
        } else {
            write!(value, "%{byte:02X}").expect("a String takes all text");
        }
    }
    value
}

/// Texts as the value of a header: each encoded, with commas between them. None if there are none or too many.
pub fn list<'a>(texts: impl Iterator<Item = &'a str>) -> Option<String> {
    let value = texts.map(encoded).collect::<Vec<_>>().join(",");
    (1..=MAX_LIST_BYTES).contains(&value.len()).then_some(value)
}

/// What is to be taken out of a request whose headers have the names `sent`, when `set` are put in: all that may hold
/// a key, and all that only we may set.
pub fn to_remove<'a>(
    sent: impl Iterator<Item = &'a str>,
    set: &[(&'static str, String)],
) -> BTreeSet<String> {
    let reserved = sent.filter(|name| is_reserved(name)).map(str::to_ascii_lowercase);
    let mut remove: BTreeSet<String> = reserved.collect();
    remove.extend(ALL.iter().chain(&credential::HEADERS).map(|name| (*name).to_owned()));
    for (name, _) in set {
        remove.remove(*name);
    }
    remove
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_looks_like_ours_to_some_server_is_reserved() {
        for name in ["x-keyledger-key-id", "X-Keyledger-X", "x_keyledger_tenant", "x-keyledger-"] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["x-keyledger", "keyledger-key-id", "x-keyledgers-a", "", "xx-keyledger-a"] {
            assert!(!is_reserved(name), "{name}");
        }
        assert!(ALL.iter().all(|name| is_reserved(name)));
    }

    #[test]
    fn values_hold_nothing_that_a_server_could_read_as_more_than_one() {
        assert_eq!(encoded("reports:*"), "reports:*");
        assert_eq!(encoded("é, b\r\n%"), "%C3%A9%2C%20b%0D%0A%25");
        assert_eq!(list(["a,b", "c"].into_iter()).as_deref(), Some("a%2Cb,c"));
        assert_eq!(list(std::iter::empty()), None);
        let long = "a".repeat(100);
        assert_eq!(list(std::iter::repeat_n(long.as_str(), 41)), None);
    }

    #[test]
    fn keys_and_what_is_ours_are_taken_out_but_what_is_set() {
        let set = [(TENANT, "acme".to_owned())];
        let sent = ["accept", "x-keyledger-tenant", "X_Keyledger_Tenant", "x-keyledger-new"];
        let remove = to_remove(sent.into_iter(), &set);
        for name in ["authorization", "x-api-key", "x_keyledger_tenant", "x-keyledger-new", KEY_ID]
        {
            assert!(remove.contains(name), "{name}");
        }
        assert!(!remove.contains(TENANT) && !remove.contains("accept"));
    }

    proptest! {
        #[test]
        fn nothing_reserved_stays_that_is_not_set(sent in "[xX][-_]keyledger[-_a-z]{0,9}") {
            let set = [(ROLES, "a".to_owned())];
            let remove = to_remove(std::iter::once(sent.as_str()), &set);
            prop_assert!(!is_reserved(&sent) || sent == ROLES || remove.contains(&sent.to_lowercase()));
        }

        #[test]
        fn an_encoded_text_is_visible_ascii_without_separators(text: String) {
            let bytes = encoded(&text).into_bytes();
            prop_assert!(bytes.iter().all(|byte| byte.is_ascii_graphic() && !b",;\"".contains(byte)));
        }
    }
}
