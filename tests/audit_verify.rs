//! `audit verify` against a real server: a log that is sound, whole or in part, at once or in several runs; and
//! every way of lying to it that there is a name for.

mod common;
#[path = "common/liar.rs"]
mod liar;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use common::place::copy;
use common::{Client, TestServer};
use keyledger::proto::ledger::Record;
use keyledger::proto::v1::{self, AuditEvent, Role};
use liar::{Liar, Lie, Shown};
use prost::Message as _;
use serde_json::Value;
use tempfile::TempDir;

/// An auditor with a credential, a state file, and a key to trust.
struct Auditor {
    home: TempDir,
    key: String,
}

/// How a run ended.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    json: Value,
    said: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let Output { status, stdout, stderr } = output;
        let json = serde_json::from_slice(&stdout).unwrap_or_default();
        Ran { code: status.code(), json, said: String::from_utf8(stderr).expect("text") }
    }

    fn number(&self, name: &str) -> u64 {
        self.json[name].as_u64().unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    /// Why it was not sound.
    fn fault(&self) -> &str {
        assert_eq!((self.code, &self.json["sound"]), (Some(1), &Value::Bool(false)), "{self:?}");
        self.json["fault"].as_str().expect("a fault")
    }

    fn sound(self) -> Self {
        assert_eq!((self.code, &self.json["sound"]), (Some(0), &Value::Bool(true)), "{self:?}");
        self
    }
}

async fn verifier_key(admin: &Client) -> String {
    let answer = admin.audit.clone().get_verifier_key(v1::GetVerifierKeyRequest {}).await;
    answer.expect("a key").into_inner().verifier_key
}

impl Auditor {
    async fn of(server: &TestServer) -> Self {
        let admin = server.admin().await;
        Auditor::with(&admin, &server.admin_credential()).await
    }

    async fn with(admin: &Client, credential: &str) -> Self {
        let home = TempDir::new().expect("a directory");
        fs::write(home.path().join("token"), credential).expect("written");
        Auditor { home, key: verifier_key(admin).await }
    }

    fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    fn progress(&self) -> PathBuf {
        self.home.path().join("state.progress")
    }

    fn command(&self, address: &str, more: &[&str]) -> Command {
        let mut command = common::process::command();
        command.args(["audit", "verify", "--output", "json", "--server", address, "--token-file"]);
        command.arg(self.home.path().join("token")).arg("--state").arg(self.state()).args(more);
        command
    }

    async fn verify(&self, address: &str, more: &[&str]) -> Ran {
        let mut command = self.command(address, more);
        let ran = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
        Ran::of(ran.expect("it runs"))
    }

    /// As [`Auditor::verify`], trusting the key.
    async fn begin(&self, address: &str, more: &[&str]) -> Ran {
        self.verify(address, &[&["--verifier-key", &self.key], more].concat()).await
    }
}

/// Accounts and keys of two tenants, keys used and revoked; all of it on record. Answers the server anew.
async fn busy(server: TestServer, round: u32) -> TestServer {
    let admin = server.admin().await;
    for tenant in ["acme", "globex"] {
        let account = format!("a{round}");
        admin.put_account_of(tenant, &account, "standard", &[]).await;
        let request = common::new_key(tenant, &account, "nightly export");
        let made = admin.keys.clone().create_key(request).await.expect("made").into_inner();
        for _ in 0..3 {
            assert_eq!(admin.verdict(&made.secret).await, Ok(()));
        }
        if round.is_multiple_of(2) {
            admin.revoke(&made.key.expect("a key").key_id).await.expect("revoked");
        }
    }
    drop(admin);
    // Uses go on record when the server stops.
    server.restart().await
}

/// Waits until a checkpoint covers the log; answers its size.
async fn settled(client: &Client) -> u64 {
    let min_size = common::place::status(client).await.head;
    let answer = client.audit.clone().get_checkpoint(v1::GetCheckpointRequest { min_size }).await;
    answer.expect("a checkpoint").into_inner().tree_size
}

#[tokio::test]
async fn the_whole_log_is_verified_once_and_from_then_on_what_is_new() {
    let server = busy(TestServer::start().await, 0).await;
    let auditor = Auditor::of(&server).await;
    let refused = auditor.verify(&server.address, &[]).await;
    assert!(refused.code == Some(1) && refused.said.contains("--verifier-key"), "{refused:?}");
    let size = settled(&server.admin().await).await;
    let first = auditor.begin(&server.address, &[]).await.sound();
    assert_eq!([first.number("records"), first.number("records_read")], [size; 2]);
    assert_eq!((first.number("keys"), first.number("undisclosed")), (2, 0));
    assert!(first.number("disclosed") > 0);
    assert_eq!(first.json["continues_size"], Value::Null);
    assert_eq!(first.json["signed_by"].as_array().expect("keys").len(), 1);

    let again = auditor.verify(&server.address, &[]).await.sound();
    assert_eq!((again.number("records_read"), again.number("continues_size")), (0, size));
    let server = busy(server, 1).await;
    let grown = settled(&server.admin().await).await;
    let next = auditor.verify(&server.address, &[]).await.sound();
    assert_eq!((next.number("records_read"), next.number("records")), (grown - size, grown));
    assert_eq!((next.number("continues_size"), next.number("keys")), (size, 4));
    assert_eq!(next.json["first_record_time"], first.json["first_record_time"]);

    // What cannot be gone on with costs time, no more.
    let mut kept = fs::read(auditor.progress()).expect("kept");
    let middle = kept.len() / 2;
    kept[middle] ^= 1;
    fs::write(auditor.progress(), kept).expect("written");
    let damaged = auditor.verify(&server.address, &[]).await.sound();
    assert!(damaged.said.contains("from the beginning"), "{damaged:?}");
    assert_eq!(damaged.number("records_read"), grown);
    fs::remove_file(auditor.progress()).expect("removed");
    let lost = auditor.verify(&server.address, &[]).await.sound();
    assert_eq!((lost.number("records_read"), lost.number("continues_size")), (grown, grown));
    let asked = auditor.verify(&server.address, &["--from-beginning"]).await.sound();
    assert_eq!(asked.number("records_read"), grown);
}

#[tokio::test]
async fn who_is_bound_to_a_tenant_verifies_what_it_may_see_of_it() {
    let server = busy(TestServer::start().await, 0).await;
    let admin = server.admin().await;
    let (_, credential) = admin.create_caller(&[Role::Auditor], &["acme"]).await;
    let auditor = Auditor::with(&admin, &credential).await;
    let size = settled(&admin).await;
    let whole = auditor.begin(&server.address, &[]).await;
    assert!(whole.fault().contains("--tenant"), "{whole:?}");
    assert!(!auditor.state().exists(), "nothing is remembered of it");
    let foreign = auditor.begin(&server.address, &["--tenant", "globex"]).await;
    assert_eq!((foreign.code, &foreign.json), (Some(1), &Value::Null), "{foreign:?}");
    let none = auditor.begin(&server.address, &["--tenant", "/"]).await;
    assert_eq!(none.code, Some(2), "{none:?}");

    let acme = ["--tenant", "acme"];
    let first = auditor.begin(&server.address, &acme).await.sound();
    // Registered, made, used, revoked.
    assert_eq!((first.number("records"), first.number("keys")), (4, 1));
    assert_eq!((first.number("tree_size"), first.json["form"].as_str()), (size, Some("part")));
    drop(admin);
    let server = busy(server, 1).await;
    let next = auditor.verify(&server.address, &acme).await.sound();
    assert_eq!((next.number("records_read"), next.number("records")), (3, 7));
    assert_eq!(next.number("continues_size"), size);
    // What was kept is of another part.
    let account = ["--tenant", "acme", "--account", "a1"];
    let part = auditor.verify(&server.address, &account).await.sound();
    assert!(part.said.contains("it is of other records"), "{part:?}");
    assert_eq!((part.number("records"), part.number("keys")), (3, 1));
}

#[tokio::test]
async fn a_log_that_was_put_back_or_goes_on_another_way_is_refused_and_nothing_forgotten() {
    let server = busy(TestServer::start().await, 0).await;
    let auditor = Auditor::of(&server).await;
    let clock = Arc::clone(&server.clock);
    let dir = server.stop().await;
    let before = TempDir::new().expect("a directory");
    copy(dir.path(), before.path());
    let start =
        async |dir: &Arc<TempDir>| TestServer::builder().dir(dir).clock(&clock).start().await;
    let server = busy(start(&dir).await, 1).await;
    let size = settled(&server.admin().await).await;
    auditor.begin(&server.address, &[]).await.sound();
    let kept = [auditor.state(), auditor.progress()].map(|path| fs::read(path).expect("kept"));
    server.stop().await;

    let server = start(&Arc::new(before)).await;
    let put_back = auditor.verify(&server.address, &[]).await;
    assert!(put_back.fault().contains("the log was put back"), "{put_back:?}");
    assert!(put_back.json["checkpoint"].as_str().expect("the evidence").contains("keyledger/"));
    let admin = server.admin().await;
    for number in 0.. {
        admin.put_account(&format!("other-{number}"), "standard", &[]).await;
        if settled(&admin).await > size + 1 {
            break;
        }
    }
    for more in [&[][..], &["--from-beginning"], &["--tenant", "acme"]] {
        let other = auditor.verify(&server.address, more).await;
        assert!(other.fault().contains("the history was changed"), "{other:?}");
    }
    let after = [auditor.state(), auditor.progress()].map(|path| fs::read(path).expect("kept"));
    assert_eq!(kept, after);
}

#[tokio::test]
async fn a_checkpoint_by_another_key_is_refused() {
    let (server, other) = (TestServer::start().await, TestServer::start().await);
    let mut auditor = Auditor::of(&server).await;
    auditor.key = verifier_key(&other.admin().await).await;
    let refused = auditor.begin(&server.address, &[]).await;
    assert!(refused.fault().contains("none of the known keys has signed it"), "{refused:?}");
    assert_eq!(refused.number("records"), 0);
    assert!(!auditor.state().exists() && !auditor.progress().exists());
    let gone = auditor.begin("http://127.0.0.1:1", &[]).await;
    assert_eq!(gone.code, Some(3), "{gone:?}");
}

/// Each lie is found out, and nothing is remembered of a log that is not sound.
async fn found_out(scope: &[&str], lies: &[(Lie, &str)]) {
    let server = busy(TestServer::start().await, 0).await;
    let admin = server.admin().await;
    settled(&admin).await;
    for (at, (lie, said)) in lies.iter().enumerate() {
        let (address, _) = Liar::serve(admin.clone(), Shown::All(*lie)).await;
        let auditor = Auditor::of(&server).await;
        let refused = auditor.begin(&address, scope).await;
        assert!(refused.fault().contains(said), "{at}: {refused:?}");
        assert!(!auditor.state().exists() && !auditor.progress().exists(), "{at}");
    }
}

#[tokio::test]
async fn no_lie_about_the_records_of_the_log_passes() {
    let lies: [(Lie, &str); 8] = [
        (|events| *events[3].record.last_mut().expect("bytes") ^= 1, ""),
        (|events| drop(events.remove(4)), "records are missing between positions 4 and 6"),
        (|events| events.truncate(5), "records are missing between positions 5 and"),
        (|events| events.swap(4, 5), "records are missing between positions 4 and 6"),
        (|events| swapped_in_place(events), "at position 5 says it is at 6"),
        (|events| events.insert(4, events[3].clone()), "at position 4 comes behind position 4"),
        (|events| told_otherwise(events), "is not what it commits to"),
        (|events| events[4].record.clear(), "at position 5 cannot be read"),
    ];
    found_out(&[], &lies).await;
}

#[tokio::test]
async fn no_lie_about_the_records_of_a_part_passes_but_that_the_last_are_withheld() {
    let acme = ["--tenant", "acme"];
    let lies: [(Lie, &str); 6] = [
        (|events| events[1].record.clear(), "cannot be read"),
        (|events| drop(events.remove(1)), "does not follow"),
        (|events| events.swap(1, 2), "does not follow"),
        (|events| events.insert(2, events[1].clone()), "comes behind"),
        (|events| told_otherwise(events), "is not what it commits to"),
        (|events| traced(events), "is not among the"),
    ];
    found_out(&acme, &lies).await;
    let server = busy(TestServer::start().await, 0).await;
    let admin = server.admin().await;
    settled(&admin).await;
    let (address, _) = Liar::serve(admin, Shown::All(|events| events.truncate(3))).await;
    let withheld = Auditor::of(&server).await.begin(&address, &acme).await.sound();
    assert_eq!(withheld.number("records"), 3);
    assert!(withheld.json["not_checked"].to_string().contains("withheld"), "{withheld:?}");
}

/// A record that follows all the same: of another trace.
fn traced(events: &mut [AuditEvent]) {
    let mut record = Record::decode(events[2].record.as_slice()).expect("a record");
    record.trace_id = vec![7; 16];
    events[2].record = record.encode_to_vec();
}

/// Two records change places, and the positions that go with them do not.
fn swapped_in_place(events: &mut [AuditEvent]) {
    events.swap(4, 5);
    let first = events[4].position;
    events[4].position = std::mem::replace(&mut events[5].position, first);
}

/// Another name is disclosed than was recorded.
fn told_otherwise(events: &mut [AuditEvent]) {
    let shown = events.iter_mut().find_map(|event| event.disclosure.as_mut()).expect("one");
    *shown.personal.last_mut().expect("bytes") ^= 1;
}

#[tokio::test]
async fn what_was_verified_before_the_connection_was_lost_is_not_read_again() {
    let server = busy(TestServer::start().await, 0).await;
    let admin = server.admin().await;
    let size = settled(&admin).await;
    for (scope, whole) in [(&[][..], size), (&["--tenant", "acme"], 4)] {
        let auditor = Auditor::of(&server).await;
        let (address, _) = Liar::serve(admin.clone(), Shown::Lost(3)).await;
        let lost = auditor.begin(&address, scope).await;
        assert_eq!(lost.code, Some(3), "{lost:?}");
        assert!(!auditor.state().exists(), "the checkpoint is not remembered yet");
        let rest = auditor.begin(&server.address, scope).await.sound();
        assert_eq!((rest.number("records_read"), rest.number("records")), (whole - 3, whole));
    }
}

#[tokio::test]
async fn ctrl_c_leaves_what_the_next_run_goes_on_with() {
    let server = busy(TestServer::start().await, 0).await;
    let admin = server.admin().await;
    let size = settled(&admin).await;
    let auditor = Auditor::of(&server).await;
    let (address, silent) = Liar::serve(admin.clone(), Shown::Silent(4)).await;
    let mut command = auditor.command(&address, &["--verifier-key", &auditor.key]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    silent.notified().await;
    let id = child.id().to_string();
    let signalled = Command::new("kill").args(["-INT", &id]).status().expect("kill runs");
    assert!(signalled.success());
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output()).await;
    let stopped = Ran::of(ended.expect("no panic").expect("it ends"));
    assert_eq!(stopped.code, Some(3), "{stopped:?}");
    assert!(stopped.said.contains("the next run goes on from there"), "{stopped:?}");
    assert!(auditor.progress().exists() && !auditor.state().exists());
    let rest = auditor.begin(&server.address, &[]).await.sound();
    assert_eq!(rest.number("records"), size);
}
