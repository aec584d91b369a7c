//! The key centre's client: connections, every call of the API, data keys under lease, and field encryption with them.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use kms_client::{Column, Kms, Profile, RecordId};
//!
//! let kms = Kms::connect(Profile::load("profiles/attendance.toml")?).await?;
//! let records = kms.records(&"acme".parse()?, &"attendance".parse()?);
//! let (phone, row) = (Column::randomized("checkins", "phone")?, RecordId::try_from(&b"row-17"[..])?);
//! let sealed = records.seal(&phone, &row, b"138 0013 8000").await?;
//! assert_eq!(records.open(&phone, &row, &sealed).await?.as_bytes(), b"138 0013 8000");
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//! - [`Profile`]: where the key centre is, whom to trust, the certificate to show.
//! - `connect`: TLS 1.3, several HTTP/2 connections, new ones when the certificates change.
//! - `call`: one call with its id, deadline and retries; [`Error`]: what can go wrong.
//! - [`api`]: every call of the API as a method of [`Kms`].
//! - `lease`: data keys held under a lease: never past it, one fetch at a time, renewed ahead.
//! - [`Records`]: seals and opens values of (table, column, record id), singly and in batches.
//! - [`reseal`](mod@reseal): re-seals the columns of a table in place, so that an older version can be destroyed (features `sqlite`,
//!   `postgres`).
