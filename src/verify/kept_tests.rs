use super::*;
use crate::merkle::leaf_hash;

const ORIGIN: &str = "example.com/log";

fn at(position: u64) -> Position {
    Position::new(position).unwrap()
}

/// A service, a caller, an account and a key, as many numbers apart as there are fields.
fn chains() -> Chains {
    let tenant = TenantId::parse("acme").unwrap();
    let account = AccountId::parse("billing").unwrap();
    let mut accounts = Accounts::default();
    accounts.note(&Arc::new(AccountRef { tenant, account }), at(4));
    let seen = KeySeen { account: 0, last: at(5), revoked: Some(at(6)), allowed: 7, denied: 8 };
    Chains {
        service: Some(at(2)),
        callers: HashMap::from([(CallerId([1; 12]), at(3))]),
        accounts,
        keys: HashMap::from([(KeyId([2; 12]), seen)]),
        tally: Tally {
            records: 9,
            keys: 0,
            disclosed: 10,
            undisclosed: 11,
            first_time: -12,
            last_time: 13,
        },
    }
}

/// The bytes of [`chains`], by hand.
fn chains_bytes() -> Vec<u8> {
    let number = |value: u64| value.to_be_bytes().to_vec();
    [
        [9, 10, 11].map(number).concat(),
        (-12_i64).to_be_bytes().to_vec(),
        number(13),
        number(2),
        [number(1), vec![1; 12], number(3)].concat(),
        [number(1), b"\0\x04acme\0\x07billing".to_vec(), number(4)].concat(),
        [number(1), vec![2; 12], [0, 5, 6, 7, 8].map(number).concat()].concat(),
    ]
    .concat()
}

fn whole() -> (History, Vec<u8>) {
    let mut tree = Frontier::new();
    (0..3_u8).for_each(|leaf| tree.push(leaf_hash(&[leaf])));
    let peaks = tree.peaks().iter().flat_map(|peak| peak.0).collect::<Vec<_>>();
    let body = [
        b"klverif1\x01\0\x0fexample.com/log".as_slice(),
        &3_u64.to_be_bytes(),
        &[2],
        &peaks,
        &chains_bytes(),
    ]
    .concat();
    (History::resumed(tree, chains()), sealed(body))
}

fn part() -> (Part, Vec<u8>) {
    let scope = Scope::parse("acme", "billing", &KeyId([2; 12]).to_string()).unwrap();
    let root = leaf_hash(b"root");
    let body = [
        b"klverif1\x02\0\x0fexample.com/log".as_slice(),
        b"\0\x04acme\0\x07billing\0\x0c",
        &[2; 12],
        &14_u64.to_be_bytes(),
        &15_u64.to_be_bytes(),
        &root.0,
        &chains_bytes(),
    ]
    .concat();
    let part = Part { scope, chains: chains(), reached: 14, proved_in: Some((15, root)) };
    (part, sealed(body))
}

#[test]
fn the_layout_is_that_of_the_table() {
    let (history, bytes) = whole();
    assert_eq!(history.to_bytes(ORIGIN), bytes);
    assert_eq!(History::from_bytes(&bytes, ORIGIN), Some(history));
    let (part, bytes) = part();
    assert_eq!(part.to_bytes(ORIGIN), bytes);
    assert_eq!(Part::from_bytes(&bytes, ORIGIN, &part.scope), Some(part));
}

#[test]
fn what_is_of_something_else_is_not_gone_on_with() {
    let (_, bytes) = whole();
    assert_eq!(History::from_bytes(&bytes, "example.com/other"), None);
    let (part, of_part) = part();
    assert_eq!(History::from_bytes(&of_part, ORIGIN), None);
    assert_eq!(Part::from_bytes(&bytes, ORIGIN, &part.scope), None);
    assert_eq!(Part::from_bytes(&of_part, "example.com/other", &part.scope), None);
    for other in [Scope::default(), Scope { key: None, ..part.scope.clone() }] {
        assert_eq!(Part::from_bytes(&of_part, ORIGIN, &other), None);
    }
}

#[test]
fn no_byte_can_be_changed_or_missing() {
    for (bytes, reads) in [
        (
            whole().1,
            (|bytes: &[u8]| History::from_bytes(bytes, ORIGIN).is_some()) as fn(&[u8]) -> bool,
        ),
        (part().1, |bytes| Part::from_bytes(bytes, ORIGIN, &part().0.scope).is_some()),
    ] {
        assert!(reads(&bytes));
        for place in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[place] ^= 1;
            assert!(!reads(&altered), "byte {place}");
            assert!(!reads(&bytes[..place]), "{place} bytes");
        }
        assert!(!reads(&[&bytes[..], &[0]].concat()));
    }
}

#[test]
fn a_key_of_an_account_that_is_not_there_is_refused() {
    let (_, bytes) = whole();
    let mut body = bytes[..bytes.len() - HASH_BYTES].to_vec();
    let place = body.len() - 5 * 8;
    body[place..place + 8].copy_from_slice(&1_u64.to_be_bytes());
    assert_eq!(History::from_bytes(&sealed(body), ORIGIN), None);
}
