//! `[tracing]`: where spans of calls are sent, and of how many calls.

use std::path::PathBuf;

use http::Uri;
use serde::{Deserialize, Serialize};

use super::{ConfigError, setting};

/// The share of calls that are traced, unless told otherwise.
const SAMPLE_RATIO: f64 = 0.01;

/// The name that spans go by, unless told otherwise.
const SERVICE_NAME: &str = "keyledger";

/// Most bytes of the address of a collector.
const MAX_ENDPOINT_BYTES: usize = 512;

/// Most bytes of the name that spans go by.
const MAX_NAME_BYTES: usize = 255;

/// How calls are traced.
#[derive(Clone, Debug, PartialEq)]
pub struct TracingSettings {
    /// The collector, which takes OTLP over gRPC: `http://` or `https://`, a host and a port; none: nothing is traced.
    pub endpoint: Option<Uri>,
    /// The share of calls that are traced where their caller does not say. Default 0.01. From 0, which is none, to 1,
    /// which is all.
    pub sample_ratio: f64,
    /// The name that spans go by. Default `keyledger`. 1 to 255 visible ASCII characters.
    pub service_name: String,
    /// The certificates, in PEM, of those who vouch for a collector at `https://`; none: those that the machine trusts.
    pub ca: Option<PathBuf>,
}

impl Default for TracingSettings {
    fn default() -> Self {
        let service_name = SERVICE_NAME.to_owned();
        TracingSettings { endpoint: None, sample_ratio: SAMPLE_RATIO, service_name, ca: None }
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileTracing {
    otlp_endpoint: Option<String>,
    sample_ratio: Option<f64>,
    service_name: Option<String>,
    ca: Option<PathBuf>,
}

impl FileTracing {
    pub(super) fn of(settings: &TracingSettings) -> Self {
        FileTracing {
            otlp_endpoint: settings.endpoint.as_ref().map(Uri::to_string),
            sample_ratio: Some(settings.sample_ratio),
            service_name: Some(settings.service_name.clone()),
            ca: settings.ca.clone(),
        }
    }

    /// The settings, each within its bounds.
    pub(super) fn settings(self) -> Result<TracingSettings, ConfigError> {
        let sample_ratio = self.sample_ratio.unwrap_or(SAMPLE_RATIO);
        if !(0.0..=1.0).contains(&sample_ratio) {
            return Err(setting("tracing.sample_ratio", "must be from 0 to 1"));
        }
        let service_name = self.service_name.unwrap_or_else(|| SERVICE_NAME.to_owned());
        let visible = service_name.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible || !(1..=MAX_NAME_BYTES).contains(&service_name.len()) {
            let problem = format!("must be 1 to {MAX_NAME_BYTES} visible ASCII characters");
            return Err(setting("tracing.service_name", problem));
        }
        if self.ca.as_ref().is_some_and(|path| path.file_name().is_none()) {
            return Err(setting("tracing.ca", "must name a file"));
        }
        let endpoint = self.otlp_endpoint.as_deref().map(endpoint).transpose()?;
        let scheme = endpoint.as_ref().and_then(Uri::scheme_str);
        if self.ca.is_some() && scheme != Some("https") {
            return Err(setting("tracing.ca", "needs an https:// tracing.otlp_endpoint"));
        }
        Ok(TracingSettings { endpoint, sample_ratio, service_name, ca: self.ca })
    }
}

fn endpoint(text: &str) -> Result<Uri, ConfigError> {
    let refused = || {
        let problem = format!(
            "must be http:// or https:// with a host and a port, nothing else, at most {MAX_ENDPOINT_BYTES} bytes; \
             credentials go into OTEL_EXPORTER_OTLP_HEADERS"
        );
        setting("tracing.otlp_endpoint", problem)
    };
    let uri: Uri = text.parse().map_err(|_| refused())?;
    let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let named = uri.host().is_some_and(|host| !host.is_empty()) && uri.port_u16().is_some();
    let fits = text.len() <= MAX_ENDPOINT_BYTES;
    if scheme && bare && named && fits && !authority.contains('@') {
        Ok(uri)
    } else {
        Err(refused())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn nothing_is_traced_until_a_collector_is_named() {
        let tracing = Config::parse("[tracing]\nsample_ratio = 1").expect("valid").tracing;
        assert_eq!((tracing.endpoint, tracing.sample_ratio), (None, 1.0));
        let text = "[tracing]\notlp_endpoint = \"http://127.0.0.1:4317\"";
        let tracing = Config::parse(text).expect("valid").tracing;
        assert!(tracing.endpoint.is_some());
        assert_eq!((tracing.sample_ratio, tracing.service_name.as_str()), (0.01, "keyledger"));
    }

    #[test]
    fn a_setting_out_of_its_bounds_is_named_and_not_printed() {
        for (text, name) in [
            ("sample_ratio = 1.5", "tracing.sample_ratio"),
            ("sample_ratio = -0.1", "tracing.sample_ratio"),
            ("sample_ratio = nan", "tracing.sample_ratio"),
            ("service_name = \"s3cret s3cret\"", "tracing.service_name"),
            ("service_name = \"\"", "tracing.service_name"),
            ("ca = \"\"", "tracing.ca"),
            ("otlp_endpoint = \"http://h:1\"\nca = \"s3cret\"", "tracing.ca"),
            ("otlp_endpoint = \"s3cret:4317\"", "tracing.otlp_endpoint"),
            ("otlp_endpoint = \"http://s3cret\"", "tracing.otlp_endpoint"),
            ("otlp_endpoint = \"grpc://s3cret:4317\"", "tracing.otlp_endpoint"),
            ("otlp_endpoint = \"http://a:s3cret@h:4317\"", "tracing.otlp_endpoint"),
            ("otlp_endpoint = \"http://h:4317/?s3cret\"", "tracing.otlp_endpoint"),
        ] {
            let said = Config::parse(&format!("[tracing]\n{text}\n")).expect_err(text).to_string();
            assert!(said.starts_with(&format!("setting {name}: ")), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
}
