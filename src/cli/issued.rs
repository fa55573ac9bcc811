//! Handing over a new secret: once, on standard output or in a new file.

use std::path::PathBuf;

use serde_json::Value;
use zeroize::Zeroize as _;

use super::failure::Failure;
use super::output::{Fields, Format, Output, aligned, note};
use super::secret::{SecretFile, SecretText};

/// Where a command puts the secret it makes.
#[derive(Debug, Default, clap::Args)]
pub(super) struct SecretOutput {
    /// Write the secret to this new file, for its owner alone (0600), and do not show it
    #[arg(long, value_name = "FILE")]
    secret_out: Option<PathBuf>,
}

impl SecretOutput {
    /// Makes the place ready. To be called before the secret is made.
    pub(super) fn open(&self) -> Result<Option<SecretFile>, Failure> {
        self.secret_out.as_deref().map(SecretFile::create).transpose()
    }
}

/// A new secret with what is shown beside it.
pub(super) struct Issued {
    /// Its field's name in the answer, and its title: `secret` or `credential`.
    pub(super) name: &'static str,
    /// What it is of, e.g. `key_…`.
    pub(super) of: String,
    /// Empty if the request was replayed.
    pub(super) secret: SecretText,
    /// The answer, with null in place of the secret.
    pub(super) json: Value,
    /// The answer for people, without the secret.
    pub(super) fields: Fields,
}

impl Issued {
    /// Writes the secret to the file, or shows it; and shows the rest.
    ///
    /// # Errors
    /// If either fails; then the secret is lost, and people are told so.
    pub(super) fn hand_over<W: std::io::Write>(
        mut self,
        file: Option<SecretFile>,
        output: &mut Output<W>,
    ) -> Result<(), Failure> {
        let name = self.name;
        if self.secret.is_empty() {
            self.fields.push((name, "shown once, when the request was first done".to_owned()));
            return self.show(output);
        }
        let lost = format!("; the {name} of {} is lost: rotate it to get another", self.of);
        if let Some(mut file) = file {
            file.write(&self.secret).map_err(|failure| with(failure, &lost))?;
            let path = file.path().display().to_string();
            self.fields.push((name, format!("written to {path}")));
            self.json["secret_file"] = path.into();
            return self.show(output);
        }
        let fields = self.fields.clone();
        self.fields.push((name, self.secret.reveal().to_owned()));
        self.json[name] = self.secret.reveal().into();
        let shown = self.show(output);
        self.wipe(fields);
        shown.map_err(|failure| with(failure, &lost))?;
        if output.format() == Format::Table {
            note(&format!("The {name} is shown only this once: keyledger keeps no copy."));
        }
        Ok(())
    }

    fn show<W: std::io::Write>(&self, output: &mut Output<W>) -> Result<(), Failure> {
        match output.format() {
            Format::Json => output.line(&self.json.to_string()),
            Format::Table => output.line(&aligned(&self.fields)),
        }
    }

    /// Takes the secret out of what was shown.
    fn wipe(&mut self, fields: Fields) {
        for (_, value) in &mut self.fields {
            value.zeroize();
        }
        self.fields = fields;
        if let Value::String(text) = &mut self.json[self.name] {
            text.zeroize();
        }
    }
}

/// The failure with a consequence added; also a closed pipe is one now.
fn with(failure: Failure, consequence: &str) -> Failure {
    match failure {
        Failure::Output(error) => {
            Failure::Local(format!("cannot write to standard output: {error}{consequence}"))
        }
        Failure::Local(text) => Failure::Local(text + consequence),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{self, Write};

    use serde_json::json;

    use super::{Issued, SecretOutput};
    use crate::cli::failure::{Exit, Failure};
    use crate::cli::output::{Format, Output};
    use crate::cli::secret::SecretText;

    fn issued(secret: &str) -> Issued {
        Issued {
            name: "secret",
            of: "key_1".to_owned(),
            secret: SecretText::new(secret.to_owned()),
            json: json!({"key": {"key_id": "key_1"}, "secret": null, "position": 4}),
            fields: vec![("key", "key_1".to_owned())],
        }
    }

    fn handed_over(format: Format, secret: &str, place: &SecretOutput) -> String {
        let mut bytes = Vec::new();
        let file = place.open().expect("is made");
        issued(secret)
            .hand_over(file, &mut Output::to(format, &mut bytes))
            .expect("is handed over");
        String::from_utf8(bytes).expect("is text")
    }

    #[test]
    fn the_secret_is_shown_on_a_line_or_in_a_field_of_its_own() {
        let place = SecretOutput::default();
        assert_eq!(
            handed_over(Format::Table, "kl_live_a", &place),
            "key     key_1\nsecret  kl_live_a\n"
        );
        assert_eq!(
            handed_over(Format::Json, "kl_live_a", &place),
            "{\"key\":{\"key_id\":\"key_1\"},\"secret\":\"kl_live_a\",\"position\":4}\n"
        );
    }

    #[test]
    fn a_secret_that_goes_to_a_file_is_not_shown() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("new");
        let place = SecretOutput { secret_out: Some(path.clone()) };
        let text = handed_over(Format::Json, "kl_live_a", &place);
        assert!(text.contains("\"secret\":null") && !text.contains("kl_live_a"), "{text}");
        assert!(text.contains(&format!("\"secret_file\":\"{}\"", path.display())), "{text}");
        assert_eq!(fs::read_to_string(&path).expect("is there"), "kl_live_a\n");
        assert!(matches!(place.open(), Err(Failure::Local(_))), "the file is not replaced");
    }

    #[test]
    fn a_replayed_request_leaves_no_empty_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("new");
        let text = handed_over(Format::Table, "", &SecretOutput { secret_out: Some(path.clone()) });
        assert!(text.contains("secret  shown once, when the request was first done"), "{text}");
        assert!(!path.exists());
    }

    #[test]
    fn a_secret_that_nobody_read_is_a_failure_that_names_the_key_and_not_the_secret() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let failed = issued("kl_live_a").hand_over(None, &mut Output::to(Format::Json, Closed));
        let failure = failed.expect_err("is lost");
        assert_eq!(failure.exit(), Exit::Refused);
        let text = failure.message(None).expect("is told");
        assert!(text.contains("key_1") && !text.contains("kl_live_a"), "{text}");
    }
}
