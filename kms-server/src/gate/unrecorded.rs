//! A result that nobody may see yet: it opens only with the token that the audit gives for its line.

use crate::audit::Recorded;

use super::line::Line;

/// A result of a use case and the audit line that must be accepted before it leaves.
#[must_use = "a result that is not recorded never reaches its caller"]
pub struct Unrecorded<T> {
    value: T,
    line: Line,
}

impl<T> Unrecorded<T> {
    pub(super) fn new(value: T, line: Line) -> Self {
        Self { value, line }
    }

    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// Opens with the audit's token.
    pub(super) fn open(self, _proof: Recorded) -> T {
        self.value
    }
}
