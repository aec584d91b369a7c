//! SQLite: a transaction takes the write lock at once, and rows are written one by one.

use std::{path::Path, sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, Row as _, Sqlite, SqlitePool,
    query::Query,
    sqlite::{SqliteArguments, SqliteConnectOptions, SqlitePoolOptions, SqliteRow},
};

use super::{
    columns::ColumnNames,
    database::Start,
    error::ResealError,
    identifier::{Binds, quoted},
    row::{Cell, Change, Row, Scalar, Written},
    table::Table,
};

/// How long is waited for another writer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A table of SQLite.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    pool: SqlitePool,
    columns: Arc<[String]>,
    read_too: Arc<[String]>,
    has_subject: bool,
    tenant: Option<(String, String)>,
    table: String,
    id: String,
    ends: [Arc<str>; 2],
    count: Arc<str>,
    at: Arc<str>,
    after: Arc<str>,
}

pub(super) async fn open(path: &str) -> Result<SqlitePool, ResealError> {
    if !Path::new(path).is_file() {
        return Err(ResealError::Connect(format!("there is no file `{path}`")));
    }
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false).busy_timeout(PATIENCE);
    let pool = SqlitePoolOptions::new().max_connections(2).acquire_timeout(PATIENCE);
    pool.connect_with(options).await.map_err(|error| ResealError::connection(&error))
}

impl Rows {
    pub(super) async fn inspect(
        pool: &SqlitePool,
        table: &Table,
        columns: &ColumnNames,
    ) -> Result<Self, ResealError> {
        let has = columns_of(pool, &table.name).await.map_err(|error| ResealError::statement(&error))?;
        if has.is_empty() {
            return Err(ResealError::NoTable(table.name.clone()));
        }
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        for column in table.key_columns().chain(columns.all()) {
            if !has.iter().any(|(name, _)| same(name, column)) {
                let found: Vec<_> = has.iter().map(|(name, _)| name.as_str()).collect();
                return Err(ResealError::NoColumn {
                    table: table.name.clone(),
                    column: column.clone(),
                    found: found.join(", "),
                });
            }
        }
        let primary: Vec<String> =
            has.iter().filter(|(_, key)| *key > 0).map(|(name, _)| name.clone()).collect();
        let indices =
            unique_indices(pool, &table.name).await.map_err(|error| ResealError::statement(&error))?;
        if !indices.iter().chain([&primary]).any(|unique| table.is_told_apart_by(unique, same)) {
            return Err(ResealError::NotUnique { table: table.name.clone(), column: table.id.clone() });
        }
        Ok(Self::over(pool.clone(), table, columns))
    }

    /// The statements, made once. A name behind `t.` is a column or an error, never a string.
    fn over(pool: SqlitePool, table: &Table, columns: &ColumnNames) -> Self {
        let column = |name: &String| format!("t.{}", quoted(name));
        let (name, id) = (quoted(&table.name), column(&table.id));
        let read: Vec<_> = std::iter::once(&table.id).chain(table.read_too()).chain(columns.all()).collect();
        let read: Vec<_> = read.into_iter().map(|c| format!("typeof({0}), {0}", column(c))).collect();
        let of = |place: usize| match &table.tenant {
            Some((tenant, _)) => format!(" AND {} = ${place}", column(tenant)),
            None => String::new(),
        };
        let page = |compare: &str| {
            format!(
                "SELECT {} FROM {name} AS t WHERE {id} {compare} $1 AND {id} <= $2{} ORDER BY {id} LIMIT $3",
                read.join(", "),
                of(4),
            )
            .into()
        };
        let end = |order: &str| {
            let from = format!("FROM {name} AS t WHERE {id} IS NOT NULL{}", of(1));
            format!("SELECT typeof({id}), {id} {from} ORDER BY {id} {order} LIMIT 1").into()
        };
        let values: Vec<_> = columns.sealed.iter().map(|c| format!("{} IS NOT NULL", column(c))).collect();
        let (without, of_tenant) = (format!("{id} IS NULL AND ({})", values.join(" OR ")), of(1));
        Self {
            columns: columns.all().map(|c| quoted(c)).collect(),
            read_too: table.read_too().map(|c| quoted(c)).collect(),
            has_subject: table.per.is_some(),
            tenant: table.tenant.as_ref().map(|(column, tenant)| (quoted(column), tenant.to_string())),
            ends: [end("ASC"), end("DESC")],
            count: format!(
                "SELECT count({id}), count(CASE WHEN {without} THEN 1 END) FROM {name} AS t WHERE true{of_tenant}"
            )
            .into(),
            at: page(">="),
            after: page(">"),
            pool,
            table: name,
            id,
        }
    }

    pub(super) async fn ends(&self) -> sqlx::Result<Option<(Scalar, Scalar)>> {
        let [first, last] = &self.ends;
        let (first, last) = (self.of_tenant(sql(first)), self.of_tenant(sql(last)));
        let (Some(first), Some(last)) =
            (first.fetch_optional(&self.pool).await?, last.fetch_optional(&self.pool).await?)
        else {
            return Ok(None);
        };
        Ok(Some((scalar(&first, 0)?, scalar(&last, 0)?)))
    }

    pub(super) async fn count(&self) -> sqlx::Result<(u64, u64)> {
        let row = self.of_tenant(sql(&self.count)).fetch_one(&self.pool).await?;
        Ok((row.try_get::<i64, _>(0)?.unsigned_abs(), row.try_get::<i64, _>(1)?.unsigned_abs()))
    }

    pub(super) async fn page(&self, from: &Start, to: &Scalar, most: usize) -> sqlx::Result<Vec<Row>> {
        let (text, id) = match from {
            Start::At(id) => (&self.at, id),
            Start::After(id) => (&self.after, id),
        };
        let query = bind_scalar(bind_scalar(sql(text), id), to).bind(i64::try_from(most).unwrap_or(i64::MAX));
        let rows = self.of_tenant(query).fetch_all(&self.pool).await?;
        rows.iter().map(|row| self.row(row)).collect()
    }

    fn row(&self, row: &SqliteRow) -> sqlx::Result<Row> {
        let read_too = (1..=self.read_too.len()).map(|at| scalar(row, at)).collect::<sqlx::Result<_>>()?;
        let cells = (0..self.columns.len()).map(|at| cell(row, 1 + self.read_too.len() + at));
        Ok(Row::new(scalar(row, 0)?, read_too, self.has_subject, cells.collect::<sqlx::Result<_>>()?))
    }

    pub(super) async fn write(&self, changes: &[Change]) -> sqlx::Result<Written> {
        // At once: a transaction that reads first can find that it may not write any more.
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let mut written = Written::default();
        for change in changes {
            let text: Arc<str> = self.update(change).into();
            let mut query = sql(&text);
            for swap in change.cells.iter().flatten() {
                if let Some(new) = &swap.new {
                    query = bind_cell(query, new);
                }
                query = bind_cell(query, &swap.old);
            }
            let query = change.read_too.iter().fold(query, bind_scalar);
            let query = self.of_tenant(bind_scalar(query, &change.id));
            written.add(query.execute(&mut *transaction).await?.rows_affected(), change.what);
        }
        transaction.commit().await?;
        Ok(written)
    }

    /// Writes those columns only that change, where those still hold what they held, and so does what binds the row.
    fn update(&self, change: &Change) -> String {
        let (mut binds, mut set, mut held) = (Binds::default(), Vec::new(), Vec::new());
        for (column, swap) in self.columns.iter().zip(&change.cells) {
            let Some(swap) = swap else { continue };
            if swap.new.is_some() {
                set.push(format!("{column} = {}", binds.next()));
            }
            held.push(held_exactly(column, &mut binds));
        }
        held.extend(self.read_too.iter().map(|column| held_exactly(column, &mut binds)));
        let mut text = format!("UPDATE {} AS t SET {}", self.table, set.join(", "));
        text += &format!(" WHERE {} = {} AND {}", self.id, binds.next(), held.join(" AND "));
        if let Some((column, _)) = &self.tenant {
            text += &format!(" AND t.{column} = {}", binds.next());
        }
        text
    }

    fn of_tenant<'q>(&self, query: Asked<'q>) -> Asked<'q> {
        match &self.tenant {
            Some((_, tenant)) => query.bind(tenant.clone()),
            None => query,
        }
    }
}

/// A column that takes capitals for small letters would take another value for the one that was read.
fn held_exactly(column: &str, binds: &mut Binds) -> String {
    format!("t.{column} IS {} COLLATE BINARY", binds.next())
}

type Asked<'q> = Query<'q, Sqlite, SqliteArguments>;

fn sql<'q>(text: &Arc<str>) -> Asked<'q> {
    // Made of quoted names; values are bound.
    sqlx::query(AssertSqlSafe(text.clone()))
}

async fn columns_of(pool: &SqlitePool, table: &str) -> sqlx::Result<Vec<(String, i64)>> {
    let text = "SELECT c.name, c.pk FROM sqlite_schema AS s, pragma_table_info(s.name) AS c \
                WHERE s.type = 'table' AND s.name = $1 COLLATE NOCASE";
    sqlx::query_as(text).bind(table).fetch_all(pool).await
}

/// The columns of each index that lets no value stand twice.
async fn unique_indices(pool: &SqlitePool, table: &str) -> sqlx::Result<Vec<Vec<String>>> {
    let text = "SELECT i.name, c.name FROM pragma_index_list($1) AS i, pragma_index_info(i.name) AS c \
                WHERE i.\"unique\" = 1 AND i.partial = 0 ORDER BY i.name, c.seqno";
    let rows: Vec<(String, Option<String>)> = sqlx::query_as(text).bind(table).fetch_all(pool).await?;
    let mut indices: Vec<(String, Vec<String>)> = Vec::new();
    for (index, column) in rows {
        // An expression has no name, and is no column that anybody asks for.
        let column = column.unwrap_or_default();
        match indices.last_mut() {
            Some((last, columns)) if *last == index => columns.push(column),
            _ => indices.push((index, vec![column])),
        }
    }
    Ok(indices.into_iter().map(|(_, columns)| columns).collect())
}

/// A value of whatever type stands there, behind the name of that type.
fn scalar(row: &SqliteRow, place: usize) -> sqlx::Result<Scalar> {
    let (name, at) = (row.try_get::<&str, _>(2 * place)?, 2 * place + 1);
    Ok(match name {
        "integer" => Scalar::Integer(row.try_get_unchecked(at)?),
        "text" => Scalar::Text(row.try_get_unchecked(at)?),
        "blob" => Scalar::Bytes(row.try_get_unchecked(at)?),
        "real" => Scalar::Real(row.try_get_unchecked(at)?),
        _ => Scalar::Null,
    })
}

fn cell(row: &SqliteRow, place: usize) -> sqlx::Result<Cell> {
    let (name, at) = (row.try_get::<&str, _>(2 * place)?, 2 * place + 1);
    Ok(match name {
        "null" => Cell::Null,
        // What is not UTF-8 is no sealed text.
        "text" => row.try_get_unchecked(at).map_or(Cell::Other, Cell::Text),
        "blob" => Cell::Bytes(row.try_get_unchecked(at)?),
        _ => Cell::Other,
    })
}

fn bind_scalar<'q>(query: Asked<'q>, value: &Scalar) -> Asked<'q> {
    match value {
        Scalar::Integer(number) => query.bind(*number),
        Scalar::Text(text) => query.bind(text.clone()),
        Scalar::Uuid(uuid) => query.bind(uuid.as_bytes().to_vec()),
        Scalar::Boolean(boolean) => query.bind(*boolean),
        Scalar::Bytes(bytes) => query.bind(bytes.clone()),
        Scalar::Real(real) => query.bind(*real),
        Scalar::Null => query.bind(None::<i64>),
    }
}

fn bind_cell<'q>(query: Asked<'q>, cell: &Cell) -> Asked<'q> {
    match cell {
        Cell::Text(text) => query.bind(text.clone()),
        Cell::Bytes(bytes) => query.bind(bytes.clone()),
        Cell::Null | Cell::Other => query.bind(None::<Vec<u8>>),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table with one row, of a person.
    async fn visits(person: &str) -> (SqlitePool, Rows) {
        // One connection: the database lives as long as it.
        let pool = SqlitePoolOptions::new().max_connections(1);
        let pool = pool.connect_with(SqliteConnectOptions::new().in_memory(true)).await.unwrap();
        let create =
            "CREATE TABLE visits (company TEXT, id INTEGER PRIMARY KEY, person COLLATE NOCASE, place TEXT)";
        sqlx::query(create).execute(&pool).await.unwrap();
        let insert = format!("INSERT INTO visits VALUES ('acme', 1, {person}, 'gate 1')");
        sqlx::query(AssertSqlSafe(insert)).execute(&pool).await.unwrap();
        let table = Table::new("visits", "id").bound_to(["company", "id"].map(str::to_owned));
        let columns = ColumnNames { sealed: vec!["place".into()], ..ColumnNames::default() };
        let rows = Rows::inspect(&pool, &table.per_subject("person"), &columns).await.unwrap();
        (pool, rows)
    }

    /// Reads the row, lets a writer come between, and writes it: how many rows that were.
    async fn written_after(person: &str, writer: &str) -> u64 {
        let (pool, rows) = visits(person).await;
        let only = Scalar::Integer(1);
        let page = rows.page(&Start::At(only.clone()), &only, 10).await.unwrap();
        let [row] = &page[..] else { panic!("{page:?}") };
        let update = format!("UPDATE visits SET {writer}");
        sqlx::query(AssertSqlSafe(update)).execute(&pool).await.unwrap();
        let mut change = Change::of(row);
        change.set(row, 0, Cell::Text("sealed".into()));
        let written = rows.write(&[change]).await.unwrap().rows;
        let place: String = sqlx::query_scalar("SELECT place FROM visits").fetch_one(&pool).await.unwrap();
        assert_eq!(place == "sealed", written == 1, "{person}, {writer}: {place}");
        written
    }

    #[tokio::test]
    async fn a_row_is_written_only_while_it_is_of_whom_and_bound_to_what_it_was() {
        for person in ["7", "NULL", "'ann'", "x'07'", "0.5"] {
            assert_eq!(written_after(person, "person = person").await, 1, "{person}");
            assert_eq!(written_after(person, "person = 8").await, 0, "{person}");
            assert_eq!(written_after(person, "company = 'globex'").await, 0, "{person}");
        }
        for (person, writer) in [("7", "NULL"), ("'ann'", "'ANN'"), ("7", "'7'"), ("'7'", "x'37'")] {
            assert_eq!(written_after(person, &format!("person = {writer}")).await, 0, "{person}, {writer}");
        }
    }
}
