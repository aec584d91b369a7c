//! What the server seals and opens itself: `direct`, bound to table, column and record.

use super::{
    NO_RESULT, Records,
    column::{ToOpenField, ToSealField},
    open::Opened,
};
use crate::{
    api::{Binding, ToOpen, ToSeal},
    error::Error,
};

const DETERMINISTIC: Error = Error::Unsupported(
    "a deterministic column needs data keys, which a key of class L4 does not release; make the column randomized or use another key",
);

impl Records {
    /// Has the server seal values.
    pub(super) async fn seal_remotely(
        &self,
        items: &[ToSealField<'_>],
        wanted: &[usize],
        results: &mut [Result<Vec<u8>, Error>],
    ) {
        let (mut asked, mut places) = (Vec::with_capacity(wanted.len()), Vec::with_capacity(wanted.len()));
        for at in wanted {
            let ToSealField { column, record, plaintext } = items[*at];
            let binding = if column.is_deterministic() { Err(DETERMINISTIC) } else { column.direct(record) };
            match binding {
                Ok(binding) => {
                    asked.push(ToSeal { plaintext, binding });
                    places.push(*at);
                }
                Err(error) => results[*at] = Err(error),
            }
        }
        let sealed = self.kms.encrypt_for(&self.scope.tenant, &self.key, &self.scope.purpose, &asked).await;
        for (at, sealed) in places.into_iter().zip(sealed) {
            results[at] = sealed;
        }
    }

    /// Has the server open values: `direct` ones, and those of a place that it sealed under a data key of its own.
    pub(super) async fn open_remotely(
        &self,
        items: &[ToOpenField<'_>],
        wanted: &[(usize, Bound)],
        results: &mut [Opened],
    ) {
        let (mut asked, mut places) = (Vec::with_capacity(wanted.len()), Vec::with_capacity(wanted.len()));
        for (at, bound) in wanted {
            let ToOpenField { column, record, ciphertext } = items[*at];
            let binding: Result<Binding, Error> = match bound {
                Bound::Directly => column.direct(record),
                Bound::AsField => Ok(column.field(record)),
            };
            match binding {
                Ok(binding) => {
                    asked.push(ToOpen { ciphertext, binding });
                    places.push(*at);
                }
                Err(error) => results[*at] = Err(error),
            }
        }
        let opened = self.kms.decrypt_for(&self.scope.tenant, &self.key, &self.scope.purpose, &asked).await;
        let mut opened = opened.into_iter();
        for at in places {
            results[at] = opened.next().unwrap_or(Err(NO_RESULT));
        }
    }
}

/// How the server binds a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    Directly,
    AsField,
}
