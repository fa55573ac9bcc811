//! keyledger: a self-hosted gRPC service that issues, authenticates and revokes API keys
//! on a durable, verifiable ledger.
//!
//! The rooms of the house, and the one way their arrows run (`tests/tidy.rs` holds them to it):
//!
//! ```text
//! domain <- ledger <- projection <- app <- grpc, http <- server <- main      cli -> client, verify
//! client: the public API, for other programs
//! merkle, vault: beside domain     usage: beside projection     verify -> ledger, vault, merkle     archive -> merkle
//! clock, random, config, durable_file, process, progress, proto, telemetry: leaves
//! ```

pub mod app;
pub mod archive;
pub mod backup_dir;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod counting;
pub mod domain;
pub mod durable_file;
pub mod grpc;
pub mod http;
pub mod ledger;
pub mod merkle;
pub mod process;
pub mod progress;
pub mod projection;
pub mod proto;
pub mod random;
pub mod server;
pub mod telemetry;
pub mod usage;
pub mod vault;
pub mod verify;
