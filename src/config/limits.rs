//! `[limits]`: bounds of the server.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, setting, tls};

/// Bounds of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls being answered at once; more are refused, and of one caller more than there is room left for.
    /// Default 4,096: requests of at most 64 KiB each, 256 MiB.
    pub calls_in_flight: usize,
    /// Connections open at once; more are closed as they come. Default 4,096: an idle one holds
    /// some 20 KiB.
    pub connections: usize,
    /// TLS handshakes under way at once; they take no room of connections. More wait to be accepted, and one that
    /// has had a second gives way to them. Default 512: some 20 KiB each.
    pub tls_handshakes: usize,
    /// How long a TLS handshake may take. Default 10 seconds.
    pub tls_handshake: Duration,
    /// Streams a connection may have open at once. Default 1,024.
    pub streams_per_connection: u32,
    /// After about how long a connection is asked to reconnect, so that clients spread over
    /// servers. Default 5 minutes; each connection's own is within 10 % of it.
    pub connection_age: Duration,
    /// How long the calls of a connection asked to reconnect, or of a stopping server, may still
    /// take. Default 10 seconds.
    pub drain: Duration,
    /// Calls of WhoAmI that fail which a source may make in a minute. Default 120.
    pub who_am_i_per_source: u32,
    /// Unknown and malformed keys that are answered as such in a minute, from one source. Default 600.
    pub unknown_keys_per_source: u32,
    /// The same, for one caller. Default 60,000.
    pub unknown_keys_per_caller: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            calls_in_flight: 4096,
            connections: 4096,
            tls_handshakes: tls::HANDSHAKES,
            tls_handshake: tls::HANDSHAKE_TIME,
            streams_per_connection: 1024,
            connection_age: Duration::from_secs(300),
            drain: Duration::from_secs(10),
            who_am_i_per_source: 120,
            unknown_keys_per_source: 600,
            unknown_keys_per_caller: 60_000,
        }
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileLimits {
    calls_in_flight: Option<usize>,
    connections: Option<usize>,
    tls_handshakes: Option<usize>,
    tls_handshake_seconds: Option<u64>,
    streams_per_connection: Option<u32>,
    connection_age_seconds: Option<u64>,
    drain_seconds: Option<u64>,
    who_am_i_per_source_per_minute: Option<u32>,
    unknown_keys_per_source_per_minute: Option<u32>,
    unknown_keys_per_caller_per_minute: Option<u32>,
}

impl FileLimits {
    pub(super) fn of(limits: &Limits) -> Self {
        FileLimits {
            calls_in_flight: Some(limits.calls_in_flight),
            connections: Some(limits.connections),
            tls_handshakes: Some(limits.tls_handshakes),
            tls_handshake_seconds: Some(limits.tls_handshake.as_secs()),
            streams_per_connection: Some(limits.streams_per_connection),
            connection_age_seconds: Some(limits.connection_age.as_secs()),
            drain_seconds: Some(limits.drain.as_secs()),
            who_am_i_per_source_per_minute: Some(limits.who_am_i_per_source),
            unknown_keys_per_source_per_minute: Some(limits.unknown_keys_per_source),
            unknown_keys_per_caller_per_minute: Some(limits.unknown_keys_per_caller),
        }
    }

    pub(super) fn settings(&self) -> Result<Limits, ConfigError> {
        let default = Limits::default();
        let seconds = |name, given: Option<u64>, default: Duration, most| match given {
            None => Ok(default),
            Some(given) if (1..=most).contains(&given) => Ok(Duration::from_secs(given)),
            Some(_) => Err(setting(name, format!("must be from 1 to {most}"))),
        };
        let calls = self.calls_in_flight.unwrap_or(default.calls_in_flight);
        if !(1..=1_000_000).contains(&calls) {
            return Err(setting("limits.calls_in_flight", "must be from 1 to 1000000"));
        }
        let connections = self.connections.unwrap_or(default.connections);
        if !(1..=1_000_000).contains(&connections) {
            return Err(setting("limits.connections", "must be from 1 to 1000000"));
        }
        let streams = self.streams_per_connection.unwrap_or(default.streams_per_connection);
        if !(1..=1_000_000).contains(&streams) {
            return Err(setting("limits.streams_per_connection", "must be from 1 to 1000000"));
        }
        let per_minute = |name, given: Option<u32>, default| match given.unwrap_or(default) {
            given @ 1..=1_000_000 => Ok(given),
            _ => Err(setting(name, "must be from 1 to 1000000")),
        };
        let age = self.connection_age_seconds;
        let drain = self.drain_seconds;
        Ok(Limits {
            calls_in_flight: calls,
            connections,
            tls_handshakes: tls::handshakes(self.tls_handshakes)?,
            tls_handshake: tls::handshake_time(self.tls_handshake_seconds)?,
            streams_per_connection: streams,
            connection_age: seconds(
                "limits.connection_age_seconds",
                age,
                default.connection_age,
                86_400,
            )?,
            drain: seconds("limits.drain_seconds", drain, default.drain, 3600)?,
            who_am_i_per_source: per_minute(
                "limits.who_am_i_per_source_per_minute",
                self.who_am_i_per_source_per_minute,
                default.who_am_i_per_source,
            )?,
            unknown_keys_per_source: per_minute(
                "limits.unknown_keys_per_source_per_minute",
                self.unknown_keys_per_source_per_minute,
                default.unknown_keys_per_source,
            )?,
            unknown_keys_per_caller: per_minute(
                "limits.unknown_keys_per_caller_per_minute",
                self.unknown_keys_per_caller_per_minute,
                default.unknown_keys_per_caller,
            )?,
        })
    }
}
