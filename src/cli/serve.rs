//! `keyledger serve`: configuration, listening socket, signals, and the line that says it is ready.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::cli::ServeArgs;
use crate::cli::output::{self, Output};
use crate::cli::progress::Shown;
use crate::clock::SystemClock;
use crate::config::settings::Origins;
use crate::config::{ADDR_OR_OFF, Config, LOG_LEVEL, LogFormat, is_log_level, parse_addr_or_off};
use crate::process;
use crate::random::SystemRandom;
use crate::server::{self, Around, ConfigFile, Listeners, Ready, Sources};
use crate::telemetry::log::{self, Form};

/// Runs the server until a signal stops it.
#[must_use]
pub fn run(args: &ServeArgs) -> ExitCode {
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            output::note(&format!("error: {problem}"));
            ExitCode::FAILURE
        }
    }
}

fn try_run(args: &ServeArgs) -> Result<(), String> {
    let file = read_file(args)?;
    let config = configuration(args, file.as_ref().map(|(_, text)| text.as_str()))?;
    if args.print_config {
        let file = file.as_ref().map(|(path, text)| (path.as_path(), text.as_str()));
        return print(&config, Origins { file, given: &args.origins });
    }
    let form = match config.log.format {
        LogFormat::Text => Form::Text,
        LogFormat::Json => Form::Json,
    };
    let log = log::start(form, &config.log.level).map_err(|error| error.to_string())?;
    server::stop_on_engine_panic();
    process::harden().map_err(|error| format!("the operating system refuses: {error}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no threads: {error}"))?;
    let args = args.clone();
    let resolve = Box::new(move |text: &str| configuration(&args, Some(text)));
    let taken = Box::new(move |config: &Config| {
        if let Err(error) = log.set(&config.log.level) {
            tracing::error!(%error, "internal fault: setting the level of the log");
        }
    });
    let file = file.map(|(path, text)| ConfigFile { path, text, resolve, taken });
    runtime.block_on(serve(config, file))
}

/// The configuration file that is named, if one is, and its text.
fn read_file(args: &ServeArgs) -> Result<Option<(PathBuf, String)>, String> {
    let Some(path) = args.config.clone() else { return Ok(None) };
    let text = Config::read_text(&path).map_err(|error| error.to_string())?;
    Ok(Some((path, text)))
}

/// Tells the configuration that would be served with.
fn print(config: &Config, origins: Origins<'_>) -> Result<(), String> {
    let page = config.printed(origins).map_err(|error| error.to_string())?;
    let written = Output::new(None).line(page.trim_end());
    written.map_err(|_| "standard output takes nothing".to_owned())
}

/// What is served with: the text of the configuration file, and over it what was given.
fn configuration(args: &ServeArgs, text: Option<&str>) -> Result<Config, String> {
    let config = text.map(Config::parse).transpose();
    let mut config = config.map_err(|error| error.to_string())?.unwrap_or_default();
    if let Some(data_dir) = &args.data_dir {
        config.data_dir.clone_from(data_dir);
    }
    if let Some(address) = &args.grpc_addr {
        config.grpc_addr =
            address.parse().map_err(|_| "--grpc-addr must be an IP address and a port")?;
    }
    if let Some(address) = &args.ops_addr {
        config.ops_addr =
            parse_addr_or_off(address).ok_or_else(|| format!("--ops-addr {ADDR_OR_OFF}"))?;
    }
    if let Some(address) = &args.http_addr {
        config.proxies.http_addr =
            parse_addr_or_off(address).ok_or_else(|| format!("--http-addr {ADDR_OR_OFF}"))?;
    }
    if let Some(level) = &args.log_level {
        let fits = is_log_level(level);
        config.log.level = fits
            .then(|| level.clone())
            .ok_or_else(|| format!("--log-level, KEYLEDGER_LOG: {LOG_LEVEL}"))?;
    }
    config.danger_serve_plaintext_beyond_loopback |= args.danger_serve_plaintext_beyond_loopback;
    let allowed = config.danger_serve_plaintext_beyond_loopback;
    if config.is_plaintext_beyond_loopback() && !allowed {
        return Err(format!(
            "--grpc-addr {}: without TLS only loopback addresses are served, since whoever is on the way could read \
             credentials and keys: set [tls] in the configuration file, or put a proxy that ends TLS on this machine \
             in front. --danger-serve-plaintext-beyond-loopback serves it all the same",
            config.grpc_addr
        ));
    }
    if config.proxies.is_beyond_loopback() && !allowed {
        return Err(
            "--http-addr: only loopback addresses are served, since HTTP is not encrypted here and whoever is on the \
             way could read credentials and keys: put a proxy that ends TLS on this machine in front. \
             --danger-serve-plaintext-beyond-loopback serves it all the same"
                .to_owned(),
        );
    }
    Ok(config)
}

async fn serve(config: Config, file: Option<ConfigFile>) -> Result<(), String> {
    let grpc = bind(config.grpc_addr, "--grpc-addr").await?;
    let ops = match config.ops_addr {
        Some(address) => Some(bind(address, "--ops-addr").await?),
        None => None,
    };
    let http = match config.proxies.http_addr {
        Some(address) => Some(bind(address, "--http-addr").await?),
        None => None,
    };
    let started = Arc::new(AtomicBool::new(false));
    let stop = stop_signal(&started).map_err(|error| format!("signals: {error}"))?;
    let sources = Sources { clock: Arc::new(SystemClock::new()), random: Arc::new(SystemRandom) };
    let listeners = Listeners { grpc, ops, http };
    let around = Around { progress: Arc::new(Shown::new()), file };
    let running = server::run_within(config, listeners, sources, around, stop, |ready| {
        started.store(true, Ordering::SeqCst);
        announce(ready);
    });
    running.await.map_err(|error| error.to_string())
}

async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{address} is in use: is keyledger running already? Choose another with {flag}")
        }
        _ => format!("{address}: {error}: choose another with {flag}"),
    })
}

fn announce(ready: &Ready) {
    if let Some(path) = &ready.new_admin {
        output::note(&format!("the first admin's credential is in {}", path.display()));
    }
    // Whoever started it may not listen; it serves all the same.
    let ops = ready.ops_addr.map(|address| format!(" ops={address}")).unwrap_or_default();
    let http = ready.http_addr.map(|address| format!(" http={address}")).unwrap_or_default();
    let _ = Output::new(None).line(&format!("ready grpc={}{http}{ops}", ready.grpc_addr));
}

/// Resolves at the first SIGTERM or SIGINT. A second one, or one before the server has started, ends the
/// process at once: nothing acknowledged is lost, since it was durable before it was answered.
fn stop_signal(started: &Arc<AtomicBool>) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let (stop, stopped) = oneshot::channel();
    let started = Arc::clone(started);
    tokio::spawn(async move {
        next().await;
        if !started.load(Ordering::SeqCst) {
            tracing::info!("stopped before the server had started");
            std::process::exit(1);
        }
        tracing::info!("stopping: calls under way may finish; a second signal ends it at once");
        let _ = stop.send(());
        next().await;
        std::process::exit(1);
    });
    Ok(async move {
        let _ = stopped.await;
    })
}
