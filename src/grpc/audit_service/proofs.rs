//! GetCheckpoint, GetInclusionProof, GetConsistencyProof, GetVerifierKey.

use tonic::Request;

use crate::app::App;
use crate::app::error::AppError;
use crate::domain::ids::Position;
use crate::grpc::call::identity;
use crate::grpc::decode::{Violations, decode};
use crate::merkle::Hash;
use crate::proto::v1::{
    GetCheckpointRequest, GetCheckpointResponse, GetConsistencyProofRequest,
    GetConsistencyProofResponse, GetInclusionProofRequest, GetInclusionProofResponse,
    GetVerifierKeyRequest, GetVerifierKeyResponse,
};

pub(super) async fn checkpoint(
    app: &App,
    request: &Request<GetCheckpointRequest>,
) -> Result<GetCheckpointResponse, AppError> {
    let identity = identity(request)?;
    // Before the other, which it is never of more records than.
    let cosigned = app.cosigned_checkpoint();
    let signed = app.checkpoint(&identity, request.get_ref().min_size).await?;
    Ok(GetCheckpointResponse {
        checkpoint: signed.note.clone(),
        origin: signed.checkpoint.origin.to_string(),
        tree_size: signed.checkpoint.size,
        root_hash: signed.checkpoint.root.0.to_vec(),
        cosigned_checkpoint: cosigned.unwrap_or_default(),
    })
}

pub(super) async fn inclusion(
    app: &App,
    request: &Request<GetInclusionProofRequest>,
) -> Result<GetInclusionProofResponse, AppError> {
    let identity = identity(request)?;
    let GetInclusionProofRequest { position, tree_size } = *request.get_ref();
    let (position, size) =
        decode(|bad| pair(bad, ("position", position), ("tree_size", tree_size)))?;
    let proof = app.inclusion_proof(&identity, position, size).await?;
    Ok(GetInclusionProofResponse { hashes: bytes(&proof) })
}

pub(super) async fn consistency(
    app: &App,
    request: &Request<GetConsistencyProofRequest>,
) -> Result<GetConsistencyProofResponse, AppError> {
    let identity = identity(request)?;
    let GetConsistencyProofRequest { from_size, to_size } = *request.get_ref();
    let (from, to) = decode(|bad| pair(bad, ("from_size", from_size), ("to_size", to_size)))?;
    let proof = app.consistency_proof(&identity, from, to).await?;
    Ok(GetConsistencyProofResponse { hashes: bytes(&proof) })
}

pub(super) fn verifier_key(
    app: &App,
    request: &Request<GetVerifierKeyRequest>,
) -> Result<GetVerifierKeyResponse, AppError> {
    let identity = identity(request)?;
    let mut keys = app.verifier_keys(&identity)?.iter().map(ToString::to_string);
    let verifier_key = keys.next().ok_or(AppError::Internal)?;
    Ok(GetVerifierKeyResponse { verifier_key, older_verifier_keys: keys.collect() })
}

/// Two positions, of which the first is at most the second.
fn pair(
    bad: &mut Violations,
    (name, first): (&str, u64),
    (bound, last): (&str, u64),
) -> Option<(Position, u64)> {
    let must = format!("must be from 1 to {bound}");
    let found = Position::new(first).filter(|_| first <= last);
    let found = found.or_else(|| bad.refuse(name, must));
    let last = if last == 0 { bad.refuse(bound, "must be at least 1") } else { Some(last) };
    Some((found?, last?))
}

fn bytes(proof: &[Hash]) -> Vec<Vec<u8>> {
    proof.iter().map(|hash| hash.0.to_vec()).collect()
}
