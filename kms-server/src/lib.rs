//! The key centre's server.
//!
//! # Layout, in the order in which one layer may use another (never the other way)
//! - [`cli`], [`dev`], [`service`]: the command line and the wiring; [`config`], [`seal`], [`hardening`], [`logging`], [`reload`], [`admin`]:
//!   the daemon's outside.
//! - [`rpc`], [`tls`]: what a socket speaks.
//! - `usecase`: one file each.
//! - `gate`: permits in, recorded results out.
//! - `policy`, [`audit`], `keyring`, `erasure`: what a use case rests on.
//! - [`store`], [`effaceable`]: what survives power loss, and what can be made not to.
<<<<<<< HEAD
//! - [`operation`], [`identity`]: vocabulary; [`rate`]: how fast one identity may go.
=======
//! - [`operation`], [`identity`], [`records`]: vocabulary.
>>>>>>> 09af10f (erasure: the shape of the writer)

pub mod admin;
pub mod audit;
pub mod cli;
pub mod config;
pub mod dev;
pub mod effaceable;
<<<<<<< HEAD
pub mod hardening;
=======
pub mod erasure;
>>>>>>> 09af10f (erasure: the shape of the writer)
pub mod identity;
pub mod logging;
pub mod operation;
pub mod records;
pub mod policy;
pub mod rate;
pub mod reload;
pub mod rpc;
pub mod seal;
pub mod service;
pub mod store;
pub mod tls;
