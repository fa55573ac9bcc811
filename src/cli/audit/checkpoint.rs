//! `audit checkpoint`: the newest signed checkpoint, held to the last one that was seen.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::state::{State, VerifierKeys, hold, plain_lines, verifier_keys};
use super::witness::{CosignedBy, NONE_COSIGNED, WitnessArgs, Witnesses};
use crate::cli::connect::Authorized;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Format, note};
use crate::cli::session::Session;
use crate::cli::text::{grouped, hex};
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::note::VerifierKey;
use crate::proto::v1;
use crate::proto::v1::audit_service_client::AuditServiceClient;

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
    #[arg(long, conflicts_with_all = ["min_size", "verify", "trust", "witness", "quorum"])]
    keys: bool,
    /// Show the newest checkpoint that as many witnesses have cosigned as the server was told must, instead. It is held
    /// to nothing here
    #[arg(long, conflicts_with_all = ["min_size", "verify", "keys", "trust", "witness", "quorum"])]
    cosigned: bool,
    /// Verifier key to trust from here on, or a file with some, put into the state file, which is made if it is not
    /// there. Get it over a way you trust
    #[arg(long, value_name = "KEY|FILE", requires = "verify", value_parser = verifier_keys)]
    trust: Vec<VerifierKeys>,
    #[command(flatten)]
    witnesses: WitnessArgs,
}

/// Shows the newest checkpoint; with a state file, only if it holds.
pub(super) async fn run(args: CheckpointArgs, session: &mut Session) -> Result<Exit, Failure> {
    if args.keys {
        return show_keys(session).await;
    }
    let witnesses = args.witnesses.given()?;
    if witnesses.is_some() && args.verify.is_none() {
        let text =
            "--witness needs --verify: who trusts no key of the log cannot tell what was cosigned";
        return Err(Failure::Usage(text.to_owned()));
    }
    let trust: Vec<VerifierKey> =
        args.trust.iter().flat_map(|VerifierKeys(keys)| keys.clone()).collect();
    let state = args.verify.as_deref().map(|path| State::read(path, &trust, "--trust"));
    let state = state.transpose()?;
    let mut audit = session.connect().await?.audit();
    let request = v1::GetCheckpointRequest { min_size: args.min_size };
    let answer = audit.get_checkpoint(request).await?.into_inner();
    let verified = match (state, &args.verify) {
        (Some(state), Some(path)) => {
            Some(verify(state, path, witnesses, &answer, &mut audit).await?)
        }
        _ => None,
    };
    let text = match (session.output.format(), &answer.cosigned_checkpoint) {
        (_, cosigned) if args.cosigned && cosigned.is_empty() => {
            return Err(Failure::Local(NONE_COSIGNED.to_owned()));
        }
        (Format::Table, cosigned) if args.cosigned => plain_lines(cosigned.trim_end()),
        (Format::Json, cosigned) if args.cosigned => {
            json!({"origin": answer.origin, "cosigned_checkpoint": cosigned}).to_string()
        }
        (Format::Table, _) => plain_lines(answer.checkpoint.trim_end()),
        (Format::Json, _) => json(&answer, verified.as_ref()).to_string(),
    };
    session.output.line(&text)?;
    if let Some(verified) = verified {
        note(&verified.told());
    }
    Ok(Exit::Done)
}

/// What holds of a checkpoint.
struct Verified {
    found: Checkpoint,
    /// How many records the one before covers that it continues.
    continues: Option<u64>,
    cosigned: Option<CosignedBy>,
}

/// Holds a checkpoint to the state file, and keeps it there.
async fn verify(
    mut state: State,
    path: &Path,
    witnesses: Option<Witnesses>,
    answer: &v1::GetCheckpointResponse,
    audit: &mut AuditServiceClient<Authorized>,
) -> Result<Verified, Failure> {
    let refused = |why: String| {
        let shown = plain_lines(&answer.checkpoint);
        Failure::Local(format!("{why}\nthe checkpoint was:\n{shown}"))
    };
    let found = state.open(&answer.checkpoint).map_err(refused)?;
    let cosigned = witnesses
        .map(|witnesses| witnesses.open_before(&answer.cosigned_checkpoint, state.keys(), &found));
    let cosigned = cosigned.transpose().map_err(refused)?;
    let earlier = cosigned.iter().map(|cosigned| &cosigned.checkpoint).chain(state.seen());
    for Checkpoint { size, root, .. } in earlier {
        let request = v1::GetConsistencyProofRequest { from_size: *size, to_size: found.size };
        let proof = audit.get_consistency_proof(request).await?.into_inner().hashes;
        hold((*size, root), &found, proof).map_err(refused)?;
    }
    let continues = state.seen().map(|seen| seen.size);
    state.keep(path, found.clone(), answer.checkpoint.clone())?;
    Ok(Verified { found, continues, cosigned })
}

impl Verified {
    /// What was verified, for people.
    fn told(&self) -> String {
        let continues = self.continues.map_or_else(
            || "it is the first that is remembered".to_owned(),
            |size| {
                format!("it continues the log of {} records that was seen before", grouped(size))
            },
        );
        let cosigned = self.cosigned.as_ref().map(|cosigned| format!("; {}", cosigned.checked()));
        format!(
            "verified: the checkpoint of {} records is signed by a key that is trusted, and {continues}{}",
            grouped(self.found.size),
            cosigned.unwrap_or_default()
        )
    }
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

/// A checkpoint, for programs; and whether it was held to a state file, and what witnesses have cosigned.
fn json(answer: &v1::GetCheckpointResponse, verified: Option<&Verified>) -> Value {
    let cosigned = verified.and_then(|verified| verified.cosigned.as_ref());
    json!({
        "checkpoint": answer.checkpoint,
        "origin": answer.origin,
        "tree_size": answer.tree_size,
        "root_hash": hex(&answer.root_hash),
        "cosigned_checkpoint": Some(&answer.cosigned_checkpoint).filter(|note| !note.is_empty()),
        "verified": verified.is_some(),
        "cosigned": cosigned.map(CosignedBy::json),
    })
}
