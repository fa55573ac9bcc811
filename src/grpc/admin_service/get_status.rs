//! GetStatus.

use std::collections::BTreeMap;
use std::sync::Arc;

use tonic::Request;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::peppers::PepperFigures;
use crate::app::status::{ENGINE, ENGINE_VERSION, Status};
use crate::grpc::call::identity;
use crate::grpc::encode;
use crate::proto::v1::{
    CheckpointStatus, EngineStatus, GetStatusRequest, GetStatusResponse, KeyEncryptionKeyStatus,
    Loss, PepperStatus, ProjectionStatus, ScrubStatus, StatusCounts, VolumeStatus,
};

pub(super) async fn handle(
    app: &Arc<App>,
    request: &Request<GetStatusRequest>,
) -> Result<GetStatusResponse, AppError> {
    let identity = identity(request)?;
    app.status(&identity).await.map(answer)
}

fn answer(status: Status) -> GetStatusResponse {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let Status { tree_root, figures: status } = status;
    let (warnings, lag) = (status.warnings(), status.projection_lag());
    GetStatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        head: encode::position(status.head),
        tree_root: tree_root.0.to_vec(),
        checkpoint: status.checkpoint.map(|checkpoint| CheckpointStatus {
            origin: checkpoint.origin,
            tree_size: checkpoint.size.get(),
            root_hash: checkpoint.root.0.to_vec(),
            key_names: checkpoint.key_names,
        }),
        anchor_position: status.anchor_position.unwrap_or_default(),
        start_time: Some(encode::time(status.start_time)),
        uptime: Some(encode::span(status.uptime)),
        counts: Some(StatusCounts {
            accounts: count(status.accounts),
            keys: count(status.keys),
            callers: count(status.callers),
        }),
        pepper_version: status.pepper.0.into(),
        engine: Some(EngineStatus {
            name: ENGINE.to_owned(),
            version: ENGINE_VERSION.to_owned(),
            disk_bytes: status.disk_bytes,
        }),
        queue_depth: u32::try_from(status.commits.waiting()).unwrap_or(u32::MAX),
        snapshot_position: encode::position(status.snapshot),
        snapshots_failing: status.snapshots_fail,
        warnings,
        scrub: Some(ScrubStatus {
            enabled: status.scrub.runs,
            passes: status.scrub.passes,
            last_pass_time: status.scrub.last_pass.map(encode::time),
            bytes_read: status.scrub.read,
            bytes_total: status.scrub.total,
            damage_found: status.scrub.damage,
        }),
        volumes: Some(VolumeStatus {
            sealed: count(status.sealed),
            waiting: status.waiting_to_seal,
            sealing_failing: status.sealing_failing,
        }),
        generation: status.log_state.generation,
        losses: status
            .log_state
            .losses
            .iter()
            .map(|loss| Loss {
                generation: loss.generation,
                first: loss.first.get(),
                last: encode::position(loss.last),
            })
            .collect(),
        key_encryption_keys: key_encryption_keys(status.keks),
        projections: vec![ProjectionStatus {
            name: "usage".to_owned(),
            position: encode::position(status.usage_projection.position),
            lag,
            failing: status.usage_projection.failing,
            disk_bytes: status.usage_projection.bytes,
        }],
        peppers: status.peppers.iter().map(pepper).collect(),
    }
}

fn key_encryption_keys(counts: BTreeMap<u16, u64>) -> Vec<KeyEncryptionKeyStatus> {
    let status = |(version, data_keys): (u16, u64)| KeyEncryptionKeyStatus {
        version: version.into(),
        data_keys,
    };
    counts.into_iter().map(status).collect()
}

fn pepper(pepper: &PepperFigures) -> PepperStatus {
    let PepperFigures { version, dependents } = pepper;
    let version = version.0.into();
    PepperStatus { version, keys: dependents.keys, callers: dependents.callers }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::app::off_host::{OffHostFigures, PlaceFigures};
    use crate::app::proofs::CheckpointFigures;
    use crate::app::status::Figures;
    use crate::counting::{DURATIONS, Histogram, SIZES};
    use crate::domain::ids::{PepperVersion, Position};
    use crate::domain::log_state::{self as domain, LogState, TreeRoot};
    use crate::domain::peppers::Dependents;
    use crate::domain::time::Time;
    use crate::ledger::writer::CommitFigures;
    use crate::merkle::{HASH_BYTES, Hash};

    #[test]
    fn the_engine_is_the_one_that_is_built_in() {
        let lock = include_str!("../../../Cargo.lock");
        let package = format!("name = \"{ENGINE}\"\nversion = \"{ENGINE_VERSION}\"\n");
        assert!(lock.contains(&package));
    }

    fn checkpoint() -> CheckpointFigures {
        CheckpointFigures {
            origin: "example.com/log".to_owned(),
            size: Position::FIRST,
            root: Hash([4; HASH_BYTES]),
            key_names: vec!["example.com/log+01020304".to_owned()],
        }
    }

    fn checkpoint_status() -> CheckpointStatus {
        CheckpointStatus {
            origin: "example.com/log".to_owned(),
            tree_size: 1,
            root_hash: vec![4; 32],
            key_names: vec!["example.com/log+01020304".to_owned()],
        }
    }

    fn warnings() -> Vec<String> {
        vec![
            "anchor: gone".to_owned(),
            "a volume of the log cannot be sealed; the server's log says why".to_owned(),
            "no new snapshot can be made; the server's log says why".to_owned(),
            "the usage projection cannot be folded; questions on uses fail, the server's log says why"
                .to_owned(),
            "hash tiles cannot be made, so newer records cannot be proved; the server's log says why"
                .to_owned(),
            "checkpoints are not kept off this host by audit.anchor.file; the server's log says why"
                .to_owned(),
            "the TLS files cannot be used as they are now, and those before are still: why".to_owned(),
        ]
    }

    fn place() -> PlaceFigures {
        PlaceFigures {
            name: "file".to_owned(),
            position: 0,
            last_kept: None,
            failures: 1,
            failing: true,
            overdue: true,
            refused: None,
        }
    }

    fn waiting(commands: usize, background: usize) -> CommitFigures {
        let (took, records) = (Histogram::new(&DURATIONS).read(), Histogram::new(&SIZES).read());
        CommitFigures { commands, background, took, records }
    }

    fn figures() -> Figures {
        let (first, root) = (Position::FIRST, TreeRoot([0; 32]));
        let loss = domain::Loss { generation: 7, first, last: None, root };
        Figures {
            head: Position::new(42),
            anchor_position: Some(41),
            checkpoint: Some(checkpoint()),
            tiles: crate::app::tile_keeper::TileFigures { made: 39, failing: true },
            off_host: OffHostFigures { anchors: vec![place()], ..Default::default() },
            start_time: Time::from_micros(1_500_000),
            uptime: Duration::from_millis(2500),
            accounts: 1,
            keys: 2,
            ends: crate::app::status::EndFigures::default(),
            callers: 3,
            rates: crate::app::status::RateFigures::default(),
            audit: crate::app::audit::AuditFigures::default(),
            reload: Default::default(),
            transport: crate::app::transport::TransportFigures {
                refused: Some("why".to_owned()),
                ..Default::default()
            },
            pepper: PepperVersion(4),
            keks: [(1, 14), (2, 15)].into(),
            peppers: vec![PepperFigures {
                version: PepperVersion(4),
                dependents: Dependents { keys: 40, callers: 41 },
            }],
            disk_bytes: 5,
            disk_free: None,
            commits: waiting(4, 2),
            decisions: Default::default(),
            snapshot: Position::new(40),
            snapshots_fail: true,
            sealed: 7,
            waiting_to_seal: 8,
            sealing_failing: true,
            scrub: crate::app::scrub::ScrubStatus {
                runs: true,
                passes: 9,
                last_pass: Some(Time::from_micros(2_000_000)),
                read: 10,
                total: 11,
                damage: 1,
                findings: vec!["anchor: gone".to_owned()],
            },
            uses: Default::default(),
            usage_projection: crate::app::usage_model::ProjectionFigures {
                position: Position::new(12),
                failing: true,
                bytes: 13,
                signals: Default::default(),
            },
            log_state: Arc::new(LogState {
                generation: 7,
                losses: vec![loss],
                ..LogState::default()
            }),
        }
    }

    #[test]
    fn every_figure_is_in_the_answer() {
        let status = Status { tree_root: Hash([3; HASH_BYTES]), figures: figures() };
        let expected = GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            head: 42,
            tree_root: vec![3; 32],
            checkpoint: Some(checkpoint_status()),
            anchor_position: 41,
            start_time: Some(prost_types::Timestamp { seconds: 1, nanos: 500_000_000 }),
            uptime: Some(prost_types::Duration { seconds: 2, nanos: 500_000_000 }),
            counts: Some(StatusCounts { accounts: 1, keys: 2, callers: 3 }),
            pepper_version: 4,
            engine: Some(EngineStatus {
                name: "sled".to_owned(),
                version: "0.34.7".to_owned(),
                disk_bytes: 5,
            }),
            queue_depth: 6,
            snapshot_position: 40,
            snapshots_failing: true,
            warnings: warnings(),
            scrub: Some(ScrubStatus {
                enabled: true,
                passes: 9,
                last_pass_time: Some(prost_types::Timestamp { seconds: 2, nanos: 0 }),
                bytes_read: 10,
                bytes_total: 11,
                damage_found: 1,
            }),
            volumes: Some(VolumeStatus { sealed: 7, waiting: 8, sealing_failing: true }),
            generation: 7,
            losses: vec![Loss { generation: 7, first: 1, last: 0 }],
            projections: vec![ProjectionStatus {
                name: "usage".to_owned(),
                position: 12,
                lag: 30,
                failing: true,
                disk_bytes: 13,
            }],
            key_encryption_keys: [(1, 14), (2, 15)]
                .map(|(version, data_keys)| KeyEncryptionKeyStatus { version, data_keys })
                .into(),
            peppers: vec![PepperStatus { version: 4, keys: 40, callers: 41 }],
        };
        assert_eq!(answer(status), expected);
    }
}
