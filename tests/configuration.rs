//! The configuration of the program that serves: what it is told to be, as it prints it.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use common::process::{self, refused, serve};
use tempfile::TempDir;

/// A directory for a server and its configuration file.
struct Place(TempDir);

impl Place {
    fn new(config: &str) -> Self {
        let place = Place(TempDir::new().expect("a directory"));
        place.put(config);
        place
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("keyledger.toml")
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Replaces the file whole.
    fn put(&self, config: &str) {
        let aside = self.0.path().join("aside");
        fs::write(&aside, config).expect("written");
        fs::rename(&aside, self.file()).expect("renamed");
    }

    fn serve(&self) -> Command {
        let mut command = serve(&self.data(), "127.0.0.1:0");
        command.arg("--config").arg(self.file());
        command
    }
}

/// What the program prints with these arguments, which it must take.
fn printed(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

/// The lines without where their values come from.
fn values(page: &str) -> Vec<&str> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split("  # ").next().expect("one"))
        .collect()
}

#[test]
fn the_configuration_is_printed_with_its_sources_and_nothing_is_touched() {
    let place = Place::new("grpc_addr = \"127.0.0.1:1\"\n[plans.tiny]\nactive_keys = 1\n");
    let mut command = place.serve();
    command.arg("--print-config").env("KEYLEDGER_OPS_ADDR", "off");
    let page = printed(command);
    let file = place.file();
    for line in [
        format!("data_dir = \"{}\"  # flag --data-dir", place.data().display()),
        "grpc_addr = \"127.0.0.1:0\"  # flag --grpc-addr".to_owned(),
        "ops_addr = \"127.0.0.1:0\"  # flag --ops-addr".to_owned(),
        "http_addr = \"off\"  # environment KEYLEDGER_HTTP_ADDR".to_owned(),
        "danger_serve_plaintext_beyond_loopback = false  # default".to_owned(),
        "drain_seconds = 10  # default".to_owned(),
        format!("active_keys = 1  # file {}", file.display()),
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
    assert!(!place.data().exists());

    let other = Place::new(&page);
    let mut command = process::command();
    command.args(["serve", "--print-config", "--config"]).arg(other.file());
    let again = printed(command);
    assert_eq!(values(&again), values(&page));
    assert!(
        again.contains(&format!("drain_seconds = 10  # file {}", other.file().display())),
        "{again}"
    );
}

#[test]
fn a_configuration_that_would_not_be_served_is_not_printed() {
    for (config, said_of) in [
        ("[limits]\ndrain_seconds = 0\n", "limits.drain_seconds"),
        ("http_addr = \"0.0.0.0:0\"\n", "--http-addr: only loopback"),
        ("nonsense = 1\n", "line 1"),
    ] {
        let place = Place::new(config);
        let as_served = |more: &[&str]| {
            let mut command = place.serve();
            command.env_remove("KEYLEDGER_HTTP_ADDR").args(more);
            refused(command)
        };
        let (status, said) = as_served(&["--print-config"]);
        assert!(status.code() == Some(1) && said.contains(said_of), "{said}");
        assert_eq!(said, as_served(&[]).1);
        assert!(!place.data().exists());
    }
}
