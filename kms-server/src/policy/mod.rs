//! Policy: who may do what to which tenant and key, decided by Cedar policies that were strictly validated.
//!
//! Owns the loading of a policy directory, the decision and its cache, and the words that explain it. Must never let a Cedar type
//! out, and never turn a failure into a yes: whatever does not evaluate denies.
//!
//! # Layout
//! - [`request`]: what is asked and what is said; no Cedar in it.
//! - [`engine`]: the policy set in force, decisions under it, reload, offline check.
//! - [`masks`]: which masked form `Reveal` shows of which column.
//! - `load`, [`problem`]: a directory becomes rules, or a list of all that is wrong with it.
//! - [`scope`], `volatile`, `subject`: what a policy can apply to, whether its answer may be kept, whether it is one for a whole family.
//! - `family`: what is forbidden of a family is forbidden of its subjects.
//! - `evaluate`, `cache`, `explain`: one evaluation, the decisions kept, the words.
//! - [`examples`]: the schema and the policies of `policies/`.

mod cache;
pub mod engine;
mod evaluate;
pub mod examples;
mod explain;
mod family;
mod load;
pub mod masks;
pub mod problem;
pub mod request;
pub mod scope;
mod subject;
mod volatile;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

pub use engine::{Checked, Options, PolicyEngine, check};
pub use examples::{EXAMPLES, SCHEMA, SCHEMA_FILE};
pub use masks::{DeclaredMask, MASKS_FILE, Masks};
pub use problem::{PolicyProblems, Problem};
pub use request::{
    Decision, Explanation, MAX_PURPOSE, NamedKey, PolicyEpoch, PolicyId, PolicyRequest, Resource, Subject,
};
pub use scope::{ResourceKind, resource_kinds};
