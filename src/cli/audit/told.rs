//! Events as people read them, a line each: when, where in the log, what happened to what, by whom.

mod conduct;

use crate::cli::resources::{ERASED, named};
use crate::cli::text::{grouped, joined, plain};
use crate::cli::times::{humane, humane_wait, time_of_day};
use crate::cli::words::word;
use crate::proto::v1::event::Kind;
use crate::proto::v1::{self, AuditEvent, Disclosure, Event, UsageWindow};

/// How many sources, actions and reasons a line names; the rest it counts.
const NAMED: usize = 3;

/// An event in one line.
pub(super) fn line(event: &AuditEvent) -> String {
    let Some(said) = &event.event else {
        return format!("#{}  an event that this program does not know", event.position);
    };
    let nothing = Disclosure::default();
    let shown = event.disclosure.as_ref().unwrap_or(&nothing);
    let when = said.record_time.as_ref().map(humane).unwrap_or_default();
    let (what, details) = said.kind.as_ref().map_or_else(
        || ("an event that this program does not know", Vec::new()),
        |kind| of_kind(kind, shown),
    );
    let mut parts = vec![format!("{when}  #{:<8} {what:<18}", event.position)];
    parts.extend(about(said, shown));
    parts.extend(details);
    parts.extend(comment(shown));
    parts.extend(event.erased.then(|| ERASED.to_owned()));
    parts.extend(who(said));
    parts.join("  ").trim_end().to_owned()
}

/// What it happened to.
fn about(event: &Event, shown: &Disclosure) -> Option<String> {
    let account = || format!("{}/{}", plain(&event.tenant_id), plain(&event.account_id));
    if !event.key_id.is_empty() {
        return Some(format!("{} {}", account(), named(&event.key_id, &shown.name)));
    }
    if !event.account_id.is_empty() {
        return Some(named(&account(), &shown.display_name));
    }
    (!event.caller_id.is_empty()).then(|| named(&event.caller_id, &shown.name))
}

fn comment(shown: &Disclosure) -> Option<String> {
    (!shown.comment.is_empty()).then(|| format!("“{}”", plain(&shown.comment)))
}

/// Who did it.
fn who(event: &Event) -> Option<String> {
    let actor = event.actor.as_ref()?;
    let by = match actor.mechanism() {
        v1::Mechanism::Bearer => format!("by {}", plain(&actor.caller_id)),
        v1::Mechanism::ClientCertificate => {
            format!("by {} with its certificate", plain(&actor.caller_id))
        }
        v1::Mechanism::Offline => "by an operator, offline".to_owned(),
        v1::Mechanism::Service | v1::Mechanism::Unspecified => return None,
    };
    let Some(said) = &actor.on_behalf_of else { return Some(by) };
    let parts = [&said.subject, &said.ticket, &said.note];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).cloned().collect();
    Some(format!("{by} for {}", joined(&parts, "nobody named")))
}

/// What happened, in two words, and its particulars.
fn of_kind(kind: &Kind, shown: &Disclosure) -> (&'static str, Vec<String>) {
    match kind {
        Kind::AccountRegistered(event) => ("account registered", state(event.state.as_ref())),
        Kind::AccountChanged(event) => {
            let mut details = state(event.state.as_ref());
            details.push(format!("changed: {}", joined(&event.changed, "nothing")));
            ("account changed", details)
        }
        Kind::AccountErased(_) => ("account erased", Vec::new()),
        Kind::KeyCreated(event) => {
            let mut details = limits(event.scopes.as_ref(), event.expire_time.as_ref(), shown);
            details.extend(of_another("replaces", &event.replaces));
            ("key created", details)
        }
        Kind::KeyUpdated(event) => {
            let mut details = limits(event.scopes.as_ref(), event.expire_time.as_ref(), shown);
            details.push(format!("changed: {}", joined(&event.changed, "nothing")));
            ("key updated", details)
        }
        Kind::KeyDisabled(_) => ("key disabled", Vec::new()),
        Kind::KeyEnabled(_) => ("key enabled", Vec::new()),
        Kind::KeyRotated(event) => {
            let mut details: Vec<_> = of_another("replaced by", &event.successor).collect();
            details.extend(
                event.retire_time.as_ref().map(|time| format!("works until {}", humane(time))),
            );
            let idle = event.retire_when_idle_for.as_ref();
            details.extend(idle.map(|span| format!("or until idle for {}", humane_wait(span))));
            details.extend(word::<v1::RevokeReason>(event.reason));
            ("key rotated", details)
        }
        Kind::KeyRetired(event) => {
            let last = event.last_use_time.as_ref().map_or_else(|| "never".to_owned(), humane);
            ("key retired", vec![format!("nobody used it any more; last used: {last}")])
        }
        Kind::KeyRevoked(event) => {
            let mut details: Vec<_> = word::<v1::RevokeReason>(event.reason).into_iter().collect();
            details.extend(event.leaked.then(|| "reported as leaked".to_owned()));
            ("key revoked", details)
        }
        Kind::KeyRehashed(event) => ("key rehashed", under(event.pepper_version)),
        Kind::KeyUsed(event) => ("key used", uses(event.window.as_ref(), shown)),
        Kind::UnknownKeyTried(event) => ("unknown key tried", uses(event.window.as_ref(), shown)),
        Kind::UsageGap(event) => ("uses missing", gap(event)),
        _ => of_service(kind, shown),
    }
}

/// As [`of_kind`], of callers and the service.
fn of_service(kind: &Kind, shown: &Disclosure) -> (&'static str, Vec<String>) {
    match kind {
        Kind::CallerCreated(event) => {
            let roles: Vec<_> =
                event.roles.iter().filter_map(|role| word::<v1::Role>(*role)).collect();
            let tenants = joined(&event.tenants, "all tenants");
            let mut details = vec![joined(&roles, "no role"), format!("for {tenants}")];
            let names = [&event.spiffe_id, &event.san].into_iter().filter(|name| !name.is_empty());
            details.extend(names.map(|name| format!("certificate {}", plain(name))));
            ("caller created", details)
        }
        Kind::CallerRotated(event) => {
            let until = event.retire_time.as_ref();
            (
                "caller rotated",
                until.map(|time| format!("old one until {}", humane(time))).into_iter().collect(),
            )
        }
        Kind::CallerRevoked(_) => ("caller revoked", Vec::new()),
        Kind::CallerRehashed(event) => ("caller rehashed", under(event.pepper_version)),
        Kind::PolicyChanged(event) => {
            let plans: Vec<_> = event.plans.iter().map(|plan| plan.name.clone()).collect();
            let roles: Vec<_> = event.roles.iter().map(|role| role.name.clone()).collect();
            let of = |what, names: &[String]| format!("{what}: {}", joined(names, "none"));
            ("policy changed", vec![of("plans", &plans), of("roles", &roles)])
        }
        Kind::PepperRotated(event) => {
            ("pepper rotated", vec![format!("to number {}", event.version)])
        }
        Kind::PepperRetired(event) => {
            let (keys, callers) = (grouped(event.ended_keys), grouped(event.ended_callers));
            let ended = format!("{keys} keys and {callers} callers ended");
            ("pepper retired", vec![format!("number {}", event.version), ended])
        }
        Kind::ClockStepped(event) => {
            let time = |time: Option<&prost_types::Timestamp>| time.map(humane).unwrap_or_default();
            let (from, to) = (time(event.expected_time.as_ref()), time(event.wall_time.as_ref()));
            ("clock stepped", vec![format!("from {from} to {to}")])
        }
        Kind::LogRestored(event) => {
            let lost = event
                .lost_to
                .map_or_else(|| "not known how far".to_owned(), |to| format!("to {to}"));
            let first = event.restored_to + 1;
            (
                "log restored",
                vec![format!("generation {}; lost from {first}, {lost}", event.generation)],
            )
        }
        Kind::LossResolved(event) => {
            let how = word::<v1::Resolution>(event.resolution).unwrap_or_default();
            let last = event.last.map_or_else(|| "the end".to_owned(), |last| last.to_string());
            ("loss resolved", vec![format!("{} to {last}: {how}", event.first)])
        }
        Kind::SigningKeyChanged(event) => {
            let how = word::<v1::SigningKeyChange>(event.change).unwrap_or_default();
            ("signing key changed", vec![how, crate::cli::text::hex(&event.public_key)])
        }
        Kind::AuditRead(event) => ("history read", conduct::read(event)),
        Kind::CallsRefused(event) => ("calls refused", conduct::refused(event, shown)),
        _ => ("event", Vec::new()),
    }
}

fn under(pepper: u32) -> Vec<String> {
    vec![format!("under pepper number {pepper}")]
}

fn state(state: Option<&v1::AccountState>) -> Vec<String> {
    let Some(state) = state else { return Vec::new() };
    let status = word::<v1::AccountStatus>(state.status).unwrap_or_default();
    vec![
        format!("{status} on {}", plain(&state.plan)),
        format!("may: {}", joined(&state.permissions, "nothing")),
    ]
}

fn limits(
    scopes: Option<&v1::Scopes>,
    expires: Option<&prost_types::Timestamp>,
    shown: &Disclosure,
) -> Vec<String> {
    let mut details = Vec::new();
    details
        .extend(scopes.map(|scopes| format!("only: {}", joined(&scopes.permissions, "nothing"))));
    details.extend(expires.map(|time| format!("until {}", humane(time))));
    let from = &shown.allowed_cidrs;
    details.extend((!from.is_empty()).then(|| format!("only from {}", joined(from, ""))));
    details
}

fn of_another(what: &str, key_id: &str) -> impl Iterator<Item = String> {
    (!key_id.is_empty()).then(|| format!("{what} {}", plain(key_id))).into_iter()
}

fn gap(gap: &v1::UsageGap) -> Vec<String> {
    let time = |time: Option<&prost_types::Timestamp>| time.map(humane).unwrap_or_default();
    let (from, to) = (time(gap.from_time.as_ref()), time(gap.to_time.as_ref()));
    let lost = gap.lost.map_or_else(|| "not known how many".to_owned(), grouped);
    let cause = word::<v1::UsageGapCause>(gap.cause).unwrap_or_default();
    vec![format!("from {from} to {to}: {lost}"), cause]
}

/// How often, in which minute, from where and for what.
fn uses(window: Option<&UsageWindow>, shown: &Disclosure) -> Vec<String> {
    let Some(window) = window else { return Vec::new() };
    let mut counts = Vec::new();
    for total in &window.totals {
        let outcome = word::<v1::DenialReason>(total.denial_reason);
        let outcome = outcome.unwrap_or_else(|| "allowed".to_owned());
        counts.push(format!("{} {outcome}", grouped(total.count)));
    }
    let start = window.start_time.as_ref().map(time_of_day).unwrap_or_default();
    let mut details = vec![format!("{} at {start}", counts.join(", "))];
    let source = |line: &v1::UsageCount| {
        let place = usize::try_from(line.source).ok()?.checked_sub(1)?;
        shown.sources.get(place).cloned()
    };
    details.extend(most("from", window, source));
    details.extend(most("for", window, |line| Some(line.action.clone())));
    details.extend(most("asked by", window, |line| Some(line.caller_id.clone())));
    details
}

/// What the lines of a window name most, of what `of` reads of them.
fn most(
    what: &str,
    window: &UsageWindow,
    of: impl Fn(&v1::UsageCount) -> Option<String>,
) -> Option<String> {
    let mut sums: Vec<(String, u64)> = Vec::new();
    for line in &window.counts {
        let Some(name) = of(line).filter(|name| !name.is_empty()) else { continue };
        match sums.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += line.count,
            None => sums.push((name, line.count)),
        }
    }
    sums.sort_by_key(|(_, sum)| std::cmp::Reverse(*sum));
    let only = sums.len() == 1;
    let names = sums.iter().take(NAMED).map(|(name, sum)| {
        if only { plain(name) } else { format!("{} ({})", plain(name), grouped(*sum)) }
    });
    let mut names: Vec<_> = names.collect();
    if sums.len() > NAMED {
        names.push(format!("{} more", sums.len() - NAMED));
    }
    (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")))
}

#[cfg(test)]
#[path = "told_tests.rs"]
mod tests;
