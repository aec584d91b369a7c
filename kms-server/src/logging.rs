//! The operators' log, on stderr: text for people, JSON for machines.
//!
//! What is logged is chosen where it is logged: names, numbers and errors; never a key, a plaintext or a context value.

use std::io::{self, IsTerminal};

use tracing_subscriber::{filter::Targets, layer::SubscriberExt, registry, util::SubscriberInitExt};

use crate::config::{LogConfig, LogFormat};

/// Starts logging. Where a log is on already, as in tests, that one stays.
pub fn start(config: &LogConfig) {
    // The configuration was checked; what cannot be parsed all the same must not cost the log.
    let filter: Targets =
        config.filter.parse().unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    let started = match config.format {
        LogFormat::Text => {
            let colours = io::stderr().is_terminal();
            let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(colours);
            registry().with(filter).with(lines).try_init()
        }
        LogFormat::Json => {
            let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(io::stderr);
            registry().with(filter).with(lines).try_init()
        }
    };
    drop(started);
}
