//! The house rules that a compiler does not check: file and function length, the arrows between
//! rooms, banned words, a comment on every proto element, a reason on every dependency.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file, above which it should be two.
const MAX_FILE_LINES: usize = 400;

/// What each room may use. A room that is not here may use nothing.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &["domain"]),
    ("clock", &["domain"]),
    ("random", &[]),
    ("counting", &[]),
    ("durable_file", &[]),
    ("process", &[]),
    ("progress", &[]),
    ("proto", &[]),
    ("backup_dir", &["backup_dir", "durable_file"]),
    ("telemetry", &["clock", "config", "domain", "durable_file", "random", "telemetry"]),
    ("config", &["domain", "merkle"]),
    ("merkle", &["merkle"]),
    ("archive", &["archive", "merkle"]),
    ("vault", &["config", "domain", "durable_file", "random", "vault"]),
    (
        "ledger",
        &["clock", "counting", "domain", "durable_file", "ledger", "merkle", "proto", "random"],
    ),
    (
        "projection",
        &["domain", "durable_file", "ledger", "merkle", "progress", "projection", "vault"],
    ),
    // What auditors run; of the ledger only how a record is read, of the vault only what commits to clear bytes.
    ("verify", &["domain", "ledger", "merkle", "vault", "verify"]),
    ("usage", &["clock", "config", "domain", "durable_file", "ledger", "proto", "usage"]),
    (
        "app",
        &[
            "app",
            "backup_dir",
            "clock",
            "config",
            "counting",
            "domain",
            "durable_file",
            "ledger",
            "merkle",
            "progress",
            "projection",
            "random",
            "telemetry",
            "usage",
            "vault",
        ],
    ),
    ("grpc", &["app", "domain", "grpc", "merkle", "proto", "telemetry"]),
    ("http", &["app", "counting", "domain", "http", "telemetry"]),
    // What other programs put before their services; of ours only the messages and the rule which text is a key.
    ("client", &["client", "domain", "proto"]),
    (
        "server",
        &[
            "app",
            "clock",
            "config",
            "domain",
            "durable_file",
            "grpc",
            "http",
            "process",
            "progress",
            "proto",
            "random",
            "server",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "archive",
            "backup_dir",
            "cli",
            "client",
            "clock",
            "config",
            "durable_file",
            "merkle",
            "process",
            "progress",
            "proto",
            "random",
            "server",
            "telemetry",
            "verify",
        ],
    ),
    ("main", &[]),
    ("lib", &[]),
];

/// What only these rooms may name.
const FOREIGN: &[(&str, &[&str])] = &[
    ("sled::", &["ledger"]),
    ("rusqlite::", &["projection"]),
    ("tokio_rustls::", &["server"]),
    ("x509_cert::", &["server"]),
    ("envoy_types::", &["grpc"]),
    ("opentelemetry", &["telemetry", "grpc", "server"]),
    ("tonic::", &["grpc", "server", "cli", "client", "proto", "telemetry"]),
    ("tokio::", &["app", "grpc", "ledger", "server", "cli", "client", "usage", "telemetry"]),
    ("prost::", &["ledger", "proto", "grpc", "usage"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(below: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut rooms = vec![root().join(below)];
    while let Some(room) = rooms.pop() {
        for entry in fs::read_dir(&room).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                rooms.push(path);
            } else if path.extension().is_some_and(|found| found == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no .{ending} file below {below}");
    found
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("readable")
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).expect("ours").display().to_string()
}

/// The room a source file is in: the directory or file below `src`.
fn room(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).expect("below src");
    let first = inside.components().next().expect("a name").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The lines of a file that are neither comments nor of its tests.
fn code(path: &Path) -> Vec<(usize, String)> {
    let name = name(path);
    if name.ends_with("tests.rs") || name.ends_with("testing.rs") || name.contains("/tests/") {
        return Vec::new();
    }
    let text = text(path);
    let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..tests].lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(at, line)| (at + 1, line.to_owned()))
        .collect()
}

fn check(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut wrong = Vec::new();
    for path in ["src", "tests", "benches", "examples"].into_iter().flat_map(|dir| files(dir, "rs"))
    {
        let text = text(&path);
        let lines = text.lines().count();
        if lines > MAX_FILE_LINES {
            wrong.push(format!("{}: {lines} lines", name(&path)));
        }
        let is_tests = name(&path).ends_with("tests.rs");
        if !text.starts_with("//!") && !is_tests {
            wrong.push(format!("{}: does not open with //!", name(&path)));
        }
    }
    check(&wrong);
}

#[test]
fn arrows_between_rooms_run_one_way() {
    let mut wrong = Vec::new();
    for path in files("src", "rs") {
        let room = room(&path);
        let allowed = ARROWS.iter().find(|(from, _)| *from == room);
        let Some((_, allowed)) = allowed else {
            wrong.push(format!("{}: room {room} is not in the drawing", name(&path)));
            continue;
        };
        // The offline commands work on the data directory itself.
        let offline = name(&path).starts_with("src/cli/offline");
        for (line, code) in code(&path) {
            for part in code.split("crate::").skip(1) {
                let end =
                    part.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(part.len());
                let used = &part[..end];
                let below = ["app", "domain", "merkle"].contains(&used);
                let fine = used.is_empty() || allowed.contains(&used) || (offline && below);
                if !fine {
                    wrong.push(format!("{}:{line}: {room} uses {used}", name(&path)));
                }
            }
        }
    }
    check(&wrong);
}

#[test]
fn libraries_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for path in files("src", "rs") {
        let room = room(&path);
        for (line, code) in code(&path) {
            for (library, rooms) in FOREIGN {
                if code.contains(library) && !rooms.contains(&room.as_str()) {
                    wrong.push(format!("{}:{line}: {room} uses {library}", name(&path)));
                }
            }
        }
    }
    check(&wrong);
}

#[test]
fn nothing_is_left_for_later() {
    // Written in two parts, so that this file does not find itself.
    let banned = [
        concat!("for", " now"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("simpli", "fied"),
        concat!("place", "holder"),
        concat!("#[ig", "nore]"),
        concat!("Status::unimple", "mented"),
    ];
    let mut wrong = Vec::new();
    for path in files("src", "rs").into_iter().chain(files("proto", "proto")) {
        for (at, line) in text(&path).lines().enumerate() {
            for word in banned.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{}:{}: {word}", name(&path), at + 1));
            }
        }
    }
    check(&wrong);
}

#[test]
fn every_proto_element_has_a_comment_that_begins_with_its_name() {
    let mut wrong = Vec::new();
    for path in files("proto", "proto") {
        let text = text(&path);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate() {
            let Some(element) = proto_element(line) else { continue };
            let above = lines[..at].iter().rev().take_while(|line| line.starts_with("//"));
            let Some(first) = above.last() else {
                wrong.push(format!("{}:{}: {element} has no comment", name(&path), at + 1));
                continue;
            };
            let begins = first.trim_start_matches("// ").starts_with(element);
            if !begins {
                wrong.push(format!(
                    "{}:{}: its comment does not begin with {element}",
                    name(&path),
                    at + 1
                ));
            }
        }
    }
    check(&wrong);
}

/// The name a line of a proto file declares, if it declares one.
fn proto_element(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    match words.next()? {
        "message" | "enum" | "service" | "oneof" => words.next(),
        "rpc" => words.next()?.split('(').next(),
        "syntax" | "package" | "import" | "option" | "reserved" | "}" => None,
        first if first.starts_with("//") => None,
        _ => {
            let before = line.split_once(" = ")?.0;
            before.split_whitespace().last()
        }
    }
}

#[test]
fn every_dependency_has_a_reason_beside_or_above_it() {
    let manifest = text(&root().join("Cargo.toml"));
    let mut section = "";
    let mut reasoned = false;
    let mut wrong = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
            reasoned = false;
        } else if line.starts_with('#') {
            reasoned = true;
        } else if line.is_empty() {
            reasoned = false;
        } else if section.contains("dependencies") && !line.contains('#') && !reasoned {
            wrong.push(line.to_owned());
        }
    }
    check(&wrong);
}
