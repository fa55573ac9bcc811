//! `audit verify`: holds a history to a signed checkpoint, trusting nothing but a verifier key.

mod archive;
mod kept;
mod part;
mod proof;
mod source;
mod verdict;
mod whole;

use std::path::PathBuf;

use clap::Args;

use super::state::{State, VerifierKeys, hold, verifier_keys};
use super::witness::{WitnessArgs, Witnesses};
use crate::cli::connect::Authorized;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::note;
use crate::cli::progress::Shown;
use crate::cli::session::Session;
use crate::cli::text::grouped;
use crate::merkle::Hash;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::note::VerifierKey;
use crate::progress::Progress as _;
use crate::proto::v1::audit_service_client::AuditServiceClient;
use crate::proto::v1::{self, EventFilter};
use crate::telemetry;
use crate::verify::{Scope, Unsound};
use kept::Keeper;
use verdict::{Form, Verdict};

#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyArgs {
    /// State file: the verifier keys that are trusted, and the last checkpoint that was seen. Beside it, in
    /// FILE.progress, is kept what a later run needs so as to read only what is new
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Verifier key to trust, or a file with some; put into the state file, which is made if it is not there.
    /// Get it over a way you trust. Without --state nothing is remembered
    #[arg(long, value_name = "KEY|FILE", value_parser = verifier_keys)]
    verifier_key: Vec<VerifierKeys>,
    /// Verify an archive that was exported. No server is called, and the state file is only read
    #[arg(long, value_name = "FILE", conflicts_with_all = ["proof", "tenant", "account", "key", "from_beginning"])]
    archive: Option<PathBuf>,
    /// Verify the proof file of one record, likewise
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tenant", "account", "key", "from_beginning"])]
    proof: Option<PathBuf>,
    /// Only the records of this tenant, as who is bound to it must ask
    #[arg(long, default_value_t, hide_default_value = true)]
    tenant: String,
    /// Only the records of this account of the tenant, its keys' included
    #[arg(long, requires = "tenant", default_value_t, hide_default_value = true)]
    account: String,
    /// Only the records of this key, key_…
    #[arg(long, value_name = "KEY_ID", default_value_t, hide_default_value = true)]
    key: String,
    /// Read everything again, though an earlier run has verified some of it
    #[arg(long)]
    from_beginning: bool,
    #[command(flatten)]
    witnesses: WitnessArgs,
}

/// Why a verification ended before it was done.
#[derive(Debug)]
enum Stop {
    /// The history, or what proves it, is not what it must be.
    Unsound(String),
    /// Somebody pressed Ctrl-C.
    Interrupted,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failed(failure)
    }
}

impl From<tonic::Status> for Stop {
    fn from(status: tonic::Status) -> Self {
        Stop::Failed(status.into())
    }
}

impl From<Unsound> for Stop {
    fn from(unsound: Unsound) -> Self {
        Stop::Unsound(unsound.to_string())
    }
}

/// What a running verification works with.
struct Run {
    audit: AuditServiceClient<Authorized>,
    /// The checkpoint that all is held to: the newest when the run began.
    found: Checkpoint,
    /// The one that was seen before.
    seen: Option<Checkpoint>,
    keeper: Keeper,
    progress: Shown,
}

pub(super) async fn run(args: VerifyArgs, session: &mut Session) -> Result<Exit, Failure> {
    // Where there is no terminal the log tells how far it is. A bad filter is no reason not to verify.
    let _ = telemetry::start(std::env::var(telemetry::LOG_VARIABLE).ok().as_deref());
    // An archive is looked at all the same: it says with which key it would hold.
    if args.state.is_none() && args.verifier_key.is_empty() && args.archive.is_none() {
        let none = "nothing says which key to trust: give --state FILE or --verifier-key KEY";
        return Err(Failure::Usage(none.to_owned()));
    }
    let (state, witnesses) = (args.trusted()?, args.witnesses.given()?);
    let witnesses = witnesses.as_ref();
    if let Some(path) = &args.proof {
        return proof::verify(path, &state, witnesses, session);
    }
    let scope = scope(&args)?;
    let mut verdict = Verdict::new(args.form());
    let verified = match &args.archive {
        Some(path) => archive::verify(path, &state, witnesses, &mut verdict),
        None => live(&args, (state, witnesses), scope, session, &mut verdict).await,
    };
    match verified {
        Ok(()) => {}
        Err(Stop::Unsound(why)) => verdict.fault = Some(why),
        Err(Stop::Failed(failure)) => return Err(failure),
        Err(Stop::Interrupted) => {
            let records = grouped(verdict.tally.records);
            let next = match args.state {
                Some(_) => "the next run goes on from there",
                None => "without --state the next run begins anew",
            };
            note(&format!("stopped: {records} records were verified; {next}"));
            return Ok(Exit::Unavailable);
        }
    }
    verdict.show(session)
}

/// The part that is asked for; none: the whole.
fn scope(args: &VerifyArgs) -> Result<Option<Scope>, Failure> {
    let VerifyArgs { tenant, account, key, .. } = args;
    let scope = Scope::parse(tenant, account, key).ok_or_else(|| {
        Failure::Usage(
            "--tenant and --account must be ids, [A-Za-z0-9._~-]{1,128}, and --key a key id, key_…"
                .to_owned(),
        )
    })?;
    Ok((scope != Scope::default()).then_some(scope))
}

/// Verifies what a server streams.
async fn live(
    args: &VerifyArgs,
    (mut state, witnesses): (State, Option<&Witnesses>),
    scope: Option<Scope>,
    session: &mut Session,
    verdict: &mut Verdict,
) -> Result<(), Stop> {
    let path = args.state.as_deref();
    let mut audit = session.connect().await?.audit();
    let answer = audit.get_checkpoint(v1::GetCheckpointRequest::default()).await?.into_inner();
    verdict.note.clone_from(&answer.checkpoint);
    let found = state.open(&answer.checkpoint).map_err(Stop::Unsound)?;
    verdict.found(&found, state.signers(&answer.checkpoint));
    let mut run = Run {
        audit,
        keeper: Keeper::new(path, found.origin.as_str(), args.from_beginning),
        found,
        seen: state.seen().cloned(),
        progress: Shown::new(),
    };
    if let Some(witnesses) = witnesses {
        let cosigned = witnesses.open_before(&answer.cosigned_checkpoint, state.keys(), &run.found);
        let cosigned = cosigned.map_err(Stop::Unsound)?;
        run.hold_to(cosigned.checkpoint.size, &cosigned.checkpoint.root).await?;
        verdict.cosigned = Some(cosigned);
    }
    let verified = match scope {
        None => whole::verify(&mut run, verdict).await,
        Some(scope) => part::verify(&mut run, args.filter(), scope, verdict).await,
    };
    run.progress.end();
    let reached = match verified {
        Err(Stop::Unsound(why)) => return Err(run.blame(why).await),
        verified => verified?,
    };
    if let Some(path) = path {
        // The checkpoint first: what is kept beside it is of no more records then.
        state.keep(path, run.found, answer.checkpoint)?;
        run.keeper.keep(&reached)?;
    }
    Ok(())
}

impl VerifyArgs {
    /// What is trusted, and what was seen last.
    fn trusted(&self) -> Result<State, Failure> {
        let keys: Vec<VerifierKey> =
            self.verifier_key.iter().flat_map(|VerifierKeys(keys)| keys.clone()).collect();
        let path = self.state.as_deref();
        let state = path.map(|path| State::read(path, &keys, "--verifier-key")).transpose()?;
        Ok(state.unwrap_or_else(|| State::trusting(&keys)))
    }

    fn form(&self) -> Form {
        let filter = self.filter();
        match &self.archive {
            Some(_) => Form::Archive,
            None if filter == EventFilter::default() => Form::Whole,
            None => Form::Part(filter),
        }
    }

    fn filter(&self) -> EventFilter {
        EventFilter {
            tenant_id: self.tenant.clone(),
            account_id: self.account.clone(),
            key_id: self.key.clone(),
            kinds: Vec::new(),
        }
    }
}

impl Run {
    /// What to say of a log in which something is wrong: first, if so, that it is not the one that was seen.
    async fn blame(&mut self, why: String) -> Stop {
        let Some(seen) = self.seen.clone() else { return Stop::Unsound(why) };
        match self.hold_to(seen.size, &seen.root).await {
            Err(Stop::Unsound(changed)) => Stop::Unsound(format!("{changed}; {why}")),
            _ => Stop::Unsound(why),
        }
    }

    /// Holds the checkpoint to an earlier one of this size and root, by a proof.
    async fn hold_to(&mut self, size: u64, root: &Hash) -> Result<(), Stop> {
        let to_size = self.found.size;
        let request = v1::GetConsistencyProofRequest { from_size: size, to_size };
        let proof = self.audit.get_consistency_proof(request).await?.into_inner().hashes;
        hold((size, root), &self.found, proof).map_err(Stop::Unsound)
    }
}
