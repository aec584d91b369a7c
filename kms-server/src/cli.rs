//! The command line of the daemon: `init`, `run`, `check-config`, `change-medium`, `dev`.
//!
//! A library function with a ten-line binary, so that `kms demo` and the tests can start the server by running themselves.
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{
    config::{self, Config, ConfigError, Overrides, Severity},
    dev, hardening,
    instance::{self, Passed},
    logging,
    service::{self, Ready},
};

/// A key centre: keys for services that may use them, wrapped, audited, and erased with proof.
#[derive(Debug, Parser)]
#[command(name = "kms-server", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new instance: identifier, epoch secret, first root, log genesis; and the seal file where it is absent
    Init(FromFile),
    /// Serve an instance that was made by `init`
    Run(FromFile),
    /// Pass from the medium in `[effaceable.previous]` to the one in `[effaceable]`, through an epoch, while no server runs
    ChangeMedium(FromFile),
    /// Say all that is wrong with a configuration and with what it points to
    CheckConfig {
        /// The configuration
        file: PathBuf,
        #[command(flatten)]
        changes: Changes,
    },
    /// Try it out, on this machine only: makes what it needs on first use, and uses it again after
    Dev {
        /// Directory for everything
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Address to listen at; by default a free port of 127.0.0.1
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<SocketAddr>,
        #[command(flatten)]
        changes: Changes,
    },
}

#[derive(Debug, clap::Args)]
struct FromFile {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Address to listen at, in place of the configuration's
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Debug, Clone, clap::Args)]
struct Changes {
    /// Set an option in place of the configuration's, for example `limits.memory=64 MiB`; may be repeated
    #[arg(long = "set", value_name = "OPTION=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (option, value) = text.split_once('=').ok_or("must be OPTION=VALUE")?;
    Ok((option.trim().into(), value.trim().into()))
}

impl Changes {
    fn overrides(self, listen: Option<SocketAddr>) -> Overrides {
        let mut flags: BTreeMap<_, _> = self.set.into_iter().collect();
        if let Some(address) = listen {
            flags.entry("listen".into()).or_insert(address.to_string());
        }
        Overrides::from_environment(flags)
    }
}

/// Why the command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Exit code 1.
    Failed(String),
    /// Exit code 2.
    Usage(String),
}

impl Failure {
    pub(crate) fn failed(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    pub(crate) fn usage(error: impl fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Runs the command line `arguments` (the first is the program's name) to its end.
pub fn main(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        // Help and version come this way too, with exit code 0.
        Err(usage) => {
            drop(usage.print());
            return if usage.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let (code, message) = match perform(arguments.command) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Failed(message)) => (1, message),
        Err(Failure::Usage(message)) => (2, message),
    };
    drop(writeln!(std::io::stderr(), "kms-server: {message}"));
    ExitCode::from(code)
}

fn perform(command: Command) -> Result<(), Failure> {
    match command {
        Command::Init(FromFile { config, listen, changes }) => {
            let config = protected(|| read(&config, &changes.overrides(listen)))?;
            instance::create(&config).map_err(Failure::failed)?;
            say(&format!("a new instance in `{}`", config.data.display()));
            let seal = config.seal.display();
            say(&format!("its seal is `{seal}`: keep a copy of it, apart from copies of the store"));
            Ok(())
        }
        Command::Run(FromFile { config, listen, changes }) => {
            let config = protected(|| read(&config, &changes.overrides(listen)))?;
            serve(config, |ready| {
                tracing::info!(address = %ready.address, admin = %ready.admin, "serving");
                Ok(())
            })
        }
        Command::ChangeMedium(FromFile { config, listen, changes }) => {
            let config = protected(|| read(&config, &changes.overrides(listen)))?;
            let passed = instance::change_medium(&config).map_err(Failure::failed)?;
            let Passed { epoch, to, pending } = passed;
            say(&format!("the secret of epoch {epoch} lies in {to} (`{}`)", to.place));
            if pending.is_empty() {
                say(
                    "every secret before it was effaced; `[effaceable.previous]` can go from the configuration",
                );
                return Ok(());
            }
            let left: Vec<_> = pending.iter().map(|name| format!("{name} (`{}`)", name.place)).collect();
            Err(Failure::Failed(format!(
                "{} may still hold a secret: no erasure is complete before it is effaced; run this again once it can be reached",
                left.join(", ")
            )))
        }
        Command::CheckConfig { file, changes } => check(&file, &changes.overrides(None)),
        Command::Dev { data, listen, changes } => {
            let place = dev::Place::prepare(&data, listen)?;
            let config = protected(|| {
                let mut overrides = changes.overrides(Some(place.listen()));
                // `KMS_DATA` and the like are meant for the server of this machine, not for a try-out.
                overrides.environment.clear();
                read(&place.config_file(), &overrides)
            })?;
            place.refuse_other_than_loopback(config.listen)?;
            place.refuse_other_than_loopback(config.admin)?;
            if !instance::exists(&config) {
                instance::create(&config).map_err(Failure::failed)?;
            }
            serve(config, move |ready| {
                place.write_profiles(ready.address)?;
                say(&format!("ready https://{}", ready.address));
                say(&format!("admin http://{}", ready.admin));
                drop(writeln!(std::io::stderr(), "{}", place.next_steps()));
                Ok(())
            })
        }
    }
}

fn read(file: &Path, overrides: &Overrides) -> Result<Config, Failure> {
    Config::read(file, overrides).map_err(Failure::usage)
}

/// Hardens the process before there are secrets; starts the log, which says what hardening could not do.
fn protected(read: impl FnOnce() -> Result<Config, Failure>) -> Result<Config, Failure> {
    let shortfalls = hardening::apply();
    let config = read()?;
    logging::start(&config.log);
    for shortfall in shortfalls {
        tracing::warn!("{shortfall}");
    }
    Ok(config)
}

fn serve(config: Config, ready: impl FnOnce(Ready) -> std::io::Result<()>) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed)?;
    let served = runtime.block_on(service::serve(config, ready));
    // What still runs after the drain is given up, not waited for.
    runtime.shutdown_background();
    served.map_err(Failure::failed)
}

fn check(file: &Path, overrides: &Overrides) -> Result<(), Failure> {
    let (config, problems) = Config::understood(file, overrides).map_err(Failure::usage)?;
    // What is wrong with the file itself does not keep the rest of it from being looked at.
    let findings = match &config {
        Some(config) => config::examine(config),
        None => {
            say(
                "warning: files and directories were not looked at; the configuration does not name them all",
            );
            Vec::new()
        }
    };
    findings.iter().for_each(|finding| say(&finding.to_string()));
    if !problems.is_empty() {
        return Err(Failure::usage(ConfigError::Wrong { path: file.into(), problems }));
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    match errors {
        0 => {
            say(&format!("`{}` can be served", file.display()));
            Ok(())
        }
        n => Err(Failure::usage(format!(
            "{n} of these must be put right before `{}` can be served",
            file.display()
        ))),
    }
}

/// A line on stdout. Whoever closed it does not want to hear; the server serves on.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_configuration_with_an_unknown_option_is_examined_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kms-server.toml");
        fs::write(&file, format!("lisen = 1\n{}", dev::CONFIG)).unwrap();
        let (config, problems) = Config::understood(&file, &Overrides::default()).unwrap();
        assert_eq!(problems.len(), 1);
        let findings = config::examine(&config.unwrap());
        assert!(findings.iter().any(|finding| finding.what.contains("tls/server.pem")), "{findings:?}");
        assert!(Config::read(&file, &Overrides::default()).is_err(), "and is never served");
        let refused = check(&file, &Overrides::default());
        assert!(matches!(&refused, Err(Failure::Usage(why)) if why.contains("`lisen`")), "{refused:?}");
    }
}
