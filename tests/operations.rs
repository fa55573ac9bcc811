//! What operators see: probes and figures while the server runs, damage that it finds by itself, and the
//! offline check.

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::TestServer;
use common::process::{self, Process, contents, get, refused, serve};
use keyledger::proto::v1;
use serde_json::Value;
use tempfile::TempDir;

fn data_dir() -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("data");
    (directory, path)
}

/// The value of a series.
fn sample(page: &str, name: &str) -> String {
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in\n{page}")).to_owned()
}

/// Runs `admin check`; answers its exit code, the findings, and the verdict.
fn check(path: &Path) -> (i32, Vec<Value>, Value) {
    let mut command = process::command();
    command.args(["admin", "check", "--output", "json", "--data-dir"]).arg(path);
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let text = String::from_utf8(stdout).expect("text");
    let mut lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let said = String::from_utf8_lossy(&stderr);
    let verdict = lines.pop().unwrap_or_else(|| panic!("no verdict: {said}"));
    (status.code().expect("an exit code"), lines, verdict)
}

fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("there");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("inside");
    file.write_all_at(&[byte[0] ^ 1], at).expect("written");
}

/// A directory whose log has a sealed volume, and the file of the volume.
async fn with_a_sealed_volume(directory: &Path, path: &Path) -> (PathBuf, PathBuf) {
    let config = directory.join("keyledger.toml");
    fs::write(&config, "[ledger]\nvolume_bytes = 65536\n").expect("written");
    let mut command = serve(path, "127.0.0.1:0");
    command.arg("--config").arg(&config);
    let server = Process::spawn(command);
    let admin = server.admin(path).await;
    let sealed = path.join("ledger/volume-00000001");
    let mut round = 0;
    while !sealed.exists() {
        admin.put_account("billing", "enterprise", &[&format!("round:{round}")]).await;
        round += 1;
    }
    // Nothing is being sealed, so that nothing is left of it.
    while sample(&get(&server.ops, "/metrics").1, "keyledger_volumes_waiting_to_seal") != "0" {}
    server.terminate();
    (config, sealed)
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_figures_are_served_beside_the_calls() {
    let (_directory, path) = data_dir();
    let server = Process::start(&path);
    let admin = server.admin(&path).await;
    admin.put_account("billing", "standard", &[]).await;
    let (account_key, _) = admin.create_key("billing", "one").await;
    assert_eq!(get(&server.ops, "/livez"), (200, "alive\n".to_owned()));
    assert_eq!(get(&server.ops, "/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(get(&server.ops, "/").0, 404);
    let (status, page) = get(&server.ops, "/metrics");
    assert_eq!(status, 200);
    assert_eq!(sample(&page, "keyledger_ledger_head"), account_key.position.to_string());
    assert_eq!(sample(&page, "keyledger_keys"), "1");
    assert_eq!(sample(&page, "keyledger_scrub_damage_total"), "0");
    assert!(!page.contains("billing") && !page.contains(&account_key.key_id));
    let (status, log) = server.terminate();
    assert!(status.success(), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_server_is_alive_and_not_ready() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let server = TestServer::builder().ops().config("[limits]\ndrain_seconds = 3600\n");
    let server = server.start().await;
    let ops = server.ops.clone().expect("served");
    // A connection that says hello and then nothing holds the drain until it goes away.
    let address = server.address.strip_prefix("http://").expect("a scheme");
    let mut mute = tokio::net::TcpStream::connect(address).await.expect("up");
    mute.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
    let mut answered = [0];
    mute.read_exact(&mut answered).await.expect("its settings");
    let stopping = tokio::spawn(server.stop());
    let draining = tokio::task::spawn_blocking(move || {
        while get(&ops, "/readyz").0 == 200 {}
        assert_eq!(get(&ops, "/readyz"), (503, "draining\n".to_owned()));
        assert_eq!(get(&ops, "/livez").0, 200);
        assert_eq!(sample(&get(&ops, "/metrics").1, "keyledger_ready"), "0");
    });
    draining.await.expect("no panic");
    drop(mute);
    stopping.await.expect("no panic");
}

#[test]
fn the_operations_port_can_be_off_and_a_bad_one_is_refused() {
    let (_directory, path) = data_dir();
    let mut command = process::command();
    command.args(["serve", "--grpc-addr", "127.0.0.1:0", "--ops-addr", "off", "--data-dir"]);
    command.arg(&path);
    let server = Process::spawn(command);
    assert_eq!(server.ops, "");
    server.terminate();

    let mut command = process::command();
    command.args(["serve", "--grpc-addr", "127.0.0.1:0", "--ops-addr", "nowhere", "--data-dir"]);
    command.arg(&path);
    let (status, said) = refused(command);
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("--ops-addr must be an IP address and a port, or off"), "{said}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let mut command = process::command();
    command.args(["serve", "--grpc-addr", "127.0.0.1:0", "--ops-addr", &address, "--data-dir"]);
    command.arg(&path);
    let (status, said) = refused(command);
    assert_eq!(status.code(), Some(1));
    assert!(said.contains(&address) && said.contains("--ops-addr"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_by_the_running_server_and_told_everywhere() {
    let (directory, path) = data_dir();
    let (config, sealed) = with_a_sealed_volume(directory.path(), &path).await;
    // In the table of subjects, which no start reads: the page before the footer.
    flip(&sealed, fs::metadata(&sealed).expect("there").len() - 176 - 4096);
    let mut command = serve(&path, "127.0.0.1:0");
    command.arg("--config").arg(&config);
    let server = Process::spawn(command);
    let mut admin = server.admin(&path).await.admin;
    let status = loop {
        let status = admin.get_status(v1::GetStatusRequest {}).await.expect("up").into_inner();
        let scrub = status.scrub.expect("always set");
        assert!(scrub.enabled);
        if scrub.passes > 0 {
            break status;
        }
    };
    let told = "ledger/volume-00000001: sealed volume 1 is damaged: its table of subjects is \
                truncated or altered";
    let [found, unanchored] = &status.warnings[..] else { panic!("{:?}", status.warnings) };
    assert_eq!(found, told);
    assert!(unanchored.contains("no checkpoint is kept off this host"), "{unanchored}");
    let scrub = status.scrub.expect("always set");
    assert_eq!((scrub.damage_found, scrub.bytes_read), (1, scrub.bytes_total));
    let (_, page) = get(&server.ops, "/metrics");
    assert_eq!(sample(&page, "keyledger_scrub_damage_total"), "1");
    assert_eq!(sample(&page, "keyledger_scrub_progress_ratio"), "1.000");
    let (status, log) = server.terminate();
    assert!(status.success(), "{log}");
    assert_eq!(log.matches("the scrub has found damage").count(), 1, "{log}");

    let (exit, findings, verdict) = check(&path);
    assert_eq!((exit, &verdict["verdict"]), (1, &Value::from("damaged")));
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0]["place"], "ledger/volume-00000001");
    assert_eq!(findings[0]["severity"], "damage");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_changes_nothing_and_says_head_and_root() {
    let (directory, path) = data_dir();
    with_a_sealed_volume(directory.path(), &path).await;
    // What an interruption may leave, and what somebody put there.
    fs::write(path.join("FORMAT.tmp"), "keyl").expect("written");
    fs::write(path.join("ledger/volume-00000009.tmp"), "half").expect("written");
    fs::write(path.join("notes.txt"), "ours").expect("written");
    let times = |path: &Path| -> Vec<_> {
        let files = contents(path).into_iter();
        files
            .map(|(file, _)| fs::metadata(file).expect("there").modified().expect("kept"))
            .collect()
    };
    let (before, touched) = (contents(&path), times(&path));
    let (exit, findings, verdict) = check(&path);
    assert_eq!((exit, &verdict["verdict"]), (0, &Value::from("whole")), "{findings:?}");
    let places: Vec<_> =
        findings.iter().map(|finding| (&finding["severity"], &finding["place"])).collect();
    let [note, warning] = ["note", "warning"].map(Value::from);
    let names = ["FORMAT.tmp", "notes.txt", "ledger/volume-00000009.tmp"].map(Value::from);
    assert_eq!(places, [(&note, &names[0]), (&warning, &names[1]), (&note, &names[2])]);
    assert!(contents(&path) == before && times(&path) == touched, "something was changed");

    fs::remove_file(path.join("notes.txt")).expect("removed");
    let server = Process::start(&path);
    let mut admin = server.admin(&path).await.admin;
    let status = admin.get_status(v1::GetStatusRequest {}).await.expect("up").into_inner();
    assert_eq!(verdict["head"], status.head);
    let root: String = status.tree_root.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(verdict["tree_root"], root);
    let mut command = process::command();
    command.args(["admin", "check", "--data-dir"]).arg(&path);
    let (status, said) = refused(command);
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("another keyledger process uses this data directory"), "{said}");
    server.terminate();
}
