//! Asking before what cannot be undone.

use std::io::{self, BufRead, IsTerminal as _, Write};

use super::failure::Failure;

/// The option that answers the question beforehand.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Consent {
    /// Do not ask: the answer is yes. Needed when standard input is not a terminal
    #[arg(long, short = 'y')]
    yes: bool,
}

impl Consent {
    /// The answer as given elsewhere.
    pub(super) fn given(yes: bool) -> Self {
        Consent { yes }
    }

    /// Whether a question must be asked.
    ///
    /// # Errors
    /// If it must, and there is nobody to ask.
    pub(super) fn must_ask(&self) -> Result<bool, Failure> {
        must_ask(self.yes, io::stdin().is_terminal())
    }
}

fn must_ask(yes: bool, terminal: bool) -> Result<bool, Failure> {
    if !yes && !terminal {
        let why = "this must be confirmed, and standard input is not a terminal: give --yes";
        return Err(Failure::Usage(why.to_owned()));
    }
    Ok(!yes)
}

/// Asks on the terminal.
///
/// # Errors
/// If the answer is anything but yes.
pub(super) async fn ask(question: String) -> Result<(), Failure> {
    // On another thread, so that the connection stays alive while somebody thinks.
    let asked =
        tokio::task::spawn_blocking(move || answered(&question, io::stdin().lock(), io::stderr()));
    match asked.await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(Failure::Local("not confirmed: nothing was done".to_owned())),
        Ok(Err(error)) => Err(Failure::Local(format!("cannot ask on the terminal: {error}"))),
        Err(_) => Err(Failure::Local("cannot ask on the terminal".to_owned())),
    }
}

fn answered(question: &str, input: impl BufRead, mut output: impl Write) -> io::Result<bool> {
    /// Longer than any answer.
    const MOST_BYTES: u64 = 64;
    write!(output, "{question} [y/N] ")?;
    output.flush()?;
    let mut answer = String::new();
    input.take(MOST_BYTES).read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::{answered, must_ask};
    use crate::cli::failure::{Exit, Failure};

    #[test]
    fn yes_answers_and_only_a_terminal_can_be_asked() {
        assert!(matches!(must_ask(true, false), Ok(false)));
        assert!(matches!(must_ask(true, true), Ok(false)));
        assert!(matches!(must_ask(false, true), Ok(true)));
        let refused = must_ask(false, false).expect_err("nobody to ask");
        assert!(matches!(&refused, Failure::Usage(text) if text.contains("--yes")));
        assert_eq!(refused.exit(), Exit::Usage);
    }

    #[test]
    fn only_yes_is_yes() {
        for (typed, expected) in [
            ("y\n", true),
            ("YES\n", true),
            (" yes \r\n", true),
            ("\n", false),
            ("", false),
            ("n\n", false),
            ("yess\n", false),
        ] {
            let mut shown = Vec::new();
            assert_eq!(
                answered("Revoke it?", typed.as_bytes(), &mut shown).expect("is asked"),
                expected,
                "{typed:?}"
            );
            assert_eq!(shown, b"Revoke it? [y/N] ");
        }
    }
}
