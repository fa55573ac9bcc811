//! `keyledger admin check`: everything in the data directory is read, nothing is changed.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{failed, prepare};
use crate::app::check::{self, Finding, Report, Settings};
use crate::cli::CheckArgs;
use crate::cli::output::{Fields, Format, Output, Resource, Row};
use crate::cli::progress::Shown;
use crate::cli::text::{grouped, hex, or_dash, plain};
use crate::random::SystemRandom;

/// Checks the data directory and shows what was found; 0 if it is whole.
#[must_use]
pub fn run(args: &CheckArgs) -> ExitCode {
    match try_check(args) {
        Ok(whole) if whole => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(problem) => failed(&problem),
    }
}

fn try_check(args: &CheckArgs) -> Result<bool, String> {
    // A thread of the engine that fails on a damaged copy must not end the check: nothing is written
    // that anyone rests on.
    let config = prepare(args.config.as_deref(), args.data_dir.as_deref())?;
    let scratch = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let settings = Settings {
        data_dir: &config.data_dir,
        prefix: &config.key_prefix,
        keys: &config.keys,
        scratch: &scratch,
    };
    let report = check::check(settings, &SystemRandom, &Shown::new());
    let report = report.map_err(|error| error.to_string())?;
    show(&report, &mut Output::new(args.output))
        .map_err(|_| "the result cannot be written to standard output".to_owned())?;
    Ok(report.is_whole())
}

fn show<W: std::io::Write>(
    report: &Report,
    output: &mut Output<W>,
) -> Result<(), crate::cli::failure::Failure> {
    output.many(&report.findings)?;
    if output.format() == Format::Table && !report.findings.is_empty() {
        output.line("")?;
    }
    output.one(report)
}

impl Resource for Finding {
    fn json(&self) -> Value {
        json!({
            "severity": self.severity.to_string(),
            "place": self.place,
            "position": self.position.map(|position| position.get()),
            "what": self.what,
        })
    }

    fn fields(&self) -> Fields {
        vec![
            ("severity", self.severity.to_string()),
            ("place", plain(&self.place)),
            ("position", position(self)),
            ("what", plain(&self.what)),
        ]
    }
}

fn position(finding: &Finding) -> String {
    or_dash(&finding.position.map(|position| position.to_string()).unwrap_or_default())
}

impl Row for Finding {
    const COLUMNS: &'static [&'static str] = &["SEVERITY", "PLACE", "POSITION", "WHAT"];

    fn cells(&self) -> Vec<String> {
        self.fields().into_iter().map(|(_, value)| value).collect()
    }
}

impl Resource for Report {
    fn json(&self) -> Value {
        json!({
            "verdict": if self.is_whole() { "whole" } else { "damaged" },
            "damage": self.counts.damage,
            "warnings": self.counts.warnings,
            "notes": self.counts.notes,
            "head": self.head.map(|head| head.get()),
            "tree_root": self.root.map(|root| hex(&root.0)),
            "records": self.records,
            "opened": self.opened,
            "accounts": self.accounts,
            "keys": self.keys,
            "callers": self.callers,
        })
    }

    fn fields(&self) -> Fields {
        let counts = &self.counts;
        let mut fields = vec![
            ("records read", grouped(self.records)),
            ("sealed fields opened", grouped(self.opened)),
            ("accounts", grouped(self.accounts as u64)),
            ("keys", grouped(self.keys as u64)),
            ("callers", grouped(self.callers as u64)),
        ];
        if let Some(root) = self.root {
            fields.push(("head", self.head.map_or(0, |head| head.get()).to_string()));
            fields.push(("tree root", hex(&root.0)));
        }
        let verdict = if self.is_whole() { "whole" } else { "DAMAGED" };
        let found = format!(
            "{verdict}: {} damage, {} warnings, {} notes",
            counts.damage, counts.warnings, counts.notes
        );
        fields.push(("verdict", found));
        fields
    }
}
