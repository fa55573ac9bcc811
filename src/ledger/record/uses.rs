//! Records of uses: how windows are written and read.

pub(super) mod decode;
pub(super) mod encode;
