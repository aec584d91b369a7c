//! The key centre's server.
//!
//! # Layout, in the order in which one layer may use another (never the other way)
//! - [`cli`], [`dev`], [`service`]: the command line and the wiring; [`config`], [`seal`], [`hardening`], [`logging`], [`reload`], [`admin`], [`clock`], `watch`,
//!   [`scheduler`], `anchor`: the daemon's outside.
//! - [`rpc`], [`tls`]: what a socket speaks.
//! - `usecase`: one file each.
//! - `gate`: permits in, recorded results out.
//! - `policy`, [`audit`], `keyring`, [`erasure`], [`transparency`]: what a use case rests on.
//! - [`store`], [`effaceable`]: what survives power loss, and what can be made not to.
//! - [`operation`], [`identity`], [`records`]: vocabulary; [`running`]: how long it has run; [`rate`], [`share`]: how fast one
//!   identity may go, how much it may hold.

pub mod admin;
mod anchor;
pub mod audit;
pub mod binding;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dev;
pub mod effaceable;
pub mod erasure;
pub mod gate;
pub mod hardening;
pub mod identity;
pub mod instance;
pub mod keyring;
pub mod logging;
pub mod operation;
pub mod policy;
pub mod rate;
pub mod records;
pub mod reload;
pub mod rpc;
pub mod running;
pub mod scheduler;
pub mod seal;
pub mod service;
pub mod share;
pub mod store;
pub mod tls;
pub mod transparency;
pub mod usecase;
mod watch;
