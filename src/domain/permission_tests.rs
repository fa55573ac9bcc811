//! Tests of permissions.

use super::*;
use proptest::prelude::*;

fn p(text: &str) -> Permission {
    Permission::parse(text).expect("valid")
}

fn ps(texts: &[&str]) -> Permissions {
    Permissions::new(texts.iter().map(|text| p(text)).collect())
}

#[test]
fn permissions_keep_to_their_form() {
    for fine in ["a", "*", "a:*", "reports:read:all", "A.b_c~d-9:x", &"x".repeat(128)] {
        assert_eq!(p(fine).to_string(), fine);
    }
    let bad = [
        ("", PermissionError::EmptyPart),
        (":", PermissionError::EmptyPart),
        ("a:", PermissionError::EmptyPart),
        (":a", PermissionError::EmptyPart),
        ("a::b", PermissionError::EmptyPart),
        ("*:a", PermissionError::MisplacedWildcard),
        ("a:*:b", PermissionError::MisplacedWildcard),
        ("a*", PermissionError::MisplacedWildcard),
        ("a:b*", PermissionError::MisplacedWildcard),
        ("**", PermissionError::MisplacedWildcard),
        ("a b", PermissionError::BadCharacter),
        ("a/b", PermissionError::BadCharacter),
        ("ä", PermissionError::BadCharacter),
        (&"x".repeat(129), PermissionError::TooLong),
    ];
    for (text, error) in bad {
        assert_eq!(Permission::parse(text), Err(error), "{text}");
    }
}

#[test]
fn a_pattern_covers_what_is_below_it_and_not_itself_shortened() {
    for covered in ["reports:read", "reports:read:all", "reports:*", "reports:read:*"] {
        assert!(p("reports:*").covers(&p(covered)), "{covered}");
        assert!(p("*").covers(&p(covered)), "{covered}");
    }
    for not in ["reports", "reportsx:read", "report:read", "*", "Reports:read"] {
        assert!(!p("reports:*").covers(&p(not)), "{not}");
    }
    assert!(!p("reports").covers(&p("reports:read")));
    assert!(!p("reports:read").covers(&p("reports:*")));
    assert!(p("*").covers(&p("reports")));
    assert!(p("*").covers(&p("*")));
}

#[test]
fn a_set_is_sorted_and_has_each_once_and_keeps_what_is_redundant() {
    let set = ps(&["b", "a:*", "b", "a:x"]);
    assert_eq!(set.iter().map(Permission::as_str).collect::<Vec<_>>(), ["a:*", "a:x", "b"]);
    assert_eq!(set.len(), 3);
    assert!(!set.is_empty());
    assert!(Permissions::default().is_empty());
    assert!(!Permissions::default().cover(&p("a")));
    assert_eq!(ps(&["a", "b"]).union(&ps(&["c", "b"])), ps(&["a", "b", "c"]));
}

#[test]
fn narrowing_keeps_what_both_sides_hold() {
    let account = ps(&["reports:*", "users:read", "keys:*"]);
    assert_eq!(account.narrowed_by(&ps(&["*"])), ps(&["reports:*", "users:read", "keys:*"]));
    assert_eq!(
        account.narrowed_by(&ps(&["reports:read", "users:*", "billing:*"])),
        ps(&["reports:read", "users:read"])
    );
    assert_eq!(account.narrowed_by(&ps(&["keys:a:*", "keys:a:b"])), ps(&["keys:a:*"]));
    assert_eq!(account.narrowed_by(&Permissions::default()), Permissions::default());
}

#[test]
fn names_keep_to_their_form() {
    for fine in ["a", "standard", "a-b_9", &"x".repeat(64)] {
        assert_eq!(RoleName::parse(fine).expect("valid").as_str(), fine);
        assert_eq!(PlanName::parse(fine).expect("valid").to_string(), fine);
    }
    for bad in ["", "A", "9a", "_a", "a b", "aB", "ä"] {
        assert_eq!(PlanName::parse(bad), Err(NameError::BadForm), "{bad}");
    }
    assert_eq!(RoleName::parse(&"x".repeat(65)), Err(NameError::TooLong));
}

/// From few parts, so that covering is frequent.
fn any_permission() -> impl Strategy<Value = Permission> {
    "([ab]:){0,3}[ab*]".prop_map(|text| p(&text))
}

fn any_permissions() -> impl Strategy<Value = Permissions> {
    prop::collection::vec(any_permission(), 0..5).prop_map(Permissions::new)
}

/// What covering means, part by part, for a permission that is no pattern.
fn holds(pattern: &Permission, permission: &Permission) -> bool {
    let pattern: Vec<&str> = pattern.as_str().split(':').collect();
    let parts: Vec<&str> = permission.as_str().split(':').collect();
    match pattern.split_last() {
        Some((&"*", stem)) => parts.len() > stem.len() && parts.starts_with(stem),
        _ => parts == pattern,
    }
}

proptest! {
    #[test]
    fn covering_agrees_with_its_meaning(a in any_permission(), b in "([ab]:){0,3}[ab]") {
        prop_assert_eq!(a.covers(&p(&b)), holds(&a, &p(&b)));
    }

    #[test]
    fn a_covered_pattern_stands_for_no_more(
        a in any_permission(), b in any_permission(), c in "([ab]:){0,3}[ab]",
    ) {
        if a.covers(&b) && holds(&b, &p(&c)) {
            prop_assert!(holds(&a, &p(&c)));
        }
    }

    #[test]
    fn covering_is_a_partial_order(
        a in any_permission(), b in any_permission(), c in any_permission(),
    ) {
        prop_assert!(a.covers(&a));
        prop_assert!(!(a.covers(&b) && b.covers(&c)) || a.covers(&c));
        prop_assert_eq!(a.covers(&b) && b.covers(&a), a == b);
    }

    #[test]
    fn narrowing_keeps_exactly_what_both_sides_cover(
        account in any_permissions(), scopes in any_permissions(), one in any_permission(),
    ) {
        let both = account.cover(&one) && scopes.cover(&one);
        prop_assert_eq!(account.narrowed_by(&scopes).cover(&one), both);
    }

    #[test]
    fn a_narrowed_set_has_no_word_too_many(
        account in any_permissions(), scopes in any_permissions(),
    ) {
        let narrowed = account.narrowed_by(&scopes);
        for one in narrowed.iter() {
            prop_assert!(!narrowed.iter().any(|other| other != one && other.covers(one)));
        }
        prop_assert_eq!(&narrowed, &Permissions::new(narrowed.iter().cloned().collect()));
        prop_assert_eq!(&narrowed, &scopes.narrowed_by(&account));
    }
}
