//! Rebuilds of snapshots from the log, offline.

use std::fs;

use super::house::Place;
use super::snapshots::{lived, place, snapshots, started};
use super::*;
use crate::app::check::{Report, Settings, check};
use crate::app::rebuild::{
    RebuildError, Rebuilt, TilesRebuilt, UsageRebuilt, rebuild, rebuild_tiles, rebuild_usage,
};
use crate::domain::account::AccountStatus;
use crate::domain::ids::Position;
use crate::domain::testing::{account, at};
use crate::domain::usage::rules::RecordUses;
use crate::progress::Silent;
use crate::projection::snapshot::SnapshotError;
use crate::projection::usage::testing as usage;

fn rebuilt(place: &Place) -> Rebuilt {
    rebuild(&place.config, &Silent).unwrap()
}

/// The newest snapshot's position and bytes.
fn newest(place: &Place) -> (Position, Vec<u8>) {
    let file = snapshots(place).remove(0);
    let digits = file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    (Position::new(digits).unwrap(), fs::read(file).unwrap())
}

#[test]
fn a_snapshot_made_while_serving_is_what_a_fold_from_the_beginning_gives() {
    let place = place();
    lived(&place);
    let (position, bytes) = newest(&place);
    assert_eq!(rebuilt(&place), Rebuilt::Identical(position));
    assert_eq!(newest(&place), (position, bytes));
    assert_eq!(rebuilt(&place), Rebuilt::Identical(position), "and leaves nothing behind");
}

#[test]
fn a_damaged_snapshot_is_replaced_by_the_same_bytes() {
    let place = place();
    lived(&place);
    let (position, bytes) = newest(&place);
    let mut damaged = bytes.clone();
    damaged[200] ^= 1;
    fs::write(&snapshots(&place)[0], damaged).unwrap();
    let Rebuilt::Replaced { position: at, .. } = rebuilt(&place) else { panic!("not replaced") };
    assert_eq!((at, newest(&place)), (position, (position, bytes)));
}

#[test]
fn a_missing_snapshot_is_made_at_the_end_of_the_last_sealed_volume() {
    let place = place();
    lived(&place);
    fs::remove_dir_all(place.path("snapshots")).unwrap();
    let Rebuilt::Made(position) = rebuilt(&place) else { panic!("not made") };
    assert_eq!(newest(&place).0, position);
    assert!(started(&place).1, "and the next start uses it");
}

#[test]
fn a_whole_snapshot_that_the_log_does_not_give_is_named_and_put_aside() {
    let place = place();
    lived(&place);
    let (position, bytes) = newest(&place);
    // Whole by its MACs, as only a bug of this program or whoever holds the key could make it.
    let vault = Vault::open(&place.path("keys"), &place.path("datakeys")).unwrap();
    let keys = vault.data_keys.snapshot_keys();
    let file = snapshots(&place).remove(0);
    let key = crate::projection::snapshot::testing::forge_first_key(&file, &keys);
    let Rebuilt::Differed { position: at_position, at, aside } = rebuilt(&place) else {
        panic!("not found")
    };
    assert_eq!((at_position, at), (position, format!("keys: {key}")));
    assert!(aside.exists());
    assert_eq!(newest(&place), (position, bytes));
    assert_eq!(rebuilt(&place), Rebuilt::Identical(position));
}

#[test]
fn a_snapshot_whose_place_the_log_has_not_is_an_error_and_stays() {
    let place = place();
    lived(&place);
    let file = place.path("snapshots/00000000000000099999.kls");
    fs::write(&file, b"KLSN").unwrap();
    let refused = rebuild(&place.config, &Silent).unwrap_err();
    assert!(matches!(refused, RebuildError::Build(_)), "{refused}");
    assert_eq!(fs::read(&file).unwrap(), b"KLSN");
}

#[test]
fn a_log_without_a_sealed_volume_has_no_snapshot_to_make() {
    let place = Place::new();
    place.start().close();
    assert_eq!(rebuilt(&place), Rebuilt::Nothing);
    assert!(matches!(rebuild(&place.config, &Silent), Ok(Rebuilt::Nothing)));
}

#[test]
fn a_rebuild_while_a_server_runs_is_refused() {
    let place = place();
    let house = place.start();
    let refused = rebuild(&place.config, &Silent).unwrap_err();
    assert!(matches!(refused, RebuildError::DataDir(DataDirError::InUse(_))), "{refused}");
    house.close();
}

#[test]
fn a_snapshot_made_under_an_older_key_is_compared_under_that_key() {
    let place = place();
    lived(&place);
    let position = newest(&place).0;
    let other = Place::new();
    other.start().close();
    let vault_file = |version| format!("keys/kek-{version}.key");
    let line = fs::read_to_string(other.path(&vault_file(1))).unwrap();
    let digits = line.split(' ').nth(2).unwrap();
    let checked = format!("keyledger-kek 2 {digits}");
    let crc = crc32fast::hash(checked.as_bytes()).to_be_bytes();
    let line = format!("{checked} {}\n", crate::domain::base62::encode(&crc));
    crate::durable_file::write_new(&place.path(&vault_file(2)), line.as_bytes(), 0o600).unwrap();
    assert_eq!(rebuilt(&place), Rebuilt::Identical(position));
    fs::write(&snapshots(&place)[0], b"").unwrap();
    let Rebuilt::Replaced { reason, .. } = rebuilt(&place) else { panic!("not replaced") };
    assert!(matches!(reason, SnapshotError::Damaged(_)), "{reason}");
    assert!(started(&place).1);
}

/// A service that has uses on record and has folded them; then it is stopped.
fn folded(place: &Place) -> Position {
    let key = lived(place);
    let house = place.start();
    for part in 0..3 {
        let (window, _) = usage::folded(&[usage::plain_use(key, &account("a"), at(part.into()))]);
        let (account, journal, private) = (account("a"), 1, None);
        let act = Act::RecordUses(RecordUses { key, account, journal, part, window, private });
        own_command::commit(&house.opened.app, Lane::Background, Mechanism::Service, act).unwrap();
    }
    let head = house.head().unwrap();
    while house.opened.app.figures().usage_projection.position < Some(head) {
        std::thread::yield_now();
    }
    house.close();
    Position::new(place.facts().len() as u64).unwrap()
}

fn usage_rebuilt(place: &Place) -> UsageRebuilt {
    rebuild_usage(&place.config, &Silent).unwrap()
}

fn change_usage(place: &Place, sql: &str) {
    let file = place.path("projections/usage.db");
    rusqlite::Connection::open(file).unwrap().execute_batch(sql).unwrap();
}

/// As another run of the fold would have it: with a fact that the log does not give.
const FORGE: &str = "UPDATE facts_hour SET count = count + 1";

#[test]
fn a_usage_projection_folded_while_serving_is_what_a_fold_from_the_beginning_gives() {
    let place = place();
    let folded = folded(&place);
    let UsageRebuilt::Identical(position) = usage_rebuilt(&place) else { panic!("not identical") };
    assert!(position <= folded);
    assert_eq!(usage_rebuilt(&place), UsageRebuilt::Identical(position));
    let left = fs::read_dir(place.path("projections")).unwrap();
    assert_eq!(left.count(), 1, "and leaves nothing behind");
}

#[test]
fn a_missing_usage_projection_is_made_and_a_damaged_one_replaced() {
    let place = place();
    let head = folded(&place);
    fs::remove_dir_all(place.path("projections")).unwrap();
    assert_eq!(usage_rebuilt(&place), UsageRebuilt::Made(head));
    assert_eq!(usage_rebuilt(&place), UsageRebuilt::Identical(head));
    fs::write(place.path("projections/usage.db"), vec![0x5a; 9000]).unwrap();
    let UsageRebuilt::Replaced { position, .. } = usage_rebuilt(&place) else { panic!("kept") };
    assert_eq!(position, head);
    change_usage(&place, "UPDATE state SET event = zeroblob(16)");
    let UsageRebuilt::Replaced { reason, .. } = usage_rebuilt(&place) else { panic!("kept") };
    assert_eq!(reason, "it is not of this log");
    assert_eq!(usage_rebuilt(&place), UsageRebuilt::Identical(head));
}

#[test]
fn a_usage_projection_that_the_log_does_not_give_is_named_and_put_aside() {
    let place = place();
    folded(&place);
    let UsageRebuilt::Identical(position) = usage_rebuilt(&place) else { panic!("not identical") };
    change_usage(&place, FORGE);
    let UsageRebuilt::Differed { position: at_position, at, aside } = usage_rebuilt(&place) else {
        panic!("not found")
    };
    assert_eq!((at_position, at.as_str()), (position, "facts by hour"));
    assert!(aside.exists());
    assert_eq!(usage_rebuilt(&place), UsageRebuilt::Identical(position));
}

fn checked(place: &Place) -> Report {
    let scratch = tempfile::tempdir().unwrap();
    let (data_dir, prefix) = (&place.config.data_dir, &place.config.key_prefix);
    let keys = &crate::config::KeySettings::default();
    let settings = Settings { data_dir, prefix, keys, scratch: scratch.path() };
    check(settings, &*place.random, &Silent).unwrap()
}

/// What a check says of hash tiles; it says nothing else, and that nothing is lost.
fn told_of_tiles(place: &Place) -> Vec<(String, String)> {
    let report = checked(place);
    assert!(report.is_whole());
    let told = report.findings.into_iter().map(|found| {
        let (what, cure) = found.what.split_once("; nothing is lost: ").unwrap();
        assert!(cure.contains("keyledger admin rebuild"));
        (found.place, what.to_owned())
    });
    told.collect()
}

#[test]
fn hash_tiles_that_are_not_of_the_log_are_told_by_a_check_and_made_again_by_a_rebuild() {
    let place = Place::new();
    let house = place.start();
    while house.opened.app.proofs.get().unwrap().tiles().size() < 512 {
        house.put_account(&format!("after-{}", house.head().unwrap()), AccountStatus::Active);
    }
    house.close();
    let tiles = [place.path("tiles/0/000"), place.path("tiles/0/001")];
    let whole = tiles.each_ref().map(|tile| fs::read(tile).unwrap());
    assert_eq!(told_of_tiles(&place), []);
    let told = |what: &str| [("tiles/0/000".to_owned(), what.to_owned())];
    let mut altered = whole[0].clone();
    altered[8191] ^= 1;
    for bytes in [altered.as_slice(), &altered[..100], &[]] {
        fs::write(&tiles[0], bytes).unwrap();
        assert_eq!(told_of_tiles(&place), told("is torn or altered"));
    }
    fs::remove_file(&tiles[0]).unwrap();
    assert_eq!(told_of_tiles(&place), told("is missing"));
    fs::remove_file(&tiles[1]).unwrap();
    assert_eq!(told_of_tiles(&place), [], "as if they had not been made yet");
    fs::write(&tiles[0], &altered).unwrap();
    let rebuilt = || rebuild_tiles(&place.config, &Silent).unwrap();
    assert_eq!(rebuilt(), TilesRebuilt { tiles: 2, made: 2 });
    assert!(tiles.map(|tile| fs::read(tile).unwrap()) == whole);
    assert_eq!(rebuilt(), TilesRebuilt { tiles: 2, made: 0 });
    assert_eq!(told_of_tiles(&place), []);
}
