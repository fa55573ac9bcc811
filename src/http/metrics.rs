//! Figures of the service in the text format of Prometheus, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! They are read when they are asked for; all are described in `docs/metrics.md`. What calls have for labels is from
//! tables of the program, never from what was sent, so the number of series is bounded but for the peppers in use.

mod calls;
mod histogram;
mod ledger;
mod off_host;
mod reload;
pub(super) mod spans;
mod tls;

use std::fmt::{Display, Write as _};
use std::time::Duration;

use super::Phase;
use crate::app::calls::CallFigures;
use crate::app::peppers::PepperFigures;
use crate::app::status::Figures;
use crate::domain::usage::signals::SignalKind;

/// The content type of the format.
pub(super) const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The figures of a service and of the calls it has had, as text; only of the process itself while there is no service.
pub(super) fn render(phase: Phase, service: Option<(&Figures, &[CallFigures])>) -> String {
    let mut page = Page(String::with_capacity(16 * 1024));
    let version = concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
    page.add("keyledger_build_info", "gauge", "The version of the server.", version, 1);
    let ready = u8::from(phase == Phase::Ready);
    page.gauge(
        "keyledger_ready",
        "Whether calls are answered: not while starting or draining.",
        ready,
    );
    let Some((figures, calls)) = service else { return page.0 };
    page.gauge(
        "keyledger_start_time_seconds",
        "When the service became ready, in seconds since 1970.",
        seconds(figures.start_time.as_micros()),
    );
    calls::calls(&mut page, calls);
    calls::decisions(&mut page, &figures.decisions);
    ledger::ledger(&mut page, figures);
    aggregates(&mut page, figures);
    ledger::volumes(&mut page, figures);
    tiles(&mut page, figures);
    off_host::off_host(&mut page, &figures.off_host);
    rates(&mut page, figures);
    uses(&mut page, figures);
    audit(&mut page, figures);
    projections(&mut page, figures);
    scrub(&mut page, figures);
    reload::add(&mut page, figures);
    tls::add(&mut page, figures);
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
    peppers(page, figures);
}

fn peppers(page: &mut Page, figures: &Figures) {
    let mut family = |name, help, count: fn(&PepperFigures) -> u64| {
        page.describe(name, "gauge", help);
        for pepper in &figures.peppers {
            page.sample(name, &format!("{{version=\"{}\"}}", pepper.version), count(pepper));
        }
    };
    family(
        "keyledger_keys_by_pepper",
        "Keys that work, or will once they are enabled, by the pepper that recognises them.",
        |pepper| pepper.dependents.keys,
    );
    family(
        "keyledger_callers_by_pepper",
        "Callers that work, by the pepper that recognises them; one in rotation may count to two.",
        |pepper| pepper.dependents.callers,
    );
}

fn tiles(page: &mut Page, figures: &Figures) {
    page.gauge(
        "keyledger_tiles_position",
        "The position up to which records can be proved.",
        figures.tiles.made,
    );
    page.gauge(
        "keyledger_tiles_failing",
        "Whether the last attempt to make hash tiles failed.",
        u8::from(figures.tiles.failing),
    );
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
        "Uses refused because the disk or the log was behind.",
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
    page.gauge(
        "keyledger_usage_windows_behind",
        "Whether so many windows wait for their record that uses are refused or not recorded.",
        u8::from(uses.log_is_behind),
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

const TAKES_ALL: &str = "a String takes all text";

/// The text so far.
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
#[path = "metrics_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "metrics/reference_tests.rs"]
mod reference_tests;
