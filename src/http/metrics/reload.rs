//! Figures of how the configuration file is read again.

use super::Page;
use crate::app::status::Figures;

pub(super) fn add(page: &mut Page, figures: &Figures) {
    let reload = &figures.reload;
    page.counter(
        "keyledger_configuration_reloads_total",
        "Times that something of a changed configuration file was taken.",
        reload.taken,
    );
    page.gauge(
        "keyledger_configuration_reload_failing",
        "Whether the configuration file cannot be taken as it is now.",
        u8::from(reload.refused.is_some()),
    );
    page.gauge(
        "keyledger_configuration_waiting",
        "Settings that were changed in the configuration file and need a restart.",
        reload.waiting.len(),
    );
}
