//! The echo as a process of its own: the TLS of the `dev` server beside it, its accept loop, its HTTP/2 settings, its runtime.

use std::{net::Ipv4Addr, path::Path};

use kms_server::{
    config::{Config, Overrides},
    tls::{Accepting, Tls},
};
use tokio::net::TcpListener;
use tonic::transport::Server;

use super::echo::Echo;
use crate::{failure::Failure, print};

/// Serves until the process ends; says `ready https://ADDRESS` on stdout.
///
/// # Errors
/// Where the directory is not that of a `dev` server.
pub fn echo(data: &Path) -> Result<(), Failure> {
    let config =
        Config::read(&data.join("kms-server.toml"), &Overrides::default()).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(cannot)?;
    runtime.block_on(async {
        let tls = Tls::load(&config.tls).map_err(Failure::usage)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let incoming = tls.incoming(listener, Accepting::default());
        print::line(&format!("ready https://{address}"))?;
        Server::builder()
            .max_concurrent_streams(config.limits.streams)
            .add_service(Echo)
            .serve_with_incoming(incoming)
            .await
            .map_err(|e| Failure::failed("INTERNAL", e))
    })
}

fn cannot(error: std::io::Error) -> Failure {
    Failure::failed("INTERNAL", format!("the echo cannot serve: {error}"))
}
