//! `SECURITY.md`: each line of the threat model names tests that are there.

use std::fs;
use std::path::Path;

/// The actors of the threat model, each with what it cannot do and what it can.
const ACTORS: [&str; 7] = [
    "End client",
    "Caller",
    "Auditor",
    "Operator",
    "Thief of the disk",
    "Thief of a backup",
    "Man in the middle",
];

fn read(name: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).ok()
}

/// The part of a text below a heading, up to the next one of its kind.
fn below<'t>(text: &'t str, heading: &str) -> &'t str {
    let kind = heading.split(' ').next().expect("a kind");
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).expect(heading);
    rest.split(&format!("\n{kind} ")).next().expect("a part")
}

/// The rows of the tables of an actor: what is claimed, and what shows it.
fn rows(part: &str) -> Vec<(&str, &str)> {
    let lines = part.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = lines.map(|line| line.split_once(" | ").expect("two cells"));
    rows.filter(|(_, shown)| *shown != "shown by").collect()
}

/// Whether a file has a test of a name; of a benchmark, a function.
fn has_test(file: &str, name: &str) -> bool {
    let Some(text) = read(file) else { return false };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_function = |line: &str| {
        line.starts_with(&format!("fn {name}(")) || line.starts_with(&format!("async fn {name}("))
    };
    let at = lines.iter().position(|line| is_function(line));
    at.is_some_and(|at| {
        let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
        let is_test = |line: &&str| line.starts_with("#[test]") || line.contains("::test");
        file.starts_with("benches/") || attributes.into_iter().any(is_test)
    })
}

#[test]
fn each_line_of_the_threat_model_names_tests_that_are_there() {
    let text = read("SECURITY.md").expect("a SECURITY.md");
    let model = below(&text, "## Threat model");
    let mut wrong = Vec::new();
    for actor in ACTORS {
        let part = below(model, &format!("### {actor}"));
        for kind in ["| cannot | shown by |", "| can | shown by |"] {
            assert!(part.contains(kind), "{actor}: no table of {kind}");
        }
        for (claim, shown) in rows(part) {
            let mut named = shown.split('`').skip(1).step_by(2).peekable();
            if named.peek().is_none() {
                wrong.push(format!("{actor}: {claim}: names no test"));
            }
            for name in named {
                let (file, test) = name.split_once(": ").unwrap_or((name, ""));
                if !has_test(file, test) {
                    wrong.push(format!("{actor}: {claim}: {name} is not there"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_test_is_told_from_what_only_looks_like_one() {
    assert!(has_test("tests/security.rs", "a_test_is_told_from_what_only_looks_like_one"));
    assert!(has_test("tests/revocation.rs", "no_success_starts_after_disable_returned"));
    assert!(!has_test("tests/security.rs", "has_test"));
    assert!(!has_test("tests/security.rs", "is_not_there"));
    assert!(!has_test("tests/not_there.rs", "has_test"));
}
