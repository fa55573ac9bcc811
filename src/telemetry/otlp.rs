//! Sends spans to a collector: OTLP over gRPC, from a bounded queue. Nothing waits for it: what finds the queue full,
//! what the collector does not take in time and what is left when the time to stop is over is dropped and counted.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Uri;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::config::TracingSettings;
use crate::durable_file;

/// Spans that wait at most: a few MiB of them.
const QUEUE: usize = 4096;

/// Spans sent at once.
const BATCH: usize = 512;

/// How long a batch that is not full waits for more.
const GATHER: Duration = Duration::from_millis(500);

/// How long the collector may take for a batch.
const SEND: Duration = Duration::from_secs(5);

/// How long sending may go on once the server stops.
const STOP: Duration = Duration::from_secs(2);

/// Most bytes of a file of certificates.
const MAX_CA_BYTES: u64 = 1024 * 1024;

/// The variable of OpenTelemetry that names the service, before what is configured.
const NAME_VARIABLE: &str = "OTEL_SERVICE_NAME";

/// Why spans cannot be sent.
#[derive(Debug, Error)]
pub enum TracingError {
    /// The file with certificates cannot be read.
    #[error("tracing.ca: {} cannot be read: {error}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file with certificates holds too much.
    #[error("tracing.ca: {} holds more than {MAX_CA_BYTES} bytes", .0.display())]
    TooLarge(PathBuf),
    /// There can be no such connection.
    #[error("tracing.otlp_endpoint or tracing.ca cannot be used: {0}")]
    Endpoint(#[from] tonic::transport::Error),
    /// A variable of OpenTelemetry cannot be used.
    #[error("a variable OTEL_EXPORTER_OTLP_… cannot be used: {0}")]
    Variable(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// What became of spans.
#[derive(Debug, Default)]
pub struct SpanCounts {
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl SpanCounts {
    /// How many the collector took.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many were dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn drop_some(&self, spans: usize) {
        self.dropped.fetch_add(spans as u64, Ordering::Relaxed);
    }
}

/// Where ended spans are put. Never waits.
#[derive(Clone)]
pub struct Outbox {
    queue: mpsc::Sender<SpanData>,
    counts: Arc<SpanCounts>,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Outbox {
    /// Puts a span in the queue, or drops it if there is no room.
    pub(super) fn put(&self, span: SpanData) {
        if self.queue.try_send(span).is_err() {
            self.counts.drop_some(1);
        }
    }
}

/// Sends what is put in its outbox until it is stopped; ended at once when dropped.
#[derive(Debug)]
pub struct Sending {
    outbox: Outbox,
    stop: watch::Sender<()>,
    task: JoinSet<()>,
}

impl Sending {
    /// Begins to send to the collector of `settings`, which need not be there; none if none is named. MUST be called in
    /// a runtime.
    ///
    /// # Errors
    /// [`TracingError`] if there can be no connection to it.
    pub fn begin(settings: &TracingSettings) -> Result<Option<Self>, TracingError> {
        let Some(endpoint) = &settings.endpoint else { return Ok(None) };
        let mut exporter = OtlpExporter::builder()
            .with_tonic()
            .with_channel(channel(endpoint, settings.ca.as_deref())?)
            .with_timeout(SEND)
            .build()?;
        exporter.set_resource(&resource(&settings.service_name));
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (stop, stopped) = watch::channel(());
        let counts = Arc::new(SpanCounts::default());
        let mut task = JoinSet::new();
        let sender = Sender { exporter, counts: Arc::clone(&counts), failing: false };
        task.spawn(sender.run(waiting, stopped));
        Ok(Some(Sending { outbox: Outbox { queue, counts }, stop, task }))
    }

    /// Where spans are put.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// What became of them.
    #[must_use]
    pub fn counts(&self) -> Arc<SpanCounts> {
        Arc::clone(&self.outbox.counts)
    }

    /// Takes no more, sends what waits for as long as it may, and drops the rest.
    pub async fn stop(self) {
        drop(self.stop);
        self.task.join_all().await;
        let dropped = self.outbox.counts.dropped();
        if dropped > 0 {
            tracing::warn!(dropped, "spans were dropped since the start");
        }
    }
}

fn channel(endpoint: &Uri, ca: Option<&Path>) -> Result<Channel, TracingError> {
    let mut channel = Endpoint::from(endpoint.clone()).connect_timeout(SEND);
    if endpoint.scheme_str() == Some("https") {
        // The brackets of an IPv6 address are no part of the name in its certificate.
        let host = endpoint.host().unwrap_or_default().trim_matches(['[', ']']);
        let tls = ClientTlsConfig::new().domain_name(host);
        channel = channel.tls_config(match ca {
            Some(path) => tls.ca_certificate(Certificate::from_pem(read(path)?)),
            None => tls.with_native_roots(),
        })?;
    }
    Ok(channel.connect_lazy())
}

fn read(path: &Path) -> Result<Vec<u8>, TracingError> {
    let read = durable_file::read_bounded(path, MAX_CA_BYTES);
    let read = read.map_err(|error| TracingError::Unreadable { path: path.to_owned(), error })?;
    read.ok_or_else(|| TracingError::TooLarge(path.to_owned()))
}

/// What spans say of who made them: as configured, and as the variables of OpenTelemetry say.
fn resource(service_name: &str) -> Resource {
    let resource = Resource::builder_empty()
        .with_service_name(service_name.to_owned())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_detector(Box::new(EnvResourceDetector::new()));
    match std::env::var(NAME_VARIABLE) {
        Ok(name) if !name.is_empty() => resource.with_service_name(name).build(),
        _ => resource.build(),
    }
}

struct Sender {
    exporter: OtlpExporter,
    counts: Arc<SpanCounts>,
    /// Whether the last batch was not taken.
    failing: bool,
}

impl Sender {
    async fn run(mut self, mut queue: mpsc::Receiver<SpanData>, mut stop: watch::Receiver<()>) {
        let mut batch = Vec::with_capacity(BATCH);
        // Until when sending may go on; none: the server does not stop.
        let mut until = None;
        loop {
            if until.is_some() {
                queue.close();
            }
            let more = tokio::select! {
                more = gather(&mut queue, &mut batch) => more,
                () = stopping(&mut stop), if until.is_none() => {
                    until = Some(Instant::now() + STOP);
                    true
                }
            };
            if !batch.is_empty() {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                self.send(full, &mut until, &mut stop).await;
            }
            if !more {
                return;
            }
        }
    }

    async fn send(
        &mut self,
        batch: Vec<SpanData>,
        until: &mut Option<Instant>,
        stop: &mut watch::Receiver<()>,
    ) {
        let spans = batch.len();
        let over = async {
            if until.is_none() {
                stopping(stop).await;
            }
            let until = *until.get_or_insert_with(|| Instant::now() + STOP);
            tokio::time::sleep_until(until).await;
        };
        let sending = tokio::time::timeout(SEND, self.exporter.export(batch));
        let problem = tokio::select! {
            sent = sending => match sent {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("the collector takes too long".to_owned()),
            },
            () = over => Some("the server stops".to_owned()),
        };
        match problem {
            None => {
                self.counts.sent.fetch_add(spans as u64, Ordering::Relaxed);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("spans are sent to the collector again");
                }
            }
            Some(problem) => {
                self.counts.drop_some(spans);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%problem, "spans cannot be sent to the collector and are dropped");
                }
            }
        }
    }
}

/// Resolves once the server stops, or is gone.
async fn stopping(stop: &mut watch::Receiver<()>) {
    while stop.changed().await.is_ok() {}
}

/// Fills a batch, at most for as long as it waits for more; whether there may be more after it. What it has taken when
/// it is dropped is in the batch.
async fn gather(queue: &mut mpsc::Receiver<SpanData>, batch: &mut Vec<SpanData>) -> bool {
    if batch.is_empty() && queue.recv_many(batch, BATCH).await == 0 {
        return false;
    }
    let fill = async {
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            if queue.recv_many(batch, room).await == 0 {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(GATHER, fill).await.unwrap_or(true)
}
