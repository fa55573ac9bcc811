//! How unusual activity is shown.

use serde_json::Value;

use super::{counted, json, missing, or_dash_at, range};
use crate::cli::output::{Canvas, Report, aligned};
use crate::cli::resources::enum_or_dash;
use crate::cli::text::{grouped, plain};
use crate::cli::times::minute;
use crate::proto::v1;

/// The answer of `usage signals`, of all pages.
#[derive(Debug)]
pub(in crate::cli::usage) struct Signals(pub(in crate::cli::usage) v1::ListSignalsResponse);

/// What was compared with what.
fn finding(signal: &v1::Signal) -> String {
    let (observed, threshold) = (grouped(signal.observed), grouped(signal.threshold));
    match signal.kind() {
        v1::SignalKind::NewSource => format!(
            "allowed from a source that is not among its last {threshold}; {observed} others in 30 days"
        ),
        v1::SignalKind::EndedKeyTried => {
            format!("revoked or superseded, and tried {observed} times that day")
        }
        v1::SignalKind::Burst => format!("{observed} uses in the hour, over {threshold}"),
        v1::SignalKind::UnknownKeys => format!(
            "{observed} unknown keys in the hour, {threshold} or more; {} different key ids seen",
            signal.presented_keys
        ),
        v1::SignalKind::Unspecified => format!("{observed}, compared with {threshold}"),
    }
}

fn listed(texts: &[String], more: bool) -> String {
    let mut texts: Vec<_> = texts.iter().map(|text| plain(text)).collect();
    texts.extend(more.then(|| "others".to_owned()));
    texts.join(", ")
}

/// Where the uses came from, as far as it is known.
fn origin(signal: &v1::Signal) -> Option<String> {
    let mut sources = listed(&signal.sources, signal.more_sources);
    if signal.erased {
        let before = if sources.is_empty() { "" } else { ", " };
        sources.push_str(before);
        sources.push_str("(erased)");
    }
    let callers = listed(&signal.caller_ids, signal.more_callers);
    let from = (!sources.is_empty()).then(|| format!("from {sources}"));
    let through = (!callers.is_empty()).then(|| format!("through {callers}"));
    let known: Vec<_> = from.into_iter().chain(through).collect();
    (!known.is_empty()).then(|| format!("    {}", known.join(", ")))
}

/// One signal, in some lines.
fn signal(signal: &v1::Signal) -> String {
    let kind = enum_or_dash::<v1::SignalKind>(signal.kind);
    let whose = if signal.key_id.is_empty() {
        String::new()
    } else {
        let of = format!("{}/{}", signal.tenant_id, signal.account_id);
        format!("  {}  {}", plain(&of), plain(&signal.key_id))
    };
    let head = format!("{}  {kind}{whose}", or_dash_at(signal.start_time.as_ref(), minute));
    let (first, last) = (grouped(signal.first_position), grouped(signal.last_position));
    let events = format!(
        "    {} uses until {}, in events {first} to {last}",
        grouped(signal.uses),
        or_dash_at(signal.end_time.as_ref(), minute),
    );
    let lines = [head, format!("    {}", finding(signal))].into_iter();
    lines.chain(origin(signal)).chain([events]).collect::<Vec<_>>().join("\n")
}

impl Report for Signals {
    fn json(&self) -> Value {
        json::signals(&self.0)
    }

    fn page(&self, _: Canvas) -> String {
        let answer = &self.0;
        let mut fields = vec![
            ("range", range(answer.start_time.as_ref(), answer.end_time.as_ref())),
            counted(answer.complete_until.as_ref(), answer.position),
        ];
        fields.extend(missing(&answer.gaps));
        if answer.signals.is_empty() {
            return format!("{}\n\nNothing unusual was found.", aligned(&fields));
        }
        let signals: Vec<_> = answer.signals.iter().map(signal).collect();
        format!("{}\n\n{}", aligned(&fields), signals.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Format;
    use crate::cli::output::tests::reported;

    /// 2026-11-23T05:00:00Z.
    const START: i64 = 1_795_410_000;

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds: START + seconds, nanos: 0 })
    }

    #[test]
    fn signals_say_what_was_compared_and_where_it_was_found() {
        let burst = v1::Signal {
            kind: v1::SignalKind::Burst.into(),
            tenant_id: "acme".to_owned(),
            account_id: "billing".to_owned(),
            key_id: "key_4fJ9aB2c3D4e5F6g7".to_owned(),
            start_time: at(60),
            end_time: at(180),
            uses: 1_500,
            observed: 1_500,
            threshold: 800,
            first_position: 1_000,
            last_position: 1_002,
            sources: vec!["192.0.2.1".to_owned()],
            more_sources: true,
            caller_ids: vec!["caller_0a1B2c3D4e5F6g7H8".to_owned()],
            ..Default::default()
        };
        let unknown = v1::Signal {
            kind: v1::SignalKind::UnknownKeys.into(),
            start_time: at(0),
            end_time: at(60),
            uses: 100,
            observed: 100,
            threshold: 100,
            first_position: 7,
            last_position: 7,
            erased: true,
            presented_keys: 8,
            ..Default::default()
        };
        let mut answer = v1::ListSignalsResponse {
            signals: vec![burst, unknown],
            start_time: at(0),
            end_time: at(3_600),
            complete_until: at(240),
            position: 1_010,
            ..Default::default()
        };
        let expected = "\
range    2026-11-23 05:00Z to 2026-11-23 06:00Z
counted  all up to 2026-11-23 05:04:00Z, as of position 1,010

2026-11-23 05:01Z  BURST  acme/billing  key_4fJ9aB2c3D4e5F6g7
    1,500 uses in the hour, over 800
    from 192.0.2.1, others, through caller_0a1B2c3D4e5F6g7H8
    1,500 uses until 2026-11-23 05:03Z, in events 1,000 to 1,002
2026-11-23 05:00Z  UNKNOWN_KEYS
    100 unknown keys in the hour, 100 or more; 8 different key ids seen
    from (erased)
    100 uses until 2026-11-23 05:01Z, in events 7 to 7
";
        assert_eq!(reported(Format::Table, &Signals(answer.clone())), expected);
        answer.signals.clear();
        let text = reported(Format::Table, &Signals(answer));
        assert!(text.ends_with("\n\nNothing unusual was found.\n"), "{text}");
    }
}
