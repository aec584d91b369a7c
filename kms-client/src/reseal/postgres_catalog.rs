//! What PostgreSQL's catalogue says of a table.

use sqlx::PgPool;

use super::identifier::quoted;

/// The table's name in quotes: as it was given, or as `schema.table`.
pub(super) async fn resolve(pool: &PgPool, given: &str) -> sqlx::Result<Option<String>> {
    let in_schema =
        given.split_once('.').map(|(schema, name)| format!("{}.{}", quoted(schema), quoted(name)));
    for name in [Some(quoted(given)), in_schema].into_iter().flatten() {
        let text = "SELECT 1 FROM pg_class WHERE oid = to_regclass($1) AND relkind IN ('r', 'p')";
        if sqlx::query(text).bind(&name).fetch_optional(pool).await?.is_some() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Columns and their types; of a domain the type under it.
pub(super) async fn columns_of(pool: &PgPool, table: &str) -> sqlx::Result<Vec<(String, String)>> {
    let text = "SELECT a.attname::text, coalesce(nullif(t.typbasetype, 0), t.oid)::regtype::text \
                FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid \
                WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
    sqlx::query_as(text).bind(table).fetch_all(pool).await
}

/// The columns of each index that lets no value stand twice.
pub(super) async fn unique_indices(pool: &PgPool, table: &str) -> sqlx::Result<Vec<Vec<String>>> {
    let text = "SELECT array_agg(a.attname::text) FROM pg_index AS i \
                JOIN pg_attribute AS a ON a.attrelid = i.indrelid \
                AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) \
                WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indisvalid \
                AND i.indpred IS NULL AND i.indexprs IS NULL GROUP BY i.indexrelid";
    let rows: Vec<(Vec<String>,)> = sqlx::query_as(text).bind(table).fetch_all(pool).await?;
    Ok(rows.into_iter().map(|(columns,)| columns).collect())
}
