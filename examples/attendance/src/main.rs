//! An attendance service: employees check in with name, phone and place; what is personal is sealed before it is stored.
//!
//! # Layout
//! - [`checkin`]: the struct, and how its columns are protected. This is all that field encryption asks of the application.
//! - [`database`]: SQLite or PostgreSQL; [`register`]: companies, employees, check-ins.
//! - [`views`]: what four people see of one table; [`ending`]: employees and companies leave, their keys are destroyed.
//! - [`key_centre`]: a server of our own, for whoever has none; [`http`]: the page and its requests.

use std::{alloc::System, path::PathBuf, process::ExitCode};

use clap::Parser;
use tokio::net::TcpListener;
use zeroizing_alloc::ZeroAlloc;

mod checkin;
mod database;
mod ending;
mod http;
mod key_centre;
mod register;
mod views;

/// Plaintexts and keys pass through here: what is freed is wiped.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

/// An attendance service on a database whose columns are sealed.
#[derive(Debug, Parser)]
struct Args {
    /// Where the page is.
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: std::net::SocketAddr,
    /// `sqlite:PATH` or `postgres://...`; a file of its own that goes with the service where none is named.
    #[arg(long)]
    database: Option<String>,
    /// Directory of the profiles of a key centre that runs already (`kms-server dev` makes one); starts one where none is named.
    #[arg(long)]
    profiles: Option<PathBuf>,
}

fn main() -> ExitCode {
    // The key centre that this program starts is this program again.
    if std::env::args_os().nth(1).is_some_and(|word| word == "__server") {
        return kms_cli::main(std::env::args_os());
    }
    match serve(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("attendance: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(args: Args) -> anyhow::Result<()> {
    let scratch = tempfile::Builder::new().prefix("attendance-").tempdir()?;
    let keys = key_centre::KeyCentre::open(args.profiles, scratch.path()).await?;
    let url =
        args.database.unwrap_or_else(|| format!("sqlite:{}", scratch.path().join("attendance.db").display()));
    let database = database::Database::open(&url).await?;
    let register = register::Register::open(database, &keys).await?;
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        anyhow::anyhow!("cannot listen on {}: {error}; name another with --listen", args.listen)
    })?;
    println!("The page is at http://{}", listener.local_addr()?);
    let routes = http::routes(http::Service {
        register,
        keys: keys.identities.clone(),
        certificates: http::Certificates::default(),
    });
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(listener, routes).with_graceful_shutdown(stop).await?;
    keys.stop().await
}
