//! How a command ends: its exit code and, if it failed, what people are told.

use std::error::Error as _;
use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::text::plain;
use super::times::humane_span;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// It was done; a key that was authenticated is allowed.
    Done,
    /// It was refused or failed; a key that was authenticated is denied.
    Refused,
    /// It was not asked for rightly; nothing was tried.
    Usage,
    /// The server cannot be reached or cannot answer now.
    Unavailable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => ExitCode::SUCCESS,
            Exit::Refused => ExitCode::from(1),
            Exit::Usage => ExitCode::from(2),
            Exit::Unavailable => ExitCode::from(3),
        }
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command line asks for something that cannot be.
    Usage(String),
    /// Something on this machine is in the way.
    Local(String),
    /// No connection to the server.
    Unreachable {
        /// Its address.
        server: String,
        /// What the system says.
        cause: String,
    },
    /// The server's answer, or the lack of one.
    Refused(Box<Status>),
    /// The result cannot be written to standard output.
    Output(io::Error),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Failure::Refused(Box::new(status))
    }
}

impl Failure {
    /// The exit code it ends in.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Failure::Usage(_) => Exit::Usage,
            Failure::Local(_) => Exit::Refused,
            Failure::Unreachable { .. } => Exit::Unavailable,
            Failure::Refused(status) if is_unavailable(status) => Exit::Unavailable,
            Failure::Refused(_) => Exit::Refused,
            // Whoever reads has seen enough: `keyledger key list | head`.
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Failure::Output(_) => Exit::Refused,
        }
    }

    /// What to tell people: some lines, or nothing if nobody listens any more. `credential_from` says
    /// where the caller's credential was found.
    pub(super) fn message(&self, credential_from: Option<&str>) -> Option<String> {
        let text = match self {
            Failure::Usage(text) | Failure::Local(text) => text.clone(),
            Failure::Unreachable { server, cause } => {
                let trust = match server.starts_with("https:") {
                    // In the words of rustls; such as `openssl req -x509` makes unless told otherwise.
                    true if cause.contains("CaUsedAsEndEntity") => {
                        "\n  the server shows an authority's own certificate: let that one vouch for another, and serve \
                         this"
                    }
                    true => "; --ca names who may vouch for its certificate",
                    false => "",
                };
                format!(
                    "cannot reach keyledger at {server}: {cause}\n  start it with `keyledger serve`, or name \
                     another with --server or KEYLEDGER_SERVER{trust}"
                )
            }
            Failure::Refused(status) => {
                let mut text = told(status);
                if let (Code::Unauthenticated, Some(from)) = (status.code(), credential_from) {
                    let _ = write!(text, "\n  the caller's credential came from {from}");
                }
                text
            }
            Failure::Output(_) if self.exit() == Exit::Done => return None,
            Failure::Output(error) => format!("cannot write to standard output: {error}"),
        };
        Some(format!("error: {text}"))
    }
}

/// Whether the server may answer the same call later.
fn is_unavailable(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
        || unanswered(status).is_some()
}

/// What came instead of an answer. A call that this program gave up waiting for ends in CANCELLED; one
/// whose connection broke has, in whatever code, an error of the transport as its source.
fn unanswered(status: &Status) -> Option<String> {
    if status.code() == Code::Cancelled {
        return Some("the server has not answered in time".to_owned());
    }
    let source = status.source().filter(|source| source.is::<tonic::transport::Error>())?;
    Some(format!("the connection broke: {}", root_cause(source)))
}

/// The server's message, the reason for programs in parentheses, then one line for each field at fault
/// and one for when to try again.
fn told(status: &Status) -> String {
    if let Some(instead) = unanswered(status) {
        return format!(
            "{instead}\n  a change may have been made all the same: look before repeating it\n  a server that serves TLS \
             answers only where it is named as https://…"
        );
    }
    let details = status.get_error_details();
    let mut text = match status.message() {
        "" => status.code().description().to_owned(),
        message => plain(message),
    };
    if let Some(info) = details.error_info() {
        let _ = write!(text, " ({})", plain(&info.reason));
    }
    for violation in details.bad_request().into_iter().flat_map(|request| &request.field_violations)
    {
        let _ = write!(text, "\n  {}: {}", plain(&violation.field), plain(&violation.description));
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        let _ = write!(text, "\n  try again in {}", humane_span(delay));
    }
    text
}

/// The innermost cause of an error, which says most.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io;
    use std::time::Duration;

    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::{Exit, Failure};

    #[test]
    fn fields_at_fault_are_told_one_a_line_after_the_reason() {
        let mut details =
            ErrorDetails::with_error_info("INVALID_FIELD", "keyledger", HashMap::new());
        details.add_bad_request_violation("account.plan", "must not be empty");
        details.add_bad_request_violation("account.roles[0]", "is not\u{1b}[2J defined");
        let status =
            Status::with_error_details(Code::InvalidArgument, "the request has faults", details);
        let failure = Failure::from(status);
        assert_eq!(failure.exit(), Exit::Refused);
        assert_eq!(
            failure.message(None).as_deref(),
            Some(
                "error: the request has faults (INVALID_FIELD)\n  account.plan: must not be empty\n  \
                 account.roles[0]: is not\\u{1b}[2J defined"
            )
        );
    }

    #[test]
    fn a_retry_hint_is_told_in_words() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(2)));
        let failure =
            Failure::from(Status::with_error_details(Code::ResourceExhausted, "busy", details));
        assert_eq!(failure.message(None).as_deref(), Some("error: busy\n  try again in 2 s"));
    }

    #[test]
    fn only_a_refused_credential_makes_its_origin_known() {
        let refused = Failure::from(Status::unauthenticated("no such credential"));
        assert!(
            refused
                .message(Some("KEYLEDGER_TOKEN"))
                .is_some_and(|text| text.ends_with("came from KEYLEDGER_TOKEN"))
        );
        let missing = Failure::from(Status::not_found("no such key"));
        assert_eq!(missing.message(Some("KEYLEDGER_TOKEN")).as_deref(), Some("error: no such key"));
    }

    #[test]
    fn exit_codes_tell_unavailable_from_refused() {
        for status in
            [Status::unavailable(""), Status::deadline_exceeded(""), Status::cancelled("")]
        {
            assert_eq!(Failure::from(status).exit(), Exit::Unavailable);
        }
        let given_up = Failure::from(Status::cancelled("Timeout expired")).message(None);
        assert!(given_up.is_some_and(|text| text.contains("may have been made")));
        for status in
            [Status::aborted(""), Status::permission_denied(""), Status::resource_exhausted("")]
        {
            assert_eq!(Failure::from(status).exit(), Exit::Refused);
        }
        assert_eq!(Failure::Usage(String::new()).exit(), Exit::Usage);
        let unreachable =
            Failure::Unreachable { server: "http://h:1".to_owned(), cause: "refused".to_owned() };
        assert_eq!(unreachable.exit(), Exit::Unavailable);
        let text = unreachable.message(None).expect("is told");
        assert!(
            text.contains("http://h:1: refused")
                && text.contains("--server")
                && text.contains("keyledger serve")
        );
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        let gone = Failure::Output(io::ErrorKind::BrokenPipe.into());
        assert_eq!((gone.exit(), gone.message(None)), (Exit::Done, None));
        let full = Failure::Output(io::ErrorKind::StorageFull.into());
        assert_eq!(full.exit(), Exit::Refused);
        assert!(full.message(None).is_some());
    }
}
