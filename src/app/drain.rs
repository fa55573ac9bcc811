//! Telling what runs on and on that the server is about to end.

use tokio::sync::watch;

/// Whether the server is about to end. Clones share it.
#[derive(Clone, Debug)]
pub struct Drain(watch::Sender<bool>);

impl Default for Drain {
    fn default() -> Self {
        Drain(watch::Sender::new(false))
    }
}

impl Drain {
    /// The server is about to end: streams are ended with a status.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Whether the server is about to end.
    #[must_use]
    pub(crate) fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when the server is about to end.
    pub(crate) async fn begun(&self) {
        // Fails only if there is no sender, and this is one.
        let _ = self.0.subscribe().wait_for(|begun| *begun).await;
    }
}
