//! Whose row it is, and which: what a row's values are bound to.

use std::cell::RefCell;

use kms_core::{
    encoding::{self, RecordIdError, Scalar},
    names::{KeyName, NameError, RecordId, SubjectName, TenantName},
};

use super::{Encoded, FieldProblem, Layout, ProtectError, Schema};

/// The value of a column that is bound.
type Bound<'a> = Result<Encoded<'a>, FieldProblem>;

/// A row's tenant, record id and subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub(super) tenant: TenantName,
    pub(super) record: RecordId,
    pub(super) subject: Option<SubjectName>,
}

impl Place {
    /// From the values of the columns that the schema names for it.
    ///
    /// # Errors
    /// Where a value cannot be a tenant's name, a record id or a subject's name.
    pub fn new<const N: usize>(
        schema: &Schema,
        tenant: Bound<'_>,
        bound: [Bound<'_>; N],
        subject: Option<Bound<'_>>,
    ) -> Result<Self, ProtectError> {
        let wrong = |column: &str, problem| ProtectError::new(&schema.stored_as, column, problem);
        let tenant = tenant.and_then(|tenant| Ok(tenant_name(text(&tenant)?)?));
        let tenant = tenant.map_err(|problem| wrong(&schema.tenant, problem))?;
        let mut scalars = [Scalar::Bytes(b""); N];
        for ((value, column), scalar) in bound.iter().zip(schema.bind.iter()).zip(&mut scalars) {
            let value = value.as_ref().map_err(|problem| wrong(column, problem.clone()))?;
            *scalar = Scalar::Bytes(value.as_bytes());
        }
        let record = encoding::record_id(&scalars).map_err(|error| {
            let problem = match error {
                RecordIdError::Encoding(error) => error.into(),
                RecordIdError::Name(error) => FieldProblem::Name(error),
            };
            wrong(&schema.bind.join("`, `"), problem)
        })?;
        let named = |subject: Bound<'_>| {
            let subject = subject.and_then(|subject| Ok(text(&subject)?.parse::<SubjectName>()?));
            subject.map_err(|problem| wrong(schema.per.as_deref().unwrap_or_default(), problem))
        };
        Ok(Self { tenant, record, subject: subject.map(named).transpose()? })
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

/// A tenant's name, checked and copied once for all rows in a row that are that tenant's.
fn tenant_name(text: &str) -> Result<TenantName, NameError> {
    thread_local! {
        static LAST: RefCell<Option<TenantName>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some(same) if same.as_str() == text => Ok(same.clone()),
        _ => Ok(last.insert(text.parse()?).clone()),
    })
}

fn text<'a>(encoded: &'a Encoded<'_>) -> Result<&'a str, FieldProblem> {
    Ok(encoding::text(encoded.as_bytes())?)
}
