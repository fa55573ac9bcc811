//! What goes on beside the calls while the service runs.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::app::App;
use crate::config::PrivacySettings;

impl App {
    /// Starts what goes on as long as `tasks` is there.
    pub fn keep_house(self: &Arc<Self>, privacy: PrivacySettings, tasks: &mut JoinSet<()>) {
        tasks.spawn(self.sweep_rate_windows());
        tasks.spawn(self.retire_idle_keys());
        tasks.spawn(self.move_tags());
        tasks.spawn(self.tell_caller_ends());
        tasks.spawn(self.forget_sources(privacy.source_retention));
    }
}
