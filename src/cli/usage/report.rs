//! How the answers on uses are shown.

mod json;
mod signals;

use prost_types::Timestamp;
use serde_json::Value;

use crate::cli::chart::{bar, per_column, sparkline};
use crate::cli::output::{Canvas, Fields, Report, Sheet, aligned};
use crate::cli::resources::{enum_or_dash, named};
use crate::cli::text::{grouped, joined, or_dash, plain};
use crate::cli::times::{day, humane, minute, time_of_day};
use crate::cli::words::{ApiEnum as _, word};
use crate::proto::v1;

pub(super) use signals::Signals;

/// Columns of the widest chart: beyond that it says no more.
const WIDEST: usize = 60;

/// The narrowest chart that says something.
const NARROWEST: usize = 6;

/// More buckets than any server answers.
const MOST_BUCKETS: i64 = 10_000;

/// How many spans of missing uses people are told of, the last ones.
const GAPS_TOLD: usize = 5;

/// What people are told if nothing is counted.
const NONE_YET: &str =
    "No uses are on record there. They come about two minutes after they happen.";

/// The answer of `usage key`.
#[derive(Debug)]
pub(super) struct KeyUsage {
    pub(super) request: v1::GetKeyUsageRequest,
    pub(super) answer: v1::GetKeyUsageResponse,
}

/// The answer of `usage top`.
#[derive(Debug)]
pub(super) struct Top {
    pub(super) by: Vec<v1::GroupBy>,
    pub(super) answer: v1::QueryUsageResponse,
}

/// The answer of `usage stragglers`, of all pages.
#[derive(Debug)]
pub(super) struct Stragglers(pub(super) v1::GetStragglersResponse);

/// Counts of one kind, by bucket.
struct Series {
    name: String,
    counts: Vec<u64>,
}

fn or_dash_at(time: Option<&Timestamp>, shown: fn(&Timestamp) -> String) -> String {
    time.map_or_else(|| "—".to_owned(), shown)
}

fn range(start: Option<&Timestamp>, end: Option<&Timestamp>) -> String {
    format!("{} to {}", or_dash_at(start, minute), or_dash_at(end, minute))
}

fn counted(complete_until: Option<&Timestamp>, position: u64) -> (&'static str, String) {
    let until = or_dash_at(complete_until, humane);
    ("counted", format!("all up to {until}, as of position {}", grouped(position)))
}

fn missing(gaps: &[v1::UsageGapSpan]) -> Fields {
    let earlier = gaps.len().saturating_sub(GAPS_TOLD);
    let told = |gap: &v1::UsageGapSpan| {
        let lost = if gap.lost == 0 { "some".to_owned() } else { grouped(gap.lost) };
        let start = or_dash_at(gap.start_time.as_ref(), humane);
        format!("{lost} between {start} and {}", or_dash_at(gap.end_time.as_ref(), humane))
    };
    let earlier =
        (earlier > 0).then(|| ("MISSING", format!("uses of {earlier} earlier spans too")));
    let told = gaps.iter().rev().take(GAPS_TOLD).rev().map(|gap| ("MISSING", told(gap)));
    earlier.into_iter().chain(told).collect()
}

fn seconds(granularity: v1::Granularity) -> i64 {
    match granularity {
        v1::Granularity::Unspecified | v1::Granularity::Minute => 60,
        v1::Granularity::Hour => 3_600,
        v1::Granularity::Day => 86_400,
    }
}

fn reason(denied: &v1::DeniedCount) -> String {
    enum_or_dash::<v1::DenialReason>(denied.reason)
}

/// Why uses were denied, for a cell.
fn because(counts: &v1::UsageCounts) -> String {
    let parts = counts.denied_by_reason.iter();
    let parts: Vec<_> =
        parts.map(|one| format!("{} {}", grouped(one.count), reason(one))).collect();
    joined(&parts, "")
}

impl KeyUsage {
    fn span(&self) -> i64 {
        seconds(self.request.granularity())
    }

    /// Which bucket of the range begins then.
    fn place(&self, start: Option<&Timestamp>) -> Option<usize> {
        let first = self.answer.start_time?.seconds;
        usize::try_from(start?.seconds.checked_sub(first)? / self.span()).ok()
    }

    /// What was allowed, and what was denied for each reason that came; each bucket of the range has its place.
    fn series(&self) -> Vec<Series> {
        let end = self.answer.end_time.unwrap_or_default().seconds;
        let start = self.answer.start_time.unwrap_or_default().seconds;
        let buckets = end.saturating_sub(start) / self.span();
        let buckets = usize::try_from(buckets.clamp(0, MOST_BUCKETS)).unwrap_or(0);
        let total = self.answer.total.clone().unwrap_or_default();
        let of = |name: String, count: &dyn Fn(&v1::UsageCounts) -> u64| {
            let mut counts = vec![0; buckets];
            for bucket in &self.answer.buckets {
                let place = self.place(bucket.start_time.as_ref());
                let count = bucket.counts.as_ref().map_or(0, count);
                if let Some(slot) = place.and_then(|place| counts.get_mut(place)) {
                    *slot = count;
                }
            }
            Series { name, counts }
        };
        let allowed = of("ALLOWED".to_owned(), &|counts| counts.allowed);
        let denied = total.denied_by_reason.iter().map(|kind| {
            let count = |counts: &v1::UsageCounts| {
                let same = counts.denied_by_reason.iter().find(|one| one.reason == kind.reason);
                same.map_or(0, |one| one.count)
            };
            of(reason(kind), &count)
        });
        std::iter::once(allowed).chain(denied).collect()
    }

    fn table(&self) -> Sheet {
        let begins = if self.request.granularity() == v1::Granularity::Day { day } else { minute };
        let row = |bucket: &v1::UsageBucket| {
            let counts = bucket.counts.clone().unwrap_or_default();
            vec![
                or_dash_at(bucket.start_time.as_ref(), begins),
                grouped(counts.allowed),
                grouped(counts.denied),
                or_dash_at(counts.first_use.as_ref(), time_of_day),
                or_dash_at(counts.last_use.as_ref(), time_of_day),
                because(&counts),
            ]
        };
        Sheet {
            columns: vec!["BEGINS", "ALLOWED", "DENIED", "FIRST USE", "LAST USE", "DENIED FOR"],
            numbers: vec![1, 2],
            rows: self.answer.buckets.iter().map(row).collect(),
        }
    }
}

/// Sparklines below each other, with what each adds up to and its highest column; and how many buckets share
/// one of their columns.
fn charts(series: &[Series], canvas: Canvas) -> (String, usize) {
    let name = series.iter().map(|one| one.name.chars().count()).max().unwrap_or(0);
    let sum = |counts: &[u64]| counts.iter().copied().fold(0, u64::saturating_add);
    let sums: Vec<_> = series.iter().map(|one| grouped(sum(&one.counts))).collect();
    let width = sums.iter().map(String::len).max().unwrap_or(0);
    // Besides the chart: gaps, and `most` with a number no longer than the sum.
    let beside = name + 2 + width + 2 + "  most ".len() + width;
    let columns = canvas.width.saturating_sub(beside).clamp(NARROWEST, WIDEST);
    let buckets = series.first().map_or(0, |one| one.counts.len());
    let shared = per_column(buckets, columns);
    let line = |(one, total): (&Series, &String)| {
        let most = grouped(one.counts.chunks(shared).map(sum).max().unwrap_or(0));
        let drawn = sparkline(&one.counts, columns, canvas.charset);
        format!("{:<name$}  {total:>width$}  {drawn}  most {most}", one.name)
    };
    (series.iter().zip(&sums).map(line).collect::<Vec<_>>().join("\n"), shared)
}

impl Report for KeyUsage {
    fn json(&self) -> Value {
        json::key_usage(&self.answer)
    }

    fn page(&self, canvas: Canvas) -> String {
        let answer = &self.answer;
        let each = self.request.granularity().short_name().to_ascii_lowercase();
        let bounds = range(answer.start_time.as_ref(), answer.end_time.as_ref());
        let mut fields = vec![
            ("key", plain(&self.request.key_id)),
            ("range", format!("{bounds}, by the {each}")),
            counted(answer.complete_until.as_ref(), answer.position),
        ];
        fields.extend(missing(&answer.gaps));
        if answer.buckets.is_empty() {
            return format!("{}\n\n{NONE_YET}", aligned(&fields));
        }
        let (charts, shared) = charts(&self.series(), canvas);
        if shared > 1 {
            fields.push(("charts", format!("{shared} buckets a column")));
        }
        let table = self.table().drawn(canvas.width);
        format!("{}\n\n{charts}\n\n{table}", aligned(&fields))
    }
}

impl Top {
    fn cell(by: v1::GroupBy, row: &v1::UsageRow) -> String {
        let unknown = |text: &str, none: &str| match text {
            "" if row.other => "(others)".to_owned(),
            "" => none.to_owned(),
            text => plain(text),
        };
        match by {
            v1::GroupBy::Tenant => plain(&row.tenant_id),
            v1::GroupBy::Account => plain(&format!("{}/{}", row.tenant_id, row.account_id)),
            v1::GroupBy::Key => plain(&row.key_id),
            v1::GroupBy::Caller => unknown(&row.caller_id, "(the holder)"),
            v1::GroupBy::Action => unknown(&row.action, "(not given)"),
            v1::GroupBy::Source if row.erased => "(erased)".to_owned(),
            v1::GroupBy::Source => unknown(&row.source, "(not given)"),
            v1::GroupBy::Reason => {
                word::<v1::DenialReason>(row.reason).unwrap_or_else(|| "ALLOWED".to_owned())
            }
            v1::GroupBy::Unspecified => "—".to_owned(),
        }
    }

    fn title(by: v1::GroupBy) -> &'static str {
        by.short_name()
    }

    fn table(&self, canvas: Canvas) -> Sheet {
        let total = |row: &v1::UsageRow| {
            let counts = row.counts.clone().unwrap_or_default();
            (counts.allowed, counts.denied)
        };
        let sum = |row: &v1::UsageRow| total(row).0.saturating_add(total(row).1);
        let cells = |row: &v1::UsageRow| {
            let (allowed, denied) = total(row);
            let names = self.by.iter().map(|by| Top::cell(*by, row));
            names.chain([grouped(allowed), grouped(denied)]).collect()
        };
        let mut sheet = Sheet {
            columns: self.by.iter().copied().map(Top::title).chain(["ALLOWED", "DENIED"]).collect(),
            numbers: vec![self.by.len(), self.by.len() + 1],
            rows: self.answer.rows.iter().map(cells).collect(),
        };
        let columns = sheet.left_of(canvas.width).min(WIDEST);
        if columns >= NARROWEST {
            let most = self.answer.rows.iter().map(sum).max().unwrap_or(0);
            sheet.columns.push("");
            for (cells, row) in sheet.rows.iter_mut().zip(&self.answer.rows) {
                cells.push(bar(sum(row), most, columns, canvas.charset));
            }
        }
        sheet
    }
}

impl Report for Top {
    fn json(&self) -> Value {
        json::query(&self.answer)
    }

    fn page(&self, canvas: Canvas) -> String {
        let answer = &self.answer;
        let mut fields = vec![
            ("range", range(answer.start_time.as_ref(), answer.end_time.as_ref())),
            counted(answer.complete_until.as_ref(), answer.position),
        ];
        fields.extend(missing(&answer.gaps));
        if answer.unattributed > 0 {
            let more = grouped(answer.unattributed);
            fields.push(("besides", format!("{more} of which it is not known whether they fit")));
        }
        if answer.rows.is_empty() {
            return format!("{}\n\n{NONE_YET}", aligned(&fields));
        }
        format!("{}\n\n{}", aligned(&fields), self.table(canvas).drawn(canvas.width))
    }
}

/// One way in which a key is still used, in some lines.
fn straggler(straggler: &v1::Straggler) -> String {
    let unknown = |text: &str, none: &str| match text {
        "" if straggler.other => "(others)".to_owned(),
        "" => none.to_owned(),
        text => plain(text),
    };
    let no_source = if straggler.erased { "(erased)" } else { "(no source given)" };
    let way = [
        unknown(&straggler.caller_id, "(the holder)"),
        unknown(&straggler.action, "(no action given)"),
        unknown(&straggler.source, no_source),
    ];
    let uses = format!(
        "    {} allowed, {} denied, last {}",
        grouped(straggler.allowed),
        grouped(straggler.denied),
        or_dash_at(straggler.last_bucket.as_ref(), minute),
    );
    let agents = straggler.user_agents.iter().map(|agent| format!("    {}", plain(agent)));
    [way.join("  "), uses].into_iter().chain(agents).collect::<Vec<_>>().join("\n")
}

impl Report for Stragglers {
    fn json(&self) -> Value {
        json::stragglers(&self.0)
    }

    fn page(&self, _: Canvas) -> String {
        let answer = &self.0;
        let key = answer.key.clone().unwrap_or_default();
        let state = enum_or_dash::<v1::KeyState>(key.state);
        let last = or_dash_at(key.last_use_time.as_ref(), humane);
        let fields = vec![
            ("key", named(&key.key_id, &key.name)),
            ("state", format!("{state}, retires {}", or_dash_at(key.retire_time.as_ref(), humane))),
            ("rotated", or_dash_at(answer.rotate_time.as_ref(), humane)),
            ("to", or_dash(&key.replaced_by)),
            ("last used", format!("{last}, {} times in all", grouped(key.use_count))),
            ("shown", format!("uses since {}", or_dash_at(answer.start_time.as_ref(), minute))),
            counted(answer.complete_until.as_ref(), answer.position),
        ];
        if answer.stragglers.is_empty() {
            return format!(
                "{}\n\nNobody has used it since, as far as is counted.",
                aligned(&fields)
            );
        }
        let ways: Vec<_> = answer.stragglers.iter().map(straggler).collect();
        format!("{}\n\n{}", aligned(&fields), ways.join("\n"))
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
