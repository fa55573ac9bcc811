//! `keyledger admin generate-key`: a new pepper, key-encryption key or signing key, for wherever keys come from.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::failed;
use crate::app::keys;
use crate::process;
use crate::random::SystemRandom;

/// What `keyledger admin generate-key` is given.
#[derive(Clone, Debug, Args)]
pub struct GenerateKeyArgs {
    /// What the key is for
    #[arg(value_enum)]
    pub kind: KeyKind,
    /// Its number among the keys of its kind: one more than the newest there is
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub version: u16,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyKind {
    /// A pepper: secrets are tagged under it
    Pepper,
    /// A key-encryption key: data keys are wrapped by it
    Kek,
    /// A signing key: checkpoints are signed with it
    Signing,
}

/// Writes the line of a new key to standard output, which must not be a terminal.
#[must_use]
pub fn run(args: &GenerateKeyArgs) -> ExitCode {
    try_generate(args).map_or_else(|problem| failed(&problem), |()| ExitCode::SUCCESS)
}

fn try_generate(args: &GenerateKeyArgs) -> Result<(), String> {
    let mut output = io::stdout();
    if output.is_terminal() {
        return Err("a key is not shown on a terminal: redirect standard output to where it goes"
            .to_owned());
    }
    process::harden().map_err(|error| format!("the operating system refuses: {error}"))?;
    let line = match args.kind {
        KeyKind::Pepper => keys::new_pepper(args.version, &SystemRandom),
        KeyKind::Kek => keys::new_kek(args.version, &SystemRandom),
        KeyKind::Signing => keys::new_signing_key(args.version, &SystemRandom),
    };
    let written = output.write_all(line.as_bytes()).and_then(|()| output.flush());
    written.map_err(|error| format!("the key cannot be written: {error}"))
}
