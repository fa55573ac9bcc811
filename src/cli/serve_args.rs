//! What `keyledger serve` is given, and by what.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command};

/// What `keyledger serve` is given. What is none here comes from the configuration file, or has the
/// default that the help names. An option that sets a setting has its name.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeArgs {
    /// Configuration file [default: none, all settings have defaults]
    #[arg(long, env = "KEYLEDGER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the configuration that it would serve with, every setting with where it comes from, as a configuration file,
    /// and touch nothing
    #[arg(long)]
    pub print_config: bool,
    /// Directory of the log and its keys; made if it is not there [default: ./data]
    #[arg(long, env = "KEYLEDGER_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address and port to serve gRPC on; port 0 takes a free one [default: 127.0.0.1:50051]
    #[arg(long, env = "KEYLEDGER_GRPC_ADDR", value_name = "ADDRESS:PORT")]
    pub grpc_addr: Option<String>,
    /// Serve gRPC without TLS on an address that other machines reach: whoever is on the way reads and changes
    /// credentials, keys and answers
    #[arg(long)]
    pub danger_serve_plaintext_beyond_loopback: bool,
    /// Address and port to serve metrics and probes on, or `off`; port 0 takes a free one [default: 127.0.0.1:9464]
    #[arg(long, env = "KEYLEDGER_OPS_ADDR", value_name = "ADDRESS:PORT")]
    pub ops_addr: Option<String>,
    /// Address and port to serve HTTP on, for proxies that do not speak gRPC and holders of keys, or `off`; port 0 takes a
    /// free one [default: 127.0.0.1:8080]
    #[arg(long, env = "KEYLEDGER_HTTP_ADDR", value_name = "ADDRESS:PORT")]
    pub http_addr: Option<String>,
    /// What the log says: a level, or levels by module, such as warn,keyledger::server=debug [default: info]
    #[arg(id = "log.level", long = "log-level", env = "KEYLEDGER_LOG", value_name = "FILTER")]
    pub log_level: Option<String>,
    /// By the name of each that was given, the flag or the variable that gave it.
    #[arg(skip)]
    pub origins: BTreeMap<String, String>,
}

impl ServeArgs {
    /// With what gave each.
    pub(super) fn with_origins(mut self, matches: &ArgMatches) -> Self {
        for argument in ServeArgs::command().get_arguments() {
            let name = argument.get_id().as_str();
            let by = match matches.value_source(name) {
                Some(ValueSource::CommandLine) => {
                    argument.get_long().map(|long| format!("flag --{long}"))
                }
                Some(ValueSource::EnvVariable) => {
                    let variable = argument.get_env().map(|name| name.to_string_lossy());
                    variable.map(|variable| format!("environment {variable}"))
                }
                _ => None,
            };
            self.origins.extend(by.map(|by| (name.to_owned(), by)));
        }
        self
    }

    /// A command that takes these options and no others.
    pub(super) fn command() -> Command {
        ServeArgs::augment_args(Command::new("serve"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../deploy/keyledger.toml");

    #[test]
    fn the_page_of_settings_names_the_option_and_the_variable_that_go_before_each() {
        let mut named = 0;
        for argument in ServeArgs::command().get_arguments() {
            let id = argument.get_id().as_str();
            let setting = format!("\n#{} = ", id.rsplit('.').next().expect("a name"));
            let Some(at) = PAGE.find(&setting) else { continue };
            let about = &PAGE[PAGE[..at].rfind("\n\n").expect("a paragraph")..at];
            let long = format!("--{}", argument.get_long().expect("an option"));
            let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned());
            for word in [Some(long), variable].into_iter().flatten() {
                assert!(about.contains(&word), "{word}: {about}");
            }
            named += 1;
        }
        assert_eq!(named, 6);
    }
}
