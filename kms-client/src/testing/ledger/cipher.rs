//! Values that the key centre seals and opens itself: KF1, made with `kms-core` as everywhere.

use kms_core::{
    field::{Column, DeterministicCipher, DirectCipher, FieldCipher, Header, Kind, OpenError, SealError},
    id::DataKeyId,
    names::{ColumnName, Context, RecordId, TableName},
    secret::Plaintext,
};
use kms_proto::{reason::Reason, v1};

use super::{super::refused::Refused, Ledger, Moment, Place};

/// What a ciphertext is bound to, parsed.
#[derive(Debug, Clone)]
pub(in super::super) enum Bound {
    Direct(Context),
    Field { table: TableName, column: ColumnName, record: RecordId },
}

/// A value sealed, and the number of the version that did.
#[derive(Debug)]
pub(in super::super) struct Sealed {
    pub(in super::super) ciphertext: Vec<u8>,
    pub(in super::super) version: u32,
}

/// A value opened, and the number of the version that had sealed it.
#[derive(Debug)]
pub(in super::super) struct Opened {
    pub(in super::super) plaintext: Plaintext,
    pub(in super::super) version: u32,
}

/// A value sealed again, and the number of the version that had sealed it before.
#[derive(Debug)]
pub(in super::super) struct Resealed {
    pub(in super::super) sealed: Sealed,
    pub(in super::super) source_version: u32,
}

/// The data key that the server seals its own values with.
const OWN: u32 = 0;

impl Bound {
    pub(in super::super) fn of(message: Option<v1::Binding>) -> Result<Self, Refused> {
        use v1::binding::Binding as Wire;
        Ok(match message.and_then(|message| message.binding).ok_or(Reason::BindingInvalid)? {
            Wire::Direct(pairs) => Self::direct(&pairs)?,
            Wire::Field(v1::FieldBinding { table, column, record_id }) => Self::Field {
                table: TableName::try_from(&*table)?,
                column: ColumnName::try_from(&*column)?,
                record: RecordId::try_from(&*record_id)?,
            },
        })
    }

    pub(in super::super) fn direct(context: &v1::Context) -> Result<Self, Refused> {
        let pairs = context.pairs.iter().map(|pair| (&*pair.name, &*pair.value));
        Ok(Self::Direct(Context::new(pairs)?))
    }

    /// What it is for: the pair `purpose` of a context, or else what the caller states; empty for none.
    pub(in super::super) fn purpose<'a>(&'a self, stated: &'a str) -> Option<&'a str> {
        let bound = match self {
            Self::Direct(context) => {
                context.value("purpose").and_then(|value| std::str::from_utf8(value).ok())
            }
            Self::Field { .. } => None,
        };
        bound.or((!stated.is_empty()).then_some(stated))
    }

    /// Which column the value stands in: of a context the pairs `table` and `column`.
    pub(in super::super) fn column(&self) -> Option<(TableName, ColumnName)> {
        match self {
            Self::Direct(context) => {
                let text = |name| std::str::from_utf8(context.value(name)?).ok();
                Some((text("table")?.parse().ok()?, text("column")?.parse().ok()?))
            }
            Self::Field { table, column, .. } => Some((table.clone(), column.clone())),
        }
    }
}

impl Ledger {
    /// Seals under the active version.
    pub(in super::super) fn seal(
        &mut self,
        place: &Place,
        bound: &Bound,
        plaintext: &[u8],
        now: Moment,
    ) -> Result<Sealed, Refused> {
        self.follow_family(place, now)?;
        let tenant = self.tenant(place.tenant)?;
        let number = tenant.sealing_version(&place.key)?;
        let version = tenant.key(&place.key)?.version(number).ok_or(Reason::Internal)?;
        let id = DataKeyId::server_own(OWN).ok_or(Reason::Internal)?;
        let data_key = version.data_key(&place.key, id)?;
        let failed = |_: SealError| Refused::from(Reason::Internal);
        let ciphertext = match bound {
            Bound::Direct(context) => {
                DirectCipher::new(&data_key, version.id, id).seal(context, plaintext).map_err(failed)?
            }
            Bound::Field { table, column, record } => {
                let column = Column { tenant: &tenant.name, table, column };
                let cipher = FieldCipher::new(&data_key, version.id, id, column);
                cipher.seal(record, plaintext).map_err(failed)?
            }
        };
        Ok(Sealed { ciphertext, version: number })
    }

    /// Opens a value of this key.
    pub(in super::super) fn open(
        &self,
        place: &Place,
        bound: &Bound,
        ciphertext: &[u8],
    ) -> Result<Opened, Refused> {
        let header = Header::parse(ciphertext).map_err(|_| Reason::CiphertextMalformed)?;
        let tenant = self.tenant(place.tenant)?;
        let version = tenant.version_of(&place.key, header.version)?;
        tenant.check_opens(&place.key)?;
        let data_key = version.data_key(&place.key, header.data_key)?;
        let opened = match (header.kind, bound) {
            (Kind::Direct, Bound::Direct(context)) => {
                DirectCipher::new(&data_key, version.id, header.data_key).open(context, ciphertext)
            }
            (Kind::Randomized, Bound::Field { table, column, record }) => {
                let column = Column { tenant: &tenant.name, table, column };
                FieldCipher::new(&data_key, version.id, header.data_key, column).open(record, ciphertext)
            }
            (Kind::Deterministic, Bound::Field { table, column, .. }) => {
                let column = Column { tenant: &tenant.name, table, column };
                DeterministicCipher::new(&data_key, version.id, column).open(ciphertext)
            }
            _ => return Err(Reason::CiphertextRejected.into()),
        };
        let plaintext = opened.map_err(|_: OpenError| Reason::CiphertextRejected)?;
        Ok(Opened { plaintext, version: version.number })
    }
}
