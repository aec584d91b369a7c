//! Rows for those who may see masked forms only: the server opens and masks, so that no value and no key comes here.

use std::{borrow::Cow, collections::HashMap};

use kms_core::names::{KeyName, RecordId, TenantName};

use super::{
    Ciphertexts, FieldProblem, Layout, Place, Protect, ProtectError, SealedRow,
    migrate::{self, Found},
    seal::refuse_all,
};
use crate::{Error, Kms, ToOpenField, api::Masked};

/// The masked columns of one row.
#[derive(Debug)]
pub struct MaskedRow {
    layout: &'static Layout,
    /// One for each column; `None` where there is nothing to show.
    columns: Vec<Option<Result<Masked, Error>>>,
}

impl MaskedRow {
    /// What a column shows, by its name in the database. `None` where it is NULL or declares no mask.
    pub fn column(&self, name: &str) -> Option<&Result<Masked, Error>> {
        let at = self.layout.columns.iter().position(|column| column.schema.column == name)?;
        self.columns.get(at)?.as_ref()
    }
}

/// A ciphertext, its slot and its record.
type ToMask<'r, 'c> = (usize, &'r RecordId, Cow<'c, [u8]>);

impl Kms {
    /// Masked forms of the columns that declare a `mask`, in the form that the server's policy says; results in order. A call takes
    /// a thousand values of one key or family.
    pub async fn open_masked<S: SealedRow>(&self, rows: &[S]) -> Vec<Result<MaskedRow, ProtectError>> {
        let schema = <S::Plain as Protect>::SCHEMA;
        let layout = match S::Plain::layout() {
            Ok(layout) => layout,
            Err(error) => {
                return refuse_all(rows.len(), &ProtectError::new(&schema.stored_as, "", error.clone()));
            }
        };
        let columns = layout.columns.len();
        let mut stored = Vec::with_capacity(rows.len() * columns);
        rows.iter().for_each(|row| row.ciphertexts(&mut Ciphertexts(&mut |value| stored.push(value))));
        let places: Vec<Result<Place, ProtectError>> = rows.iter().map(SealedRow::place).collect();
        let mut masked: Vec<Option<Result<Masked, Error>>> =
            std::iter::repeat_with(|| None).take(stored.len()).collect();
        let mut wrong: Vec<Option<ProtectError>> = vec![None; rows.len()];
        let refuse = |wrong: &mut Option<ProtectError>, column: usize, problem: FieldProblem| {
            wrong.get_or_insert_with(|| layout.error(column, problem));
        };
        // Values of all subjects of a family go together.
        let mut groups: HashMap<(&TenantName, &KeyName), Vec<ToMask<'_, '_>>> = HashMap::new();
        for (slot, stored) in stored.into_iter().enumerate() {
            let (row, column) = (slot / columns, &layout.columns[slot % columns]);
            let (Ok(place), Some(_)) = (&places[row], &column.schema.mask) else { continue };
            match migrate::look(stored) {
                Ok(Found::Null) => {}
                Ok(Found::Sealed(ciphertext)) => match column.mode_of(&ciphertext) {
                    Ok(_) => {
                        let key = &layout.keys[column.now.key];
                        groups.entry((&place.tenant, key)).or_default().push((
                            slot,
                            &place.record,
                            ciphertext,
                        ));
                    }
                    Err(problem) => refuse(&mut wrong[row], slot % columns, problem),
                },
                Ok(Found::Never(_)) => refuse(&mut wrong[row], slot % columns, FieldProblem::Plaintext),
                Err(problem) => refuse(&mut wrong[row], slot % columns, problem),
            }
        }
        for ((tenant, key), values) in groups {
            let items: Vec<_> = values
                .iter()
                .map(|(slot, record, ciphertext)| ToOpenField {
                    column: &layout.columns[slot % columns].now.column,
                    record,
                    ciphertext,
                })
                .collect();
            let revealed = self.records(tenant, key).reveal_batch(&items).await;
            for ((slot, ..), revealed) in values.iter().zip(revealed) {
                masked[*slot] = Some(revealed);
            }
        }
        let mut masked = masked.into_iter();
        let row = |(place, wrong): (Result<Place, ProtectError>, Option<ProtectError>)| {
            let columns = masked.by_ref().take(columns).collect();
            match (place, wrong) {
                (Err(error), _) | (_, Some(error)) => Err(error),
                (Ok(_), None) => Ok(MaskedRow { layout, columns }),
            }
        };
        places.into_iter().zip(wrong).map(row).collect()
    }
}
