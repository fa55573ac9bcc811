//! The server that is attacked, and the caller that is to be answered all the same.

use std::fs;
use std::net::TcpStream;

use keyledger::proto::v1::{self, Role};
use prost::Message as _;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::common::process::{Process, serve};
use crate::common::{Client, raw_http2};

pub(crate) const AUTHENTICATE: &str = "/keyledger.v1.KeyService/Authenticate";

/// What an attack may make the server grow by, at its peak, in KiB. At rest, with nothing in it, it has some 40 MiB.
const CEILING: u64 = 64 * 1024;

/// A server, a caller who is good and the credential of one who is not.
pub(crate) struct Target {
    process: Process,
    good: Client,
    secret: String,
    peak: u64,
    bearer: String,
    _dir: TempDir,
}

impl Target {
    pub(crate) async fn start() -> Target {
        let dir = TempDir::new().expect("a directory");
        let data = dir.path().join("data");
        let config = dir.path().join("keyledger.toml");
        fs::write(&config, "[plans.free]\n").expect("written");
        let mut command = serve(&data, "127.0.0.1:0");
        command.arg("--config").arg(&config);
        let process = Process::spawn(command);
        let admin = process.admin(&data).await;
        admin.put_account("billing", "free", &[]).await;
        let (_, secret) = admin.create_key("billing", "ci").await;
        let (_, credential) = admin.create_caller(&[Role::Authenticator], &[]).await;
        let good = process.client(&credential).await;
        let (_, hostile) = admin.create_caller(&[Role::Authenticator], &[]).await;
        let bearer = format!("Bearer {hostile}");
        let peak = peak_of(process.id());
        let target = Target { process, good, secret, peak, bearer, _dir: dir };
        target.answers().await;
        target
    }

    pub(crate) fn address(&self) -> &str {
        &self.process.address
    }

    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(self.process.address.clone())
            .expect("an address")
            .connect()
            .await
            .expect("up")
    }

    /// What the one who is not good sends as `authorization`.
    pub(crate) fn bearer(&self) -> &str {
        &self.bearer
    }

    /// The headers of a call by the one who is not good.
    pub(crate) fn fields(&self) -> Vec<(&str, &str)> {
        raw_http2::fields(AUTHENTICATE, &self.bearer)
    }

    /// A question with which that call is answered.
    pub(crate) fn question(&self) -> Vec<u8> {
        v1::AuthenticateRequest { api_key: self.secret.clone(), ..Default::default() }
            .encode_to_vec()
    }

    /// The good caller is answered, on a connection that it has and on a new one.
    pub(crate) async fn answers(&self) {
        assert_eq!(self.good.verdict(&self.secret).await, Ok(()));
        let address = self.address().trim_start_matches("http://");
        drop(TcpStream::connect(address).expect("new connections are taken"));
    }

    /// After the attack: still answered, and never larger than it may be.
    pub(crate) async fn holds(self) {
        self.answers().await;
        let grown = peak_of(self.process.id()).saturating_sub(self.peak);
        assert!(grown <= CEILING, "it grew by {grown} KiB");
        let (status, log) = self.process.terminate();
        assert!(status.success(), "{status}\n{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// The most memory that a process ever had resident, in KiB.
fn peak_of(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
