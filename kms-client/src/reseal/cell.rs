//! What stands in a cell: a sealed value with its header, or one that was never sealed.

use std::fmt;

use kms_core::{
    field::{Header, text},
    secret::Plaintext,
};
use kms_proto::reason::Reason;
use time::Date;

use super::{columns::SealedColumn, row::Cell};
use crate::{
    error::Error,
    protect::{Found, Storage, Stored, look},
};

/// A value.
pub(super) enum Value {
    Sealed(Header, Vec<u8>),
    Never(Plaintext),
}

/// Why a cell is left as it is, before any key is asked about.
#[derive(Debug)]
pub(super) enum Unreadable {
    Malformed(Error),
    /// It was never sealed, and the time is over in which that was taken.
    PlaintextNoMore(Date),
    /// It was sealed in a mode that neither the column's scheme has nor an older one.
    OtherMode,
}

/// The value of a cell; `None` where it holds nothing.
pub(super) fn read(column: &SealedColumn, cell: &Cell) -> Option<Result<Value, Unreadable>> {
    let stored = match cell {
        Cell::Null => return None,
        Cell::Text(text) => Stored::Text(text),
        Cell::Bytes(bytes) => Stored::Bytes(bytes),
        Cell::Other => return Some(Err(malformed())),
    };
    Some(match look(stored) {
        Ok(Found::Sealed(ciphertext)) => sealed(column, ciphertext.into_owned()),
        // What the application does not read is not sealed for it.
        Ok(Found::Never(_)) if is_out_of_place(column, cell) => Err(malformed()),
        Ok(Found::Never(value)) => match column.takes_plaintext() {
            Ok(true) => Ok(Value::Never(Plaintext::from(value.to_vec()))),
            Ok(false) => Err(malformed()),
            Err(until) => Err(Unreadable::PlaintextNoMore(until)),
        },
        Ok(Found::Null) | Err(_) => Err(malformed()),
    })
}

fn sealed(column: &SealedColumn, ciphertext: Vec<u8>) -> Result<Value, Unreadable> {
    let header = Header::parse(&ciphertext).map_err(|_| malformed())?;
    match column.schemes(header.kind).next() {
        Some(_) => Ok(Value::Sealed(header, ciphertext)),
        None => Err(Unreadable::OtherMode),
    }
}

/// Bytes in a column of text, which SQLite lets be. Text in a column of bytes is read as its bytes.
fn is_out_of_place(column: &SealedColumn, cell: &Cell) -> bool {
    let storage = column.described.as_ref().map(|described| described.storage);
    matches!((storage, cell), (Some(Storage::Text), Cell::Bytes(_)))
}

/// A sealed value in the form of the cell whose place it takes.
pub(super) fn written(form: Storage, sealed: Vec<u8>) -> Cell {
    match form {
        Storage::Text => Cell::Text(text::encode(&sealed)),
        Storage::Bytes => Cell::Bytes(sealed),
    }
}

fn malformed() -> Unreadable {
    Unreadable::Malformed(Error::Value { reason: Reason::CiphertextMalformed })
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sealed(header, _) => f.debug_tuple("Sealed").field(header).finish(),
            Self::Never(value) => write!(f, "Never(<{} bytes>)", value.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use kms_core::{
        field::{self, FieldCipher},
        id::{DataKeyId, VersionId},
        secret::DataKey,
    };
    use time::{Duration, OffsetDateTime};

    use super::*;
    use crate::{
        Column,
        reseal::columns::{Described, Scheme},
    };

    fn column(storage: Storage, plaintext_until: Option<Date>) -> SealedColumn {
        let scheme = |column| Scheme { column, key: "attendance".parse().unwrap(), shared: false };
        SealedColumn {
            stored_as: "phone".into(),
            now: scheme(Column::randomized("checkins", "phone").unwrap()),
            described: Some(Described {
                older: Vec::new(),
                plaintext_until,
                class: None,
                storage,
                max_len: None,
            }),
        }
    }

    fn today() -> Date {
        OffsetDateTime::now_utc().date()
    }

    fn ciphertext() -> Vec<u8> {
        let (tenant, table, name) =
            ("acme".parse().unwrap(), "checkins".parse().unwrap(), "phone".parse().unwrap());
        let place = field::Column { tenant: &tenant, table: &table, column: &name };
        let data_key = DataKey::copied_from(&[7; 32]).unwrap();
        let id = DataKeyId::leased(1).unwrap();
        FieldCipher::new(&data_key, VersionId::from(1), id, place)
            .seal(&kms_core::names::RecordId::try_from(&b"1"[..]).unwrap(), b"138")
            .unwrap()
    }

    #[test]
    fn what_was_never_sealed_is_taken_to_the_last_day_and_then_no_more() {
        let plain = Cell::Text("138".into());
        let taken = |until: Option<Date>| read(&column(Storage::Text, until), &plain).unwrap();
        assert!(
            matches!(taken(Some(today() + Duration::days(1))), Ok(Value::Never(value)) if &*value == b"138")
        );
        let before = today() - Duration::days(1);
        assert!(matches!(taken(Some(before)), Err(Unreadable::PlaintextNoMore(until)) if until == before));
        assert!(matches!(taken(None), Err(Unreadable::Malformed(_))));
        let undescribed = SealedColumn { described: None, ..column(Storage::Text, None) };
        assert!(matches!(read(&undescribed, &plain), Some(Err(Unreadable::Malformed(_)))));
    }

    #[test]
    fn what_begins_as_a_sealed_value_is_never_plaintext() {
        let until = Some(today() + Duration::days(1));
        let (text, bytes) = (column(Storage::Text, until), column(Storage::Bytes, until));
        let sealed = ciphertext();
        assert!(matches!(read(&bytes, &Cell::Bytes(sealed.clone())), Some(Ok(Value::Sealed(..)))));
        assert!(matches!(
            read(&text, &Cell::Text(kms_core::field::text::encode(&sealed))),
            Some(Ok(Value::Sealed(..)))
        ));
        for cut in [Cell::Bytes(sealed[..20].to_vec()), Cell::Bytes(vec![0x4B, 1, 2])] {
            assert!(matches!(read(&bytes, &cut), Some(Err(Unreadable::Malformed(_)))), "{cut:?}");
        }
        assert!(matches!(read(&text, &Cell::Text("kf1.".into())), Some(Err(Unreadable::Malformed(_)))));
        assert!(matches!(read(&text, &Cell::Bytes(b"138".to_vec())), Some(Err(Unreadable::Malformed(_)))));
        assert!(matches!(read(&bytes, &Cell::Text("138".into())), Some(Ok(Value::Never(_)))));
        assert!(matches!(read(&bytes, &Cell::Other), Some(Err(Unreadable::Malformed(_)))));
        assert!(read(&bytes, &Cell::Null).is_none());
    }

    #[test]
    fn a_mode_that_no_scheme_has_is_refused_where_the_column_is_described() {
        let described = column(Storage::Bytes, None);
        let mut deterministic = described.clone();
        deterministic.now.column = Column::deterministic("checkins", "phone").unwrap();
        let sealed = Cell::Bytes(ciphertext());
        assert!(matches!(read(&deterministic, &sealed), Some(Err(Unreadable::OtherMode))));
        let undescribed = SealedColumn { described: None, ..deterministic.clone() };
        assert!(matches!(read(&undescribed, &sealed), Some(Ok(Value::Sealed(..)))));
        if let Some(known) = &mut deterministic.described {
            known.older.push(described.now);
        }
        assert!(matches!(read(&deterministic, &sealed), Some(Ok(Value::Sealed(..)))));
    }
}
