//! Places of keys in order, 20 bytes each: there are two for every key, so what they take counts.

use crate::domain::ids::{KeyId, PUBLIC_ID_BYTES};
use crate::domain::time::Time;
use crate::projection::directory::KeyPlace;

/// Most places of a chunk: an insertion moves at most that many.
const CHUNK: usize = 256;

/// A place as bytes that sort as it does: the time, its sign turned, and the id.
type Packed = [u8; 8 + PUBLIC_ID_BYTES];

fn pack((time, id): KeyPlace) -> Packed {
    let mut packed = [0; 8 + PUBLIC_ID_BYTES];
    let (start, rest) = packed.split_at_mut(8);
    start.copy_from_slice(&(time.as_micros() ^ i64::MIN).to_be_bytes());
    rest.copy_from_slice(&id.0);
    packed
}

fn unpack(packed: &Packed) -> KeyPlace {
    let (time, id) = packed.split_first_chunk::<8>().expect("8 of 20 bytes");
    let id = id.try_into().expect("the other 12");
    (Time::from_micros(i64::from_be_bytes(*time) ^ i64::MIN), KeyId(id))
}

/// A sorted set of places, in chunks that are full but for the last: keys come in order of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    chunks: Vec<Vec<Packed>>,
}

impl Places {
    /// Takes places that are sorted and differ.
    pub(super) fn from_sorted(places: impl ExactSizeIterator<Item = KeyPlace>) -> Self {
        let mut places = places.map(pack);
        let mut chunks = Vec::with_capacity(places.len().div_ceil(CHUNK));
        while places.len() > 0 {
            let length = places.len().min(CHUNK);
            chunks.push(places.by_ref().take(length).collect());
        }
        Places { chunks }
    }

    /// Adds a place unless it is there.
    pub(super) fn insert(&mut self, place: KeyPlace) {
        let packed = pack(place);
        let behind = self.chunks.partition_point(|chunk| chunk.first() <= Some(&packed));
        let at = behind.saturating_sub(1);
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(vec![packed]);
            return;
        };
        let Err(inside) = chunk.binary_search(&packed) else { return };
        if chunk.len() < CHUNK {
            push(chunk, inside, packed);
        } else if inside == CHUNK {
            self.chunks.insert(at + 1, vec![packed]);
        } else {
            let half = chunk.split_off(CHUNK / 2);
            self.chunks.insert(at + 1, half);
            self.insert(place);
        }
    }

    /// The places behind `after`, in order.
    pub(super) fn after(&self, after: Option<KeyPlace>) -> impl Iterator<Item = KeyPlace> {
        let after = after.map(pack);
        let at = self.chunks.partition_point(|chunk| chunk.last() <= after.as_ref());
        let rest = &self.chunks[at..];
        let inside = rest
            .first()
            .map_or(0, |chunk| chunk.partition_point(|packed| Some(packed) <= after.as_ref()));
        rest.iter().flatten().skip(inside).map(unpack)
    }
}

/// Puts a place into a chunk with little room to spare: most accounts have few keys.
fn push(chunk: &mut Vec<Packed>, inside: usize, packed: Packed) {
    if chunk.len() == chunk.capacity() {
        chunk.reserve_exact((chunk.len() / 2).clamp(1, CHUNK - chunk.len()));
    }
    chunk.insert(inside, packed);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn place(time: i64, id: u8) -> KeyPlace {
        (Time::from_micros(time), KeyId([id; PUBLIC_ID_BYTES]))
    }

    fn all(places: &Places) -> Vec<KeyPlace> {
        places.after(None).collect()
    }

    #[test]
    fn places_that_come_in_order_fill_their_chunks() {
        let mut places = Places::default();
        (0..1000).for_each(|time| places.insert(place(time, 1)));
        let lengths: Vec<_> = places.chunks.iter().map(Vec::len).collect();
        assert_eq!(lengths, [256, 256, 256, 232]);
        let loaded = Places::from_sorted((0..1000_i32).map(|time| place(time.into(), 1)));
        assert_eq!(loaded.chunks, places.chunks);
    }

    #[test]
    fn few_places_take_little_room() {
        let mut places = Places::default();
        places.insert(place(1, 1));
        assert_eq!(places.chunks[0].capacity(), 1);
        places.insert(place(2, 1));
        assert_eq!(places.chunks[0].capacity(), 2);
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_set(
            times in vec((-300..300_i64, 0..4_u8), 0..1500), after in (-310..310_i64, 0..4_u8),
        ) {
            let mut places = Places::default();
            let mut expected = BTreeSet::new();
            for (time, id) in times {
                places.insert(place(time, id));
                expected.insert(place(time, id));
            }
            prop_assert_eq!(all(&places), expected.iter().copied().collect::<Vec<_>>());
            prop_assert!(places.chunks.iter().all(|chunk| (1..=CHUNK).contains(&chunk.len())));
            let after = place(after.0, after.1);
            let rest: Vec<_> = places.after(Some(after)).collect();
            let behind = expected.iter().copied().filter(|place| *place > after);
            prop_assert_eq!(rest, behind.collect::<Vec<_>>());
            let loaded = Places::from_sorted(expected.iter().copied());
            prop_assert_eq!(all(&loaded), all(&places));
        }
    }
}
