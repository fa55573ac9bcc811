//! Figures of how connections are encrypted; none if they are not.

use super::{Page, seconds};
use crate::app::status::Figures;

pub(super) fn add(page: &mut Page, figures: &Figures) {
    let tls = &figures.transport;
    let Some(certificate) = tls.certificate else { return };
    page.gauge(
        "keyledger_tls_certificate_expiry_timestamp_seconds",
        "Until when the certificate is valid that new connections see, in seconds since 1970.",
        seconds(certificate.until.as_micros()),
    );
    page.counter(
        "keyledger_tls_reloads_total",
        "Times that changed TLS files were taken for new connections.",
        tls.taken,
    );
    page.gauge(
        "keyledger_tls_reload_failing",
        "Whether the TLS files cannot be used as they are now.",
        u8::from(tls.refused.is_some()),
    );
    page.counter(
        "keyledger_tls_handshakes_failed_total",
        "TLS handshakes that failed.",
        tls.handshakes_failed,
    );
    page.counter(
        "keyledger_tls_handshakes_cut_total",
        "TLS handshakes that took too long or had to make room.",
        tls.handshakes_cut,
    );
}
