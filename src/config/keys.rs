//! `[keys]`: where peppers, key-encryption keys and signing keys come from.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ConfigError, setting};

/// What stands in a command for the version that is asked for.
pub const VERSION_PLACE: &str = "{version}";

/// Most words of a command.
const MAX_WORDS: usize = 64;

/// Most bytes of a word of a command.
const MAX_WORD_BYTES: usize = 4096;

/// Where keys come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySettings {
    /// The directory of key files; none: `keys` in the data directory. Outside the data directory the group of
    /// a file may read it.
    pub dir: Option<PathBuf>,
    /// Where peppers come from. Default: files.
    pub pepper: KeySource,
    /// Where key-encryption keys come from. Default: files.
    pub kek: KeySource,
}

/// Where the keys of a role come from.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum KeySource {
    /// Files in the directory of key files.
    #[default]
    File,
    /// Variables of the environment, one for each version.
    Environment,
    /// The output of a command: the program by its whole path, and its arguments. It is run without a shell, once
    /// for each version, with the version in the place of [`VERSION_PLACE`].
    Command(Vec<String>),
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeySource::File => "File",
            KeySource::Environment => "Environment",
            // Its arguments may let in whoever knows them.
            KeySource::Command(_) => "Command(..)",
        })
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileKeys {
    dir: Option<PathBuf>,
    #[serde(default)]
    pepper: FileSource,
    #[serde(default)]
    kek: FileSource,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct FileSource {
    source: Option<String>,
    command: Option<Vec<String>>,
}

impl fmt::Debug for FileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSource").field("source", &self.source).finish_non_exhaustive()
    }
}

impl FileKeys {
    pub(super) fn of(settings: &KeySettings) -> Self {
        FileKeys {
            dir: settings.dir.clone(),
            pepper: FileSource::of(&settings.pepper),
            kek: FileSource::of(&settings.kek),
        }
    }

    /// The settings, each within its bounds.
    pub(super) fn settings(&self) -> Result<KeySettings, ConfigError> {
        if self.dir.as_ref().is_some_and(|dir| dir.file_name().is_none()) {
            return Err(setting("keys.dir", "must name a directory"));
        }
        Ok(KeySettings {
            dir: self.dir.clone(),
            pepper: self.pepper.source("keys.pepper")?,
            kek: self.kek.source("keys.kek")?,
        })
    }
}

impl FileSource {
    fn of(source: &KeySource) -> Self {
        let (source, command) = match source {
            KeySource::File => ("file", None),
            KeySource::Environment => ("environment", None),
            KeySource::Command(words) => ("command", Some(words.clone())),
        };
        FileSource { source: Some(source.to_owned()), command }
    }

    fn source(&self, table: &str) -> Result<KeySource, ConfigError> {
        let command = || format!("{table}.command");
        let source = match (self.source.as_deref(), &self.command) {
            (None | Some("file"), None) => KeySource::File,
            (Some("environment"), None) => KeySource::Environment,
            (Some("command"), Some(words)) => return parse_command(&command(), words),
            (Some("command"), None) => {
                return Err(setting(command(), "must be set where the source is \"command\""));
            }
            (None | Some("file" | "environment"), Some(_)) => {
                return Err(setting(command(), "is for the source \"command\" alone"));
            }
            (Some(_), _) => {
                let problem = "must be \"file\", \"environment\" or \"command\"";
                return Err(setting(format!("{table}.source"), problem));
            }
        };
        Ok(source)
    }
}

fn parse_command(name: &str, words: &[String]) -> Result<KeySource, ConfigError> {
    let fits = |word: &String| word.len() <= MAX_WORD_BYTES && !word.contains('\0');
    if !(1..=MAX_WORDS).contains(&words.len()) || !words.iter().all(fits) {
        let problem =
            format!("must be from 1 to {MAX_WORDS} words of at most {MAX_WORD_BYTES} bytes");
        return Err(setting(name, problem));
    }
    if !words[0].starts_with('/') {
        return Err(setting(name, "must begin with the whole path of a program"));
    }
    if !words[1..].iter().any(|word| word.contains(VERSION_PLACE)) {
        let problem = format!("must have {VERSION_PLACE} in an argument, where the version goes");
        return Err(setting(name, problem));
    }
    Ok(KeySource::Command(words.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn nothing_set_leaves_keys_in_files_of_the_data_directory() {
        for text in ["", "[keys]", "[keys.pepper]", "[keys.kek]\nsource = \"file\""] {
            assert_eq!(Config::parse(text).expect(text).keys, KeySettings::default());
        }
    }

    #[test]
    fn every_setting_of_keys_is_read_and_no_argument_is_shown() {
        let text = "[keys]\ndir = \"/run/secrets/keys\"\n[keys.pepper]\nsource = \"command\"\n\
                    command = [\"/usr/bin/get\", \"s3cret-{version}\"]\n\
                    [keys.kek]\nsource = \"environment\"\n";
        let keys = Config::parse(text).expect("well-formed").keys;
        assert!(!format!("{keys:?}").contains("s3cret"));
        let words = ["/usr/bin/get", "s3cret-{version}"].map(str::to_owned);
        let expected = KeySettings {
            dir: Some("/run/secrets/keys".into()),
            pepper: KeySource::Command(words.into()),
            kek: KeySource::Environment,
        };
        assert_eq!(keys, expected);
    }

    #[test]
    fn a_bad_value_names_its_setting_and_is_not_printed() {
        let command =
            |words: &str| format!("[keys.pepper]\nsource = \"command\"\ncommand = {words}");
        let long = format!("[\"/s3cret\", \"{{version}}{}\"]", "a".repeat(MAX_WORD_BYTES));
        let many = format!("[\"/s3cret\", {}]", "\"{version}\", ".repeat(MAX_WORDS));
        let cases = [
            ("[keys]\ndir = \"\"".to_owned(), "keys.dir"),
            ("[keys.pepper]\nsource = \"s3cret\"".to_owned(), "keys.pepper.source"),
            ("[keys.kek]\nsource = \"command\"".to_owned(), "keys.kek.command"),
            ("[keys.kek]\ncommand = [\"/s3cret\"]".to_owned(), "keys.kek.command"),
            (command("[]"), "keys.pepper.command: must be from 1 to 64"),
            (command("[\"s3cret\", \"{version}\"]"), "keys.pepper.command: must begin"),
            (command("[\"/s3cret\", \"1\"]"), "keys.pepper.command: must have {version}"),
            (command("[\"/s3cret{version}\"]"), "keys.pepper.command: must have {version}"),
            (command("[\"/s3cret\", \"\\u0000{version}\"]"), "keys.pepper.command: must be from"),
            (command(&long), "keys.pepper.command: must be from 1 to 64 words of at most 4096"),
            (command(&many), "keys.pepper.command: must be from 1 to 64"),
        ];
        for (text, name) in cases {
            let said = Config::parse(&text).expect_err(&text).to_string();
            assert!(said.contains(name), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
}
