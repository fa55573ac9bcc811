//! Which events: the choice that the commands which stream them share.

use clap::Args;

use crate::cli::words::choice;
use crate::proto::v1::{self, EventFilter};

#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// Only events of this tenant
    #[arg(long, default_value_t, hide_default_value = true)]
    tenant: String,
    /// Only events of this account of the tenant, its keys' included
    #[arg(long, requires = "tenant", default_value_t, hide_default_value = true)]
    account: String,
    /// Only events about this key, key_…
    #[arg(long, value_name = "KEY_ID", default_value_t, hide_default_value = true)]
    key: String,
    /// Only events of these kinds; repeated or separated by commas
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',',
          value_parser = choice::<v1::EventKind>(), ignore_case = true)]
    kinds: Vec<v1::EventKind>,
}

impl FilterArgs {
    /// The first option that leaves something out.
    pub(super) fn given(&self) -> Option<&'static str> {
        let given = [
            ("--tenant", !self.tenant.is_empty()),
            ("--account", !self.account.is_empty()),
            ("--key", !self.key.is_empty()),
            ("--kind", !self.kinds.is_empty()),
        ];
        given.into_iter().find_map(|(option, given)| given.then_some(option))
    }

    /// The choice as it is sent.
    pub(super) fn message(&self) -> EventFilter {
        EventFilter {
            tenant_id: self.tenant.clone(),
            account_id: self.account.clone(),
            key_id: self.key.clone(),
            kinds: self.kinds.iter().copied().map(i32::from).collect(),
        }
    }
}
