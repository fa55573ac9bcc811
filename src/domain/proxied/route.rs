//! What a proxy's configuration asks of the keys of a route.

use thiserror::Error;

use crate::domain::ids::TenantId;
use crate::domain::permission::{MAX_PERMISSIONS, Permission};
use crate::domain::usage::MAX_ACTION;

/// A required permission, or several with spaces between them.
const PERMISSION: &str = "permission";
/// The tenant the route is of.
const TENANT: &str = "tenant";
/// What a use costs of the account's limit.
const COST: &str = "cost";
/// `true`: a request without a key is let through.
const ANONYMOUS: &str = "anonymous";
/// What uses of the route are for, in the words they are recorded with.
const ACTION: &str = "action";

/// What a use costs if nothing is said.
const DEFAULT_COST: u32 = 1;

/// What is asked of the keys of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// All of these are required; valid permission words.
    pub required: Vec<String>,
    /// The tenant that keys must be of.
    pub tenant: Option<TenantId>,
    /// What a use costs of the account's limit.
    pub cost: u32,
    /// Whether a request without a key is let through. One with a key must have one that works all the same.
    pub anonymous: bool,
    /// What the use is for; empty if not given.
    pub action: String,
}

/// Why a route's settings are refused. Never repeats what was set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name}: {must}")]
pub struct RouteError {
    /// The setting; empty if it is none there is.
    pub name: &'static str,
    /// What it must be.
    pub must: String,
}

#[expect(clippy::needless_pass_by_value, reason = "called with texts and with errors alike")]
fn refuse<T>(name: &'static str, must: impl ToString) -> Result<T, RouteError> {
    Err(RouteError { name, must: must.to_string() })
}

impl Route {
    /// Reads the settings of a route. What is not known is refused: a misspelt `permission` would let everybody
    /// through. `permission` may be there more than once, the others may not.
    ///
    /// # Errors
    /// [`RouteError`] naming the setting.
    pub fn read<'a>(
        settings: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, RouteError> {
        let mut required = Vec::new();
        let (mut tenant, mut cost, mut anonymous, mut action) = (None, None, None, None);
        for (name, value) in settings {
            match name {
                PERMISSION => add_permissions(&mut required, value)?,
                TENANT => once(&mut tenant, TENANT, read_tenant(value)?)?,
                COST => once(&mut cost, COST, read_cost(value)?)?,
                ANONYMOUS => once(&mut anonymous, ANONYMOUS, read_anonymous(value)?)?,
                ACTION => once(&mut action, ACTION, read_action(value)?)?,
                _ => {
                    let must = "there are only permission, tenant, cost, anonymous and action";
                    return refuse("", must);
                }
            }
        }
        Ok(Route {
            required,
            tenant,
            cost: cost.unwrap_or(DEFAULT_COST),
            anonymous: anonymous.unwrap_or_default(),
            action: action.unwrap_or_default(),
        })
    }
}

fn once<T>(place: &mut Option<T>, name: &'static str, value: T) -> Result<(), RouteError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => refuse(name, "must be there once"),
    }
}

fn add_permissions(required: &mut Vec<String>, value: &str) -> Result<(), RouteError> {
    let before = required.len();
    for word in value.split(' ').filter(|word| !word.is_empty()) {
        Permission::check(word).or_else(|must| refuse(PERMISSION, must))?;
        required.push(word.to_owned());
    }
    match required.len() {
        // Nothing would be required, where something was meant.
        after if after == before => refuse(PERMISSION, "must not be empty"),
        after if after > MAX_PERMISSIONS => {
            refuse(PERMISSION, format_args!("must be at most {MAX_PERMISSIONS}"))
        }
        _ => Ok(()),
    }
}

fn read_tenant(value: &str) -> Result<TenantId, RouteError> {
    TenantId::parse(value).or_else(|must| refuse(TENANT, must))
}

fn read_cost(value: &str) -> Result<u32, RouteError> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let cost = value.parse().ok().filter(|_| digits);
    cost.map_or_else(|| refuse(COST, "must be a whole number from 0 to 4294967295"), Ok)
}

fn read_anonymous(value: &str) -> Result<bool, RouteError> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => refuse(ANONYMOUS, "must be true or false"),
    }
}

fn read_action(value: &str) -> Result<String, RouteError> {
    if value.len() > MAX_ACTION || value.chars().any(char::is_control) {
        let must = format_args!(
            "must be at most {MAX_ACTION} bytes without a control character among them"
        );
        return refuse(ACTION, must);
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_without_settings_asks_for_a_key_that_works() {
        let route = Route::read(std::iter::empty()).expect("valid");
        let expected = Route {
            required: Vec::new(),
            tenant: None,
            cost: 1,
            anonymous: false,
            action: String::new(),
        };
        assert_eq!(route, expected);
    }

    #[test]
    fn permissions_add_up() {
        let settings = [
            ("permission", "reports:read  a"),
            ("tenant", "acme"),
            ("permission", "b:*"),
            ("cost", "0"),
            ("anonymous", "true"),
            ("action", "list reports"),
        ];
        let route = Route::read(settings.into_iter()).expect("valid");
        assert_eq!(route.required, ["reports:read", "a", "b:*"]);
        assert_eq!(route.tenant.as_ref().map(TenantId::as_str), Some("acme"));
        assert_eq!((route.cost, route.anonymous, &*route.action), (0, true, "list reports"));
    }

    #[test]
    fn what_might_let_through_more_than_was_meant_is_refused() {
        let cases: [(&[(&str, &str)], &str); 13] = [
            (&[("permision", "a")], ""),
            (&[("Permission", "a")], ""),
            (&[("", "")], ""),
            (&[("permission", "")], "permission"),
            (&[("permission", " ")], "permission"),
            (&[("permission", "a,b")], "permission"),
            (&[("tenant", "")], "tenant"),
            (&[("tenant", "acme"), ("tenant", "globex")], "tenant"),
            (&[("cost", "-1")], "cost"),
            (&[("cost", "+1")], "cost"),
            (&[("cost", "")], "cost"),
            (&[("anonymous", "yes")], "anonymous"),
            (&[("action", "a\nb")], "action"),
        ];
        for (settings, name) in cases {
            let refused = Route::read(settings.iter().copied()).expect_err("refused");
            assert_eq!(refused.name, name, "{settings:?}");
        }
        let words = "a ".repeat(MAX_PERMISSIONS + 1);
        assert!(Route::read([("permission", words.as_str())].into_iter()).is_err());
        assert!(Route::read([("permission", &words[2..])].into_iter()).is_ok());
    }
}
