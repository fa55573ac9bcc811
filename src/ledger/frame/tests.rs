//! Frames: the layout byte by byte, and that nothing altered passes.

use proptest::prelude::*;

use super::*;
use crate::merkle::node_hash;

fn at(position: u64) -> Position {
    Position::new(position).unwrap()
}

/// A tree of `size` leaves, each a record `[0]`.
fn tree_of(size: u64) -> Frontier {
    let mut tree = Frontier::new();
    (0..size).for_each(|_| tree.push(leaf_hash(&[0])));
    tree
}

fn frame_after(size: u64, records: &[Vec<u8>]) -> Frame {
    let mut builder = FrameBuilder::new(&tree_of(size), at(size + 1));
    records.iter().for_each(|record| builder.push(record));
    builder.finish()
}

/// `sealed` with the checksum a writer would have put behind it.
fn with_checksum(mut sealed: Vec<u8>) -> Vec<u8> {
    sealed.extend(crc32fast::hash(&sealed).to_be_bytes());
    sealed
}

#[test]
fn the_layout_is_the_documented_one() {
    let (one, two) = (b"first record", b"second");
    let mut bytes = b"KLFR\x00\x01\x00\x00".to_vec();
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 2]); // first position
    bytes.extend([0, 0, 0, 2]); // records
    bytes.extend([0, 0, 0, 8 + 12 + 8 + 6]); // bytes of the records part
    bytes.extend([0, 0, 0, 12]);
    bytes.extend(crc32fast::hash(one).to_be_bytes());
    bytes.extend(one);
    bytes.extend([0, 0, 0, 6]);
    bytes.extend(crc32fast::hash(two).to_be_bytes());
    bytes.extend(two);
    let pair = node_hash(&leaf_hash(&[0]), &leaf_hash(one));
    let root = node_hash(&pair, &leaf_hash(two));
    bytes.push(2); // peaks of a tree of 3
    bytes.extend(pair.0);
    bytes.extend(leaf_hash(two).0);
    bytes.extend(root.0);
    let bytes = with_checksum(bytes);

    let built = frame_after(1, &[one.to_vec(), two.to_vec()]);
    assert_eq!(built.as_bytes(), bytes);

    let frame = Frame::decode(bytes, at(2)).unwrap();
    assert_eq!((frame.first(), frame.last(), frame.root()), (at(2), at(3), root));
    assert_eq!(frame.frontier(), built.frontier());
    let records: Vec<_> = frame.records().collect();
    assert_eq!(records, [(at(2), &one[..]), (at(3), &two[..])]);
    assert_eq!(frame.record(at(3)), Some(&two[..]));
    assert_eq!(frame.record(at(1)), None);
    assert_eq!(frame.record(at(4)), None);
}

#[test]
fn crc32_is_iso_hdlc() {
    assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
}

#[test]
fn a_damaged_record_is_named() {
    let frame = frame_after(4, &[b"aaaa".to_vec(), b"bbbb".to_vec(), b"cccc".to_vec()]);
    let mut bytes = frame.as_bytes().to_vec();
    let second = HEADER_BYTES + (RECORD_OVERHEAD + 4) + RECORD_OVERHEAD;
    bytes[second] ^= 1;
    assert_eq!(Frame::decode(&bytes[..], at(5)).unwrap_err(), FrameError::DamagedRecord(at(6)));
    // Also under a checksum that was made to fit.
    bytes.truncate(bytes.len() - 4);
    let bytes = with_checksum(bytes);
    assert_eq!(Frame::decode(bytes, at(5)).unwrap_err(), FrameError::DamagedRecord(at(6)));
}

#[test]
fn a_frame_of_another_position_or_a_newer_version_is_refused_as_such() {
    let frame = frame_after(4, &[b"a".to_vec()]);
    assert_eq!(Frame::decode(frame.as_bytes(), at(6)).unwrap_err(), FrameError::OtherFirst(5));
    let mut newer = frame.as_bytes()[..frame.as_bytes().len() - 4].to_vec();
    newer[5] = 2;
    assert_eq!(Frame::decode(with_checksum(newer), at(5)).unwrap_err(), FrameError::Newer(2));
}

#[test]
fn hostile_headers_with_fitting_checksums_are_refused() {
    let whole = frame_after(4, &[b"a".to_vec()]);
    let sealed = &whole.as_bytes()[..whole.as_bytes().len() - 4];
    let altered = |range: Range<usize>, bytes: &[u8], first: u64| {
        let mut sealed = sealed.to_vec();
        sealed[range].copy_from_slice(bytes);
        Frame::decode(with_checksum(sealed), at(first)).unwrap_err()
    };
    let max = &u32::MAX.to_be_bytes();
    assert_eq!(altered(16..20, max, 5), FrameError::Damaged);
    assert_eq!(altered(16..20, &[0; 4], 5), FrameError::Damaged);
    assert_eq!(altered(20..24, max, 5), FrameError::Damaged);
    assert_eq!(altered(24..28, max, 5), FrameError::Damaged);
    assert_eq!(altered(8..16, &u64::MAX.to_be_bytes(), u64::MAX), FrameError::Damaged);
    assert_eq!(altered(4..6, &[0, 0], 5), FrameError::Damaged);
    assert_eq!(altered(7..8, &[1], 5), FrameError::Damaged);
    let longer = [sealed, &[0]].concat();
    assert_eq!(Frame::decode(with_checksum(longer), at(5)).unwrap_err(), FrameError::Damaged);
    let huge = vec![0; MAX_FRAME_BYTES + 1];
    assert_eq!(Frame::decode(huge, at(5)).unwrap_err(), FrameError::TooLong(MAX_FRAME_BYTES + 1));
}

#[test]
fn a_frame_may_be_filled_to_its_bound_and_not_beyond() {
    let mut builder = FrameBuilder::new(&Frontier::new(), Position::FIRST);
    let fixed = HEADER_BYTES + RECORD_OVERHEAD + TRAILER_BYTES + HASH_BYTES;
    let fills = MAX_FRAME_BYTES - fixed;
    assert!(builder.fits(&[fills]));
    assert!(!builder.fits(&[fills + 1]));
    assert!(!builder.fits(&[usize::MAX]));
    builder.push(&vec![7; fills]);
    assert!(!builder.fits(&[0]));
    let frame = builder.finish();
    assert_eq!(frame.as_bytes().len(), MAX_FRAME_BYTES);
    assert!(Frame::decode(frame.as_bytes(), Position::FIRST).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_was_encoded_is_decoded_and_nothing_altered_passes(
        before in 0_u64..40,
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..8),
        flip in 1_u8..,
    ) {
        let frame = frame_after(before, &records);
        let first = at(before + 1);
        let bytes = frame.as_bytes();
        let decoded = Frame::decode(bytes, first).unwrap();
        prop_assert_eq!(decoded.as_bytes(), bytes);
        let decoded_records: Vec<_> = decoded.records().map(|(_, record)| record.to_vec()).collect();
        prop_assert_eq!(&decoded_records, &records);
        prop_assert_eq!((decoded.last(), decoded.frontier()), (frame.last(), frame.frontier()));

        for end in 0..bytes.len() {
            prop_assert!(Frame::decode(&bytes[..end], first).is_err());
        }
        for index in 0..bytes.len() {
            let mut altered = bytes.to_vec();
            altered[index] ^= flip;
            prop_assert!(Frame::decode(altered, first).is_err());
        }
    }

    #[test]
    fn what_fits_makes_a_frame_within_the_bound(
        before in 0_u64..200,
        lengths in prop::collection::vec(0_usize..9_000, 1..40),
    ) {
        let mut builder = FrameBuilder::new(&tree_of(before), at(before + 1));
        let mut pushed = 0;
        for length in lengths {
            if builder.fits(&[length]) {
                builder.push(&vec![1; length]);
                pushed += 1;
            }
        }
        let frame = builder.finish();
        prop_assert!(frame.as_bytes().len() <= MAX_FRAME_BYTES);
        let decoded = Frame::decode(frame.as_bytes(), frame.first()).unwrap();
        prop_assert_eq!(decoded.records().count(), pushed);
    }
}
