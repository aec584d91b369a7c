//! Whose row it is, and which: what a row's values are bound to.

use std::cell::RefCell;

use kms_core::{
    encoding,
    names::{KeyName, NameError, RecordId, SubjectName, TenantName},
};

use super::{FieldProblem, FieldValue, Layout, ProtectError, Schema};

/// A value that names something: a tenant, a row, a subject.
pub trait Names {
    /// Writes its encoding behind what is there.
    ///
    /// # Errors
    /// Where it has none.
    fn write(&self, out: &mut Vec<u8>) -> Result<(), FieldProblem>;
}

impl<T: FieldValue> Names for T {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), FieldProblem> {
        FieldValue::write(self, out)
    }
}

/// A row's tenant, record id and subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub(super) tenant: TenantName,
    pub(super) record: RecordId,
    pub(super) subject: Option<SubjectName>,
}

/// Kept from row to row, so that a place allocates only what it consists of.
#[derive(Default)]
struct Scratch {
    bytes: Vec<u8>,
    /// Checked and copied once for all rows in a row that are this tenant's.
    tenant: Option<TenantName>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Place {
    /// From the values of the columns that the schema names for it.
    ///
    /// # Errors
    /// Where a value cannot be a tenant's name, a record id or a subject's name.
    pub fn new(
        schema: &Schema,
        tenant: &dyn Names,
        bound: &[&dyn Names],
        subject: Option<&dyn Names>,
    ) -> Result<Self, ProtectError> {
        // Taken out while it is used, for a type of somebody else's may do anything as it is written.
        let mut scratch = SCRATCH.take();
        let place = scratch.place(schema, tenant, bound, subject);
        SCRATCH.set(scratch);
        place
    }

    /// The row's own keys, in the order of the layout's; none where they are the layout's.
    pub(super) fn keys(&self, layout: &Layout) -> Result<Option<Vec<KeyName>>, ProtectError> {
        let Some(subject) = &self.subject else { return Ok(None) };
        let key = |family: &KeyName| KeyName::try_from(format!("{family}/{subject}").as_str());
        let keys = layout.keys.iter().map(key).collect::<Result<_, _>>();
        let per = layout.schema.per.as_deref().unwrap_or_default();
        keys.map(Some).map_err(|error| ProtectError::new(&layout.schema.stored_as, per, error))
    }
}

impl Scratch {
    fn place(
        &mut self,
        schema: &Schema,
        tenant: &dyn Names,
        bound: &[&dyn Names],
        subject: Option<&dyn Names>,
    ) -> Result<Place, ProtectError> {
        let wrong = |column: &str, problem| ProtectError::new(&schema.stored_as, column, problem);
        let tenant = self.tenant(tenant).map_err(|problem| wrong(&schema.tenant, problem))?;
        let id = self.emptied();
        for (value, column) in bound.iter().zip(schema.bind.iter()) {
            encoding::bind(id, bound.len(), |id| value.write(id))
                .map_err(|problem| wrong(column, problem))?;
        }
        let record = RecordId::try_from(id.as_slice());
        let record = record.map_err(|error| wrong(&schema.bind.join("`, `"), error.into()))?;
        let subject = subject.map(|subject| self.subject(subject)).transpose();
        let subject = subject.map_err(|problem| wrong(schema.per.as_deref().unwrap_or_default(), problem))?;
        Ok(Place { tenant, record, subject })
    }

    fn tenant(&mut self, tenant: &dyn Names) -> Result<TenantName, FieldProblem> {
        tenant.write(self.emptied())?;
        match &self.tenant {
            Some(same) if same.as_str().as_bytes() == self.bytes => Ok(same.clone()),
            _ => {
                let name: Result<TenantName, NameError> = encoding::text(&self.bytes)?.parse();
                Ok(self.tenant.insert(name?).clone())
            }
        }
    }

    fn subject(&mut self, subject: &dyn Names) -> Result<SubjectName, FieldProblem> {
        subject.write(self.emptied())?;
        Ok(encoding::text(&self.bytes)?.parse()?)
    }

    fn emptied(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        &mut self.bytes
    }
}
