//! `kms columns`, `kms seal-file`, `kms open-file`: files of any size.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use kms_core::names::TableName;

use super::WithKey;
use crate::words;

/// `kms columns`
#[derive(Debug, Subcommand)]
pub enum Columns {
    /// Plaintext to `kf1.` text
    Seal(SealJob),
    /// `kf1.` text to plaintext
    Open(OpenJob),
    /// `kf1.` text to `kf1.` text under the active version; what is already under it stays as it is
    Reseal(OpenJob),
}

/// Which cells of which file.
#[derive(Debug, Args)]
#[command(after_help = "\
What is not named is written back as it was: byte-order mark, line endings, delimiter, column order, quoting, line breaks \
inside quotes. Blank lines are dropped and counted. An empty CSV cell is sealed too; a JSON value that is absent or null stays \
so. A JSON value that is not text is sealed into an array of one string ([\"kf1.…\"]), so that it opens as what it was.\n\n\
The record id binds each cell to its row: it must be present and not empty. That ids are unique is up to you: cells of two \
rows with the same id could be exchanged without anybody noticing.\n\n\
A deterministic column shows which rows hold equal values, so that you can search and join; its cells are not bound to their \
rows.\n\n\
All cells are under one key, which may be a subject's (FAMILY/SUBJECT): a file of many subjects is divided by them before. A table in a \
database is resealed by `kms reseal`, under each row's own key with `--per`.\n\n\
OUT is written whole or not at all, and replaced where it exists. At the end stderr says rows, cells, key-server calls \
and seconds.")]
pub struct ColumnsJob {
    /// With what
    #[command(flatten)]
    pub with: WithKey,
    /// Name that the cells are bound to, usually that of the database table
    #[arg(long, value_name = "NAME")]
    pub table: TableName,
    /// The column that holds the record id
    #[arg(long, value_name = "COLUMN")]
    pub id: String,
    /// A column to turn; `NAME:deterministic` keeps equal values equal. Give it once for each column
    #[arg(long = "column", value_name = "COLUMN[:deterministic]", required = true)]
    pub columns: Vec<String>,
    /// How the file is written; without it, the extension says it
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<FileFormat>,
    /// What divides the cells of a CSV row; `\t` is a tab
    #[arg(long, value_name = "CHAR", value_parser = words::delimiter)]
    pub delimiter: Option<char>,
    /// File to read; `-` is stdin
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// File to write, replaced where it exists; `-` is stdout
    #[arg(value_name = "OUT")]
    pub out: PathBuf,
}

/// `kms columns seal`
#[derive(Debug, Args)]
pub struct SealJob {
    /// Which cells
    #[command(flatten)]
    pub job: ColumnsJob,
    /// Seals once more what is sealed already; without it, such a cell ends the run
    #[arg(long)]
    pub again: bool,
}

/// `kms columns open`, `kms columns reseal`
#[derive(Debug, Args)]
pub struct OpenJob {
    /// Which cells
    #[command(flatten)]
    pub job: ColumnsJob,
    /// A cell that does not open stays sealed, and the run goes on; it then ends with exit code 7
    #[arg(long)]
    pub keep_going: bool,
}

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    /// Comma-separated values with a header row (`.csv`, `.tsv`)
    Csv,
    /// One JSON object a line (`.jsonl`, `.ndjson`)
    Jsonl,
}

/// `kms seal-file`, `kms open-file`
#[derive(Debug, Args)]
#[command(after_help = "OUT is written whole or not at all, and replaced where it exists.")]
pub struct WholeFile {
    /// With what
    #[command(flatten)]
    pub with: WithKey,
    /// File to read; `-` is stdin
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// File to write, replaced where it exists; `-` is stdout
    #[arg(value_name = "OUT")]
    pub out: PathBuf,
}
