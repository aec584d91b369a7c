//! The report.

use std::time::SystemTime;

use kms_core::certificate::check::{Given, Outcome};

/// The page.
pub fn page(outcome: &Outcome, given: &Given, file: &[u8], now: SystemTime) -> String {
    let _ = (given, file, now);
    super::text::verdict(outcome)
}
