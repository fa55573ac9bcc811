//! Reads of the history and refused calls as people read them: who, how, what, how often, when.

use crate::cli::text::{grouped, plain};
use crate::cli::times::time_of_day;
use crate::cli::words::word;
use crate::proto::v1::{self, Disclosure, NamedByCall};

/// How many addresses and named things a line tells.
const NAMED: usize = 3;

/// Who read, by which RPC, of what, and how much was handed out.
pub(super) fn read(read: &v1::AuditRead) -> Vec<String> {
    let mut details = Vec::new();
    if read.other {
        details.push("in more ways than are told apart".to_owned());
    } else {
        details.push(format!("{} by {}", plain(&read.rpc), plain(&read.caller_id)));
        details.extend(read.named.as_ref().and_then(named).map(|named| format!("of {named}")));
    }
    let calls = match read.calls {
        0 => "went on".to_owned(),
        1 => "1 call".to_owned(),
        calls => format!("{} calls", grouped(calls)),
    };
    let events = grouped(read.events);
    let positions = match (read.first_position, read.last_position) {
        (0, _) => String::new(),
        (first, last) if first == last => format!(" at #{first}"),
        (first, last) => format!(" from #{first} to #{last}"),
    };
    details.push(format!("{calls}, {events} shown{positions}"));
    details.extend(read.first_time.as_ref().map(|time| format!("at {}", time_of_day(time))));
    details
}

/// Who was refused, by which RPC, why, how often, from where, and what was named.
pub(super) fn refused(calls: &v1::CallsRefused, shown: &Disclosure) -> Vec<String> {
    let count = grouped(calls.count);
    let mut details = Vec::new();
    if calls.other {
        details.push(format!("{count} in more ways than are told apart"));
    } else {
        let who = if calls.caller_id.is_empty() {
            "without a valid credential".to_owned()
        } else {
            format!("to {}", plain(&calls.caller_id))
        };
        let reason = word::<v1::ErrorReason>(calls.reason).unwrap_or_default();
        details.push(format!("{count} {reason}"));
        details.push(format!("{} {who}", plain(&calls.rpc)));
    }
    let mut things: Vec<String> = Vec::new();
    for named in calls.samples.iter().filter_map(|sample| sample.named.as_ref().and_then(named)) {
        if !things.contains(&named) {
            things.push(named);
        }
    }
    details.extend(some("about", &things));
    let address = |source: &v1::RefusedSource| {
        let place = usize::try_from(source.source).ok()?.checked_sub(1)?;
        shown.sources.get(place).map(|address| plain(address))
    };
    details.extend(some("from", &calls.sources.iter().filter_map(address).collect::<Vec<_>>()));
    details.extend(calls.first_time.as_ref().map(|time| format!("at {}", time_of_day(time))));
    details
}

/// What a call named, the narrowest last.
fn named(named: &NamedByCall) -> Option<String> {
    let account = [&named.tenant_id, &named.account_id];
    let account: Vec<_> =
        account.into_iter().filter(|id| !id.is_empty()).map(|id| plain(id)).collect();
    let ids = [account.join("/"), plain(&named.key_id), plain(&named.caller_id)];
    let ids: Vec<_> = ids.into_iter().filter(|id| !id.is_empty()).collect();
    (!ids.is_empty()).then(|| ids.join(" "))
}

/// The first of some things, and how many more there are.
fn some(what: &str, things: &[String]) -> Option<String> {
    let mut told: Vec<_> = things.iter().take(NAMED).cloned().collect();
    if things.len() > NAMED {
        told.push(format!("{} more", things.len() - NAMED));
    }
    (!told.is_empty()).then(|| format!("{what} {}", told.join(", ")))
}
