//! An auditor at a terminal: the real program, run in a directory of their own; and a server worth auditing.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use keyledger::merkle::note::VerifierKey;
use keyledger::proto::v1::{self, Role};
use serde_json::Value;
use tempfile::TempDir;

use super::usage::{context, use_key};
use super::{Client, TestServer, new_key, process};

/// What an auditor at a terminal has: a directory of their own, a server elsewhere, a credential.
pub struct Desk {
    pub dir: TempDir,
    pub server: String,
    pub credential: PathBuf,
}

/// How a run of the program ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub said: String,
}

impl Ran {
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(self.out.trim()).expect("one object")
    }

    pub fn refused(&self) -> &str {
        assert_eq!(self.code, Some(1), "{self:?}");
        &self.said
    }
}

impl Desk {
    pub fn at(server: &TestServer) -> Desk {
        let credential = server.data_dir().join("admin.credential");
        let dir = TempDir::new().expect("a directory");
        Desk { dir, server: server.address.clone(), credential }
    }

    /// Whoever has this credential.
    pub fn of(server: &TestServer, credential: &str) -> Desk {
        let desk = Desk::at(server);
        let path = desk.path("credential");
        fs::write(&path, credential).expect("written");
        Desk { credential: path, ..desk }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("there")
    }

    /// Runs `keyledger` here, to be answered in this form.
    pub async fn run(&self, form: &str, arguments: &[&str]) -> Ran {
        let mut command = process::command();
        command.args(arguments).args(["--output", form, "--server", &self.server, "--token-file"]);
        command.arg(&self.credential).current_dir(self.dir.path());
        ran(command).await
    }

    /// Runs `keyledger audit` here.
    pub async fn audit(&self, arguments: &[&str]) -> Ran {
        let mut command = process::command();
        command.args(["audit", "--output", "json", "--server", &self.server, "--token-file"]);
        command.arg(&self.credential).args(arguments).current_dir(self.dir.path());
        ran(command).await
    }
}

async fn ran(mut command: std::process::Command) -> Ran {
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    let Output { status, stdout, stderr } = output.expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ran { code: status.code(), out: text(stdout), said: text(stderr) }
}

/// A server with some history: accounts of two tenants, keys, names, uses, a revocation. And all secrets there
/// are.
pub async fn with_history() -> (TestServer, Vec<String>) {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &["reports:read"]).await;
    admin.put_account_of("other", "shop", "enterprise", &[]).await;
    let (key, secret) = admin.create_key("billing", "nightly export").await;
    let from = context("reports.list", "192.0.2.7", "curl/8");
    use_key(&admin, &secret, 3, true, from.clone()).await;
    use_key(&admin, &secret, 2, false, from).await;
    let request = v1::RevokeKeyRequest {
        key_id: key.key_id,
        comment: "seen in a log".to_owned(),
        ..Default::default()
    };
    admin.keys.clone().revoke_key(request).await.expect("revoked");
    let other = new_key("other", "shop", "till");
    let till = admin.keys.clone().create_key(other).await.expect("created").into_inner();
    let (_, credential) = admin.create_caller(&[Role::Auditor], &["acme"]).await;
    let secrets = vec![secret, till.secret, credential, server.admin_credential()];
    // Its uses are put on record when it ends.
    (server.restart().await, secrets)
}

/// Every event there is.
pub async fn events(client: &Client) -> Vec<v1::AuditEvent> {
    let request = v1::StreamEventsRequest::default();
    let mut answers =
        client.audit.clone().stream_events(request).await.expect("begun").into_inner();
    let mut events = Vec::new();
    while let Some(answer) = answers.message().await.expect("an answer") {
        if let Some(v1::stream_events_response::Answer::Event(event)) = answer.answer {
            events.push(*event);
        }
    }
    events
}

pub async fn verifier_key(client: &Client) -> VerifierKey {
    let answer = client.audit.clone().get_verifier_key(v1::GetVerifierKeyRequest {}).await;
    VerifierKey::parse(&answer.expect("a key").into_inner().verifier_key).expect("a key")
}
