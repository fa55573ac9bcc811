//! How keys, accounts, callers and principals are shown.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use serde_json::{Value, json};

use super::output::{Fields, Resource, Row};
use super::text::{joined, or_dash, plain};
use super::times::{day, humane, humane_wait, rfc3339, span};
use super::words::{ApiEnum, word};
use crate::proto::v1;

pub(super) fn time(time: Option<&Timestamp>) -> Value {
    time.map_or(Value::Null, |time| rfc3339(time).into())
}

pub(super) fn enum_or_null<E: ApiEnum>(value: i32) -> Value {
    word::<E>(value).map_or(Value::Null, Value::from)
}

pub(super) fn enum_or_dash<E: ApiEnum>(value: i32) -> String {
    word::<E>(value).unwrap_or_else(|| "—".to_owned())
}

fn or_never(time: Option<&Timestamp>, shown: fn(&Timestamp) -> String) -> String {
    time.map_or_else(|| "never".to_owned(), shown)
}

/// When last, and how often in all.
fn counted(last: Option<&Timestamp>, count: u64) -> String {
    last.map_or_else(|| "never".to_owned(), |last| format!("{}  {count} in all", humane(last)))
}

fn pairs(metadata: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = metadata.iter().map(|(name, value)| format!("{name}={value}")).collect();
    joined(&pairs, "—")
}

/// What is told in place of what was erased.
pub(super) const ERASED: &str = "[erased]";

fn unless_erased(erased: bool, shown: impl FnOnce() -> String) -> String {
    if erased { ERASED.to_owned() } else { shown() }
}

/// A name after the id it belongs to.
pub(super) fn named(id: &str, name: &str) -> String {
    if name.is_empty() { plain(id) } else { format!("{} ({})", plain(id), plain(name)) }
}

fn roles(roles: &[i32]) -> Vec<String> {
    roles.iter().filter_map(|role| word::<v1::Role>(*role)).collect()
}

impl Resource for v1::Key {
    fn json(&self) -> Value {
        json!({
            "key_id": self.key_id,
            "tenant_id": self.tenant_id,
            "account_id": self.account_id,
            "name": self.name,
            "hint": self.hint,
            "scopes": self.scopes.as_ref().map(|scopes| json!({"permissions": scopes.permissions})),
            "environment": self.environment,
            "state": enum_or_null::<v1::KeyState>(self.state),
            "create_time": time(self.create_time.as_ref()),
            "created_by": self.created_by,
            "expire_time": time(self.expire_time.as_ref()),
            "retire_time": time(self.retire_time.as_ref()),
            "revoke_time": time(self.revoke_time.as_ref()),
            "revoke_reason": enum_or_null::<v1::RevokeReason>(self.revoke_reason),
            "replaces": self.replaces,
            "replaced_by": self.replaced_by,
            "allowed_cidrs": self.allowed_cidrs,
            "metadata": self.metadata,
            "position": self.position,
            "last_use_time": time(self.last_use_time.as_ref()),
            "use_count": self.use_count,
            "last_denied_time": time(self.last_denied_time.as_ref()),
            "denied_count": self.denied_count,
            "retire_when_idle_for": self.retire_when_idle_for.as_ref().map(span),
            "erased": self.erased,
        })
    }

    fn fields(&self) -> Fields {
        let scopes = self.scopes.as_ref();
        let by = if self.created_by.is_empty() {
            String::new()
        } else {
            format!("  by {}", plain(&self.created_by))
        };
        let mut fields = vec![
            ("key", plain(&self.key_id)),
            ("name", unless_erased(self.erased, || or_dash(&self.name))),
            ("tenant", plain(&self.tenant_id)),
            ("account", plain(&self.account_id)),
            ("state", enum_or_dash::<v1::KeyState>(self.state)),
            ("environment", or_dash(&self.environment)),
            ("hint", plain(&self.hint)),
            (
                "scopes",
                scopes.map_or_else(
                    || "all its account may do".to_owned(),
                    |set| joined(&set.permissions, "nothing"),
                ),
            ),
            (
                "allowed from",
                unless_erased(self.erased, || joined(&self.allowed_cidrs, "anywhere")),
            ),
            ("metadata", unless_erased(self.erased, || pairs(&self.metadata))),
            ("created", self.create_time.as_ref().map_or_else(|| "—".to_owned(), humane) + &by),
            ("expires", or_never(self.expire_time.as_ref(), humane)),
        ];
        fields.push(("last used", counted(self.last_use_time.as_ref(), self.use_count)));
        if self.denied_count > 0 {
            let denied = counted(self.last_denied_time.as_ref(), self.denied_count);
            fields.push(("last denied", denied));
        }
        if let Some(retires) = &self.retire_time {
            let earlier = self.retire_when_idle_for.as_ref().map_or_else(String::new, |idle| {
                format!("  or once unused for {}", humane_wait(idle))
            });
            fields.push(("retires", humane(retires) + &earlier));
        }
        if let Some(revoked) = &self.revoke_time {
            let reason = word::<v1::RevokeReason>(self.revoke_reason)
                .map_or_else(String::new, |reason| format!("  {reason}"));
            fields.push(("revoked", humane(revoked) + &reason));
        }
        for (name, key_id) in [("replaces", &self.replaces), ("replaced by", &self.replaced_by)] {
            if !key_id.is_empty() {
                fields.push((name, plain(key_id)));
            }
        }
        fields.push(("position", self.position.to_string()));
        fields
    }
}

impl Row for v1::Key {
    const COLUMNS: &'static [&'static str] =
        &["KEY", "NAME", "ACCOUNT", "ENV", "STATE", "CREATED", "LAST USED", "EXPIRES"];

    fn cells(&self) -> Vec<String> {
        vec![
            plain(&self.key_id),
            unless_erased(self.erased, || or_dash(&self.name)),
            plain(&self.account_id),
            or_dash(&self.environment),
            enum_or_dash::<v1::KeyState>(self.state),
            self.create_time.as_ref().map_or_else(|| "—".to_owned(), day),
            or_never(self.last_use_time.as_ref(), humane),
            or_never(self.expire_time.as_ref(), day),
        ]
    }
}

impl Resource for v1::Account {
    fn json(&self) -> Value {
        json!({
            "tenant_id": self.tenant_id,
            "account_id": self.account_id,
            "display_name": self.display_name,
            "plan": self.plan,
            "permissions": self.permissions,
            "roles": self.roles,
            "status": enum_or_null::<v1::AccountStatus>(self.status),
            "create_time": time(self.create_time.as_ref()),
            "update_time": time(self.update_time.as_ref()),
            "position": self.position,
            "erased": self.erased,
        })
    }

    fn fields(&self) -> Fields {
        vec![
            ("tenant", plain(&self.tenant_id)),
            ("account", plain(&self.account_id)),
            ("name", unless_erased(self.erased, || or_dash(&self.display_name))),
            ("status", enum_or_dash::<v1::AccountStatus>(self.status)),
            ("plan", or_dash(&self.plan)),
            ("permissions", joined(&self.permissions, "—")),
            ("roles", joined(&self.roles, "—")),
            ("created", self.create_time.as_ref().map_or_else(|| "—".to_owned(), humane)),
            ("updated", self.update_time.as_ref().map_or_else(|| "—".to_owned(), humane)),
            ("position", self.position.to_string()),
        ]
    }
}

impl Row for v1::Account {
    const COLUMNS: &'static [&'static str] =
        &["ACCOUNT", "NAME", "STATUS", "PLAN", "ROLES", "PERMISSIONS", "UPDATED"];

    fn cells(&self) -> Vec<String> {
        vec![
            plain(&self.account_id),
            unless_erased(self.erased, || or_dash(&self.display_name)),
            enum_or_dash::<v1::AccountStatus>(self.status),
            or_dash(&self.plan),
            joined(&self.roles, "—"),
            joined(&self.permissions, "—"),
            self.update_time.as_ref().map_or_else(|| "—".to_owned(), day),
        ]
    }
}

impl Resource for v1::Caller {
    fn json(&self) -> Value {
        json!({
            "caller_id": self.caller_id,
            "name": self.name,
            "owner": self.owner,
            "roles": roles(&self.roles),
            "tenants": self.tenants,
            "spiffe_id": self.spiffe_id,
            "san": self.san,
            "create_time": time(self.create_time.as_ref()),
            "expire_time": time(self.expire_time.as_ref()),
            "revoke_time": time(self.revoke_time.as_ref()),
            "last_use_time": time(self.last_use_time.as_ref()),
            "retire_time": time(self.retire_time.as_ref()),
            "position": self.position,
        })
    }

    fn fields(&self) -> Fields {
        let mut fields = vec![
            ("caller", plain(&self.caller_id)),
            ("name", or_dash(&self.name)),
            ("owner", or_dash(&self.owner)),
            ("roles", joined(&roles(&self.roles), "—")),
            ("tenants", joined(&self.tenants, "all")),
            ("created", self.create_time.as_ref().map_or_else(|| "—".to_owned(), humane)),
            ("expires", or_never(self.expire_time.as_ref(), humane)),
        ];
        for (what, name) in [("spiffe id", &self.spiffe_id), ("san", &self.san)] {
            if !name.is_empty() {
                fields.push((what, plain(name)));
            }
        }
        if let Some(revoked) = &self.revoke_time {
            fields.push(("revoked", humane(revoked)));
        }
        if let Some(until) = &self.retire_time {
            fields.push(("old credential", format!("works until {}", humane(until))));
        }
        fields.push((
            "last used",
            self.last_use_time.as_ref().map_or_else(|| "—".to_owned(), humane),
        ));
        fields.push(("position", self.position.to_string()));
        fields
    }
}

impl Row for v1::Caller {
    const COLUMNS: &'static [&'static str] =
        &["CALLER", "NAME", "OWNER", "ROLES", "TENANTS", "USED", "ENDS"];

    fn cells(&self) -> Vec<String> {
        let revoked = self.revoke_time.as_ref().map(|_| "revoked".to_owned());
        vec![
            plain(&self.caller_id),
            or_dash(&self.name),
            or_dash(&self.owner),
            joined(&roles(&self.roles), "—"),
            joined(&self.tenants, "all"),
            self.last_use_time.as_ref().map_or_else(|| "—".to_owned(), day),
            revoked.unwrap_or_else(|| or_never(self.expire_time.as_ref(), day)),
        ]
    }
}

impl Resource for v1::Principal {
    fn json(&self) -> Value {
        json!({
            "key_id": self.key_id,
            "key_name": self.key_name,
            "tenant_id": self.tenant_id,
            "account_id": self.account_id,
            "environment": self.environment,
            "roles": self.roles,
            "permissions": self.permissions,
            "plan": self.plan,
            "expire_time": time(self.expire_time.as_ref()),
            "metadata": self.metadata,
        })
    }

    fn fields(&self) -> Fields {
        vec![
            ("key", named(&self.key_id, &self.key_name)),
            ("tenant", plain(&self.tenant_id)),
            ("account", plain(&self.account_id)),
            ("environment", or_dash(&self.environment)),
            ("plan", or_dash(&self.plan)),
            ("roles", joined(&self.roles, "—")),
            ("permissions", joined(&self.permissions, "nothing")),
            ("expires", or_never(self.expire_time.as_ref(), humane)),
            ("metadata", pairs(&self.metadata)),
        ]
    }
}

#[cfg(test)]
#[path = "resources_tests.rs"]
pub(super) mod tests;
