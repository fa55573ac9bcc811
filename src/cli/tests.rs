use std::path::Path;

use clap::{CommandFactory as _, Parser as _};

pub(super) use super::Call as Parsed;
use super::{Cli, Invocation};

fn invocation(line: &[&str]) -> Result<Invocation, clap::Error> {
    Cli::try_parse_from([&["keyledger"], line].concat()).map(Invocation::from)
}

/// The client command that a line asks for.
pub(super) fn parse(line: &[&str]) -> Parsed {
    match invocation(line) {
        Ok(Invocation::Client(called)) => called.call,
        other => panic!("{line:?} is no client command: {other:?}"),
    }
}

/// What people are told of a line that is no command; it must end in exit code 2.
pub(super) fn refused(line: &[&str]) -> String {
    let error = invocation(line).expect_err("is refused");
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_and_option_has_a_help_text() {
    fn check(command: &clap::Command) {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
        }
        command.get_subcommands().for_each(check);
    }
    let mut command = Cli::command();
    command.build();
    check(&command);
}

#[test]
fn serve_takes_its_options_and_leaves_the_rest_open() {
    let Ok(Invocation::Serve(args)) =
        invocation(&["serve", "--data-dir", "d", "--grpc-addr", "[::1]:0", "--ops-addr", "off"])
    else {
        panic!("serves")
    };
    assert_eq!(args.data_dir.as_deref(), Some(Path::new("d")));
    assert_eq!(args.grpc_addr.as_deref(), Some("[::1]:0"));
    assert_eq!(args.ops_addr.as_deref(), Some("off"));
    refused(&["serve", "--server", "http://127.0.0.1:1"]);
}

#[test]
fn check_is_offline_and_takes_no_server() {
    let Ok(Invocation::Check(args)) =
        invocation(&["admin", "check", "--data-dir", "d", "--scratch", "s", "--output", "json"])
    else {
        panic!("checks")
    };
    assert_eq!(args.data_dir.as_deref(), Some(Path::new("d")));
    assert_eq!(args.scratch.as_deref(), Some(Path::new("s")));
    refused(&["admin", "check", "--server", "http://127.0.0.1:1"]);
}

#[test]
fn init_is_offline_and_takes_no_server() {
    let Ok(Invocation::Init(args)) = invocation(&["admin", "init", "--data-dir", "d"]) else {
        panic!("makes a data directory")
    };
    assert_eq!(args.data_dir.as_deref(), Some(Path::new("d")));
    refused(&["admin", "init", "--server", "http://127.0.0.1:1"]);
}

#[test]
fn recover_admin_is_offline_and_takes_no_server() {
    let Ok(Invocation::RecoverAdmin(args)) =
        invocation(&["admin", "recover-admin", "--yes", "--credential-out", "f"])
    else {
        panic!("recovers")
    };
    assert!(args.yes && args.credential_out.as_deref() == Some(Path::new("f")));
    refused(&["admin", "recover-admin", "--server", "http://127.0.0.1:1"]);
}

#[test]
fn add_signing_key_is_offline_and_takes_no_server() {
    let Ok(Invocation::AddSigningKey(args)) =
        invocation(&["admin", "add-signing-key", "--data-dir", "d"])
    else {
        panic!("adds a key")
    };
    assert_eq!(args.data_dir.as_deref(), Some(Path::new("d")));
    refused(&["admin", "add-signing-key", "--server", "http://127.0.0.1:1"]);
}

#[test]
fn generate_key_takes_a_kind_and_a_version_and_no_server() {
    let Ok(Invocation::GenerateKey(args)) = invocation(&["admin", "generate-key", "kek", "2"])
    else {
        panic!("makes a key")
    };
    assert_eq!((args.kind, args.version), (super::offline::generate_key::KeyKind::Kek, 2));
    refused(&["admin", "generate-key", "kek", "0"]);
    refused(&["admin", "generate-key", "tls", "2"]);
    refused(&["admin", "generate-key", "kek", "2", "--server", "http://127.0.0.1:1"]);
}

#[test]
fn connection_options_stand_before_or_after_the_command() {
    for line in [
        ["key", "--server", "10.0.0.1:1", "--output", "json", "get", "key_1"],
        ["key", "get", "key_1", "--server", "10.0.0.1:1", "--output", "json"],
    ] {
        let Ok(Invocation::Client(called)) = invocation(&line) else { panic!("{line:?}") };
        let client = called.client;
        assert_eq!(client.server_name(), "http://10.0.0.1:1");
        assert_eq!(client.output, Some(super::output::Format::Json));
    }
}

#[test]
fn no_command_takes_a_secret_as_an_argument() {
    for line in [
        &["key", "authenticate", "kl_live_x"][..],
        &["key", "whoami", "kl_live_x"],
        &["key", "report-leak", "kl_live_x"],
        &["key", "list", "acme", "--token", "kl_svc_x"],
    ] {
        refused(line);
    }
}

#[test]
fn a_faulty_server_address_is_a_usage_error() {
    assert!(refused(&["admin", "status", "--server", "ftp://host:1"]).contains("https://"));
}

#[test]
fn what_a_checkpoint_is_held_to_is_refused_where_it_would_be_held_to_nothing() {
    let key = "w+10043a1a+BIqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";
    for shown in ["--cosigned", "--keys"] {
        refused(&["audit", "checkpoint", shown, "--witness", key]);
        refused(&["audit", "checkpoint", shown, "--verify", "log.state"]);
        refused(&["audit", "checkpoint", shown, "--trust", key]);
    }
}
