//! The keyledger program: reads the command line and hands over.

use std::process::ExitCode;

use keyledger::cli::{self, Invocation};

/// Messages and their parts live shortly and die on other threads than they were made on: there the C library's takes a
/// third of the time of a stream of events.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::parse() {
        Invocation::Serve(args) => cli::serve::run(&args),
        Invocation::Init(args) => cli::offline::init::run(&args),
        Invocation::RecoverAdmin(args) => cli::offline::recover_admin(&args),
        Invocation::Rebuild(args) => cli::offline::rebuild(&args),
        Invocation::AddSigningKey(args) => cli::offline::add_signing_key(&args),
        Invocation::GenerateKey(args) => cli::offline::generate_key::run(&args),
        Invocation::Check(args) => cli::offline::check::run(&args),
        Invocation::Restore(args) => cli::offline::restore::run(&args),
        Invocation::Client(call) => cli::client::run(*call),
    }
}
