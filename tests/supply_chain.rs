//! What the program is built of: where each package comes from, its licence and its known advisories, held to the lists
//! of `deploy/supply-chain.toml`, offline.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use semver::{Version, VersionReq};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use spdx::{Expression, ParseMode};

/// `deploy/supply-chain.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lists {
    as_of: String,
    advisories: Vec<Advisory>,
    looked_up: BTreeSet<String>,
    licences: Licences,
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advisory {
    id: String,
    package: String,
    kind: Kind,
    patched: Vec<VersionReq>,
    unaffected: Vec<VersionReq>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Vulnerability,
    Unsound,
    Unmaintained,
    Notice,
}

/// A reason to use what an advisory names, and when it was weighed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    advisory: String,
    date: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Licences {
    allowed: BTreeSet<String>,
    exceptions: Vec<LicenceException>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LicenceException {
    package: String,
    licence: String,
    date: String,
    reason: String,
}

/// `Cargo.lock`.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: Version,
    source: Option<String>,
    checksum: Option<String>,
}

/// What `cargo metadata` says.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    license: Option<String>,
}

impl Advisory {
    /// Whether a version is affected: the database's rule.
    fn affects(&self, version: &Version) -> bool {
        !self.patched.iter().chain(&self.unaffected).any(|range| range.matches(version))
    }
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    toml::from_str(&fs::read_to_string(path).expect("readable")).expect("as described")
}

fn lists() -> Lists {
    read("deploy/supply-chain.toml")
}

/// The packages that others have made.
fn foreign() -> Vec<Locked> {
    let lock: Lock = read("Cargo.lock");
    lock.package.into_iter().filter(|package| package.name != "keyledger").collect()
}

/// What cargo prints.
fn cargo(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    let output = command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The packages this platform needs: those of others need not have been fetched.
fn packages() -> Vec<Package> {
    let version = cargo(&["--version", "--verbose"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let fixed = ["metadata", "--offline", "--locked", "--format-version=1", "--filter-platform"];
    let said = cargo(&[&fixed[..], &[host]].concat());
    let metadata: Metadata = serde_json::from_str(&said).expect("metadata");
    metadata.packages.into_iter().filter(|package| package.name != "keyledger").collect()
}

fn check(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_package_is_of_the_registry_and_has_a_checksum() {
    let registry = "registry+https://github.com/rust-lang/crates.io-index";
    let mut wrong = Vec::new();
    for package in foreign() {
        let has_sum = package.checksum.is_some_and(|sum| sum.len() == 64);
        if package.source.as_deref() != Some(registry) || !has_sum {
            wrong.push(format!("{} {}", package.name, package.version));
        }
    }
    check(&wrong);
}

#[test]
fn the_advisories_of_every_package_were_looked_up() {
    let lists = lists();
    let mut wrong = Vec::new();
    for package in foreign().iter().filter(|package| !lists.looked_up.contains(&package.name)) {
        wrong.push(format!("{}: look up its advisories", package.name));
    }
    for advisory in &lists.advisories {
        if !lists.looked_up.contains(&advisory.package) {
            wrong.push(format!("{}: {} is not looked up", advisory.id, advisory.package));
        }
    }
    check(&wrong);
}

#[test]
fn no_version_in_use_has_an_advisory_but_those_excepted_with_a_reason() {
    let lists = lists();
    let packages = foreign();
    let mut wrong = Vec::new();
    let mut needed = BTreeSet::new();
    for advisory in &lists.advisories {
        let of_it = packages.iter().filter(|package| package.name == advisory.package);
        for package in of_it.filter(|package| advisory.affects(&package.version)) {
            let id = advisory.id.as_str();
            if lists.exceptions.iter().any(|exception| exception.advisory == id) {
                needed.insert(id);
            } else {
                let Locked { name, version, .. } = package;
                wrong.push(format!("{name} {version}: {id}, {:?}", advisory.kind));
            }
        }
    }
    for exception in &lists.exceptions {
        if !needed.contains(exception.advisory.as_str()) {
            wrong.push(format!("{}: excepted, but of no version in use", exception.advisory));
        }
    }
    check(&wrong);
}

#[test]
fn an_affected_version_is_told_from_a_patched_one() {
    let lists = lists();
    let cases = [
        ("RUSTSEC-2026-0285", "0.23.44", true),
        ("RUSTSEC-2026-0285", "0.23.45", false),
        ("RUSTSEC-2026-0285", "0.23.12", false),
        ("RUSTSEC-2025-0023", "1.43.0", true),
        ("RUSTSEC-2025-0023", "1.43.1", false),
        ("RUSTSEC-2025-0023", "1.44.1", true),
        ("RUSTSEC-2017-0002", "0.9.18", false),
        ("RUSTSEC-2017-0002", "0.10.1", true),
        ("RUSTSEC-2025-0057", "99.0.0", true),
    ];
    for (id, version, affected) in cases {
        let advisory = lists.advisories.iter().find(|advisory| advisory.id == id);
        let version = Version::parse(version).expect("a version");
        assert_eq!(advisory.expect("listed").affects(&version), affected, "{id} {version}");
    }
}

#[test]
fn every_licence_is_allowed_or_excepted_with_a_reason() {
    let Licences { allowed, exceptions } = lists().licences;
    let mut wrong = Vec::new();
    let mut needed = BTreeSet::new();
    for Package { name, license } in packages() {
        // The slash is how packages wrote "or" before there were expressions.
        let mode = ParseMode { allow_slash_as_or_operator: true, ..ParseMode::STRICT };
        let said = license.unwrap_or_default();
        let Ok(expression) = Expression::parse_mode(&said, mode) else {
            wrong.push(format!("{name}: {said:?} is no licence expression"));
            continue;
        };
        let of_it: Vec<_> = exceptions.iter().filter(|found| found.package == name).collect();
        let is_allowed = |term: &str| allowed.contains(term);
        if expression.evaluate(|term| is_allowed(&term.to_string())) {
            continue;
        }
        let fine = expression.evaluate(|term| {
            let term = term.to_string();
            is_allowed(&term) || of_it.iter().any(|exception| exception.licence == term)
        });
        if fine {
            needed.insert(name);
        } else {
            wrong.push(format!("{name}: {said}"));
        }
    }
    for exception in exceptions.iter().filter(|found| !needed.contains(&found.package)) {
        wrong.push(format!("{}: excepted without need", exception.package));
    }
    check(&wrong);
}

#[test]
fn every_exception_has_a_date_and_a_reason() {
    let lists = lists();
    let as_of: jiff::civil::Date = lists.as_of.parse().expect("a date");
    let advisories = lists.exceptions.iter().map(|found| (&found.date, &found.reason));
    let licences = lists.licences.exceptions.iter().map(|found| (&found.date, &found.reason));
    for (date, reason) in advisories.chain(licences) {
        let date: jiff::civil::Date = date.parse().expect("a date");
        assert!(date <= as_of, "{date} is after the list's {as_of}: {reason}");
        assert!(reason.len() > 40, "no reason: {reason:?}");
    }
}

#[test]
fn no_unsafe_code_can_be_written() {
    let manifest: toml::Table = read("Cargo.toml");
    assert_eq!(manifest["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
}
