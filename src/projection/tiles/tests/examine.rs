//! What an examination and a rebuild find of damaged tiles.

use super::super::examine::Watch;
use super::*;
use std::ops::ControlFlow;

/// What was read and found; the examination is ended once so many bytes are read.
#[derive(Default)]
struct Seen {
    read: u64,
    damaged: Vec<(TileId, Result<(), TileError>)>,
    most: Option<u64>,
}

impl Watch for Seen {
    fn read(&mut self, bytes: u64) -> ControlFlow<()> {
        self.read += bytes;
        if self.most.is_some_and(|most| self.read > most) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn damaged(&mut self, id: TileId, made_again: Result<(), TileError>) {
        self.damaged.push((id, made_again));
    }
}

fn examined(place: &Place, log: &dyn LedgerReader) -> Seen {
    let mut seen = Seen::default();
    assert!(place.tiles.examine(log, &mut seen).is_continue());
    assert_eq!(seen.read, place.tiles.bytes());
    seen
}

#[test]
fn whole_tiles_are_all_read_and_the_log_is_not() {
    let (place, log) = (Place::new(), long_log());
    assert_eq!(examined(&place, &Closed).read, 0);
    place.follow(&log).unwrap();
    let seen = examined(&place, &Closed);
    assert_eq!((seen.read, seen.damaged), (274 * TILE_BYTES as u64, Vec::new()));
    let mut seen = Seen { most: Some(20 * TILE_BYTES as u64), ..Seen::default() };
    assert!(place.tiles.examine(&Closed, &mut seen).is_break());
}

#[test]
fn damage_is_found_wherever_it_is_though_memory_has_the_tile_and_is_mended() {
    let (place, log) = (Place::new(), long_log());
    place.follow(&log).unwrap();
    place.proves(&log, 70_000, &root_of(&log, 70_000), &LEAVES);
    for (how, damage) in damages().into_iter().take(2) {
        let ids =
            [(1, 0), (0, 0), (0, 255), (0, 272)].map(|(level, index)| TileId { level, index });
        let before = ids.map(|id| fs::read(place.file(id.level, id.index)).unwrap());
        ids.iter().for_each(|id| damage(&place.file(id.level, id.index)));
        let found = examined(&place, &log).damaged;
        assert_eq!(found, ids.map(|id| (id, Ok(()))), "{how}");
        let after = ids.map(|id| fs::read(place.file(id.level, id.index)).unwrap());
        assert!(before == after, "{how}");
        assert_eq!(examined(&place, &Closed).damaged, []);
    }
}

#[test]
fn what_cannot_be_made_again_is_told_and_the_rest_is_looked_at() {
    let (place, log) = (Place::new(), long_log());
    place.follow(&log).unwrap();
    for index in [3, 270] {
        fs::remove_file(place.file(0, index)).unwrap();
    }
    let lost = |index, position| {
        let error = LedgerError::Unreadable { position: at(position) };
        (TileId { level: 0, index }, Err(error.into()))
    };
    let found = examined(&place, &Closed).damaged;
    assert_eq!(found, [lost(3, 769), lost(270, 69_121)]);
}

#[test]
fn a_rebuild_makes_tiles_of_which_proofs_need_no_log() {
    let (place, log) = (Place::new(), long_log());
    let dir = place.dir.path().join("tiles");
    let all = Rebuilt { tiles: 274, made: 274 };
    assert_eq!(rebuild(&dir, &log, &mut |_| {}), Ok(all));
    let place = place.again();
    place.follow(&log).unwrap();
    place.proves(&Closed, 70_000, &root_of(&log, 70_000), &LEAVES);
}

#[test]
fn a_rebuild_tells_any_damage_and_makes_good_nothing_else() {
    let (place, log) = (Place::new(), log_of(1, [300; 4]));
    let dir = place.dir.path().join("tiles");
    place.follow(&log).unwrap();
    assert_eq!(rebuild(&dir, &log, &mut |_| {}), Ok(Rebuilt { tiles: 4, made: 0 }));
    for (how, damage) in damages() {
        let file = place.file(0, 2);
        let before = fs::read(&file).unwrap();
        damage(&file);
        let mut reached = 0;
        let made = rebuild(&dir, &log, &mut |at| reached = at);
        assert_eq!(made, Ok(Rebuilt { tiles: 4, made: 1 }), "{how}");
        assert!(reached == 1200 && before == fs::read(&file).unwrap(), "{how}");
    }
    let other = rebuild(&dir, &log_of(2, [300; 4]), &mut |_| {});
    assert_eq!(other, Ok(Rebuilt { tiles: 4, made: 4 }), "tiles of another log");
}
