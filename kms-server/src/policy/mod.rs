//! Policy: who may do what to which tenant and key, decided by Cedar policies that were strictly validated.
//!
//! Owns the loading of a policy directory, the decision and its cache, and the words that explain it. Must never let a Cedar type
//! out, and never turn a failure into a yes: whatever does not evaluate denies.
//!
//! # Layout
//! - [`request`]: what is asked and what is said.
//! - [`examples`]: the schema and the policies of `policies/`.

pub mod examples;
pub mod request;

pub use examples::{EXAMPLES, SCHEMA, SCHEMA_FILE};
pub use request::{Decision, Explanation, MAX_PURPOSE, PolicyEpoch, PolicyId, PolicyRequest, Resource};
