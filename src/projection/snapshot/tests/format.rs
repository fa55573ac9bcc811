//! The bytes of a snapshot, built by hand from the tables in the documentation.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::house::{Place, Story};
use super::*;
use crate::domain::caller::Role;
use crate::domain::command::Act;
use crate::domain::event::Event;
use crate::domain::ids::PepperVersion;
use crate::domain::key_format::Environment;
use crate::domain::permission::Permissions;
use crate::domain::requests::{Method, Request};
use crate::domain::source::Sources;
use crate::domain::subject::Subject;
use crate::domain::tag::PepperCheck;
use crate::domain::testing::play::sources;
use crate::domain::testing::*;
use crate::merkle::leaf_hash;
use crate::random::SeededRandom;
use crate::vault::Vault;

fn num(value: u64) -> [u8; 8] {
    value.to_be_bytes()
}

/// Microseconds of `at(seconds)`.
fn time(seconds: u64) -> [u8; 8] {
    ((1_000_000_000 + seconds) * 1_000_000).to_be_bytes()
}

fn text(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn list(texts: &[&str]) -> Vec<u8> {
    let count = u32::try_from(texts.len()).unwrap().to_be_bytes();
    [count.to_vec(), texts.iter().flat_map(|word| text(word)).collect()].concat()
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    Hmac::<Sha256>::new_from_slice(key)
        .unwrap()
        .chain_update(message)
        .finalize()
        .into_bytes()
        .into()
}

/// Pepper, policy, admin, an account, a plain key, a test key with all limits, a rotation of the
/// plain key that named itself, a revocation of the other.
fn story() -> Story {
    let mut world = World::empty();
    let check = PepperCheck([0xcc; 16]);
    world.given(Subject::Service, Event::PepperRotated { version: PepperVersion(1), check });
    world.given(Subject::Service, Event::PolicyChanged(policy()));
    world.given(Subject::Caller(ADMIN), Event::CallerCreated(caller(&[Role::Admin], &[])));
    let roles = Some(vec![role_name("reader")]);
    world.does(Act::PutAccount(crate::domain::account_rules::PutAccount { roles, ..put("a") }));
    world.does(Act::CreateKey(create("a", 1)));
    let mut limited = create("a", 2);
    limited.created.environment = Environment::Test;
    limited.created.scopes = Some(Permissions::new(Vec::new()));
    limited.created.expire_time = Some(at(100));
    limited.created.sources = sources(true);
    world.does(Act::CreateKey(limited));
    let mut rotate = world.rotate(1, 3, 10);
    rotate.sources = Sources::Any;
    let request = Request { id: [7; 16], method: Method::RotateKey, digest: [8; 16] };
    world.carry_out(&named(Act::RotateKey(rotate), request)).unwrap();
    world.wait(5);
    world.does(Act::RevokeKey(revoke(2)));
    Story::of_world(world, 2)
}

#[test]
fn the_policy_of_a_restored_log_ends_with_what_the_log_is() {
    use super::super::entry::{decode_policy, encode_policy};
    use crate::domain::log_state::{LogState, Loss, TreeRoot};
    use crate::domain::policy::Policy;
    use crate::domain::signing::SigningKey;
    let at = |number| crate::domain::ids::Position::new(number).unwrap();
    let loss = Loss { generation: 2, first: at(7), last: None, root: TreeRoot([9; 32]) };
    let losses = vec![loss, Loss { generation: 3, last: Some(at(8)), ..loss }];
    let log = LogState { generation: 3, losses, ..LogState::default() };
    let nothing = [0; 8];
    let written =
        |generation: u64, last: u64| [&num(generation)[..], &num(7), &num(last), &[9; 32]].concat();
    let expected = [&nothing[..], &num(3), &[0, 0, 0, 2], &written(2, 0), &written(3, 8)].concat();
    assert_eq!(encode_policy(&Policy::default(), &log), expected);
    assert_eq!(decode_policy(&expected), Some((Policy::default(), log.clone())));
    let used = LogState { last_journal: 5, ..log.clone() };
    let with_journal = [&expected[..], &num(5)].concat();
    assert_eq!(encode_policy(&Policy::default(), &used), with_journal);
    assert_eq!(decode_policy(&with_journal), Some((Policy::default(), used)));
    let keys = vec![SigningKey([1; 32]), SigningKey([2; 32])];
    let signed = LogState { signing_keys: keys, ..log };
    let with_keys = [&expected[..], &num(0), &[2], &[1; 32], &[2; 32]].concat();
    assert_eq!(encode_policy(&Policy::default(), &signed), with_keys);
    assert_eq!(decode_policy(&with_keys), Some((Policy::default(), signed)));
    let without_keys = [&expected[..], &num(5), &[0]].concat();
    assert_eq!(decode_policy(&without_keys), None);
    let of_none = [&expected[..], &num(0)].concat();
    assert_eq!(decode_policy(&of_none), None);
    let never = encode_policy(&Policy::default(), &LogState::default());
    assert_eq!(never, nothing);
    let written_out = [&nothing[..], &num(1), &[0; 4]].concat();
    assert_eq!(decode_policy(&written_out), None);
}

#[test]
fn a_caller_with_a_name_in_certificates_ends_with_it() {
    use super::super::entry::{decode_caller, encode_caller};
    use crate::domain::caller::Caller;
    use crate::domain::certificate_name::{CertificateName, DnsName};
    let dns = CertificateName::Dns(DnsName::parse("gateway.example").unwrap());
    for (kind, name) in [(1, spiffe("spiffe://example/x")), (2, dns)] {
        let text = name.as_str().as_bytes().to_vec();
        let caller = Caller { certificate_name: Some(name), ..working_admin() };
        let unnamed = Caller { certificate_name: None, ..caller.clone() };
        let mut expected = encode_caller(ADMIN, &unnamed);
        expected[12] |= 0b1000;
        expected.extend([&[kind, 0, u8::try_from(text.len()).unwrap()][..], &text].concat());
        assert_eq!(encode_caller(ADMIN, &caller), expected);
        assert_eq!(decode_caller(&expected), Some((ADMIN, caller)));
        let at = expected.len() - text.len() - 3;
        for kind in [0, 3 - kind, 3] {
            expected[at] = kind;
            assert_eq!(decode_caller(&expected), None, "{kind}");
        }
    }
}

/// The entries of each section.
fn entries() -> [Vec<Vec<u8>>; 6] {
    let plan = |name, flags, limits: &[u32]| {
        let limits: Vec<u8> = limits.iter().flat_map(|limit| limit.to_be_bytes()).collect();
        [text(name), vec![flags], limits].concat()
    };
    let policy = [
        vec![0, 0, 0, 3],
        plan("enterprise", 0b10, &[60_000]),
        plan("standard", 0b1, &[5]),
        plan("tiny", 0b11, &[1, 2]),
        vec![0, 0, 0, 1],
        text("reader"),
        list(&["reports:read"]),
    ]
    .concat();
    let pepper = [&[0, 1][..], &[0xcc; 16]].concat();
    let admin = [
        &[0xad; 12][..],
        &[0],
        &[0, 1],
        &[9; 32],
        &[0b100_0000],
        &time(0),
        &num(3),
        &num(3),
        &[0; 4],
    ]
    .concat();
    let account = [
        b"acme\0a\0".to_vec(),
        vec![1],
        [time(0), time(0), num(4), num(4)].concat(),
        text("standard"),
        list(&[]),
        list(&["reader"]),
    ]
    .concat();
    let request = [
        &num(8)[..],
        &time(0),
        &[0xad; 12],
        &[0, 0, 0, 6],
        &[7; 16],
        &[8; 16],
        &[2],
        &text("acme"),
        &text("a"),
        &[3; 12],
    ]
    .concat();
    [vec![policy], vec![pepper], vec![admin], vec![account], keys(), vec![request]]
}

fn keys() -> Vec<Vec<u8>> {
    let key = |id: u8, flags: u8, created: u64, last: u64| {
        [
            &[id; 12][..],
            &[0, 0, 0, 0],
            &[flags],
            &[0, 1],
            &[id; 32],
            &time(0),
            &num(created),
            &num(last),
            &[0xad; 12],
        ]
        .concat()
    };
    let sealed_6 = [
        &[30][..],
        &[6; 16],
        &[0, 0, 0, 1],
        &num(7),
        &[2; 12],
        &[6 ^ 0xff; 32],
        &[0, 0, 0, 46],
        &[6; 46],
    ]
    .concat();
    let limits = [vec![0b111], num(6).to_vec(), list(&[]), time(100).to_vec(), sealed_6].concat();
    let revoked = [&[0b1000][..], &num(9), &time(5), &[1]].concat();
    let rotated = [&[0b100][..], &num(7), &[3; 12], &time(10)].concat();
    let succeeds = [&[0b1][..], &[1; 12]].concat();
    vec![
        [key(1, 0b1010, 5, 7), rotated].concat(),
        [key(2, 0b1111, 6, 9), limits, revoked].concat(),
        [key(3, 0b1010, 8, 8), succeeds].concat(),
    ]
}

#[test]
fn a_snapshot_has_the_bytes_of_its_tables() {
    let (story, place) = (story(), Place::new());
    let last = Position::new(9).unwrap();
    place.make(&story, None, last);

    let dir = tempfile::tempdir().unwrap();
    let (key_dir, data_keys) = (dir.path().join("keys"), dir.path().join("datakeys"));
    Vault::create_missing(&key_dir, &data_keys, &SeededRandom::new(1)).unwrap();
    let line = std::fs::read_to_string(key_dir.join("kek-1.key")).unwrap();
    let digits = line.split(' ').nth(2).unwrap();
    let kek: [u8; 32] = crate::domain::base62::decode(digits.as_bytes()).unwrap();
    let of_all = hmac(&kek, b"keyledger/v1/snapshot");

    let mut tree = Frontier::new();
    for frame in story.log.0.iter().flatten() {
        frame.records().for_each(|(_, bytes)| tree.push(leaf_hash(bytes)));
    }
    assert_eq!(tree.peaks().len(), 2, "9 is 1001 in binary");
    let own = hmac(&of_all, &[&num(9)[..], &tree.root().0].concat());
    let mac = |parts: &[&[u8]]| hmac(&own, &parts.concat())[..16].to_vec();

    let (mut blocks, mut index) = (Vec::new(), Vec::new());
    let order_keys: [&[u8]; 6] =
        [b"", &[0, 1], &[0xad; 12], b"acme\0a", &[1; 12], &[0, 0, 0, 0, 0, 0, 0, 8]];
    for (at, (entries, order_key)) in entries().iter().zip(order_keys).enumerate() {
        let framed = entries
            .iter()
            .map(|entry| [&u32::try_from(entry.len()).unwrap().to_be_bytes()[..], entry].concat());
        let block = framed.collect::<Vec<_>>().concat();
        let section = u8::try_from(at).unwrap() + 1;
        index.push(section);
        index.extend(u32::try_from(block.len()).unwrap().to_be_bytes());
        index.extend(u32::try_from(entries.len()).unwrap().to_be_bytes());
        index.extend(u16::try_from(order_key.len()).unwrap().to_be_bytes());
        index.extend(order_key);
        let sum = mac(&[&[1, section], &num(at as u64), &block]);
        blocks.extend([block, sum].concat());
    }
    let index_at = 137 + 64 + blocks.len();
    let header = [
        &b"KLSN"[..],
        &[0, 1],
        &[0, 1],
        &num(9),
        &tree.root().0,
        &time(5),
        &num(2),
        &num(7),
        &[1, 1, 1, 1, 3, 1].map(num).concat(),
        &num(index_at as u64),
        &num(index.len() as u64),
        &[2],
        &tree.peaks()[0].0,
        &tree.peaks()[1].0,
    ]
    .concat();
    let sum = mac(&[&[2], &header, &index]);
    assert!(place.bytes(last) == [header, blocks, index, sum].concat());
}

#[test]
fn a_newer_version_is_refused_as_such() {
    let (story, place) = (story(), Place::new());
    let last = Position::new(9).unwrap();
    place.make(&story, None, last);
    let mut bytes = place.bytes(last);
    bytes[5] = 2;
    std::fs::write(place.store.path(last), bytes).unwrap();
    let refused = place.store.open(last).unwrap_err();
    assert_eq!(refused, SnapshotError::Newer(2));
}

#[test]
fn a_life_ends_with_how_an_overlap_may_end_early_and_whether_it_did() {
    use super::super::entry::key::KeyEntry;
    let mut world = World::with_key();
    world.does(Act::RotateKey(world.rotate(1, 2, 600)));
    let key = world.keys[&key_id(1)].clone();
    let owner = Arc::clone(&key.account);
    let decode = |bytes: &[u8]| KeyEntry::decode(bytes, |_| Some(Arc::clone(&owner)));
    let written = |idle, retired| {
        let mut entry = KeyEntry { id: key_id(1), key: key.clone(), bound: None };
        entry.key.live_on(|life| {
            let rotation = life.rotation.as_mut().unwrap();
            rotation.retire_when_idle_for = idle;
            rotation.retired_at = retired;
        });
        let bytes = entry.encode(0);
        assert_eq!(decode(&bytes), Some(entry));
        bytes
    };
    let before = written(None, None);
    let flags = before.len() - 29;
    assert_eq!(before[flags], 0b100);
    let with = |added: u8, rest: &[u8]| {
        let mut bytes = [&before[..], rest].concat();
        bytes[flags] |= added;
        bytes
    };
    let idle = Some(std::time::Duration::from_micros(300));
    let retired = Position::new(77);
    assert_eq!(written(idle, None), with(0b1_0000, &num(300)));
    assert_eq!(written(idle, retired), with(0b11_0000, &[num(300), num(77)].concat()));
    // Only of a key that was rotated.
    let mut unrotated = before[..=flags].to_vec();
    unrotated[flags] = 0b1_0000;
    assert_eq!(decode(&[&unrotated[..], &num(300)].concat()), None);
    unrotated[flags] = 0b10_0000;
    assert_eq!(decode(&[&unrotated[..], &num(77)].concat()), None);
}

#[test]
fn a_key_in_use_ends_with_what_the_log_says_of_its_uses() {
    use super::super::entry::key::KeyEntry;
    use crate::domain::usage::{UseCounts, Used};
    let world = World::with_key();
    let key = world.keys[&key_id(1)].clone();
    let owner = Arc::clone(&key.account);
    let unused = KeyEntry { id: key_id(1), key, bound: None };
    let written = |last_use, last_denied| {
        let recorded = Position::new(77).unwrap();
        let counts = UseCounts { allowed: 5, denied: 6, last_use, last_denied };
        let used = Used { recorded, counts };
        let mut entry = unused.clone();
        entry.key.used = Some(Arc::new(used));
        let bytes = entry.encode(0);
        assert_eq!(KeyEntry::decode(&bytes, |_| Some(Arc::clone(&owner))), Some(entry));
        bytes
    };
    let mut before = unused.encode(0);
    before[16] |= 0b1_0000;
    let counts = [num(77), num(5), num(6)].concat();
    let both = [&before[..], &[0b11], &counts, &time(3), &time(4)].concat();
    assert_eq!(written(Some(at(3)), Some(at(4))), both);
    let denied = [&before[..], &[0b10], &counts, &time(4)].concat();
    assert_eq!(written(None, Some(at(4))), denied);
}
