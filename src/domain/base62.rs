//! Base62: bytes as a fixed number of digits, with no signs that break a word when selected.
//!
//! A value is read as one big-endian number and written in the digits `0-9A-Za-z`, most significant
//! first, padded with `0` to the width that the largest value of its size needs. So every value has
//! exactly one text and the texts sort as the values do. Secrets pass through here: what is worked
//! on is wiped, and nothing is put on the heap but the caller's text.

use zeroize::{Zeroize, Zeroizing};

/// Most bytes a value may have.
pub const MAX_BYTES: usize = 32;

/// Digits of a value of [`MAX_BYTES`].
const MAX_DIGITS: usize = width(MAX_BYTES);

/// The digits, by value.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Stands in [`VALUES`] for a byte that is no digit.
const FOREIGN: u8 = 0xff;

/// The value of each byte as a digit.
const VALUES: [u8; 256] = {
    let mut values = [FOREIGN; 256];
    let mut value = 0;
    while value < 62_u8 {
        values[ALPHABET[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// Digits of a value of `bytes` bytes: the least `d` with 62^d ≥ 256^bytes. Exact up to
/// [`MAX_BYTES`], where log2 62 to six places is enough.
#[must_use]
pub const fn width(bytes: usize) -> usize {
    (8 * bytes * 1_000_000).div_ceil(5_954_196)
}

/// `bytes` as [`width`]`(N)` digits.
#[must_use]
pub fn encode<const N: usize>(bytes: &[u8; N]) -> String {
    let mut text = String::with_capacity(width(N));
    append(bytes, &mut text);
    text
}

/// Adds `bytes` as [`width`]`(N)` digits to `text`. If `text` holds a secret the caller MUST have
/// reserved room for it, or the text before it grew stays in memory.
pub fn append<const N: usize>(bytes: &[u8; N], text: &mut String) {
    const { assert!(N <= MAX_BYTES) }
    // Limbs of 32 bits and steps of five digits: each division is of a u64 by a constant.
    const STEP: usize = 5;
    const BASE: u64 = 62_u64.pow(5);
    let mut padded = Zeroizing::new([0_u8; MAX_BYTES]);
    padded[MAX_BYTES - N..].copy_from_slice(bytes);
    let mut limbs = Zeroizing::new([0_u64; MAX_BYTES / 4]);
    for (limb, chunk) in limbs.iter_mut().zip(padded.chunks_exact(4)) {
        *limb = chunk.iter().fold(0, |limb, byte| limb << 8 | u64::from(*byte));
    }
    let limbs = &mut limbs[(MAX_BYTES - N) / 4..];
    let mut digits = Zeroizing::new([0_u8; MAX_DIGITS]);
    for step in digits[..width(N)].rchunks_mut(STEP) {
        let mut rest = 0;
        for limb in limbs.iter_mut() {
            let dividend = rest << 32 | *limb;
            *limb = dividend / BASE;
            rest = dividend % BASE;
        }
        for digit in step.iter_mut().rev() {
            *digit = ALPHABET[(rest % 62) as usize];
            rest /= 62;
        }
    }
    text.push_str(str::from_utf8(&digits[..width(N)]).expect("every digit is ASCII"));
}

/// The value that exactly [`width`]`(N)` digits stand for; none if there are more or fewer, if one
/// is no digit, or if the value needs more than `N` bytes.
#[must_use]
pub fn decode<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    decode_into(digits, &mut out)?;
    Some(out)
}

/// As [`decode`], but straight to where the value is to be, so that a secret leaves no copy on its
/// way. `out` is all zeroes if the answer is none.
pub fn decode_into<const N: usize>(digits: &[u8], out: &mut [u8; N]) -> Option<()> {
    const { assert!(N <= MAX_BYTES) }
    *out = [0; N];
    if digits.len() != width(N) {
        return None;
    }
    // Little-endian limbs of 64 bits and steps of ten digits: 62^10 < 2^64.
    let mut limbs = Zeroizing::new([0_u64; MAX_BYTES / 8]);
    for step in digits.chunks(10) {
        let mut base = 1_u64;
        let mut carry = 0_u64;
        for digit in step {
            let value = VALUES[usize::from(*digit)];
            if value == FOREIGN {
                return None;
            }
            base *= 62;
            carry = carry * 62 + u64::from(value);
        }
        for limb in limbs.iter_mut() {
            let product = u128::from(*limb) * u128::from(base) + u128::from(carry);
            (*limb, carry) = (low(product), low(product >> 64));
        }
        if carry != 0 {
            return None;
        }
    }
    let mut whole = Zeroizing::new([0_u8; MAX_BYTES]);
    for (chunk, limb) in whole.rchunks_exact_mut(8).zip(limbs.iter()) {
        let mut bytes = limb.to_be_bytes();
        chunk.copy_from_slice(&bytes);
        bytes.zeroize();
    }
    let (above, value) = whole.split_at(MAX_BYTES - N);
    if above.iter().any(|byte| *byte != 0) {
        return None;
    }
    out.copy_from_slice(value);
    Some(())
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
fn low(product: u128) -> u64 {
    product as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Long division of the bytes, one digit at a time: slow and plain, to check the code against.
    fn plainly(bytes: &[u8], width: usize) -> String {
        let mut number = bytes.to_vec();
        let mut digits = Vec::new();
        for _ in 0..width {
            let mut rest = 0_u32;
            for byte in &mut number {
                let dividend = rest * 256 + u32::from(*byte);
                *byte = u8::try_from(dividend / 62).expect("rest is below 62");
                rest = dividend % 62;
            }
            digits.push(char::from(ALPHABET[rest as usize]));
        }
        assert!(number.iter().all(|byte| *byte == 0), "the width holds every value");
        digits.iter().rev().collect()
    }

    #[test]
    fn widths_are_the_least_that_hold_every_value() {
        assert_eq!([4, 12, 16, 32].map(width), [6, 17, 22, 43]);
        for bytes in 1..=MAX_BYTES {
            let digits = plainly(&vec![0xff; bytes], width(bytes));
            assert!(!digits.starts_with('0'), "{bytes} bytes need all {} digits", digits.len());
        }
        assert_eq!(width(0), 0);
    }

    #[test]
    fn known_values_have_known_texts() {
        assert_eq!(encode(&[0; 4]), "000000");
        assert_eq!(encode(&[0, 0, 0, 61]), "00000z");
        assert_eq!(encode(&[0, 0, 0, 62]), "000010");
        assert_eq!(encode(&[0xff; 4]), "4gfFC3");
        assert_eq!(encode(&[0xff; 32]), plainly(&[0xff; 32], 43));
        assert_eq!(encode(&[]), "");
        assert_eq!(decode::<4>(b"4gfFC3"), Some([0xff; 4]));
        assert_eq!(decode::<0>(b""), Some([]));
    }

    #[test]
    fn what_is_out_of_range_or_foreign_is_refused() {
        assert_eq!(decode::<4>(b"4gfFC4"), None);
        assert_eq!(decode::<4>(b"zzzzzz"), None);
        assert_eq!(decode::<12>(&[b'z'; 17]), None);
        assert_eq!(decode::<16>(&[b'z'; 22]), None);
        assert_eq!(decode::<32>(&[b'z'; 43]), None);
        assert_eq!(decode::<4>(b"00000"), None);
        assert_eq!(decode::<4>(b"0000000"), None);
        for foreign in (0..=255_u8).filter(|byte| !byte.is_ascii_alphanumeric()) {
            assert_eq!(decode::<4>(&[b'0', b'0', foreign, b'0', b'0', b'0']), None);
        }
    }

    #[test]
    fn one_above_the_largest_value_is_refused_at_every_width() {
        fn check<const N: usize>() {
            let mut digits = encode(&[0xff; N]).into_bytes();
            assert!(decode::<N>(&digits).is_some());
            for digit in digits.iter_mut().rev() {
                let value = VALUES[usize::from(*digit)];
                *digit = ALPHABET[usize::from((value + 1) % 62)];
                if value != 61 {
                    break;
                }
            }
            assert_eq!(decode::<N>(&digits), None);
        }
        check::<1>();
        check::<4>();
        check::<8>();
        check::<12>();
        check::<16>();
        check::<31>();
        check::<32>();
    }

    #[test]
    fn a_refused_secret_leaves_nothing_behind() {
        let mut out = [7; 32];
        assert_eq!(decode_into(&[b'z'; 43], &mut out), None);
        assert_eq!(out, [0; 32]);
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(
            a: [u8; 4], b: [u8; 12], c: [u8; 16], d: [u8; 32], e: [u8; 7],
        ) {
            prop_assert_eq!(decode(encode(&a).as_bytes()), Some(a));
            prop_assert_eq!(decode(encode(&b).as_bytes()), Some(b));
            prop_assert_eq!(decode(encode(&c).as_bytes()), Some(c));
            prop_assert_eq!(decode(encode(&d).as_bytes()), Some(d));
            prop_assert_eq!(decode(encode(&e).as_bytes()), Some(e));
        }

        #[test]
        fn encoding_agrees_with_plain_long_division(b: [u8; 12], d: [u8; 32]) {
            prop_assert_eq!(encode(&b), plainly(&b, 17));
            prop_assert_eq!(encode(&d), plainly(&d, 43));
        }

        #[test]
        fn texts_sort_as_values_do(a: [u8; 12], b: [u8; 12]) {
            prop_assert_eq!(encode(&a).cmp(&encode(&b)), a.cmp(&b));
        }

        #[test]
        fn whatever_decodes_encodes_back(text in "[0-9A-Za-z]{17}") {
            if let Some(value) = decode::<12>(text.as_bytes()) {
                prop_assert_eq!(encode(&value), text);
            }
        }
    }
}
