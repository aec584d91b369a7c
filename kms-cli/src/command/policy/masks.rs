//! `kms policy masks`: what the server reveals of which column.

use futures_util::TryStreamExt as _;
use kms_client::{FamilyName, api::DeclaredMask};
use serde_json::json;
use std::path::PathBuf;

use super::schema::{self, Declared};
use crate::{
    failure::{Exit, Failure},
    print,
    session::Session,
    words,
};

/// Asks the server, and compares with schemas where some are given.
///
/// # Errors
/// Those of the call; where a schema differs from what the server has.
pub async fn masks(key: Option<FamilyName>, schemas: Vec<PathBuf>, session: &Session) -> Result<(), Failure> {
    let tables = schema::read(&schemas)?;
    let kms = session.connect().await?;
    let masks: Vec<DeclaredMask> = kms.list_masks(key.as_ref()).try_collect().await?;
    let declared: Vec<_> = masks.iter().map(declared).collect();
    let differences = schema::compare(&tables, &declared);
    session.answer(
        || {
            let masks: Vec<_> = masks.iter().map(to_json).collect();
            json!({ "masks": masks, "differences": differences })
        },
        || {
            let mut text = in_words(&masks);
            for difference in &differences {
                text.push_str(&format!("\n{}", print::harmless(difference)));
            }
            text
        },
    )?;
    differ(&differences, "the server's masks")
}

fn in_words(masks: &[DeclaredMask]) -> String {
    if masks.is_empty() {
        return "no mask is declared, so nothing is revealed".into();
    }
    let row = |mask: &DeclaredMask| {
        let DeclaredMask { key, table, column, form, terms } = mask;
        vec![key.to_string(), table.to_string(), column.to_string(), form.clone(), terms.clone()]
    };
    let rows: Vec<_> = masks.iter().map(row).collect();
    print::table(&["key", "table", "column", "form", "terms"], &rows)
}

fn to_json(mask: &DeclaredMask) -> serde_json::Value {
    let DeclaredMask { key, table, column, form, terms } = mask;
    json!({
        "key": key.to_string(), "table": table.to_string(), "column": column.to_string(), "form": form, "terms": terms
    })
}

fn declared(mask: &DeclaredMask) -> Declared {
    Declared {
        key: mask.key.to_string(),
        table: mask.table.to_string(),
        column: mask.column.to_string(),
        form: mask.form.clone(),
    }
}

/// The end of a comparison that found something.
pub(super) fn differ(differences: &[String], from: &str) -> Result<(), Failure> {
    if differences.is_empty() {
        return Ok(());
    }
    let count = words::count(differences.len() as u64, "difference");
    Err(Failure::new(Exit::Failed, "MASKS_DIFFER", format!("{count} between the schema and {from}")))
}
