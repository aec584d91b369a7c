//! `Reveal`: opens what any kind of binding sealed, and masks it with the masks that the real server has.

use kms_core::{
    field::{Column, DeterministicCipher, FieldCipher, Header, Kind},
    mask::Mask,
    names::{ColumnName, RecordId, TableName},
    secret::Plaintext,
};
use kms_proto::{
    reason::Reason,
    v1::{self, Binding, binding},
};

use super::{crypto::data_key, server::State};

impl State {
    /// Declares a mask, as `masks.toml` would.
    pub(crate) fn declare(&self, (key, table, column): (&str, &str, &str), mask: Mask) {
        self.masks.lock().insert((key.into(), table.into(), column.into()), mask);
    }

    pub(super) fn reveal_one(
        &self,
        (tenant, key): (&str, &str),
        ciphertext: &[u8],
        binding: Option<Binding>,
    ) -> Result<v1::Masked, Reason> {
        if tenant != super::TENANT {
            return Err(Reason::KeyNotAccessible);
        }
        let (table, column) = column_of(binding.as_ref())?;
        let mask = self.masks.lock().get(&(key.into(), table, column)).cloned();
        let mask = mask.ok_or(Reason::MaskNotDeclared)?;
        let opened = match binding.as_ref().and_then(|binding| binding.binding.as_ref()) {
            Some(binding::Binding::Field(field)) => self.open_field(key, ciphertext, field)?,
            _ => self.open_direct(key, ciphertext, binding)?.into(),
        };
        let text = mask.apply(&opened).map_err(|_| Reason::MaskDoesNotFit)?;
        Ok(v1::Masked { text, form: mask.form().to_string(), version: 1 })
    }

    fn open_field(
        &self,
        key: &str,
        ciphertext: &[u8],
        field: &v1::FieldBinding,
    ) -> Result<Plaintext, Reason> {
        let key = self.key(key)?;
        let header = Header::parse(ciphertext).map_err(|_| Reason::CiphertextMalformed)?;
        if !(1..=key.version).any(|number| key.id(number) == header.version) {
            return Err(Reason::KeyNotAccessible);
        }
        let name = |_| Reason::NameInvalid;
        let tenant = super::TENANT.parse().map_err(name)?;
        let table: TableName = field.table.parse().map_err(name)?;
        let column: ColumnName = field.column.parse().map_err(name)?;
        let record = RecordId::try_from(&*field.record_id).map_err(name)?;
        let place = Column { tenant: &tenant, table: &table, column: &column };
        let (version, id) = (header.version, header.data_key);
        let opened = match header.kind {
            Kind::Randomized => {
                FieldCipher::new(&data_key(version, id), version, id, place).open(&record, ciphertext)
            }
            Kind::Deterministic => {
                DeterministicCipher::new(&data_key(version, id), version, place).open(ciphertext)
            }
            _ => return Err(Reason::CiphertextRejected),
        };
        opened.map_err(|_| Reason::CiphertextRejected)
    }
}

/// The table and the column that a binding names.
fn column_of(binding: Option<&Binding>) -> Result<(String, String), Reason> {
    match binding.and_then(|binding| binding.binding.as_ref()) {
        None => Err(Reason::BindingInvalid),
        Some(binding::Binding::Field(field)) => Ok((field.table.clone(), field.column.clone())),
        Some(binding::Binding::Direct(context)) => {
            let value = |name: &str| {
                let pair = context.pairs.iter().find(|pair| pair.name == name);
                pair.and_then(|pair| String::from_utf8(pair.value.clone()).ok())
            };
            value("table").zip(value("column")).ok_or(Reason::MaskNotDeclared)
        }
    }
}
