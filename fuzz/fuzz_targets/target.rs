//! The target that `KEYLEDGER_FUZZ_TARGET` names, under libFuzzer. One program for all: they are built together.

#![no_main]

#[expect(dead_code, reason = "tests/fuzz/main.rs uses the rest")]
#[path = "../../tests/fuzz/targets/mod.rs"]
mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use targets::Target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("KEYLEDGER_FUZZ_TARGET").unwrap_or_default();
    targets::named(&name)
        .unwrap_or_else(|| panic!("KEYLEDGER_FUZZ_TARGET must name a target, not {name:?}"))
});

fuzz_target!(|input: &[u8]| {
    if input.len() <= TARGET.most {
        (TARGET.run)(input);
    }
});
