//! `keyledger admin restore`: a data directory from a backup, and what became of what was lost.

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};

use super::failed;
use crate::app::restore::{
    self, LastKnown, Means, Outcome, Replayed, Resolve, Restore, RestoreError, Told,
};
use crate::app::startup;
use crate::backup_dir::Manifest;
use crate::cli::RestoreArgs;
use crate::cli::output::{self, Fields, Output, Resource};
use crate::cli::progress::Shown;
use crate::cli::text::grouped;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::domain::ids::Position;
use crate::domain::log_state::Loss;
use crate::merkle::Hash;
use crate::process;
use crate::random::SystemRandom;
use crate::telemetry;

/// The exit code for a command line that asks for what cannot be.
const USAGE: u8 = 2;

/// Restores, resolves or checks, as asked. 0: done, and keys are authenticated; 1: refused, or keys are
/// not authenticated yet.
#[must_use]
pub fn run(args: &RestoreArgs) -> ExitCode {
    let asked = match Asked::of(args) {
        Ok(asked) => asked,
        Err(problem) => {
            output::note(&format!("error: {problem}"));
            return ExitCode::from(USAGE);
        }
    };
    try_run(args, asked).unwrap_or_else(|problem| failed(&problem))
}

/// What the arguments ask for.
enum Asked {
    Check(std::path::PathBuf),
    Restore(Box<Restore>),
    Resolve(Resolve),
}

impl Asked {
    fn of(args: &RestoreArgs) -> Result<Self, String> {
        let accept = args.accept_lost_revocations.as_deref().map(parse_range).transpose()?;
        let resolve = Resolve { events_from: args.events_from.clone(), accept };
        let last_known = match (&args.last_head, args.last_known) {
            (Some(text), _) => parse_head(text)?,
            (None, Some(position)) => LastKnown::Position(
                Position::new(position).ok_or("--last-known must be a position, from 1")?,
            ),
            (None, None) => LastKnown::Nothing,
        };
        match &args.from {
            Some(from) if args.check => Ok(Asked::Check(from.clone())),
            Some(from) => Ok(Asked::Restore(Box::new(Restore {
                from: from.clone(),
                keys: args.keys.clone(),
                data_keys: args.data_keys.clone(),
                last_known,
                resolve,
            }))),
            None if args.check => Err("--check needs a backup: name it by --from".to_owned()),
            None if resolve.is_empty() => Err("name a backup by --from; or, for a directory that \
                 was restored before, --events-from or --accept-lost-revocations"
                .to_owned()),
            None if last_known != LastKnown::Nothing
                || args.keys.is_some()
                || args.data_keys.is_some() =>
            {
                Err("--keys, --data-keys, --last-head and --last-known need a backup: name it by \
                     --from"
                    .to_owned())
            }
            None => Ok(Asked::Resolve(resolve)),
        }
    }
}

fn parse_head(text: &str) -> Result<LastKnown, String> {
    let wrong = || "--last-head must be POSITION:ROOT, as admin status shows them".to_owned();
    let (position, root) = text.split_once(':').ok_or_else(wrong)?;
    let position = position.parse().ok().and_then(Position::new).ok_or_else(wrong)?;
    if root.len() != 64 || !root.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&root[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
    }
    Ok(LastKnown::Head(position, Hash(bytes)))
}

fn parse_range(text: &str) -> Result<(Position, Option<Position>), String> {
    let wrong =
        || "--accept-lost-revocations must be FROM-TO, or FROM- if the end is not known".to_owned();
    let position = |text: &str| text.parse().ok().and_then(Position::new).ok_or_else(wrong);
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let last = if last.is_empty() { None } else { Some(position(last)?) };
    Ok((position(first)?, last))
}

fn try_run(args: &RestoreArgs, asked: Asked) -> Result<ExitCode, String> {
    let config = args.config.as_deref().map(Config::read).transpose();
    let mut config = config.map_err(|error| error.to_string())?.unwrap_or_default();
    if let Some(data_dir) = &args.data_dir {
        config.data_dir.clone_from(data_dir);
    }
    let filter = std::env::var(telemetry::LOG_VARIABLE).ok();
    telemetry::start(filter.as_deref()).map_err(|error| error.to_string())?;
    startup::stop_on_engine_panic();
    process::harden().map_err(|error| format!("the operating system refuses: {error}"))?;
    let means = Means { clock: Arc::new(SystemClock::new()), random: Arc::new(SystemRandom) };
    let progress = Shown::new();
    let mut output = Output::new(args.output);
    let told = |error: RestoreError| error.to_string();
    let outcome = match asked {
        Asked::Check(from) => {
            let manifest = restore::verify(&from, &progress).map_err(told)?;
            show(&mut output, &Checked(manifest))?;
            return Ok(ExitCode::SUCCESS);
        }
        Asked::Restore(asked) => {
            restore::restore(&config, &means, &asked, &progress).map_err(told)?
        }
        Asked::Resolve(asked) => {
            restore::resolve(&config, &means, &asked, &progress).map_err(told)?
        }
    };
    show(&mut output, &outcome)?;
    let refused = outcome.replayed.iter().any(|replayed| !replayed.redone.refused.is_empty());
    if let Some(problem) = &outcome.unresolved {
        output::note(&format!("error: restored, but not resolved: {problem}"));
    }
    let done = outcome.losses.is_empty() && outcome.unresolved.is_none() && !refused;
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(output: &mut Output, resource: &impl Resource) -> Result<(), String> {
    output.one(resource).map_err(|_| "the result cannot be written to standard output".to_owned())
}

/// A backup that was read whole.
struct Checked(Manifest);

impl Resource for Checked {
    fn json(&self) -> Value {
        let Checked(manifest) = self;
        json!({
            "head": manifest.head,
            "root": manifest.root.to_string(),
            "generation": manifest.generation,
            "volumes": manifest.volumes.len(),
            "whole": true,
        })
    }

    fn fields(&self) -> Fields {
        let Checked(manifest) = self;
        vec![
            ("backup", "whole".to_owned()),
            ("head", grouped(manifest.head)),
            ("tree root", manifest.root.to_string()),
            ("generation", grouped(manifest.generation)),
            ("volumes", grouped(manifest.volumes.len() as u64)),
        ]
    }
}

impl Resource for Outcome {
    fn json(&self) -> Value {
        let told = |told: &Told| json!({"subject": told.subject, "what": told.what});
        json!({
            "head": self.head.get(),
            "generation": self.generation,
            "losses": self.losses.iter().map(|loss| json!({
                "generation": loss.generation,
                "first": loss.first.get(),
                "last": loss.last.map(Position::get),
            })).collect::<Vec<_>>(),
            "replayed": self.replayed.as_ref().map(|replayed| json!({
                "first": replayed.first.get(),
                "last": replayed.last.get(),
                "recorded": replayed.redone.recorded.iter().map(told).collect::<Vec<_>>(),
                "refused": replayed.redone.refused.iter().map(told).collect::<Vec<_>>(),
            })),
        })
    }

    fn fields(&self) -> Fields {
        let mut fields =
            vec![("head", grouped(self.head.get())), ("generation", grouped(self.generation))];
        if let Some(Replayed { first, last, redone }) = &self.replayed {
            let (first, last) = (grouped(first.get()), grouped(last.get()));
            let count = grouped(redone.recorded.len() as u64);
            fields.push(("replayed", format!("events {first} to {last}: {count} recorded anew")));
            let line = |told: &Told| format!("{}  {}", told.subject, told.what);
            fields.extend(redone.recorded.iter().map(|told| ("", line(told))));
            fields.extend(redone.refused.iter().map(|told| ("REFUSED", line(told))));
        }
        fields.extend(self.losses.iter().map(|loss| ("held", held(loss))));
        fields
    }
}

/// What people are told of a loss that is not resolved.
fn held(loss: &Loss) -> String {
    let last = loss.last.map_or(String::new(), |last| last.get().to_string());
    let range = format!("{}-{last}", loss.first.get());
    format!(
        "no key is authenticated until the lost events are replayed (--events-from PATH) or \
         accepted (--accept-lost-revocations {range})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u64) -> Position {
        Position::new(position).expect("not 0")
    }

    #[test]
    fn a_range_has_a_beginning_and_may_have_an_end() {
        assert_eq!(parse_range("4-9"), Ok((at(4), Some(at(9)))));
        assert_eq!(parse_range("4-"), Ok((at(4), None)));
        for wrong in ["", "4", "-9", "0-9", "4-0", "4-x", "4-9-", " 4-9"] {
            assert!(parse_range(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_head_is_a_position_and_a_root() {
        let root = "0aFF".repeat(16);
        let Ok(LastKnown::Head(position, Hash(bytes))) = parse_head(&format!("12:{root}")) else {
            panic!("is one")
        };
        assert_eq!((position, bytes[..4].to_vec()), (at(12), vec![0x0a, 0xff, 0x0a, 0xff]));
        for wrong in ["12", "0:", &format!("0:{root}"), &format!("12:{}", &root[1..]), "12:é"] {
            assert!(parse_head(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_a_fault_of_usage() {
        let asked = |args: RestoreArgs| Asked::of(&args).map(drop);
        let from = Some("b".into());
        assert!(asked(RestoreArgs { from: from.clone(), ..Default::default() }).is_ok());
        assert!(asked(RestoreArgs::default()).is_err());
        assert!(asked(RestoreArgs { check: true, ..Default::default() }).is_err());
        let resolve = || RestoreArgs { events_from: from.clone(), ..Default::default() };
        assert!(asked(resolve()).is_ok());
        assert!(asked(RestoreArgs { last_known: Some(3), ..resolve() }).is_err());
        assert!(asked(RestoreArgs { keys: from.clone(), ..resolve() }).is_err());
    }
}
