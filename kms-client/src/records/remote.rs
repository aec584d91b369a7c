//! What the server seals and opens itself: `direct`, bound to table, column and record.

use kms_core::{
    field::{Header, Kind},
    secret::Plaintext,
};

use super::{
    NO_RESULT, Records,
    column::{ToOpenField, ToSealField, open_error},
    values::{Results, Values},
};
use crate::{
    api::{ToOpen, ToSeal},
    error::Error,
};

const DETERMINISTIC: Error = Error::Unsupported(
    "a deterministic column needs data keys, which a key of class L4 does not release; make the column randomized or use another key",
);

impl Records {
    /// Has the server seal values.
    pub(super) async fn seal_remotely<'a>(
        &self,
        values: &impl Values<'a, ToSealField<'a>>,
        wanted: &[usize],
        results: &mut Results<Vec<u8>>,
    ) {
        let (mut asked, mut places) = (Vec::with_capacity(wanted.len()), Vec::with_capacity(wanted.len()));
        for at in wanted {
            let Some((ToSealField { column, record, plaintext }, _)) = values.value(*at) else { continue };
            let binding = if column.is_deterministic() { Err(DETERMINISTIC) } else { column.direct(record) };
            match binding {
                Ok(binding) => {
                    asked.push(ToSeal { plaintext, binding });
                    places.push(*at);
                }
                Err(error) => results[*at] = Some(Err(error)),
            }
        }
        let sealed = self.kms.encrypt_for(&self.scope.tenant, &self.key, &self.scope.purpose, &asked).await;
        for (at, sealed) in places.into_iter().zip(sealed) {
            results[at] = Some(sealed);
        }
    }

    /// Has the server open values: `direct` ones, and those of a place that it sealed under a data key of its own.
    pub(super) async fn open_remotely<'a>(
        &self,
        values: &impl Values<'a, ToOpenField<'a>>,
        wanted: &[usize],
        results: &mut Results<Plaintext>,
    ) {
        let (mut asked, mut places) = (Vec::with_capacity(wanted.len()), Vec::with_capacity(wanted.len()));
        for at in wanted {
            let Some((ToOpenField { column, record, ciphertext }, _)) = values.value(*at) else { continue };
            let header = Header::parse(ciphertext).map_err(|error| open_error(&error.into()));
            let binding = header.and_then(|header| match Bound::of(&header) {
                Some(Bound::Directly) => column.direct(record),
                Some(Bound::AsField) | None => Ok(column.field(record)),
            });
            match binding {
                Ok(binding) => {
                    asked.push(ToOpen { ciphertext, binding });
                    places.push(*at);
                }
                Err(error) => results[*at] = Some(Err(error)),
            }
        }
        let opened = self.kms.decrypt_for(&self.scope.tenant, &self.key, &self.scope.purpose, &asked).await;
        let mut opened = opened.into_iter();
        for at in places {
            results[at] = Some(opened.next().unwrap_or(Err(NO_RESULT)));
        }
    }
}

/// How the server binds a value.
pub(super) enum Bound {
    Directly,
    AsField,
}

impl Bound {
    /// `None` for values that are opened here.
    pub(super) fn of(header: &Header) -> Option<Self> {
        match header.kind {
            Kind::Direct => Some(Self::Directly),
            _ if header.data_key.is_server_own() => Some(Self::AsField),
            _ => None,
        }
    }
}
