//! The target that reads the uses of a flush.

use keyledger::usage::entry::{Decoder, Encoder, Flushed, encode_head};

/// Uses that are taken are the same once more encoded.
pub fn uses(input: &[u8]) -> bool {
    let Ok(flushed) = Decoder::default().decode(input) else { return false };
    assert_eq!(Decoder::default().decode(&encoded(&flushed)), Ok(flushed));
    true
}

/// The bytes of a flush.
pub fn encoded(flushed: &Flushed) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_head(flushed.span, flushed.shed, &mut bytes);
    let mut encoder = Encoder::default();
    flushed.uses.iter().for_each(|used| encoder.put(used, &mut bytes));
    bytes
}
