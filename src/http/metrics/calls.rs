//! Calls and what was decided on keys.

use super::Page;
use super::histogram::SECONDS;
use crate::app::calls::{CallFigures, OUTCOMES, RPC_CODES};
use crate::app::decisions::DecisionFigures;

pub(super) fn calls(page: &mut Page, figures: &[CallFigures]) {
    let name = "keyledger_calls_total";
    page.describe(name, "counter", "Calls, by what was called and the status they ended with.");
    for row in figures {
        let codes = row.callable.codes.iter().zip(&row.codes);
        for (code, count) in
            codes.enumerate().filter(|(at, (_, count))| *at == 0 || **count > 0).map(|(_, it)| it)
        {
            let labels = format!("{{method=\"{}\",code=\"{code}\"}}", row.callable.name);
            page.sample(name, &labels, count);
        }
    }
    let name = "keyledger_call_duration_seconds";
    page.describe(name, "histogram", "How long calls took until their answer began, by what was called and whose fault it was if they failed.");
    for row in figures {
        for (outcome, found) in OUTCOMES.iter().zip(&row.durations) {
            let labels = format!("method=\"{}\",outcome=\"{outcome}\"", row.callable.name);
            page.distribution(name, &labels, found, SECONDS);
        }
    }
}

pub(super) fn decisions(page: &mut Page, figures: &DecisionFigures) {
    let name = "keyledger_decisions_total";
    page.describe(name, "counter", "Decisions on keys, by what was answered.");
    for (answer, count) in &figures.answered {
        let outcome = answer.to_ascii_lowercase();
        page.sample(name, &format!("{{outcome=\"{outcome}\"}}"), count);
    }
    let name = "keyledger_stream_answers_total";
    page.describe(
        name,
        "counter",
        "Questions of AuthenticateStream that were answered, by status.",
    );
    for (at, (code, count)) in RPC_CODES.iter().zip(figures.in_streams).enumerate() {
        if at == 0 || count > 0 {
            page.sample(name, &format!("{{code=\"{code}\"}}"), count);
        }
    }
}
