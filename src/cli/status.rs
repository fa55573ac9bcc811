//! How the answer of `admin status` is shown.

use std::time::Duration;

use serde_json::{Value, json};

use super::output::{Fields, Resource};
use super::resources::named;
use super::text::{bytes, grouped, hex, plain};
use super::times::{humane, humane_span, rfc3339};
use crate::proto::v1;

/// How the server is.
pub(super) struct Status {
    /// Its address.
    pub(super) server: String,
    pub(super) answer: v1::GetStatusResponse,
}

impl Status {
    fn uptime(&self) -> Option<Duration> {
        self.answer.uptime.and_then(|uptime| Duration::try_from(uptime).ok())
    }
}

impl Resource for Status {
    fn json(&self) -> Value {
        let answer = &self.answer;
        json!({
            "version": answer.version,
            "head": answer.head,
            "tree_root": hex(&answer.tree_root),
            "checkpoint": answer.checkpoint.as_ref().map(|checkpoint| json!({
                "origin": checkpoint.origin,
                "tree_size": checkpoint.tree_size,
                "root_hash": hex(&checkpoint.root_hash),
                "key_names": checkpoint.key_names,
            })),
            "anchor_position": answer.anchor_position,
            "start_time": answer.start_time.as_ref().map(rfc3339),
            "uptime": self.uptime().map(|uptime| format!("{}s", uptime.as_secs())),
            "counts": answer.counts.as_ref().map(|counts| json!({
                "accounts": counts.accounts,
                "keys": counts.keys,
                "callers": counts.callers,
            })),
            "pepper_version": answer.pepper_version,
            "engine": answer.engine.as_ref().map(|engine| json!({
                "name": engine.name,
                "version": engine.version,
                "disk_bytes": engine.disk_bytes,
            })),
            "queue_depth": answer.queue_depth,
            "snapshot_position": answer.snapshot_position,
            "snapshots_failing": answer.snapshots_failing,
            "warnings": answer.warnings,
            "scrub": answer.scrub.as_ref().map(|scrub| json!({
                "enabled": scrub.enabled,
                "passes": scrub.passes,
                "last_pass_time": scrub.last_pass_time.as_ref().map(rfc3339),
                "bytes_read": scrub.bytes_read,
                "bytes_total": scrub.bytes_total,
                "damage_found": scrub.damage_found,
            })),
            "volumes": answer.volumes.map(|volumes| json!({
                "sealed": volumes.sealed,
                "waiting": volumes.waiting,
                "sealing_failing": volumes.sealing_failing,
            })),
            "generation": answer.generation,
            "losses": answer.losses.iter().map(|loss| json!({
                "generation": loss.generation,
                "first": loss.first,
                "last": loss.last,
            })).collect::<Vec<_>>(),
            "projections": answer.projections.iter().map(|projection| json!({
                "name": projection.name,
                "position": projection.position,
                "lag": projection.lag,
                "failing": projection.failing,
                "disk_bytes": projection.disk_bytes,
            })).collect::<Vec<_>>(),
            "key_encryption_keys": answer.key_encryption_keys.iter().map(|kek| json!({
                "version": kek.version,
                "data_keys": kek.data_keys,
            })).collect::<Vec<_>>(),
            "peppers": answer.peppers.iter().map(|pepper| json!({
                "version": pepper.version,
                "keys": pepper.keys,
                "callers": pepper.callers,
            })).collect::<Vec<_>>(),
        })
    }

    fn fields(&self) -> Fields {
        let answer = &self.answer;
        let engine = answer.engine.clone().unwrap_or_default();
        let counts = answer.counts.unwrap_or_default();
        let up =
            self.uptime().map(|uptime| format!("  up {}", humane_span(uptime))).unwrap_or_default();
        let behind = match answer.head.saturating_sub(answer.anchor_position) {
            0 => "at head".to_owned(),
            behind => format!("{} behind head", grouped(behind)),
        };
        let snapshot = match (answer.snapshot_position, answer.snapshots_failing) {
            (0, false) => "none yet".to_owned(),
            (position, false) => grouped(position),
            (position, true) => {
                format!("{}  the last attempt failed: see the log", grouped(position))
            }
        };
        let volumes = answer.volumes.unwrap_or_default();
        let mut fields = vec![
            ("keyledger", named(&answer.version, &self.server)),
            ("started", answer.start_time.as_ref().map_or_else(|| "—".to_owned(), humane) + &up),
            ("", String::new()),
            ("head", grouped(answer.head)),
            ("anchor", format!("{}  {behind}", grouped(answer.anchor_position))),
            ("checkpoint", checkpoint(answer.checkpoint.as_ref())),
            ("snapshot", snapshot),
            ("tree root", hex(&answer.tree_root)),
            ("generation", grouped(answer.generation)),
            (
                "engine",
                format!(
                    "{} {}  {} on disk",
                    plain(&engine.name),
                    plain(&engine.version),
                    bytes(engine.disk_bytes)
                ),
            ),
            (
                "volumes",
                format!("{} sealed  {} waiting", grouped(volumes.sealed), grouped(volumes.waiting)),
            ),
            (
                "projections",
                answer.projections.iter().map(projection).collect::<Vec<_>>().join("\n"),
            ),
            ("scrub", scrub(&answer.scrub.unwrap_or_default())),
            ("pepper", peppers(answer)),
            (
                "data keys",
                answer.key_encryption_keys.iter().map(data_keys).collect::<Vec<_>>().join("  "),
            ),
            (
                "queue",
                match answer.queue_depth {
                    0 => "empty".to_owned(),
                    depth => format!("{} waiting", grouped(depth.into())),
                },
            ),
            ("", String::new()),
            ("accounts", grouped(counts.accounts)),
            ("keys", grouped(counts.keys)),
            ("callers", grouped(counts.callers)),
        ];
        if !answer.warnings.is_empty() || !answer.losses.is_empty() {
            fields.push(("", String::new()));
        }
        fields.extend(answer.losses.iter().map(|loss| ("HELD", held(loss))));
        fields.extend(answer.warnings.iter().map(|warning| ("WARNING", plain(warning))));
        fields
    }
}

/// What people are told of a loss that is not resolved.
fn held(loss: &v1::Loss) -> String {
    let last = if loss.last == 0 { "the unknown end".to_owned() } else { grouped(loss.last) };
    format!(
        "no key is authenticated: events {} to {last} of generation {} were lost in a restore",
        grouped(loss.first),
        loss.generation.saturating_sub(1),
    )
}

/// How a projection is, in a line.
fn projection(projection: &v1::ProjectionStatus) -> String {
    let place = match (projection.failing, projection.lag) {
        (true, _) => "failing: see the log".to_owned(),
        (false, 0) => "at head".to_owned(),
        (false, lag) => format!("{} behind head", grouped(lag)),
    };
    format!("{}  {place}  {} on disk", plain(&projection.name), bytes(projection.disk_bytes))
}

/// How much a key-encryption key is needed, in a line.
fn data_keys(kek: &v1::KeyEncryptionKeyStatus) -> String {
    format!("{} under key-encryption key {}", grouped(kek.data_keys), kek.version)
}

/// The pepper in force, and who still depends on older ones.
fn peppers(answer: &v1::GetStatusResponse) -> String {
    let older = answer.peppers.iter().filter(|pepper| pepper.version != answer.pepper_version);
    let of = |pepper: &v1::PepperStatus| {
        let (keys, callers) = (grouped(pepper.keys), grouped(pepper.callers));
        format!("{keys} keys and {callers} callers still on version {}", pepper.version)
    };
    let in_force = format!("version {}", answer.pepper_version);
    std::iter::once(in_force).chain(older.map(of)).collect::<Vec<_>>().join("  ")
}

/// What a checkpoint is of, in a line.
fn checkpoint(checkpoint: Option<&v1::CheckpointStatus>) -> String {
    checkpoint.map_or_else(
        || "none yet".to_owned(),
        |of| format!("{}  {}", grouped(of.tree_size), plain(&of.origin)),
    )
}

/// How the scrub goes, in a line.
fn scrub(scrub: &v1::ScrubStatus) -> String {
    if !scrub.enabled {
        return "off".to_owned();
    }
    let last = match &scrub.last_pass_time {
        Some(time) => format!("all read at {}", humane(time)),
        None => "first pass".to_owned(),
    };
    if scrub.bytes_read < scrub.bytes_total {
        let percent = scrub.bytes_read.saturating_mul(100) / scrub.bytes_total;
        format!("{last}  {percent} % of {} read", bytes(scrub.bytes_total))
    } else {
        last
    }
}

#[cfg(test)]
mod tests {
    use prost_types::{Duration, Timestamp};
    use serde_json::json;

    use super::{Resource as _, Status};
    use crate::cli::output::Format;
    use crate::cli::output::tests::shown;
    use crate::cli::resources::tests::assert_fields_of_message;
    use crate::proto::v1;

    fn status() -> Status {
        Status {
            server: "http://127.0.0.1:50051".to_owned(),
            answer: v1::GetStatusResponse {
                version: "0.1.0".to_owned(),
                head: 1_234,
                tree_root: vec![0xab; 32],
                checkpoint: Some(v1::CheckpointStatus {
                    origin: "example.com/log".to_owned(),
                    tree_size: 1_230,
                    root_hash: vec![0xcd; 32],
                    key_names: vec!["example.com/log+01020304".to_owned()],
                }),
                anchor_position: 1_230,
                start_time: Some(Timestamp { seconds: 1_795_411_812, nanos: 0 }),
                uptime: Some(Duration { seconds: 11_520, nanos: 5 }),
                counts: Some(v1::StatusCounts { accounts: 12, keys: 1_204, callers: 3 }),
                pepper_version: 2,
                engine: Some(v1::EngineStatus {
                    name: "sled".to_owned(),
                    version: "0.34.7".to_owned(),
                    disk_bytes: 12_897_485,
                }),
                queue_depth: 0,
                snapshot_position: 1_000,
                snapshots_failing: false,
                warnings: vec!["ledger/volume-00000002: damaged".to_owned()],
                scrub: Some(v1::ScrubStatus {
                    enabled: true,
                    passes: 1,
                    last_pass_time: Some(Timestamp { seconds: 1_795_411_812, nanos: 0 }),
                    bytes_read: 5_000_000,
                    bytes_total: 10_000_000,
                    damage_found: 1,
                }),
                volumes: Some(v1::VolumeStatus { sealed: 2, waiting: 1, sealing_failing: false }),
                generation: 2,
                losses: vec![v1::Loss { generation: 2, first: 1_200, last: 0 }],
                projections: vec![v1::ProjectionStatus {
                    name: "usage".to_owned(),
                    position: 1_200,
                    lag: 34,
                    failing: false,
                    disk_bytes: 3_000_000,
                }],
                key_encryption_keys: [(1, 2), (3, 1_210)]
                    .map(|(version, data_keys)| v1::KeyEncryptionKeyStatus { version, data_keys })
                    .into(),
                peppers: vec![
                    v1::PepperStatus { version: 1, keys: 12, callers: 1 },
                    v1::PepperStatus { version: 2, keys: 1_190, callers: 2 },
                ],
            },
        }
    }

    #[test]
    fn the_status_is_a_page_for_people() {
        let expected = "\
keyledger    0.1.0 (http://127.0.0.1:50051)
started      2026-11-23 05:30:12Z  up 3 h 12 min

head         1,234
anchor       1,230  4 behind head
checkpoint   1,230  example.com/log
snapshot     1,000
tree root    abababababababababababababababababababababababababababababababab
generation   2
engine       sled 0.34.7  12.2 MiB on disk
volumes      2 sealed  1 waiting
projections  usage  34 behind head  2.8 MiB on disk
scrub        all read at 2026-11-23 05:30:12Z  50 % of 9.5 MiB read
pepper       version 2  12 keys and 1 callers still on version 1
data keys    2 under key-encryption key 1  1,210 under key-encryption key 3
queue        empty

accounts     12
keys         1,204
callers      3

HELD         no key is authenticated: events 1,200 to the unknown end of generation 1 were lost in a restore
WARNING      ledger/volume-00000002: damaged
";
        assert_eq!(shown(Format::Table, &status()), expected);
    }

    #[test]
    fn the_status_for_programs_has_the_fields_of_the_api() {
        let json = status().json();
        assert_fields_of_message("GetStatusResponse", &json);
        assert_fields_of_message("Loss", &json["losses"][0]);
        assert_fields_of_message("ProjectionStatus", &json["projections"][0]);
        assert_fields_of_message("KeyEncryptionKeyStatus", &json["key_encryption_keys"][0]);
        assert_fields_of_message("CheckpointStatus", &json["checkpoint"]);
        assert_fields_of_message("StatusCounts", &json["counts"]);
        assert_fields_of_message("EngineStatus", &json["engine"]);
        assert_fields_of_message("ScrubStatus", &json["scrub"]);
        assert_fields_of_message("VolumeStatus", &json["volumes"]);
        assert_fields_of_message("PepperStatus", &json["peppers"][0]);
        assert_eq!((&json["uptime"], &json["head"]), (&json!("11520s"), &json!(1_234)));
    }
}
