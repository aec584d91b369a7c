//! `kms bench`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kms_core::state::KeyClass;

/// `kms bench`
#[derive(Debug, Args)]
pub struct Bench {
    /// What to measure beside the echo
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["encrypt", "decrypt"])]
    pub calls: Vec<BenchCall>,
    /// Callers at a time
    #[arg(long, value_delimiter = ',', default_values = ["1", "8", "64"], value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub concurrency: Vec<u32>,
    /// HTTP/2 connections
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub connections: u32,
    /// Bytes of each value
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=65536))]
    pub payload: u32,
    /// Values a call
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub batch: u32,
    /// Length of each turn
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub seconds: f64,
    /// Turns; each figure is the median
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub turns: u32,
    /// Class of the key: L1 and L2 write the audit before the reply, L3 and L4 sync it
    #[arg(long, default_value = "L2")]
    pub class: KeyClass,
    /// Where the servers keep their data, and so which disk is measured; without it, a temporary directory
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// A call that `bench` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BenchCall {
    /// Seals values; in batches where --batch is more than 1
    Encrypt,
    /// Opens values
    Decrypt,
    /// Opens values and masks them, as the HR portal may
    Reveal,
    /// Opens and seals again
    Reencrypt,
    /// Is leased data keys to open with
    OpenDataKeys,
    /// Makes envelope keys
    GenerateDataKey,
    /// Draws random bytes
    GenerateRandom,
}

/// A length that can be waited for; whatever is shorter than a twentieth of a second measures nothing.
fn seconds(word: &str) -> Result<f64, String> {
    match word.parse::<f64>() {
        Ok(seconds) if (0.05..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds between 0.05 and 86400".into()),
    }
}
