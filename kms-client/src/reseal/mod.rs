//! Re-seals the columns of a table, in place, under the versions that seal now, and makes the blind indexes beside them anew: so that
//! older versions can be destroyed.
//!
//! The table is walked by its id in pages. What is not current is opened, sealed and written back only where it still holds what was
//! read (compare and set): a live writer always wins, and its row is looked at again in the next pass. The run ends when a whole
//! pass has found nothing to do. Killed at any moment it has lost nothing: run it again.
//!
//! ```no_run
//! # async fn example(kms: kms_client::Kms) -> Result<(), Box<dyn std::error::Error>> {
//! use kms_client::{Column, reseal::{Database, Reseal, Table}};
//!
//! let database = Database::connect("sqlite:attendance.db").await?;
//! let records = kms.records(&"acme".parse()?, &"attendance".parse()?);
//! let report = Reseal::new(records, database, Table::new("checkins", "id"))
//!     .column("phone", Column::randomized("checkins", "phone")?)
//!     .run(|_| ())
//!     .await?;
//! assert!(report.nothing_left());
//! # Ok(())
//! # }
//! ```
//!
//! For a struct with `#[derive(Protect)]`, `Reseal::of::<CheckIn>(&kms, &tenant, database)?.run(|_| ())` says all of it.
//!
//! # Layout
//! - `job`: what is to be done; `pass`: one walk over the table, reading ahead while it seals and writes.
//! - `turn`: what becomes of a page; `find`, `open`: what of it is to be moved, in whatever scheme it was sealed; `newest`: which
//!   versions are current; `outcome`: how rows are counted.
//! - `columns`: what is kept current; `described`: the same out of a derive's schema.
//! - `table`, `row`, `cell`: which rows, and what of them is read; `identifier`: names in SQL.
//! - `database`: what a run asks of a database; `sqlite`, `postgres` (with `postgres_bind`, `postgres_catalog`, `postgres_update`): how each answers.
//! - `pace`: so many rows a second; `report`: what was done; `error`: what ends a run.
//!
//! Never shows a value, sealed or not; never writes one that it has not opened first, but for those that were never sealed where the
//! schema says, and as long as it says, that there are such.

mod cell;
mod columns;
mod database;
mod described;
mod error;
mod find;
mod identifier;
mod job;
mod newest;
mod open;
mod outcome;
mod pace;
mod pass;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_bind;
#[cfg(feature = "postgres")]
mod postgres_catalog;
#[cfg(feature = "postgres")]
mod postgres_update;
mod report;
mod row;
#[cfg(feature = "sqlite")]
mod sqlite;
mod table;
mod turn;

pub use columns::IndexColumn;
pub use database::Database;
pub use error::ResealError;
pub use job::Reseal;
pub use report::{Problem, Progress, Report};
pub use table::Table;
