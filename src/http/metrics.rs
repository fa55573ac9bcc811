//! Figures of the service in the text format of Prometheus, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! A few gauges and counters that are read when they are asked for: nothing is kept for them. There are no
//! labels but the version's, the projection's and the kind of signals, so the number of series is fixed.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use super::Phase;
use crate::app::status::Figures;
use crate::domain::usage::signals::SignalKind;

/// The content type of the format.
pub(super) const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The figures as text; only of the process itself while there is no service.
pub(super) fn render(phase: Phase, figures: Option<&Figures>) -> String {
    let mut page = Page(String::with_capacity(4096));
    let version = concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
    page.add("keyledger_build_info", "gauge", "The version of the server.", version, 1);
    let ready = u8::from(phase == Phase::Ready);
    page.gauge(
        "keyledger_ready",
        "Whether calls are answered: not while starting or draining.",
        ready,
    );
    let Some(figures) = figures else { return page.0 };
    page.gauge(
        "keyledger_start_time_seconds",
        "When the service became ready, in seconds since 1970.",
        seconds(figures.start_time.as_micros()),
    );
    let head = figures.head.map_or(0, |head| head.get());
    page.gauge("keyledger_ledger_head", "The last durable position of the log.", head);
    if let Some(anchor) = figures.anchor_position {
        let lag = head.saturating_sub(anchor);
        page.gauge(
            "keyledger_anchor_lag",
            "Positions that the head anchor is behind the head.",
            lag,
        );
    }
    page.gauge("keyledger_ledger_disk_bytes", "Bytes of the log on disk.", figures.disk_bytes);
    page.gauge("keyledger_commands_waiting", "Changes that wait to be decided.", figures.waiting);
    aggregates(&mut page, figures);
    page.gauge("keyledger_volumes_sealed", "Sealed volumes of the log.", figures.sealed);
    page.gauge(
        "keyledger_volumes_waiting_to_seal",
        "Full volumes of the log that are not sealed yet.",
        figures.waiting_to_seal,
    );
    page.gauge(
        "keyledger_sealing_failing",
        "Whether the last attempt to seal a volume failed.",
        u8::from(figures.sealing_failing),
    );
    page.gauge(
        "keyledger_snapshot_position",
        "The position of the newest snapshot; 0 if there is none.",
        figures.snapshot.map_or(0, |position| position.get()),
    );
    page.gauge(
        "keyledger_snapshots_failing",
        "Whether the last attempt to make a snapshot failed.",
        u8::from(figures.snapshots_fail),
    );
    page.gauge(
        "keyledger_log_generation",
        "The generation of the log: 1, and one more for each restore that lost some.",
        figures.log_state.generation,
    );
    page.gauge(
        "keyledger_unresolved_losses",
        "What restores lost and nobody has resolved: over 0, no key is authenticated.",
        figures.log_state.losses.len(),
    );
    rates(&mut page, figures);
    uses(&mut page, figures);
    audit(&mut page, figures);
    projections(&mut page, figures);
    scrub(&mut page, figures);
    page.0
}

fn aggregates(page: &mut Page, figures: &Figures) {
    page.gauge("keyledger_accounts", "Accounts, closed ones included.", figures.accounts);
    page.gauge("keyledger_keys", "Keys, revoked ones included.", figures.keys);
    page.gauge(
        "keyledger_keys_expiring_soon",
        "Keys that work, were not rotated and expire within notices.expires_soon_days.",
        figures.ends.expiring_soon,
    );
    page.gauge(
        "keyledger_keys_retiring",
        "Keys that were rotated and still work.",
        figures.ends.retiring,
    );
    page.gauge("keyledger_callers", "Callers, revoked ones included.", figures.callers);
}

fn rates(page: &mut Page, figures: &Figures) {
    page.gauge(
        "keyledger_rate_windows",
        "Accounts whose recent uses are counted against a limit.",
        figures.rates.windows,
    );
    page.counter(
        "keyledger_rate_limited_total",
        "Uses refused because their account had used up its limit.",
        figures.rates.refused,
    );
}

fn uses(page: &mut Page, figures: &Figures) {
    let uses = &figures.uses;
    let recorder = &uses.recorder;
    page.counter("keyledger_uses_durable_total", "Uses made durable.", recorder.entries);
    page.counter(
        "keyledger_uses_shed_total",
        "Uses answered without being recorded, by configuration.",
        recorder.shed,
    );
    page.counter(
        "keyledger_uses_refused_total",
        "Uses refused because the disk was behind.",
        recorder.refused,
    );
    page.counter("keyledger_usage_flushes_total", "Flushes of uses.", recorder.flushes);
    page.gauge(
        "keyledger_usage_flush_seconds",
        "How long the last flush of uses took.",
        span(recorder.last_flush),
    );
    page.gauge(
        "keyledger_usage_lag_seconds",
        "How long the oldest use that is not durable has waited.",
        span(recorder.lag),
    );
    page.counter(
        "keyledger_usage_journal_bytes_total",
        "Bytes appended to usage journals.",
        recorder.bytes,
    );
    page.gauge("keyledger_usage_journals", "Usage journals on disk.", recorder.files);
    page.gauge(
        "keyledger_usage_windows_waiting",
        "Windows of ended usage journals that are not on record yet.",
        uses.windows_waiting,
    );
    page.counter(
        "keyledger_usage_windows_recorded_total",
        "Windows of uses put on record.",
        uses.windows_recorded,
    );
    page.gauge(
        "keyledger_usage_failing",
        "Whether windows of uses were refused by a rule.",
        u8::from(uses.refused_by_a_rule),
    );
}

fn audit(page: &mut Page, figures: &Figures) {
    let audit = &figures.audit;
    page.gauge("keyledger_audit_streams", "Streams of events that are open.", audit.streams);
    page.counter("keyledger_audit_streams_total", "Streams of events opened.", audit.opened);
    page.counter("keyledger_audit_events_total", "Events handed to streams.", audit.events);
    page.counter(
        "keyledger_audit_stalled_total",
        "Streams of events ended because nothing was read from them.",
        audit.stalled,
    );
    page.counter(
        "keyledger_audit_damage_total",
        "Reads of the history that found a record which failed its check.",
        audit.damaged,
    );
}

fn projections(page: &mut Page, figures: &Figures) {
    let usage = &figures.usage_projection;
    let mut add =
        |name, help, value| page.add(name, "gauge", help, "{projection=\"usage\"}", value);
    add(
        "keyledger_projection_position",
        "The last position that is folded into the projection.",
        usage.position.map_or(0, |position| position.get()),
    );
    add(
        "keyledger_projection_lag",
        "Records of the log that are not folded into the projection yet.",
        figures.projection_lag(),
    );
    add(
        "keyledger_projection_failing",
        "Whether the last try to fold more into the projection failed.",
        usage.failing.into(),
    );
    add("keyledger_projection_disk_bytes", "Bytes of the projection on disk.", usage.bytes);
    page.describe("keyledger_signals_total", "counter", "Unusual activity found since the start.");
    for (kind, found) in SignalKind::ALL.iter().zip(usage.signals) {
        page.sample("keyledger_signals_total", &format!("{{kind=\"{}\"}}", kind.name()), found);
    }
}

fn scrub(page: &mut Page, figures: &Figures) {
    let scrub = &figures.scrub;
    page.gauge("keyledger_scrub_enabled", "Whether there is a scrub.", u8::from(scrub.runs));
    page.counter(
        "keyledger_scrub_passes_total",
        "How many times everything on disk has been read again.",
        scrub.passes,
    );
    page.counter(
        "keyledger_scrub_damage_total",
        "Different damages that the scrub has found.",
        scrub.damage,
    );
    page.gauge(
        "keyledger_scrub_progress_ratio",
        "How much of its pass the scrub has read; 1 while it rests.",
        ratio(scrub.read, scrub.total),
    );
    if let Some(ended) = scrub.last_pass {
        page.gauge(
            "keyledger_scrub_last_pass_timestamp_seconds",
            "When everything had been read last, in seconds since 1970.",
            seconds(ended.as_micros()),
        );
    }
}

/// Microseconds as seconds with three decimals.
fn seconds(micros: i64) -> String {
    format!("{}.{:03}", micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000) / 1_000)
}

/// A span as seconds with six decimals.
fn span(span: Duration) -> String {
    format!("{}.{:06}", span.as_secs(), span.subsec_micros())
}

/// A share of at most 1 with three decimals.
fn ratio(part: u64, whole: u64) -> String {
    let thousandths = match whole {
        0 => 0,
        whole => u128::from(part.min(whole)) * 1000 / u128::from(whole),
    };
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

/// The text so far.
const TAKES_ALL: &str = "a String takes all text";

struct Page(String);

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.add(name, "gauge", help, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.add(name, "counter", help, "", value);
    }

    fn add(&mut self, name: &str, kind: &str, help: &str, labels: &str, value: impl Display) {
        self.describe(name, kind, help);
        self.sample(name, labels, value);
    }

    fn describe(&mut self, name: &str, kind: &str, help: &str) {
        let written = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        written.expect(TAKES_ALL);
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        writeln!(self.0, "{name}{labels} {value}").expect(TAKES_ALL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::audit::AuditFigures;
    use crate::app::scrub::ScrubStatus;
    use crate::app::status::{EndFigures, RateFigures};
    use crate::app::usage_model::ProjectionFigures;
    use crate::app::uses::{RecorderState, UseFigures};
    use crate::domain::ids::{PepperVersion, Position};
    use crate::domain::log_state::LogState;
    use crate::domain::time::Time;
    use std::sync::Arc;

    fn figures() -> Figures {
        Figures {
            head: Position::new(42),
            anchor_position: Some(40),
            start_time: Time::from_micros(1_500_000),
            uptime: Duration::ZERO,
            accounts: 1,
            keys: 2,
            ends: EndFigures { expiring_soon: 14, retiring: 15 },
            callers: 3,
            rates: RateFigures { windows: 12, refused: 13 },
            uses: UseFigures {
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
                windows_recorded: 28,
                refused_by_a_rule: true,
            },
            usage_projection: ProjectionFigures {
                position: Position::new(39),
                failing: true,
                bytes: 29,
                signals: [30, 31, 32, 33],
            },
            pepper: PepperVersion(1),
            disk_bytes: 5,
            snapshot: Position::new(30),
            snapshots_fail: true,
            waiting: 6,
            sealed: 7,
            waiting_to_seal: 8,
            sealing_failing: true,
            audit: AuditFigures { streams: 31, opened: 32, events: 33, stalled: 34, damaged: 35 },
            log_state: Arc::new(LogState { generation: 4, losses: Vec::new(), last_journal: 0 }),
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

    fn samples(text: &str) -> Vec<&str> {
        text.lines().filter(|line| !line.starts_with('#')).collect()
    }

    #[test]
    fn every_figure_has_a_sample() {
        let text = render(Phase::Ready, Some(&figures()));
        let expected = [
            concat!("keyledger_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "keyledger_ready 1",
            "keyledger_start_time_seconds 1.500",
            "keyledger_ledger_head 42",
            "keyledger_anchor_lag 2",
            "keyledger_ledger_disk_bytes 5",
            "keyledger_commands_waiting 6",
            "keyledger_accounts 1",
            "keyledger_keys 2",
            "keyledger_keys_expiring_soon 14",
            "keyledger_keys_retiring 15",
            "keyledger_callers 3",
            "keyledger_volumes_sealed 7",
            "keyledger_volumes_waiting_to_seal 8",
            "keyledger_sealing_failing 1",
            "keyledger_snapshot_position 30",
            "keyledger_snapshots_failing 1",
            "keyledger_log_generation 4",
            "keyledger_unresolved_losses 0",
            "keyledger_rate_windows 12",
            "keyledger_rate_limited_total 13",
            "keyledger_uses_durable_total 21",
            "keyledger_uses_shed_total 22",
            "keyledger_uses_refused_total 23",
            "keyledger_usage_flushes_total 20",
            "keyledger_usage_flush_seconds 0.001500",
            "keyledger_usage_lag_seconds 2.100000",
            "keyledger_usage_journal_bytes_total 24",
            "keyledger_usage_journals 26",
            "keyledger_usage_windows_waiting 27",
            "keyledger_usage_windows_recorded_total 28",
            "keyledger_usage_failing 1",
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
            "keyledger_scrub_enabled 1",
            "keyledger_scrub_passes_total 9",
            "keyledger_scrub_damage_total 11",
            "keyledger_scrub_progress_ratio 0.333",
            "keyledger_scrub_last_pass_timestamp_seconds 2.000",
        ];
        assert_eq!(samples(&text), expected);
    }

    #[test]
    fn each_name_is_described_once_and_counters_end_in_total() {
        let text = render(Phase::Ready, Some(&figures()));
        let described: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let name = |sample: &&str| sample.split(['{', ' ']).next().map(str::to_owned);
        let names: std::collections::BTreeSet<_> = samples(&text).iter().filter_map(name).collect();
        assert_eq!(described.len(), names.len());
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
}
