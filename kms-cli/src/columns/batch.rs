//! A batch of whole rows, as read: the bytes, where each row stands in them, and where the cells that matter stand.

/// Where a cell's raw bytes stand, quotes and all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    /// A value that the row does not have (JSON Lines).
    pub(super) const ABSENT: Self = Self { start: u32::MAX, end: u32::MAX };

    pub(super) fn new(start: usize, end: usize) -> Self {
        // INVARIANT: a batch holds at most one row beyond its target size, and a row at most MAX_ROW: far below 4 GiB.
        Self { start: u32::try_from(start).unwrap_or(u32::MAX), end: u32::try_from(end).unwrap_or(u32::MAX) }
    }

    pub(super) fn is_absent(self) -> bool {
        self == Self::ABSENT
    }

    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }
}

/// A row with its line ending.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) whole: Span,
    /// Line where it begins.
    pub(super) line: u64,
}

/// Whole rows in order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) rows: Vec<Row>,
    /// `wanted` spans a row: the record id, then the columns in the order they were asked for.
    pub(super) spans: Vec<Span>,
    /// Rows before this batch.
    pub(super) rows_before: u64,
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
        self.spans.clear();
    }
}
