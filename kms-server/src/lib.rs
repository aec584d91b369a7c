//! The key centre's server.
//!
//! # Layout, in the order in which one layer may use another (never the other way)
//! - `config`, `main`: the command line and the wiring.
//! - `rpc`, `tls`: what a socket speaks.
//! - `usecase`: one file each.
//! - `gate`: permits in, recorded results out.
//! - `policy`, [`audit`], `keyring`, `erasure`: what a use case rests on.
//! - [`store`], [`effaceable`]: what survives power loss, and what can be made not to.
//! - [`operation`], [`identity`]: vocabulary; [`rate`]: how fast one identity may go.

pub mod audit;
pub mod config;
pub mod dev;
pub mod effaceable;
pub mod identity;
pub mod operation;
pub mod policy;
pub mod rate;
pub mod rpc;
pub mod seal;
pub mod store;
pub mod tls;
