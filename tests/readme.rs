//! The README's tour, as printed, against the real program.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::process::Process;
use tempfile::TempDir;

/// The shell lines of the tour, in order, one string a block.
fn blocks() -> Vec<String> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let readme = readme.expect("a README");
    let tour = readme.split("## A tour").nth(1).and_then(|rest| rest.split("\n## ").next());
    let fenced = tour.expect("a tour").split("```sh\n").skip(1);
    fenced.map(|block| block.split("```").next().expect("closed").to_owned()).collect()
}

/// Runs lines of the tour in a directory as someone who pastes them; answers what they print.
fn paste(lines: &str, directory: &Path, server: &Process) -> String {
    let alias = "alias keyledger=target/release/keyledger";
    let program = format!("keyledger() {{ '{}' \"$@\"; }}", env!("CARGO_BIN_EXE_keyledger"));
    let output = Command::new("bash")
        .arg("-c")
        .arg(lines.replace(alias, &program))
        .current_dir(directory)
        .env("KEYLEDGER_SERVER", &server.address)
        .env_remove("KEYLEDGER_TOKEN")
        .env_remove("KEYLEDGER_DATA_DIR")
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(said, "", "nothing of the tour complains");
    String::from_utf8(output.stdout).expect("text")
}

/// The outcomes of the tour's authentications, in order.
fn outcomes(printed: &str) -> Vec<String> {
    let lines = printed.lines().map(serde_json::from_str::<serde_json::Value>);
    let lines = lines.map(|line| line.expect("JSON, since this is no terminal"));
    let answers = lines.filter(|line| !line["outcome"].is_null());
    answers
        .map(|answer| match answer["denial_reason"].as_str() {
            Some(reason) => reason.to_owned(),
            None => answer["outcome"].as_str().expect("an outcome").to_owned(),
        })
        .collect()
}

#[test]
fn the_tour_goes_as_the_readme_says() {
    let directory = TempDir::new().expect("a directory");
    let data_dir = directory.path().join("data");
    let [first, second] = blocks().try_into().expect("two blocks");
    let server = Process::start(&data_dir);
    let printed = paste(&first, directory.path(), &server);
    let expected =
        ["ALLOWED", "PERMISSION_MISSING", "ACCOUNT_INACTIVE", "ALLOWED", "ALLOWED", "REVOKED"];
    assert_eq!(outcomes(&printed), expected);
    for file in ["key.txt", "new-key.txt"] {
        let secret = fs::read_to_string(directory.path().join(file)).expect("written");
        assert!(!printed.contains(secret.trim_end()), "{file} is shown");
    }
    let (status, log) = server.terminate();
    assert!(status.success(), "{log}");
    let server = Process::start(&data_dir);
    let alias = "alias keyledger=target/release/keyledger\n";
    let printed = paste(&format!("{alias}{second}"), directory.path(), &server);
    assert_eq!(outcomes(&printed), ["REVOKED"]);
    server.terminate();
}
