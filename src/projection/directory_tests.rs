//! Lists: their order, their pages, and that tenants are apart.

use super::*;
use crate::domain::testing::{account, at, tenant};

fn place(seconds: i64, id: u8) -> KeyPlace {
    (at(seconds), KeyId([id; 12]))
}

/// Keys added neither in the order of time nor of ids.
fn directory() -> Directory {
    let directory = Directory::default();
    for (name, (time, id)) in
        [("b", place(2, 1)), ("a", place(1, 9)), ("a", place(3, 2)), ("a", place(1, 4))]
    {
        directory.add_key(&account(name), time, id);
    }
    directory
}

#[test]
fn keys_are_in_order_of_creation_then_of_id() {
    let all = directory().keys(&tenant("acme"), None, None, 10);
    assert_eq!(all, [place(1, 4), place(1, 9), place(2, 1), place(3, 2)]);
    let of_a = directory().keys(&tenant("acme"), Some(&account("a")), None, 10);
    assert_eq!(of_a, [place(1, 4), place(1, 9), place(3, 2)]);
}

#[test]
fn pages_follow_each_other_without_gap_or_repeat() {
    let directory = directory();
    for size in 1..=5 {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page = directory.keys(&tenant("acme"), None, after, size);
            assert!(page.len() <= size);
            after = page.last().copied();
            if after.is_none() {
                break;
            }
            pages.extend(page);
            assert!(pages.len() <= 4, "pages of {size} go round");
        }
        assert_eq!(pages, directory.keys(&tenant("acme"), None, None, 10), "pages of {size}");
    }
}

#[test]
fn a_key_added_before_the_place_of_a_page_does_not_move_what_follows() {
    let directory = directory();
    let after = Some(place(1, 9));
    let rest = directory.keys(&tenant("acme"), None, after, 10);
    directory.add_key(&account("a"), at(0), KeyId([7; 12]));
    assert_eq!(directory.keys(&tenant("acme"), None, after, 10), rest);
    assert_eq!(rest, [place(2, 1), place(3, 2)]);
}

#[test]
fn a_tenants_lists_hold_nothing_of_another() {
    let directory = directory();
    let mut elsewhere = AccountRef::clone(&account("a"));
    elsewhere.tenant = tenant("other");
    directory.add_key(&Arc::new(elsewhere.clone()), at(5), KeyId([5; 12]));
    directory.add_account(&elsewhere);
    assert_eq!(directory.keys(&tenant("other"), None, None, 10), [place(5, 5)]);
    assert_eq!(directory.keys(&tenant("other"), Some(&elsewhere), None, 10), [place(5, 5)]);
    assert_eq!(directory.keys(&tenant("acme"), None, None, 10).len(), 4);
    assert!(directory.accounts(&tenant("acme"), None, 10).is_empty());
    assert!(directory.keys(&tenant("none"), None, None, 10).is_empty());
    assert!(directory.keys(&tenant("acme"), Some(&account("none")), None, 10).is_empty());
}

#[test]
fn accounts_are_in_order_of_their_ids() {
    let directory = Directory::default();
    for name in ["c", "a", "B", "b"] {
        directory.add_account(&account(name));
    }
    let names = |after: Option<&str>, limit| -> Vec<String> {
        let after = after.map(|name| account(name).account.clone());
        let ids = directory.accounts(&tenant("acme"), after.as_ref(), limit);
        ids.iter().map(ToString::to_string).collect()
    };
    assert_eq!(names(None, 10), ["B", "a", "b", "c"]);
    assert_eq!(names(None, 2), ["B", "a"]);
    assert_eq!(names(Some("a"), 2), ["b", "c"]);
    assert!(names(Some("c"), 2).is_empty());
}
