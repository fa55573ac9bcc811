//! One run of a client command: its connection, its output, and where its credential came from.

use super::connect::{ClientArgs, Connection};
use super::failure::Failure;
use super::output::Output;

/// What a client command works with.
pub(super) struct Session {
    pub(super) client: ClientArgs,
    pub(super) output: Output,
    /// Where the caller's credential was found, once it was.
    pub(super) credential_from: Option<String>,
}

impl Session {
    pub(super) fn new(client: ClientArgs) -> Self {
        let output = Output::new(client.output);
        Session { client, output, credential_from: None }
    }

    /// Connects to the server with the caller's credential, if it needs one.
    pub(super) async fn connect(&mut self) -> Result<Connection, Failure> {
        let found = self.client.credential()?;
        let secret = found.as_ref().map(|found| &found.secret);
        self.credential_from = found.as_ref().map(|found| found.from.clone());
        self.client.connect(secret).await
    }
}
