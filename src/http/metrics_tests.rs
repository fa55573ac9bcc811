//! Every figure has a sample, and each name is described once.

use super::*;
use crate::app::audit::AuditFigures;
use crate::app::calls::{Callable, Calls, End, RPC_CODES};
use crate::app::decisions::DecisionFigures;
use crate::app::off_host::{OffHostFigures, PlaceFigures};
use crate::app::peppers::PepperFigures;
use crate::app::reload::ReloadFigures;
use crate::app::scrub::ScrubStatus;
use crate::app::status::{EndFigures, RateFigures};
use crate::app::tile_keeper::TileFigures;
use crate::app::transport::{TransportFigures, Validity};
use crate::app::usage_model::ProjectionFigures;
use crate::app::uses::{RecorderState, UseFigures};
use crate::counting::{DURATIONS, Histogram, SIZES};
use crate::domain::ids::{PepperVersion, Position};
use crate::domain::log_state::LogState;
use crate::domain::peppers::Dependents;
use crate::domain::time::Time;
use crate::ledger::writer::CommitFigures;
use std::sync::Arc;

fn place(name: &str, position: u64) -> PlaceFigures {
    PlaceFigures {
        name: name.to_owned(),
        position,
        last_kept: Some(Time::from_micros(3_000_000)),
        failures: 37,
        failing: true,
        overdue: false,
        refused: None,
    }
}

/// Two frames: one of a record, one of a hundred.
fn commits() -> CommitFigures {
    let (took, records) = (Histogram::new(&DURATIONS), Histogram::new(&SIZES));
    for (span, size) in [(Duration::from_micros(40), 1), (Duration::from_secs(6), 100)] {
        took.note_duration(span);
        records.note(size);
    }
    CommitFigures { commands: 4, background: 2, took: took.read(), records: records.read() }
}

/// One call that was answered and one that was not.
fn calls() -> Vec<CallFigures> {
    let callable = Callable { name: "KeyService/GetKey", codes: &RPC_CODES };
    let calls = Calls::of([callable]);
    calls.note(0, End::Success, Duration::from_millis(2));
    calls.note(0, End::ServerError(14), Duration::from_millis(3));
    calls.figures()
}

pub(super) fn full_page() -> String {
    render(Phase::Ready, Some((&figures(), &calls())))
}

fn uses() -> UseFigures {
    UseFigures {
        recorder: RecorderState {
            flushes: 20,
            last_flush: Duration::from_micros(1500),
            lag: Duration::from_millis(2100),
            entries: 21,
            shed: 22,
            refused: 23,
            bytes: 24,
            journal: 25,
            files: 26,
        },
        windows_waiting: 27,
        log_is_behind: true,
        windows_recorded: 28,
        refused_by_a_rule: true,
    }
}

fn figures() -> Figures {
    Figures {
        head: Position::new(42),
        anchor_position: Some(40),
        checkpoint: None,
        tiles: TileFigures { made: 29, failing: true },
        off_host: OffHostFigures {
            anchors: vec![place("url", 36)],
            witnesses: vec![place("w\"", 35)],
            quorum: 1,
            cosigned: 34,
            cosigned_overdue: true,
        },
        start_time: Time::from_micros(1_500_000),
        uptime: Duration::ZERO,
        accounts: 1,
        keys: 2,
        ends: EndFigures { expiring_soon: 14, retiring: 15 },
        callers: 3,
        rates: RateFigures { windows: 12, refused: 13 },
        uses: uses(),
        usage_projection: ProjectionFigures {
            position: Position::new(39),
            failing: true,
            bytes: 29,
            signals: [30, 31, 32, 33],
        },
        pepper: PepperVersion(1),
        keks: [(1, 1)].into(),
        peppers: vec![PepperFigures {
            version: PepperVersion(1),
            dependents: Dependents { keys: 40, callers: 41 },
        }],
        disk_bytes: 5,
        snapshot: Position::new(30),
        snapshots_fail: true,
        disk_free: Some(44),
        commits: commits(),
        decisions: DecisionFigures {
            answered: vec![("ALLOWED", 45), ("REVOKED", 46)],
            in_streams: [47, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 48, 0, 0],
        },
        sealed: 7,
        waiting_to_seal: 8,
        sealing_failing: true,
        audit: AuditFigures { streams: 31, opened: 32, events: 33, stalled: 34, damaged: 35 },
        transport: transport(),
        reload: reload(),
        log_state: Arc::new(LogState { generation: 4, ..LogState::default() }),
        scrub: ScrubStatus {
            runs: true,
            passes: 9,
            last_pass: Some(Time::from_micros(2_000_000)),
            read: 1,
            total: 3,
            damage: 11,
            findings: vec!["ledger/volume-00000001: gone".to_owned()],
        },
    }
}

fn reload() -> ReloadFigures {
    let waiting = ["grpc_addr".to_owned()].into();
    ReloadFigures { taken: 44, refused: Some("why".to_owned()), waiting }
}

fn transport() -> TransportFigures {
    TransportFigures {
        certificate: Some(Validity { from: Time::EPOCH, until: Time::from_micros(4_000_000) }),
        doubt: None,
        taken: 41,
        refused: Some("why".to_owned()),
        handshakes_failed: 42,
        handshakes_cut: 43,
    }
}

/// Those of [`uses`].
const OF_USES: [&str; 12] = [
    "keyledger_uses_durable_total 21",
    "keyledger_uses_shed_total 22",
    "keyledger_uses_refused_total 23",
    "keyledger_usage_flushes_total 20",
    "keyledger_usage_flush_seconds 0.001500",
    "keyledger_usage_lag_seconds 2.100000",
    "keyledger_usage_journal_bytes_total 24",
    "keyledger_usage_journals 26",
    "keyledger_usage_windows_waiting 27",
    "keyledger_usage_windows_behind 1",
    "keyledger_usage_windows_recorded_total 28",
    "keyledger_usage_failing 1",
];

/// Those of the scrub, which come before those of [`transport`].
const OF_SCRUB: [&str; 5] = [
    "keyledger_scrub_enabled 1",
    "keyledger_scrub_passes_total 9",
    "keyledger_scrub_damage_total 11",
    "keyledger_scrub_progress_ratio 0.333",
    "keyledger_scrub_last_pass_timestamp_seconds 2.000",
];

/// Those of the configuration file, between the two.
const OF_RELOAD: [&str; 3] = [
    "keyledger_configuration_reloads_total 44",
    "keyledger_configuration_reload_failing 1",
    "keyledger_configuration_waiting 1",
];

/// The samples of [`transport`], which come last.
const OF_TLS: [&str; 5] = [
    "keyledger_tls_certificate_expiry_timestamp_seconds 4.000",
    "keyledger_tls_reloads_total 41",
    "keyledger_tls_reload_failing 1",
    "keyledger_tls_handshakes_failed_total 42",
    "keyledger_tls_handshakes_cut_total 43",
];

fn samples(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

/// The samples of histograms, which have tests of their own.
fn is_of_histogram(sample: &str) -> bool {
    sample.contains("_bucket{") || sample.contains("_sum") || sample.contains("_count")
}

#[test]
fn every_figure_has_a_sample() {
    let expected = [
        concat!("keyledger_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "keyledger_ready 1",
        "keyledger_start_time_seconds 1.500",
        "keyledger_calls_total{method=\"KeyService/GetKey\",code=\"OK\"} 1",
        "keyledger_calls_total{method=\"KeyService/GetKey\",code=\"UNAVAILABLE\"} 1",
        "keyledger_decisions_total{outcome=\"allowed\"} 45",
        "keyledger_decisions_total{outcome=\"revoked\"} 46",
        "keyledger_stream_answers_total{code=\"OK\"} 47",
        "keyledger_stream_answers_total{code=\"UNAVAILABLE\"} 48",
        "keyledger_ledger_head 42",
        "keyledger_anchor_lag 2",
        "keyledger_ledger_disk_bytes 5",
        "keyledger_disk_free_bytes 44",
        "keyledger_commands_waiting{lane=\"commands\"} 4",
        "keyledger_commands_waiting{lane=\"background\"} 2",
        "keyledger_accounts 1",
        "keyledger_keys 2",
        "keyledger_keys_expiring_soon 14",
        "keyledger_keys_retiring 15",
        "keyledger_callers 3",
        "keyledger_keys_by_pepper{version=\"1\"} 40",
        "keyledger_callers_by_pepper{version=\"1\"} 41",
        "keyledger_volumes_sealed 7",
        "keyledger_volumes_waiting_to_seal 8",
        "keyledger_sealing_failing 1",
        "keyledger_snapshot_position 30",
        "keyledger_snapshot_lag 12",
        "keyledger_snapshots_failing 1",
        "keyledger_log_generation 4",
        "keyledger_unresolved_losses 0",
        "keyledger_tiles_position 29",
        "keyledger_tiles_failing 1",
        "keyledger_anchor_position{place=\"url\"} 36",
        "keyledger_anchor_last_success_timestamp_seconds{place=\"url\"} 3.000",
        "keyledger_anchor_failing{place=\"url\"} 1",
        "keyledger_anchor_overdue{place=\"url\"} 0",
        "keyledger_anchor_failures_total{place=\"url\"} 37",
        "keyledger_witness_position{witness=\"w\\\"\"} 35",
        "keyledger_witness_last_success_timestamp_seconds{witness=\"w\\\"\"} 3.000",
        "keyledger_witness_failing{witness=\"w\\\"\"} 1",
        "keyledger_witness_overdue{witness=\"w\\\"\"} 0",
        "keyledger_witness_failures_total{witness=\"w\\\"\"} 37",
        "keyledger_witness_quorum 1",
        "keyledger_cosigned_position 34",
        "keyledger_cosigned_overdue 1",
        "keyledger_rate_windows 12",
        "keyledger_rate_limited_total 13",
    ];
    let rest = [
        "keyledger_audit_streams 31",
        "keyledger_audit_streams_total 32",
        "keyledger_audit_events_total 33",
        "keyledger_audit_stalled_total 34",
        "keyledger_audit_damage_total 35",
        "keyledger_projection_position{projection=\"usage\"} 39",
        "keyledger_projection_lag{projection=\"usage\"} 3",
        "keyledger_projection_failing{projection=\"usage\"} 1",
        "keyledger_projection_disk_bytes{projection=\"usage\"} 29",
        "keyledger_signals_total{kind=\"new_source\"} 30",
        "keyledger_signals_total{kind=\"ended_key_tried\"} 31",
        "keyledger_signals_total{kind=\"burst\"} 32",
        "keyledger_signals_total{kind=\"unknown_keys\"} 33",
    ];
    let all = [&expected[..], &OF_USES, &rest, &OF_SCRUB, &OF_RELOAD, &OF_TLS].concat();
    let page = full_page();
    let mut samples = samples(&page);
    samples.retain(|sample| !is_of_histogram(sample));
    assert_eq!(samples, all);
}

#[test]
fn histograms_have_their_bounds_what_is_over_them_their_sum_and_count() {
    let page = full_page();
    let samples = samples(&page);
    let of = |name: &str| samples.iter().filter(|line| line.starts_with(name)).count();
    for (name, series) in [
        ("keyledger_ledger_commit_duration_seconds", 1),
        ("keyledger_ledger_commit_records", 1),
        ("keyledger_call_duration_seconds", 3),
    ] {
        assert_eq!(of(name), 17 * series, "{name}");
    }
    for sample in [
        "keyledger_ledger_commit_duration_seconds_bucket{le=\"0.00005\"} 1",
        "keyledger_ledger_commit_duration_seconds_bucket{le=\"5\"} 1",
        "keyledger_ledger_commit_duration_seconds_bucket{le=\"+Inf\"} 2",
        "keyledger_ledger_commit_duration_seconds_sum 6.000040000",
        "keyledger_ledger_commit_duration_seconds_count 2",
        "keyledger_ledger_commit_records_bucket{le=\"64\"} 1",
        "keyledger_ledger_commit_records_bucket{le=\"128\"} 2",
        "keyledger_ledger_commit_records_sum 101",
        "keyledger_call_duration_seconds_bucket{method=\"KeyService/GetKey\",outcome=\"ok\",le=\"0.001\"} 0",
        "keyledger_call_duration_seconds_bucket{method=\"KeyService/GetKey\",outcome=\"ok\",le=\"0.0025\"} 1",
        "keyledger_call_duration_seconds_sum{method=\"KeyService/GetKey\",outcome=\"server_error\"} 0.003000000",
        "keyledger_call_duration_seconds_count{method=\"KeyService/GetKey\",outcome=\"client_error\"} 0",
    ] {
        assert!(samples.contains(&sample), "{sample}\n{page}");
    }
}

#[test]
fn each_name_is_described_once_and_counters_end_in_total() {
    let text = full_page();
    let described: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let named: std::collections::BTreeSet<_> =
        described.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(described.len(), named.len());
    for sample in samples(&text) {
        let name = sample.split(['{', ' ']).next().expect("a name");
        let ends = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let of_histogram = ends.is_some_and(|name| named.contains(name));
        assert!(named.contains(name) || of_histogram, "{sample}");
    }
    for line in described {
        let (name, kind) = line.split_once(' ').expect("a kind");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
    }
}

#[test]
fn without_a_service_only_the_process_is_described() {
    let text = render(Phase::Starting, None);
    assert_eq!(samples(&text)[1..], ["keyledger_ready 0"]);
}

#[test]
fn a_pass_that_read_more_than_expected_is_not_over_one() {
    assert_eq!(
        (ratio(5, 3), ratio(0, 0), ratio(3, 3)),
        ("1.000".into(), "0.000".into(), "1.000".into())
    );
}
