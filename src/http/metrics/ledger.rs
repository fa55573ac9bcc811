//! The log: where it is, what is written to it, and what follows it.

use super::Page;
use super::histogram::{SECONDS, WHOLE};
use crate::app::status::Figures;

pub(super) fn ledger(page: &mut Page, figures: &Figures) {
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
    if let Some(free) = figures.disk_free {
        page.gauge(
            "keyledger_disk_free_bytes",
            "Bytes that may still be written to the disk that the log is on.",
            free,
        );
    }
    commits(page, figures);
}

fn commits(page: &mut Page, figures: &Figures) {
    let commits = &figures.commits;
    let name = "keyledger_commands_waiting";
    page.describe(name, "gauge", "Changes that wait to be decided, by whether somebody waits.");
    page.sample(name, "{lane=\"commands\"}", commits.commands);
    page.sample(name, "{lane=\"background\"}", commits.background);
    page.histogram(
        "keyledger_ledger_commit_duration_seconds",
        "How long it took to make a frame of the log durable.",
        &commits.took,
        SECONDS,
    );
    page.histogram(
        "keyledger_ledger_commit_records",
        "How many records there were in a frame of the log.",
        &commits.records,
        WHOLE,
    );
}

pub(super) fn volumes(page: &mut Page, figures: &Figures) {
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
    let snapshot = figures.snapshot.map_or(0, |position| position.get());
    page.gauge(
        "keyledger_snapshot_position",
        "The position of the newest snapshot; 0 if there is none.",
        snapshot,
    );
    page.gauge(
        "keyledger_snapshot_lag",
        "Records of the log that are not in the newest snapshot, and are read at a start.",
        figures.head.map_or(0, |head| head.get()).saturating_sub(snapshot),
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
}
