//! CSV (RFC 4180, as leniently as `csv-core`): where the rows and cells of a table stand in its bytes.
//!
//! Raw bytes are never normalized here, so that what is not touched can be written back as it was.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter, memchr3};

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// A row: `end` without its line ending, `next` with it.
    Row { end: usize, next: usize, line_breaks: u64 },
    /// The bytes end before the row does.
    Incomplete,
    /// The input ends inside quotes.
    OpenQuote,
}

/// Finds the row at `from`, telling each cell's place to `cell`. `last` says that no bytes follow.
pub(super) fn split_row(
    bytes: &[u8],
    from: usize,
    delimiter: u8,
    last: bool,
    mut cell: impl FnMut(usize, usize, usize),
) -> Split {
    let (mut at, mut cells, mut line_breaks) = (from, 0, 0);
    loop {
        let start = at;
        if bytes.get(at) == Some(&b'"') {
            at = match closing_quote(bytes, at + 1) {
                Some(after) if after < bytes.len() || last => after,
                None if last => return Split::OpenQuote,
                // A quote at the very end may be the first of a doubled one.
                _ => return Split::Incomplete,
            };
            line_breaks += memchr_iter(b'\n', &bytes[start..at]).count() as u64;
        }
        // After a closing quote, and without one, everything up to the next delimiter or line ending belongs to the cell.
        let end = memchr3(delimiter, b'\n', b'\r', &bytes[at..]).map(|n| at + n);
        let Some(end) = end.or(last.then_some(bytes.len())) else { return Split::Incomplete };
        cell(cells, start, end);
        cells += 1;
        let next = match (bytes.get(end), bytes.get(end + 1)) {
            (Some(&found), _) if found == delimiter => {
                at = end + 1;
                continue;
            }
            (Some(b'\r'), Some(b'\n')) => end + 2,
            (Some(b'\r'), None) if !last => return Split::Incomplete,
            (Some(_), _) => end + 1,
            (None, _) => end,
        };
        return Split::Row { end, next, line_breaks: line_breaks + u64::from(next > end) };
    }
}

/// The place after the quote that closes a cell whose content begins at `at`.
fn closing_quote(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr(b'"', &bytes[at..])? + 1;
        if bytes.get(at) != Some(&b'"') {
            return Some(at);
        }
        at += 1;
    }
}

/// Whether a cell was written with quotes.
pub(super) fn is_quoted(raw: &[u8]) -> bool {
    raw.first() == Some(&b'"')
}

/// The content of a cell.
pub(super) fn content(raw: &[u8]) -> Cow<'_, [u8]> {
    if !is_quoted(raw) {
        return Cow::Borrowed(raw);
    }
    let after = closing_quote(raw, 1).unwrap_or(raw.len());
    let inside = &raw[1..after.saturating_sub(1).max(1)];
    if after == raw.len() && memchr(b'"', inside).is_none() {
        return Cow::Borrowed(inside);
    }
    let mut content = Vec::with_capacity(raw.len());
    let mut rest = inside;
    while let Some(quote) = memchr(b'"', rest) {
        content.extend_from_slice(&rest[..=quote]);
        rest = rest.get(quote + 2..).unwrap_or_default();
    }
    content.extend_from_slice(rest);
    content.extend_from_slice(&raw[after..]);
    Cow::Owned(content)
}

/// Writes a cell, with quotes where it had them or needs them.
pub(super) fn write_cell(content: &[u8], quoted: bool, delimiter: u8, out: &mut Vec<u8>) {
    let needs_quotes =
        || memchr3(b'"', b'\n', b'\r', content).is_some() || memchr(delimiter, content).is_some();
    if !quoted && !needs_quotes() {
        out.extend_from_slice(content);
        return;
    }
    out.push(b'"');
    let mut rest = content;
    while let Some(quote) = memchr(b'"', rest) {
        out.extend_from_slice(&rest[..=quote]);
        out.push(b'"');
        rest = &rest[quote + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
        let (mut at, mut rows) = (0, Vec::new());
        while at < bytes.len() {
            let mut row = Vec::new();
            match split_row(bytes, at, b',', true, |_, start, end| {
                row.push(content(&bytes[start..end]).into_owned())
            }) {
                Split::Row { end, next, .. } => {
                    if end > at {
                        rows.push(row);
                    }
                    at = next;
                }
                _ => break,
            }
        }
        rows
    }

    fn rows_by_csv_core(bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
        let mut reader = csv_core::Reader::new();
        let (mut out, mut ends) = (vec![0; bytes.len() + 16], vec![0; bytes.len() + 16]);
        let (mut at, mut rows) = (0, Vec::new());
        loop {
            let (mut written, mut cells) = (0, 0);
            loop {
                let (result, read, wrote, ended) =
                    reader.read_record(&bytes[at..], &mut out[written..], &mut ends[cells..]);
                (at, written, cells) = (at + read, written + wrote, cells + ended);
                match result {
                    csv_core::ReadRecordResult::InputEmpty => {}
                    csv_core::ReadRecordResult::Record => break,
                    csv_core::ReadRecordResult::End => return rows,
                    full => panic!("{full:?}"),
                }
            }
            let starts = std::iter::once(0).chain(ends[..cells].iter().copied());
            rows.push(starts.zip(&ends[..cells]).map(|(start, end)| out[start..*end].to_vec()).collect());
        }
    }

    proptest! {
        #[test]
        fn rows_and_cells_are_those_that_csv_core_sees(bytes in proptest::collection::vec(
            prop_oneof![Just(b','), Just(b'"'), Just(b'\n'), Just(b'\r'), Just(b'a'), Just(b' '), Just(0xc3u8)], 0..40)) {
            // The one difference: input that ends inside quotes is an error here.
            let cut = rows_end_inside_quotes(&bytes);
            prop_assume!(!cut);
            prop_assert_eq!(rows(&bytes), rows_by_csv_core(&bytes));
        }

        #[test]
        fn a_written_cell_reads_back(content_in in proptest::collection::vec(any::<u8>(), 0..30), quoted: bool) {
            let mut out = Vec::new();
            write_cell(&content_in, quoted, b',', &mut out);
            prop_assert_eq!(content(&out).into_owned(), content_in);
        }

        #[test]
        fn a_row_is_complete_only_when_nothing_more_can_change_it(bytes in "[,\"\r\na]{0,20}", more in "[,\"\r\na]{0,20}") {
            let whole = format!("{bytes}{more}");
            if let Split::Row { end, next, .. } = split_row(bytes.as_bytes(), 0, b',', false, |_, _, _| {}) {
                let Split::Row { end: e, next: n, .. } = split_row(whole.as_bytes(), 0, b',', true, |_, _, _| {})
                else { return Err(TestCaseError::fail("the row went away")) };
                prop_assert_eq!((end, next), (e, n));
            }
        }
    }

    fn rows_end_inside_quotes(bytes: &[u8]) -> bool {
        let mut at = 0;
        while at < bytes.len() {
            match split_row(bytes, at, b',', true, |_, _, _| {}) {
                Split::Row { next, .. } => at = next,
                _ => return true,
            }
        }
        false
    }

    #[test]
    fn a_doubled_quote_at_the_end_of_a_chunk_waits_for_the_next_byte() {
        assert_eq!(split_row(b"\"a\"", 0, b',', false, |_, _, _| {}), Split::Incomplete);
        assert_eq!(split_row(b"a\r", 0, b',', false, |_, _, _| {}), Split::Incomplete);
    }
}
