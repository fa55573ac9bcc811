//! A service that keyledger guards, over HTTP and over gRPC: `guarded_service KEYLEDGER CREDENTIAL_FILE`.
//!
//! With keyledger running in this directory and the account `billing` and its key of the README's tour:
//!
//! ```text
//! keyledger admin caller create --name reports --owner team-reports --role authenticator --secret-out reports.txt
//! cargo run --example guarded_service http://127.0.0.1:50051 reports.txt
//! curl --header "authorization: Bearer $(cat key.txt)" http://127.0.0.1:8081/reports
//! ```

mod grpc;
mod http;

use std::error::Error;
use std::net::SocketAddr;
use std::{env, fs};

use keyledger::client::Keyledger;
use tokio::net::TcpListener;
use tonic::transport::Server;

const HTTP: &str = "127.0.0.1:8081";
const GRPC: &str = "127.0.0.1:50061";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [server, file] = arguments.as_slice() else {
        return Err("usage: guarded_service KEYLEDGER CREDENTIAL_FILE".into());
    };
    let keyledger = Keyledger::at(server, fs::read_to_string(file)?.trim_end())?;
    let routes = http::routes(keyledger.clone());
    let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
    let http = axum::serve(TcpListener::bind(HTTP).await?, routes);
    let grpc = Server::builder().add_routes(grpc::services(keyledger)).serve(GRPC.parse()?);
    eprintln!("serving http://{HTTP}/reports and gRPC on {GRPC}");
    tokio::select! {
        ended = http.into_future() => ended?,
        ended = grpc => ended?,
    }
    Ok(())
}
