//! `audit checkpoint`: the newest signed checkpoint, held to the last one that was seen.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::state::{State, hold, plain_lines, verifier_key};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Format;
use crate::cli::session::Session;
use crate::cli::text::hex;
use crate::merkle::note::VerifierKey;
use crate::proto::v1;

#[derive(Debug, Args)]
pub(in crate::cli) struct CheckpointArgs {
    /// A position that it must cover
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    min_size: u64,
    /// State file: the verifier keys that are trusted, and the last checkpoint that was seen
    #[arg(long, value_name = "FILE")]
    verify: Option<PathBuf>,
    /// Show the verifier keys of the log instead, one a line, the newest first: at the server, to be handed to
    /// auditors over a way that they trust
    #[arg(long, conflicts_with_all = ["min_size", "verify"])]
    keys: bool,
    /// Verifier key to trust from here on, put into the state file, which is made if it is not there. Get it
    /// over a way you trust
    #[arg(long, value_name = "KEY", requires = "verify", value_parser = verifier_key)]
    trust: Vec<VerifierKey>,
}

/// Shows the newest checkpoint; with a state file, only if it holds.
pub(super) async fn run(args: CheckpointArgs, session: &mut Session) -> Result<Exit, Failure> {
    if args.keys {
        return show_keys(session).await;
    }
    let state = args.verify.as_deref().map(|path| State::read(path, &args.trust, "--trust"));
    let state = state.transpose()?;
    let mut audit = session.connect().await?.audit();
    let request = v1::GetCheckpointRequest { min_size: args.min_size };
    let answer = audit.get_checkpoint(request).await?.into_inner();
    let verified = state.is_some();
    if let (Some(mut state), Some(path)) = (state, &args.verify) {
        let refused = |why: String| {
            let shown = plain_lines(&answer.checkpoint);
            Failure::Local(format!("{why}\nthe checkpoint was:\n{shown}"))
        };
        let found = state.open(&answer.checkpoint).map_err(refused)?;
        if let Some(seen) = state.seen() {
            let request =
                v1::GetConsistencyProofRequest { from_size: seen.size, to_size: found.size };
            let proof = audit.get_consistency_proof(request).await?.into_inner().hashes;
            hold((seen.size, &seen.root), &found, proof).map_err(refused)?;
        }
        state.keep(path, found, answer.checkpoint.clone())?;
    }
    let text = match session.output.format() {
        Format::Table => plain_lines(answer.checkpoint.trim_end()),
        Format::Json => json(&answer, verified).to_string(),
    };
    session.output.line(&text)?;
    Ok(Exit::Done)
}

async fn show_keys(session: &mut Session) -> Result<Exit, Failure> {
    let mut audit = session.connect().await?.audit();
    let answer = audit.get_verifier_key(v1::GetVerifierKeyRequest {}).await?.into_inner();
    let text = match session.output.format() {
        Format::Table => {
            let older = answer.older_verifier_keys.iter().map(|key| format!("\n{key}"));
            plain_lines(&(answer.verifier_key.clone() + &older.collect::<String>()))
        }
        Format::Json => json!({
            "verifier_key": answer.verifier_key,
            "older_verifier_keys": answer.older_verifier_keys,
        })
        .to_string(),
    };
    session.output.line(&text)?;
    Ok(Exit::Done)
}

/// A checkpoint, for programs; and whether it was held to a state file.
fn json(answer: &v1::GetCheckpointResponse, verified: bool) -> Value {
    json!({
        "checkpoint": answer.checkpoint,
        "origin": answer.origin,
        "tree_size": answer.tree_size,
        "root_hash": hex(&answer.root_hash),
        "verified": verified,
    })
}
