use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::merkle::proof::root;

fn leaf(number: u64) -> Hash {
    crate::merkle::leaf_hash(&number.to_be_bytes())
}

fn path(level: u8, index: u64) -> String {
    TileId { level, index }.to_string()
}

#[test]
fn paths_are_those_of_the_specification() {
    assert_eq!(path(0, 0), "0/000");
    assert_eq!(path(1, 999), "1/999");
    assert_eq!(path(0, 1000), "0/x001/000");
    assert_eq!(path(2, 1_234_067), "2/x001/x234/067");
    assert_eq!(path(7, u64::MAX), "7/x018/x446/x744/x073/x709/x551/615");
}

#[test]
fn a_node_is_in_the_tile_that_spans_its_level() {
    let at = |level, index| NodePlace::of(level, index);
    let tile = |level, index| TileId { level, index };
    assert_eq!(at(0, 0), NodePlace { tile: tile(0, 0), height: 0, place: 0 });
    assert_eq!(at(0, 257), NodePlace { tile: tile(0, 1), height: 0, place: 1 });
    assert_eq!(at(7, 3), NodePlace { tile: tile(0, 1), height: 7, place: 1 });
    assert_eq!(at(8, 3), NodePlace { tile: tile(1, 0), height: 0, place: 3 });
    assert_eq!(at(19, 33), NodePlace { tile: tile(2, 1), height: 3, place: 1 });
    assert_eq!(tile(0, 257).parent(), (tile(1, 1), 1));
}

#[test]
fn a_whole_tile_alone_is_taken_from_bytes() {
    let hashes: Vec<Hash> = (0..256).map(leaf).collect();
    let tile = Tile::of(&hashes).unwrap();
    let bytes = tile.to_bytes();
    assert_eq!(bytes.len(), TILE_BYTES);
    assert_eq!(Tile::from_bytes(&bytes).unwrap().root(), tile.root());
    for cut in [0, 1, HASH_BYTES, TILE_BYTES - 1] {
        assert!(Tile::from_bytes(&bytes[..cut]).is_none());
    }
    assert!(Tile::from_bytes(&[&bytes[..], &[0]].concat()).is_none());
    assert!(Tile::of(&hashes[..255]).is_none());
}

/// The edge and the tiles of a tree that was grown leaf by leaf.
fn grown(size: u64) -> (Edge, BTreeMap<TileId, Tile>) {
    let (mut edge, mut tiles) = (Edge::default(), BTreeMap::new());
    for number in 0..size {
        for (id, tile) in edge.push(leaf(number)) {
            assert!(tiles.insert(id, tile).is_none(), "a tile is completed once");
        }
    }
    (edge, tiles)
}

#[test]
fn a_tree_has_the_tiles_that_the_specification_counts_for_its_size() {
    let (edge, tiles) = grown(70_000);
    let whole = |level| tiles.keys().filter(|id| id.level == level).count();
    assert_eq!((whole(0), whole(1), whole(2)), (273, 1, 0));
    let partial = edge.partial_tiles().map(|(id, hashes)| (id.to_string(), hashes.len()));
    let expected = [("0/273", 112), ("1/001", 17), ("2/000", 1)];
    assert_eq!(partial.collect::<Vec<_>>(), expected.map(|(id, width)| (id.to_owned(), width)));
    for (id, tile) in &tiles {
        let (parent, place) = id.parent();
        let above = NodePlace { tile: parent, height: 0, place };
        let above = edge.node(above).or(tiles.get(&parent).map(|tile| tile.node(0, place)));
        assert_eq!(above, Some(tile.root()), "{id}");
    }
    let (edge, _) = grown(256);
    let partial: Vec<_> =
        edge.partial_tiles().map(|(id, hashes)| (id.level, hashes.len())).collect();
    assert_eq!(partial, [(1, 1)]);
}

#[test]
fn partial_tiles_that_are_whole_or_too_many_make_no_edge() {
    assert!(Edge::of(vec![vec![leaf(0); 256]]).is_none());
    assert!(Edge::of(vec![vec![leaf(0)]; 9]).is_none());
    assert_eq!(Edge::of(vec![]).unwrap().size(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_node_of_a_tree_is_in_a_tile_or_at_the_edge(size in 1_u64..3_000, at in any::<u64>()) {
        let (edge, tiles) = grown(size);
        let node = |level, index| {
            let place = NodePlace::of(level, index);
            let whole = tiles.get(&place.tile).map(|tile| tile.node(place.height, place.place));
            edge.node(place).or(whole).ok_or((level, index))
        };
        // Also that of each smaller tree.
        for size in [size, at % size + 1] {
            let mut tree = Frontier::new();
            (0..size).for_each(|number| tree.push(leaf(number)));
            prop_assert_eq!(root(node, size), Ok(tree.root()));
        }
        let again = Edge::of(edge.partial.clone()).unwrap();
        prop_assert_eq!(again.frontier(), edge.frontier());
    }
}
