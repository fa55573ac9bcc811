//! What the answers are to be: from a list of all windows, in the plainest way.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::domain::ids::{AccountRef, CallerId, KeyId};
use crate::domain::time::Time;
use crate::domain::usage::{Use, UseOutcome, window_start};
use crate::projection::usage::testing::MINUTE;
use crate::projection::usage::{Counts, Dimension, Granularity, Row, UsageQuery};

/// What a line of a window says of a caller, an action or a source; in the order of rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Known<T> {
    NotGiven,
    Given(T),
    Erased,
    Other,
}

/// What a row is told apart by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Bucket(Time),
    Tenant(String),
    Account(String, String),
    Key(KeyId),
    Caller(Known<CallerId>),
    Action(Known<String>),
    Source(Known<IpAddr>),
    Reason(UseOutcome),
}

/// Uses that are alike.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) minute: Time,
    pub(super) key: KeyId,
    pub(super) account: Arc<AccountRef>,
    pub(super) outcome: UseOutcome,
    pub(super) caller: Known<CallerId>,
    pub(super) action: Known<String>,
    pub(super) source: Known<IpAddr>,
    pub(super) count: u64,
    /// When they were.
    pub(super) times: Vec<Time>,
}

/// The uses of one window, as it tells them apart.
pub(super) fn lines(uses: &[Use]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut ways = 0;
    for used in uses {
        let crate::domain::usage::Tried::Key(key, account) = &used.tried else { panic!("no key") };
        let given = |text: &String| match text.as_str() {
            "" => Known::NotGiven,
            text => Known::Given(text.to_owned()),
        };
        let mut line = Line {
            minute: window_start(used.time, MINUTE),
            key: *key,
            account: Arc::clone(account),
            outcome: used.outcome,
            caller: used.caller.map_or(Known::NotGiven, Known::Given),
            action: given(&used.action),
            source: used.source.map_or(Known::NotGiven, Known::Given),
            count: 1,
            times: vec![used.time],
        };
        let alike = |known: &Line, line: &Line| {
            let of = |line: &Line| {
                (line.outcome, line.caller.clone(), line.action.clone(), line.source.clone())
            };
            of(known) == of(line)
        };
        if !lines.iter().any(|known| alike(known, &line)) && ways == 64 {
            (line.caller, line.action, line.source) = (Known::Other, Known::Other, Known::Other);
        }
        match lines.iter_mut().find(|known| alike(known, &line)) {
            Some(known) => {
                known.count += 1;
                known.times.push(used.time);
            }
            None => {
                ways += usize::from(line.caller != Known::Other);
                lines.push(line);
            }
        }
    }
    lines
}

/// All rows of the answer in the order of pages, and how many uses could not be attributed.
pub(super) fn answer(lines: &[Line], query: &UsageQuery) -> (Vec<(Vec<Value>, Counts)>, u64) {
    let mut groups = BTreeMap::<Vec<Value>, Vec<&Line>>::new();
    let mut unattributed = 0;
    for line in lines {
        if line.minute < query.range.from || line.minute >= query.range.until {
            continue;
        }
        match fits(line, query) {
            Some(true) => {}
            Some(false) => continue,
            None => {
                unattributed += line.count;
                continue;
            }
        }
        groups.entry(values(line, query)).or_default().push(line);
    }
    let of_ways = query.filter.is_of_ways() || query.group_by.iter().any(|by| by.is_of_ways());
    let counts = |lines: Vec<&Line>| counts(&lines, !of_ways);
    (groups.into_iter().map(|(group, lines)| (group, counts(lines))).collect(), unattributed)
}

/// Whether a line is wanted; none: it is not known.
fn fits(line: &Line, query: &UsageQuery) -> Option<bool> {
    let filter = &query.filter;
    let tenants = filter.tenants.as_ref().is_none_or(|of| of.contains(&line.account.tenant));
    let account = filter.account.as_ref().is_none_or(|of| *of == line.account.account);
    let key = filter.key.is_none_or(|of| of == line.key);
    let outcome = filter.outcome.is_none_or(|of| of == line.outcome);
    if !(tenants && account && key && outcome) {
        return Some(false);
    }
    if !filter.is_of_ways() {
        return Some(true);
    }
    if line.caller == Known::Other {
        return None;
    }
    let caller = filter.caller.is_none_or(|of| line.caller == Known::Given(of));
    let action = filter.action.as_ref().is_none_or(|of| match of.as_str() {
        "" => line.action == Known::NotGiven,
        text => line.action == Known::Given(text.to_owned()),
    });
    if caller && action && filter.source.is_some() && line.source == Known::Erased {
        return None;
    }
    Some(caller && action && filter.source.is_none_or(|of| line.source == Known::Given(of)))
}

fn values(line: &Line, query: &UsageQuery) -> Vec<Value> {
    let bucket = query.granularity.map(|of| Value::Bucket(window_start(line.minute, of.span())));
    let value = |by: &Dimension| match by {
        Dimension::Tenant => Value::Tenant(line.account.tenant.to_string()),
        Dimension::Account => {
            Value::Account(line.account.tenant.to_string(), line.account.account.to_string())
        }
        Dimension::Key => Value::Key(line.key),
        Dimension::Caller => Value::Caller(line.caller.clone()),
        Dimension::Action => Value::Action(line.action.clone()),
        Dimension::Source => Value::Source(line.source.clone()),
        Dimension::Reason => Value::Reason(line.outcome),
    };
    bucket.into_iter().chain(query.group_by.iter().map(value)).collect()
}

fn counts(lines: &[&Line], timed: bool) -> Counts {
    let mut by_outcome = BTreeMap::<UseOutcome, u64>::new();
    let mut times = Vec::new();
    for line in lines {
        *by_outcome.entry(line.outcome).or_default() += line.count;
        if line.outcome == UseOutcome::Allowed && timed {
            times.extend(&line.times);
        }
    }
    Counts {
        by_outcome: by_outcome.into_iter().collect(),
        first_use: times.iter().min().copied(),
        last_use: times.iter().max().copied(),
    }
}

/// What an answer says of a caller, an action or a source.
pub(super) fn known<T>(given: Option<T>, other: bool) -> Known<T> {
    given.map_or(if other { Known::Other } else { Known::NotGiven }, Known::Given)
}

/// What a row of an answer is told apart by.
pub(super) fn values_of(row: &Row, query: &UsageQuery) -> Vec<Value> {
    let value = |by: &Dimension| match by {
        Dimension::Tenant => Value::Tenant(row.tenant.as_ref().unwrap().to_string()),
        Dimension::Account => Value::Account(
            row.tenant.as_ref().unwrap().to_string(),
            row.account.as_ref().unwrap().to_string(),
        ),
        Dimension::Key => Value::Key(row.key.unwrap()),
        Dimension::Caller => Value::Caller(known(row.caller, row.other)),
        Dimension::Action => Value::Action(known(row.action.clone(), row.other)),
        Dimension::Source if row.erased => Value::Source(Known::Erased),
        Dimension::Source => Value::Source(known(row.source, row.other)),
        Dimension::Reason => Value::Reason(row.outcome.unwrap()),
    };
    assert_eq!(row.bucket.is_some(), query.granularity.is_some());
    row.bucket.map(Value::Bucket).into_iter().chain(query.group_by.iter().map(value)).collect()
}

/// How often a key was used, by bucket.
pub(super) fn buckets(
    lines: &[Line],
    key: KeyId,
    (from, until): (Time, Time),
    granularity: Granularity,
) -> Vec<(Time, Counts)> {
    let mut found = BTreeMap::<Time, Vec<&Line>>::new();
    for line in lines.iter().filter(|line| line.key == key) {
        let bucket = window_start(line.minute, granularity.span());
        if bucket >= from && bucket < until {
            found.entry(bucket).or_default().push(line);
        }
    }
    found.into_iter().map(|(bucket, lines)| (bucket, counts(&lines, true))).collect()
}
