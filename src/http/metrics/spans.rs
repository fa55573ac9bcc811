//! Figures of spans of calls; there are none while nothing is traced.

use super::Page;
use crate::telemetry::otlp::SpanCounts;

/// The figures as text.
pub(in crate::http) fn render(counts: &SpanCounts) -> String {
    let mut page = Page(String::new());
    page.counter("keyledger_spans_sent_total", "Spans that the collector took.", counts.sent());
    page.counter(
        "keyledger_spans_dropped_total",
        "Spans dropped because the collector did not take them in time.",
        counts.dropped(),
    );
    page.0
}
