use crate::cli::chart::Charset;
use crate::cli::output::Format;
use crate::cli::output::tests::reported;

use super::*;

/// 2026-11-23T05:00:00Z.
const START: i64 = 1_795_410_000;

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn counts(allowed: u64, denied: &[(v1::DenialReason, u64)]) -> v1::UsageCounts {
    let count = |(reason, count): &(v1::DenialReason, u64)| v1::DeniedCount {
        reason: (*reason).into(),
        count: *count,
    };
    v1::UsageCounts {
        allowed,
        denied: denied.iter().map(|(_, count)| count).sum(),
        denied_by_reason: denied.iter().map(count).collect(),
        first_use: None,
        last_use: None,
    }
}

fn bucket(start: i64, counts: v1::UsageCounts) -> v1::UsageBucket {
    let timed = v1::UsageCounts { first_use: at(start + 5), last_use: at(start + 65), ..counts };
    v1::UsageBucket { start_time: at(start), counts: Some(timed) }
}

/// Five hours of a key that was used in three of them.
fn key_usage() -> KeyUsage {
    let limited = (v1::DenialReason::RateLimited, 3);
    let request = v1::GetKeyUsageRequest {
        key_id: "key_4fJ9aB2c3D4e5F6g7".to_owned(),
        granularity: v1::Granularity::Hour.into(),
        ..Default::default()
    };
    let answer = v1::GetKeyUsageResponse {
        buckets: vec![
            bucket(START, counts(1_000, &[])),
            bucket(START + 3_600, counts(200, &[limited])),
            bucket(START + 4 * 3_600, counts(4, &[])),
        ],
        total: Some(counts(1_204, &[limited])),
        start_time: at(START),
        end_time: at(START + 5 * 3_600),
        complete_until: at(START + 4 * 3_600 + 1_800),
        position: 1_234,
        gaps: vec![v1::UsageGapSpan {
            start_time: at(START + 1),
            end_time: at(START + 2),
            lost: 0,
            position: 7,
        }],
    };
    KeyUsage { request, answer }
}

#[test]
fn the_uses_of_a_key_are_charts_and_a_table() {
    let expected = "\
key      key_4fJ9aB2c3D4e5F6g7
range    2026-11-23 05:00Z to 2026-11-23 10:00Z, by the hour
counted  all up to 2026-11-23 09:30:00Z, as of position 1,234
MISSING  some between 2026-11-23 05:00:01Z and 2026-11-23 05:00:02Z

ALLOWED       1,204  █▂  ▁  most 1,000
RATE_LIMITED      3   █     most 3

BEGINS             ALLOWED  DENIED  FIRST USE  LAST USE   DENIED FOR
2026-11-23 05:00Z    1,000       0  05:00:05Z  05:01:05Z
2026-11-23 06:00Z      200       3  06:00:05Z  06:01:05Z  3 RATE_LIMITED
2026-11-23 09:00Z        4       0  09:00:05Z  09:01:05Z
";
    assert_eq!(reported(Format::Table, &key_usage()), expected);
    assert!(
        reported(Format::Json, &key_usage()).starts_with("{\"buckets\":[{\"start_time\":\"2026")
    );
}

#[test]
fn what_no_terminal_shows_is_drawn_in_ascii() {
    let page = key_usage().page(Canvas { width: 80, charset: Charset::Ascii });
    assert!(page.contains("ALLOWED       1,204  @:  .  most 1,000\n"), "{page}");
}

#[test]
fn many_buckets_share_columns_and_it_is_said_how_many() {
    let mut usage = key_usage();
    usage.answer.end_time = at(START + 200 * 3_600);
    let page = usage.page(Canvas { width: 80, charset: Charset::Unicode });
    assert!(page.contains("\ncharts   5 buckets a column\n"), "{page}");
    assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
}

#[test]
fn a_key_without_uses_says_so_and_when_there_may_be_some() {
    let mut usage = key_usage();
    usage.answer.buckets.clear();
    usage.answer.gaps.clear();
    let page = usage.page(Canvas { width: 80, charset: Charset::Unicode });
    assert!(page.ends_with(&format!("position 1,234\n\n{NONE_YET}")), "{page}");
}

#[test]
fn an_answer_that_cannot_be_is_shown_all_the_same() {
    let mut usage = key_usage();
    usage.answer.start_time = at(i64::MIN);
    usage.answer.end_time = at(i64::MAX);
    usage.answer.buckets[0].start_time = None;
    assert!(reported(Format::Table, &usage).contains("MISSING"));
}

#[test]
fn only_the_last_gaps_are_told_one_by_one() {
    let gap = |n: i64| v1::UsageGapSpan {
        start_time: at(START + n),
        end_time: at(START + n + 1),
        lost: 1_000,
        position: 1,
    };
    let told = missing(&(0..7).map(gap).collect::<Vec<_>>());
    assert_eq!(told.len(), 1 + GAPS_TOLD);
    assert_eq!(told[0], ("MISSING", "uses of 2 earlier spans too".to_owned()));
    let last = "1,000 between 2026-11-23 05:00:06Z and 2026-11-23 05:00:07Z";
    assert_eq!(told[GAPS_TOLD], ("MISSING", last.to_owned()));
}

fn top(by: &[v1::GroupBy], rows: Vec<v1::UsageRow>) -> Top {
    let answer = v1::QueryUsageResponse {
        rows,
        start_time: at(START),
        end_time: at(START + 3_600),
        complete_until: at(START + 3_000),
        position: 9,
        unattributed: 12,
        ..Default::default()
    };
    Top { by: by.to_vec(), answer }
}

#[test]
fn the_most_used_have_bars_as_long_as_their_share() {
    let row = |account_id: &str, allowed, denied| v1::UsageRow {
        tenant_id: "acme".to_owned(),
        account_id: account_id.to_owned(),
        counts: Some(counts(allowed, &[(v1::DenialReason::Expired, denied)])),
        ..Default::default()
    };
    let rows = vec![row("billing", 900, 100), row("search", 500, 0), row("ops", 1, 0)];
    let expected = "\
range    2026-11-23 05:00Z to 2026-11-23 06:00Z
counted  all up to 2026-11-23 05:50:00Z, as of position 9
besides  12 of which it is not known whether they fit

ACCOUNT       ALLOWED  DENIED
acme/billing      900     100  ███████████████████████████████████████████████
acme/search       500       0  ███████████████████████▌
acme/ops            1       0  ▏
";
    assert_eq!(reported(Format::Table, &top(&[v1::GroupBy::Account], rows)), expected);
}

#[test]
fn what_is_not_known_of_a_row_is_said_in_brackets() {
    let by = [v1::GroupBy::Caller, v1::GroupBy::Action, v1::GroupBy::Source];
    let row = v1::UsageRow { counts: Some(counts(1, &[])), ..Default::default() };
    let other = v1::UsageRow { other: true, ..row.clone() };
    let erased = v1::UsageRow { erased: true, action: "a\u{1b}".to_owned(), ..row.clone() };
    let text = reported(Format::Table, &top(&by, vec![row, other, erased]));
    let lines: Vec<_> = text.lines().skip(5).map(|line| line.trim_end_matches('█')).collect();
    assert_eq!(
        lines,
        [
            "(the holder)  (not given)  (not given)        1       0  ",
            "(others)      (others)     (others)           1       0  ",
            "(the holder)  a\\u{1b}      (erased)           1       0  ",
        ]
    );
}

#[test]
fn a_row_that_fills_the_line_has_no_bar() {
    let row = v1::UsageRow {
        key_id: "key_4fJ9aB2c3D4e5F6g7".to_owned(),
        caller_id: "caller_0a1B2c3D4e5F6g7H8".to_owned(),
        source: "2001:db8:85a3::8a2e:370:7334".to_owned(),
        counts: Some(counts(1, &[])),
        ..Default::default()
    };
    let by = [v1::GroupBy::Key, v1::GroupBy::Caller, v1::GroupBy::Source];
    let text = reported(Format::Table, &top(&by, vec![row]));
    assert!(!text.contains('█'), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn who_still_uses_an_old_key_is_told_below_what_became_of_the_key() {
    let key = v1::Key {
        key_id: "key_4fJ9aB2c3D4e5F6g7".to_owned(),
        name: "nightly".to_owned(),
        state: v1::KeyState::Retiring.into(),
        retire_time: at(START + 86_400),
        replaced_by: "key_0a1B2c3D4e5F6g7H8".to_owned(),
        last_use_time: at(START + 4_000),
        use_count: 1_204,
        ..Default::default()
    };
    let straggler = v1::Straggler {
        caller_id: "caller_0a1B2c3D4e5F6g7H8".to_owned(),
        action: "read".to_owned(),
        source: "192.0.2.1".to_owned(),
        user_agents: vec!["curl/8.5".to_owned(), "b\u{1b}".to_owned()],
        allowed: 12,
        denied: 1,
        last_bucket: at(START + 3_600),
        ..Default::default()
    };
    let mut answer = v1::GetStragglersResponse {
        stragglers: vec![straggler],
        key: Some(key),
        rotate_time: at(START + 30),
        start_time: at(START),
        complete_until: at(START + 3_900),
        position: 77,
        ..Default::default()
    };
    let expected = "\
key        key_4fJ9aB2c3D4e5F6g7 (nightly)
state      RETIRING, retires 2026-11-24 05:00:00Z
rotated    2026-11-23 05:00:30Z
to         key_0a1B2c3D4e5F6g7H8
last used  2026-11-23 06:06:40Z, 1,204 times in all
shown      uses since 2026-11-23 05:00Z
counted    all up to 2026-11-23 06:05:00Z, as of position 77

caller_0a1B2c3D4e5F6g7H8  read  192.0.2.1
    12 allowed, 1 denied, last 2026-11-23 06:00Z
    curl/8.5
    b\\u{1b}
(others)  (others)  (others)
    1 allowed, 0 denied, last 2026-11-23 05:00Z
";
    let others =
        v1::Straggler { other: true, allowed: 1, last_bucket: at(START), ..Default::default() };
    answer.stragglers.push(others);
    assert_eq!(reported(Format::Table, &Stragglers(answer.clone())), expected);
    answer.stragglers.clear();
    let text = reported(Format::Table, &Stragglers(answer));
    assert!(text.ends_with("\n\nNobody has used it since, as far as is counted.\n"), "{text}");
}
