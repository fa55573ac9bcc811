//! Where checkpoints are kept off the host, and the witnesses that cosign them.

use super::{Page, seconds};
use crate::app::off_host::{OffHostFigures, PlaceFigures};

/// What the families of one kind of places are called and say.
struct Kind {
    name: &'static str,
    label: &'static str,
    done: &'static str,
    when: &'static str,
    doing: &'static str,
}

const ANCHORS: Kind = Kind {
    name: "keyledger_anchor",
    label: "place",
    done: "was kept last off the host",
    when: "a checkpoint was kept last off the host",
    doing: "keep a checkpoint off the host",
};

const WITNESSES: Kind = Kind {
    name: "keyledger_witness",
    label: "witness",
    done: "the witness cosigned last",
    when: "the witness cosigned a checkpoint last",
    doing: "have a witness cosign a checkpoint",
};

pub(super) fn off_host(page: &mut Page, figures: &OffHostFigures) {
    places(page, &figures.anchors, &ANCHORS);
    places(page, &figures.witnesses, &WITNESSES);
    page.gauge(
        "keyledger_witness_quorum",
        "How many witnesses must have cosigned a checkpoint; 0 if there are none.",
        figures.quorum,
    );
    page.gauge(
        "keyledger_cosigned_position",
        "How many records the newest checkpoint covers that so many have cosigned; 0 if there is none.",
        figures.cosigned,
    );
    page.gauge(
        "keyledger_cosigned_overdue",
        "Whether witnesses have cosigned newer checkpoints for longer than three intervals, and not so many any one.",
        u8::from(figures.cosigned_overdue),
    );
}

fn places(page: &mut Page, places: &[PlaceFigures], kind: &Kind) {
    let Kind { name, label, done, when, doing } = kind;
    let mut family = |what: &str, kind: &str, help: String, value: fn(&PlaceFigures) -> String| {
        let name = format!("{name}_{what}");
        page.describe(&name, kind, &help);
        for place in places {
            let labels = format!("{{{label}=\"{}\"}}", escaped(&place.name));
            page.sample(&name, &labels, value(place));
        }
    };
    family(
        "position",
        "gauge",
        format!("How many records the checkpoint covers that {done}; 0 if none was."),
        |place| place.position.to_string(),
    );
    family(
        "last_success_timestamp_seconds",
        "gauge",
        format!("When {when}, in seconds since 1970; 0 if never."),
        |place| place.last_kept.map_or("0".to_owned(), |time| seconds(time.as_micros())),
    );
    family("failing", "gauge", format!("Whether the last attempt to {doing} failed."), |place| {
        u8::from(place.failing).to_string()
    });
    family(
        "overdue",
        "gauge",
        "Whether a newer checkpoint has waited for longer than three intervals.".to_owned(),
        |place| u8::from(place.overdue).to_string(),
    );
    family("failures_total", "counter", format!("Attempts to {doing} that failed."), |place| {
        place.failures.to_string()
    });
}

/// A label's value: names of witnesses are configured.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}
