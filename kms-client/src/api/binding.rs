//! What a value is bound to.

use kms_core::names::{ColumnName, Context, RecordId, TableName};
use kms_proto::v1;

/// What a value is bound to: it opens only with the same binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// Name-value pairs; may be none.
    Direct(Context),
    /// A place in a table.
    Field {
        /// The table.
        table: TableName,
        /// The column.
        column: ColumnName,
        /// The row.
        record: RecordId,
    },
}

impl From<&Binding> for v1::Binding {
    fn from(binding: &Binding) -> Self {
        let binding = match binding {
            Binding::Direct(context) => v1::binding::Binding::Direct(context_message(context)),
            Binding::Field { table, column, record } => v1::binding::Binding::Field(v1::FieldBinding {
                table: table.to_string(),
                column: column.to_string(),
                record_id: record.as_bytes().to_vec(),
            }),
        };
        Self { binding: Some(binding) }
    }
}

pub(super) fn context_message(context: &Context) -> v1::Context {
    let pair = |(name, value): (&kms_core::names::ContextName, &[u8])| v1::ContextPair {
        name: name.to_string(),
        value: value.to_vec(),
    };
    v1::Context { pairs: context.pairs().map(pair).collect() }
}
