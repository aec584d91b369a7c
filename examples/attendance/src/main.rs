//! An attendance service: employees check in with name, phone and place; what is personal is sealed before it is stored.
//!
//! # Layout
//! - [`checkin`]: the struct, and how its columns are protected. This is all that field encryption asks of the application.
//! - [`register`]: companies, employees and their check-ins, in a [`database`]: SQLite or PostgreSQL.
//! - [`views`]: what four people see of one table; [`ending`]: employees and companies leave, their keys are destroyed.
//! - [`http`]: the page and its requests; [`problem`]: what they are told where something is wrong.
//! - [`key_centre`]: who asks the key centre; and one of our own, for whoever has none.

use std::{alloc::System, fs::DirBuilder, net::SocketAddr, os::unix::fs::DirBuilderExt as _, path::Path};
use std::{path::PathBuf, pin::pin, process::ExitCode, time::Duration};

use anyhow::{Context as _, ensure};
use axum::Router;
use clap::Parser;
use kms_cli::interruption::Interruption;
use tokio::{net::TcpListener, runtime::Runtime, select, time::timeout};
use tokio_util::sync::CancellationToken;
use zeroizing_alloc::ZeroAlloc;

use crate::{database::Database, http::Service, key_centre::KeyCentre, register::Register};

mod checkin;
mod database;
mod ending;
mod http;
mod key_centre;
mod problem;
mod register;
mod views;

/// Plaintexts and keys pass through here: what is freed is wiped.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

/// How long requests may go on after somebody asked us to stop.
const DRAIN: Duration = Duration::from_secs(3);

/// An attendance service on a database whose columns are sealed.
#[derive(Parser)]
struct Args {
    /// Where the page is. This machine's own addresses only: the example has no login
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Directory that keeps database and key centre from one start to the next; without it both go when the service stops
    #[arg(long)]
    data: Option<PathBuf>,
    /// `postgres://…` or `sqlite:PATH`, instead of a file in the directory
    #[arg(long, env = "ATTENDANCE_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// Profiles of a key centre that runs already (`kms-server dev` writes them), instead of one of our own
    #[arg(long)]
    profiles: Option<PathBuf>,
}

fn main() -> ExitCode {
    // The key centre that this program starts is this program again.
    if std::env::args_os().nth(1).is_some_and(|word| word == "__server") {
        return kms_cli::main(std::env::args_os());
    }
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("attendance: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    ensure!(
        args.database.is_none() || args.data.is_some() || args.profiles.is_some(),
        "rows in a database of yours would outlive their keys; name a directory for the key centre with --data, \
         or the profiles of one that runs already with --profiles"
    );
    let runtime = Runtime::new()?;
    let interruption = runtime.block_on(async { Interruption::catch() })?;
    let scratch = match &args.data {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("attendance-").tempdir()?),
    };
    let directory = args.data.clone().or_else(|| scratch.as_ref().map(|dir| dir.path().to_owned()));
    let directory = directory.context("no directory")?;
    let served = runtime.block_on(serve(args, &directory, interruption));
    // A key centre that was still starting is waited for, and stopped; then nobody writes to the directory any more.
    drop(runtime);
    served
}

/// Serves until a signal comes.
async fn serve(args: Args, directory: &Path, mut interruption: Interruption) -> anyhow::Result<()> {
    let kept = args.data.is_some();
    let (listener, routes, keys) = select! {
        started = start(args, directory) => started?,
        () = interruption.received() => return Ok(()),
    };
    println!("The page is at http://{}", listener.local_addr()?);
    match kept {
        true => println!("Data is kept in {}. Ctrl-C stops.", directory.display()),
        false => println!("Ctrl-C stops, and all data goes; --data DIRECTORY keeps it."),
    }
    let stop = CancellationToken::new();
    let serving = axum::serve(listener, routes).with_graceful_shutdown(stop.clone().cancelled_owned());
    let mut serving = pin!(serving.into_future());
    select! {
        ended = &mut serving => ended?,
        () = interruption.received() => {
            stop.cancel();
            // A browser may keep a connection open for longer than anybody waits.
            drop(timeout(DRAIN, serving).await);
        }
    }
    keys.stop().await
}

async fn start(args: Args, directory: &Path) -> anyhow::Result<(TcpListener, Router, KeyCentre)> {
    ensure!(
        args.listen.ip().is_loopback(),
        "{} can be reached from other machines, and the example has no login; listen on 127.0.0.1 or [::1]",
        args.listen
    );
    let listener = TcpListener::bind(args.listen).await.with_context(|| {
        format!("cannot listen on {}; --listen 127.0.0.1:0 takes a free port", args.listen)
    })?;
    // The database's columns are sealed, but who checks in when is nobody else's business either.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("no directory `{}`", directory.display()))?;
    let keys = KeyCentre::open(args.profiles, &directory.join("key-centre")).await?;
    let database = match args.database {
        Some(url) => Database::open(&url).await?,
        None => Database::open_file(&directory.join("attendance.db")).await?,
    };
    let register = Register::open(database, &keys).await?;
    let routes = http::routes(Service { register, keys: keys.identities.clone() });
    Ok((listener, routes, keys))
}
