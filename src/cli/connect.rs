//! Finding the server and the caller's credential, and calling the one with the other.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint, Uri};

use super::failure::{Failure, root_cause};
use super::output::Format;
use super::secret::{SecretText, read_file};
use super::tls::TlsArgs;
pub(super) use crate::client::Authorized;
use crate::client::{Bearer, is_this_machine};
use crate::proto::v1;

/// Where a server's data lies unless told otherwise.
const DEFAULT_DATA_DIR: &str = "./data";
/// The file in the data directory with the first admin caller's credential.
const CREDENTIAL_FILE: &str = "admin.credential";
/// The variable that may hold the credential itself.
const TOKEN_VARIABLE: &str = "KEYLEDGER_TOKEN";
/// For a connection to be made: a server on this network answers in far less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a call to be answered: a change waits for the disk, never for this long.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A page of 1,000 keys at the bounds of their fields is about 30 MB.
const MOST_ANSWER_BYTES: usize = 64 * 1_024 * 1_024;

/// What every command needs to call the server.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection and output")]
pub(super) struct ClientArgs {
    /// Address of the server, http://HOST:PORT or https://HOST:PORT
    #[arg(long, global = true, env = "KEYLEDGER_SERVER", value_name = "URL",
          default_value = "http://127.0.0.1:50051", value_parser = parse_server)]
    server: Uri,
    /// File with the credential to call with; one newline at its end is dropped. Otherwise the variable
    /// KEYLEDGER_TOKEN holds the credential itself; otherwise it is read from the local data directory
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Data directory of a server on this machine, whose admin.credential is used if no other is given.
    /// For a server elsewhere it must be named [default: ./data]
    #[arg(long, global = true, env = "KEYLEDGER_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(super) tls: TlsArgs,
    /// Tables for people, or JSON for programs: one object a line, fields named as in the API
    /// [default: table on a terminal, otherwise json]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(super) output: Option<Format>,
}

/// The form of an address of a server.
const SERVER: &str = "http://HOST:PORT or https://HOST:PORT";

/// Parses the address of a server.
fn parse_server(text: &str) -> Result<Uri, String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Uri = whole.parse().map_err(|_| format!("expected {SERVER}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("only http:// and https:// can be spoken".to_owned());
    }
    let bare = matches!(uri.path_and_query().map(|path| path.as_str()), None | Some("/"));
    match uri.authority() {
        Some(authority)
            if bare && !authority.host().is_empty() && !authority.as_str().contains('@') =>
        {
            Ok(uri)
        }
        _ => Err(format!("expected {SERVER} and nothing more")),
    }
}

/// A caller's credential and where it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) secret: SecretText,
    pub(super) from: String,
}

impl ClientArgs {
    /// The credential to call with; none if a certificate is shown instead and no credential is given.
    ///
    /// # Errors
    /// If there is none, saying the ways to give one; if it cannot be read.
    pub(super) fn credential(&self) -> Result<Option<Found>, Failure> {
        let variable = env::var_os(TOKEN_VARIABLE).filter(|token| !token.is_empty());
        match self.needs_credential(variable.as_ref()) {
            true => self.credential_or(variable).map(Some),
            false => Ok(None),
        }
    }

    /// Not where a certificate is shown, unless a credential or where it lies is given besides.
    fn needs_credential(&self, variable: Option<&OsString>) -> bool {
        let given = self.token_file.is_some() || variable.is_some() || self.data_dir.is_some();
        given || !self.tls.shows_certificate()
    }

    fn credential_or(&self, variable: Option<OsString>) -> Result<Found, Failure> {
        let found = if let Some(path) = &self.token_file {
            Found { secret: read_file(path)?, from: path.display().to_string() }
        } else if let Some(token) = variable.filter(|token| !token.is_empty()) {
            let token = token
                .into_string()
                .map_err(|_| Failure::Local(format!("{TOKEN_VARIABLE} is not text")))?;
            Found { secret: SecretText::new(token), from: TOKEN_VARIABLE.to_owned() }
        } else {
            self.local_credential()?
        };
        if found.secret.is_empty() {
            return Err(Failure::Local(format!("{} holds no credential", found.from)));
        }
        Ok(found)
    }

    /// The credential in the data directory. Unless that is named, it is good for a server on this
    /// machine only: an admin's credential must not go to whatever host a typo names.
    fn local_credential(&self) -> Result<Found, Failure> {
        let none = |why: String| {
            Failure::Local(format!(
                "no credential to call with: {why}\n  give one with --token-file or {TOKEN_VARIABLE}, or name the \
                 server's data directory with --data-dir or KEYLEDGER_DATA_DIR"
            ))
        };
        if self.data_dir.is_none() && !is_this_machine(&self.server) {
            return Err(none(format!("{} is not on this machine", self.server_name())));
        }
        let path =
            self.data_dir.as_deref().unwrap_or(Path::new(DEFAULT_DATA_DIR)).join(CREDENTIAL_FILE);
        if !path.try_exists().unwrap_or(true) {
            return Err(none(format!("{} is not there", path.display())));
        }
        Ok(Found { secret: read_file(&path)?, from: path.display().to_string() })
    }

    /// The server's address as it is shown.
    pub(super) fn server_name(&self) -> String {
        self.server.to_string().trim_end_matches('/').to_owned()
    }

    /// Connects to the server, to call it with `secret` if there is one.
    pub(super) async fn connect(&self, secret: Option<&SecretText>) -> Result<Connection, Failure> {
        let bearer = secret.map_or(Ok(Bearer::none()), |secret| Bearer::new(secret.reveal()));
        let bearer = bearer.map_err(|refused| Failure::Local(refused.to_string()))?;
        let tls = self.tls.for_server(&self.server)?;
        let unreachable = |error: &tonic::transport::Error| Failure::Unreachable {
            server: self.server_name(),
            cause: root_cause(error),
        };
        let mut endpoint = Endpoint::from(self.server.clone());
        if let Some(tls) = tls {
            let unusable = |error| {
                let why = root_cause(&error);
                Failure::Local(format!(
                    "the files of certificates or the key cannot be used: {why}"
                ))
            };
            endpoint = endpoint.tls_config(tls).map_err(unusable)?;
        }
        let endpoint = endpoint
            .user_agent(concat!("keyledger-cli/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| unreachable(&error))?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT);
        let channel = endpoint.connect().await.map_err(|error| unreachable(&error))?;
        Ok(Connection { channel, bearer })
    }
}

/// A connection to the server.
pub(super) struct Connection {
    channel: Channel,
    bearer: Bearer,
}

macro_rules! clients {
    ($($name:ident -> $module:ident::$client:ident),+ $(,)?) => {$(
        pub(super) fn $name(&self) -> v1::$module::$client<Authorized> {
            v1::$module::$client::with_interceptor(self.channel.clone(), self.bearer.clone())
                .max_decoding_message_size(MOST_ANSWER_BYTES)
        }
    )+};
}

impl Connection {
    clients! {
        keys -> key_service_client::KeyServiceClient,
        accounts -> account_service_client::AccountServiceClient,
        admin -> admin_service_client::AdminServiceClient,
        audit -> audit_service_client::AuditServiceClient,
        usage -> usage_service_client::UsageServiceClient,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::{ClientArgs, Failure, TlsArgs, parse_server};

    fn args(server: &str, token_file: Option<PathBuf>, data_dir: Option<PathBuf>) -> ClientArgs {
        ClientArgs {
            server: parse_server(server).expect("an address"),
            token_file,
            data_dir,
            tls: TlsArgs::default(),
            output: None,
        }
    }

    #[test]
    fn a_server_is_an_http_or_https_address_and_nothing_more() {
        assert_eq!(
            parse_server("127.0.0.1:50051").expect("is one").to_string(),
            "http://127.0.0.1:50051/"
        );
        assert!(parse_server("http://[::1]:50051").is_ok());
        assert!(parse_server("https://keys.example:50051").is_ok());
        for text in [
            "",
            "ftp://host:1",
            "https://host:1/path",
            "http://",
            "http://user:pass@host:1",
            "http://host:1/path",
            "unix:/run/x",
        ] {
            assert!(parse_server(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_credential_is_the_files_then_the_variables_then_the_data_directorys() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("token");
        fs::write(&file, "from file\n").expect("is written");
        fs::write(dir.path().join("admin.credential"), "from directory\n").expect("is written");
        let found = |token_file: Option<PathBuf>, variable: Option<&str>| {
            let args = args("http://10.0.0.1:1", token_file, Some(dir.path().to_owned()));
            args.credential_or(variable.map(Into::into))
                .expect("is found")
                .secret
                .reveal()
                .to_owned()
        };
        assert_eq!(found(Some(file.clone()), Some("from variable")), "from file");
        assert_eq!(found(None, Some("from variable")), "from variable");
        assert_eq!(found(None, Some("")), "from directory");
        assert_eq!(found(None, None), "from directory");
    }

    #[test]
    fn a_missing_credential_names_all_ways_to_give_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let refused =
            args("http://127.0.0.1:1", None, Some(dir.path().to_owned())).credential_or(None);
        let Err(Failure::Local(text)) = refused else { panic!("is refused") };
        for way in [
            "--token-file",
            "KEYLEDGER_TOKEN",
            "--data-dir",
            "KEYLEDGER_DATA_DIR",
            "admin.credential",
        ] {
            assert!(text.contains(way), "{text}");
        }
    }

    #[test]
    fn the_default_directorys_credential_stays_on_this_machine() {
        let Err(Failure::Local(text)) = args("http://10.0.0.1:1", None, None).credential_or(None)
        else {
            panic!("is refused")
        };
        assert!(text.contains("10.0.0.1"), "{text}");
    }

    #[test]
    fn a_certificate_that_is_shown_stands_in_for_a_credential_that_is_not_given() {
        let shown = || TlsArgs { client_certificate: Some("c.pem".into()), ..TlsArgs::default() };
        let args = |file: Option<&str>, dir: Option<&str>| ClientArgs {
            tls: shown(),
            ..args("https://10.0.0.1:1", file.map(Into::into), dir.map(Into::into))
        };
        assert!(!args(None, None).needs_credential(None));
        assert!(args(None, None).needs_credential(Some(&"from variable".into())));
        assert!(args(Some("token"), None).needs_credential(None));
        assert!(args(None, Some("data")).needs_credential(None));
        let without = ClientArgs { tls: TlsArgs::default(), ..args(None, None) };
        assert!(without.needs_credential(None));
    }

    #[test]
    fn an_empty_credential_is_refused_by_its_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("token");
        fs::write(&file, "\n").expect("is written");
        let refused = args("http://127.0.0.1:1", Some(file), None).credential_or(None);
        assert!(
            matches!(refused, Err(Failure::Local(text)) if text.ends_with("token holds no credential"))
        );
    }
}
