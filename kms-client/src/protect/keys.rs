//! The keys of each row's columns: the layout's, or where rows have subjects the row's own.

use kms_core::names::KeyName;

use super::{Layout, Place, ProtectError, layout::Scheme};

pub(super) struct RowKeys {
    layout: &'static Layout,
    /// One for each row, in the order of the layout's; empty where no row has keys of its own.
    own: Vec<Option<Vec<KeyName>>>,
}

impl RowKeys {
    /// Where a subject has no name for its keys, the place says so afterwards.
    pub(super) fn of(layout: &'static Layout, places: &mut [Result<Place, ProtectError>]) -> Self {
        let own = |place: &mut Result<Place, ProtectError>| {
            let keys = place.as_ref().ok()?.keys(layout);
            keys.unwrap_or_else(|error| {
                *place = Err(error);
                None
            })
        };
        let own = match layout.schema.per {
            Some(_) => places.iter_mut().map(own).collect(),
            None => Vec::new(),
        };
        Self { layout, own }
    }

    /// Whether no row can have keys of its own.
    pub(super) fn are_the_layouts(&self) -> bool {
        self.own.is_empty()
    }

    /// The row's keys, in the order of the layout's.
    pub(super) fn of_row(&self, row: usize) -> &[KeyName] {
        self.own_of(row).unwrap_or(&self.layout.keys)
    }

    /// The row's keys, where they are its own.
    pub(super) fn own_of(&self, row: usize) -> Option<&[KeyName]> {
        self.own.get(row)?.as_deref()
    }

    /// The key of a column in a scheme.
    // ATTACK: whose a row is, is believed of its column. Where that is not bound, whoever writes to the database passes a value under a
    // shared key off as another person's, and it is sealed for them when the row is written next. The format cannot tell.
    pub(super) fn key(&self, row: usize, scheme: &Scheme) -> &KeyName {
        let keys = if scheme.shared { &self.layout.keys } else { self.of_row(row) };
        &keys[scheme.key]
    }
}
