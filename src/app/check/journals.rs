//! Usage journals: every frame is whole and in its place. They are not unsealed: checksums cover them, and
//! what they hold is on its way to the log. And each that is on their roll is there.

use std::sync::Arc;

use super::{Finding, Report, Severity};
use crate::ledger::data_dir::DataDir;
use crate::usage::journal::{Cover, Ending, Found, JournalNumber, Journals};

/// Takes what is sealed for what is in it.
struct Uncovered;

impl Cover for Uncovered {
    fn seal(&self, _: JournalNumber, _: u64, clear: &[u8]) -> Vec<u8> {
        clear.to_vec()
    }

    fn open(&self, _: JournalNumber, _: u64, _: &[u8]) -> Option<Vec<u8>> {
        Some(Vec::new())
    }
}

/// Reads every journal, if there are any.
pub(super) fn check(data_dir: &DataDir, report: &mut Report) {
    let path = data_dir.usage();
    if !path.exists() {
        return;
    }
    let journals = Journals::look_at(&path, Arc::new(Uncovered));
    let all = journals.examine().and_then(|examined| Ok((examined, journals.aside()?)));
    let roll = journals.roll();
    let (journals, aside) = match all {
        Ok(all) => all,
        Err(error) => return report.add(Finding::new(Severity::Damage, "usage", error)),
    };
    match roll {
        Ok(roll) => {
            let there =
                |number| journals.iter().any(|(it, _)| *it == number) || aside.contains(&number);
            for listed in roll.iter().filter(|listed| !there(listed.number)) {
                let what = "is gone: uses are missing; the next start puts a gap on record";
                report.add(Finding::new(Severity::Damage, place_of(listed.number), what));
            }
        }
        Err(error) => {
            let place = format!("usage/{}", Journals::ROLL);
            report.add(Finding::new(Severity::Damage, place, error));
        }
    }
    for number in aside {
        let place = format!("usage/{}", Journals::name_aside(number));
        let what = "was set aside by a start, its header being damaged; a gap is on record";
        report.add(Finding::new(Severity::Warning, place, what));
    }
    for (number, read) in journals {
        let wrong = match read {
            Ok(found) => wrong_with(&found),
            Err(error) => Some((Severity::Damage, error.to_string())),
        };
        if let Some((severity, what)) = wrong {
            report.add(Finding::new(severity, place_of(number), what));
        }
    }
}

fn place_of(number: JournalNumber) -> String {
    format!("usage/{}", Journals::file_name(number))
}

fn wrong_with(found: &Found) -> Option<(Severity, String)> {
    if let Some(at) = found.damaged_at {
        let what = format!("is damaged at byte {at}: uses are missing");
        return Some((Severity::Damage, what));
    }
    match found.ending {
        Ending::Unfinished { torn } if torn > 0 => {
            let what = format!(
                "ends with {torn} bytes that are no frame: what a crash leaves, or damage; the next start \
                 puts a gap on record"
            );
            Some((Severity::Warning, what))
        }
        _ => None,
    }
}
