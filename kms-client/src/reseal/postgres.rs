//! PostgreSQL: a page is written by one statement, which is a transaction of its own.

use std::{str::FromStr as _, sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgPool, Postgres, Row as _,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow},
    query::Query,
};
use uuid::Uuid;

use super::{
    columns::ColumnNames,
    database::Start,
    error::ResealError,
    identifier::quoted,
    postgres_bind::{bind_cells, bind_scalar, bind_scalars},
    postgres_catalog::{columns_of, resolve, unique_indices},
    postgres_update::update,
    row::{Cell, Change, Row, Scalar, What, Written},
    table::Table,
};
use crate::protect::Storage;

/// How long is waited for a connection.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a row may be held by another transaction; then the page is left to the next pass.
const LOCK_TIMEOUT: &str = "5s";
/// How often a page is written again that met other writers in the wrong order.
const TRIES: u32 = 5;

/// A table of PostgreSQL.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    pool: PgPool,
    id: Kind,
    read_too: Arc<[Kind]>,
    has_subject: bool,
    /// Rows that are written are of several kinds.
    counts_apart: bool,
    cells: Arc<[CellKind]>,
    tenant: Option<String>,
    ends: [Arc<str>; 2],
    count: Arc<str>,
    at: Arc<str>,
    after: Arc<str>,
    update: Arc<str>,
}

/// What an id is, or what else is read of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Text,
    Uuid,
    Boolean,
}

/// What a cell is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CellKind {
    Text,
    Bytes,
}

pub(super) async fn connect(url: &str) -> Result<PgPool, ResealError> {
    // The error of a URL can quote it, and with it a password.
    let options = PgConnectOptions::from_str(url).map_err(|_| ResealError::Url)?;
    let options = options.application_name("kms reseal").options([("lock_timeout", LOCK_TIMEOUT)]);
    // A pool goes on trying where nobody listens; whoever mistyped a port wants to know at once.
    let tried = tokio::time::timeout(PATIENCE, options.connect()).await;
    let tried = tried.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    tried
        .map_err(|error| ResealError::connection(&error))?
        .close()
        .await
        .map_err(|error| ResealError::connection(&error))?;
    Ok(PgPoolOptions::new().max_connections(2).acquire_timeout(PATIENCE).connect_lazy_with(options))
}

impl Kind {
    const NEEDED: &str = "row ids are integers, text or uuid";

    fn of(column: &str, found: &str) -> Result<Self, ResealError> {
        match found {
            "smallint" | "integer" | "bigint" => Ok(Self::Integer),
            "text" | "character varying" => Ok(Self::Text),
            "uuid" => Ok(Self::Uuid),
            "boolean" => Ok(Self::Boolean),
            _ => Err(ResealError::Type { column: column.into(), found: found.into(), needed: Self::NEEDED }),
        }
    }

    /// The type in which it is sent.
    pub(super) fn sent(self) -> &'static str {
        match self {
            Self::Integer => "int8",
            Self::Text => "text",
            Self::Uuid => "uuid",
            Self::Boolean => "bool",
        }
    }
}

impl CellKind {
    fn of(column: &str, found: &str) -> Result<Self, ResealError> {
        match found {
            "text" | "character varying" => Ok(Self::Text),
            "bytea" => Ok(Self::Bytes),
            _ => Err(ResealError::Type {
                column: column.into(),
                found: found.into(),
                needed: "sealed columns are text or bytea",
            }),
        }
    }

    /// The same, where it is to hold values in a form that the application reads.
    fn of_sealed(column: &str, found: &str, storage: Option<Storage>) -> Result<Self, ResealError> {
        let needed = match (Self::of(column, found)?, storage) {
            (Self::Bytes, Some(Storage::Text)) => "the schema says that it holds text",
            (Self::Text, Some(Storage::Bytes)) => "the schema says that it holds bytes: make it bytea",
            (fits, _) => return Ok(fits),
        };
        Err(ResealError::Type { column: column.into(), found: found.into(), needed })
    }

    fn of_index(column: &str, found: &str) -> Result<Self, ResealError> {
        match found {
            "bytea" => Ok(Self::Bytes),
            _ => Err(ResealError::Type {
                column: column.into(),
                found: found.into(),
                needed: "index columns are bytea",
            }),
        }
    }

    pub(super) fn sent(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Bytes => "bytea",
        }
    }
}

impl Rows {
    pub(super) async fn inspect(
        pool: &PgPool,
        table: &Table,
        columns: &ColumnNames,
    ) -> Result<Self, ResealError> {
        let failed = |error: sqlx::Error| ResealError::statement(&error);
        let name = resolve(pool, &table.name).await.map_err(failed)?;
        let name = name.ok_or_else(|| ResealError::NoTable(table.name.clone()))?;
        let has = columns_of(pool, &name).await.map_err(failed)?;
        let type_of = |column: &String| {
            let found = has.iter().find(|(name, _)| name == column).map(|(_, found)| found.as_str());
            found.ok_or_else(|| ResealError::NoColumn {
                table: table.name.clone(),
                column: column.clone(),
                found: has.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "),
            })
        };
        let kind = |column: &String| Kind::of(column, type_of(column)?);
        let cell = |(column, storage): (&String, &Option<Storage>)| {
            CellKind::of_sealed(column, type_of(column)?, *storage)
        };
        let id = kind(&table.id)?;
        let read_too = table.read_too().map(kind).collect::<Result<Arc<[_]>, _>>()?;
        let index = |column: &String| CellKind::of_index(column, type_of(column)?);
        let sealed = columns.sealed.iter().zip(&columns.storage);
        let cells = sealed.map(cell).chain(columns.indexes.iter().map(index));
        let cells = cells.collect::<Result<Arc<[_]>, _>>()?;
        if let Some((tenant, _)) = &table.tenant
            && kind(tenant)? != Kind::Text
        {
            return Err(ResealError::Type {
                column: tenant.clone(),
                found: type_of(tenant)?.into(),
                needed: "the column with the tenant's name is text",
            });
        }
        let indices = unique_indices(pool, &name).await.map_err(failed)?;
        if id == Kind::Boolean || !indices.iter().any(|unique| table.is_told_apart_by(unique, |a, b| a == b))
        {
            return Err(ResealError::NotUnique { table: table.name.clone(), column: table.id.clone() });
        }
        Ok(Self::over(pool.clone(), &name, table, columns, (id, read_too, cells)))
    }

    /// The statements, made once.
    fn over(
        pool: PgPool,
        name: &str,
        table: &Table,
        columns: &ColumnNames,
        (id_kind, read_too, cells): (Kind, Arc<[Kind]>, Arc<[CellKind]>),
    ) -> Self {
        let column = |name: &String| format!("t.{}", quoted(name));
        let id = column(&table.id);
        let sent = id_kind.sent();
        let keys =
            std::iter::once((&table.id, id_kind)).chain(table.read_too().zip(read_too.iter().copied()));
        let keys = keys.map(|(name, kind)| format!("{}::{}", column(name), kind.sent()));
        let sealed =
            columns.all().zip(&*cells).map(|(name, kind)| format!("{}::{}", column(name), kind.sent()));
        let read = keys.chain(sealed).collect::<Vec<_>>().join(", ");
        let of = |place: usize| match &table.tenant {
            Some((tenant, _)) => format!(" AND {} = ${place}", column(tenant)),
            None => String::new(),
        };
        let page = |compare: &str| {
            let within = format!("{id} {compare} $1::{sent} AND {id} <= $2::{sent}{}", of(4));
            format!("SELECT {read} FROM {name} AS t WHERE {within} ORDER BY {id} LIMIT $3").into()
        };
        let end = |order: &str| {
            let from = format!("FROM {name} AS t WHERE {id} IS NOT NULL{}", of(1));
            format!("SELECT {id}::{sent} {from} ORDER BY {id} {order} LIMIT 1").into()
        };
        let values: Vec<_> = columns.sealed.iter().map(|c| format!("{} IS NOT NULL", column(c))).collect();
        let without = format!("{id} IS NULL AND ({})", values.join(" OR "));
        let count = format!(
            "SELECT count({id}), count(*) FILTER (WHERE {without}) FROM {name} AS t WHERE true{}",
            of(1)
        );
        Self {
            update: update(name, table, columns, (id_kind, &read_too), &cells).into(),
            tenant: table.tenant.as_ref().map(|(_, tenant)| tenant.to_string()),
            id: id_kind,
            ends: [end("ASC"), end("DESC")],
            count: count.into(),
            at: page(">="),
            after: page(">"),
            pool,
            read_too,
            has_subject: table.per.is_some(),
            counts_apart: columns.counts_apart,
            cells,
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
        Ok(Some((scalar(&first, 0, self.id)?, scalar(&last, 0, self.id)?)))
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

    fn row(&self, row: &PgRow) -> sqlx::Result<Row> {
        let read_too = self.read_too.iter().enumerate().map(|(at, kind)| scalar(row, 1 + at, *kind));
        let cells =
            self.cells.iter().enumerate().map(|(at, kind)| cell(row, 1 + self.read_too.len() + at, *kind));
        let read_too = read_too.collect::<sqlx::Result<_>>()?;
        let cells = cells.collect::<sqlx::Result<_>>()?;
        Ok(Row::new(scalar(row, 0, self.id)?, read_too, self.has_subject, cells))
    }

    /// A page that meets other writers in the wrong order is written again; one that they hold for long is left to the next pass.
    pub(super) async fn write(&self, changes: &[Change]) -> sqlx::Result<Written> {
        let mut tries = 0;
        loop {
            match self.write_once(changes).await {
                Err(error) if is(&error, &["40P01", "40001"]) && tries < TRIES => tries += 1,
                Err(error) if is(&error, &["40P01", "40001", "55P03"]) => return Ok(Written::default()),
                done => return done,
            }
        }
    }

    async fn write_once(&self, changes: &[Change]) -> sqlx::Result<Written> {
        let (Some(first), Some(last)) = (changes.first(), changes.last()) else {
            return Ok(Written::default());
        };
        let query = bind_scalar(bind_scalar(sql(&self.update), &first.id), &last.id);
        let mut query = bind_scalars(query, self.id, changes.iter().map(|change| Some(&change.id)));
        for (at, kind) in self.read_too.iter().enumerate() {
            query = bind_scalars(query, *kind, changes.iter().map(|change| change.read_too.get(at)));
        }
        for (at, kind) in self.cells.iter().enumerate() {
            let swaps = || changes.iter().map(|change| change.cells.get(at).and_then(Option::as_ref));
            if self.cells.len() > 1 {
                query = query.bind(swaps().map(|swap| swap.is_some()).collect::<Vec<bool>>());
            }
            let old: Vec<_> = swaps().map(|swap| swap.map(|swap| &swap.old)).collect();
            let new: Vec<_> =
                swaps().map(|swap| swap.map(|swap| swap.new.as_ref().unwrap_or(&swap.old))).collect();
            query = bind_cells(bind_cells(query, *kind, &old), *kind, &new);
        }
        let mut written = Written::default();
        if !self.counts_apart {
            let done = self.of_tenant(query).execute(&self.pool).await?;
            written.add(done.rows_affected(), What { reseals: true, ..What::default() });
            return Ok(written);
        }
        query = query.bind(changes.iter().map(|change| change.what.to_number()).collect::<Vec<_>>());
        for row in self.of_tenant(query).fetch_all(&self.pool).await? {
            written.add(1, What::from_number(row.try_get(0)?));
        }
        Ok(written)
    }

    fn of_tenant<'q>(&self, query: Asked<'q>) -> Asked<'q> {
        match &self.tenant {
            Some(tenant) => query.bind(tenant.clone()),
            None => query,
        }
    }
}

pub(super) type Asked<'q> = Query<'q, Postgres, PgArguments>;

fn sql<'q>(text: &Arc<str>) -> Asked<'q> {
    // Made of quoted names; values are bound.
    sqlx::query(AssertSqlSafe(text.clone()))
}

fn is(error: &sqlx::Error, codes: &[&str]) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| codes.contains(&&*code))
}

fn scalar(row: &PgRow, at: usize, kind: Kind) -> sqlx::Result<Scalar> {
    let value = match kind {
        Kind::Integer => row.try_get::<Option<i64>, _>(at)?.map(Scalar::Integer),
        Kind::Text => row.try_get::<Option<String>, _>(at)?.map(Scalar::Text),
        Kind::Uuid => row.try_get::<Option<Uuid>, _>(at)?.map(Scalar::Uuid),
        Kind::Boolean => row.try_get::<Option<bool>, _>(at)?.map(Scalar::Boolean),
    };
    Ok(value.unwrap_or(Scalar::Null))
}

fn cell(row: &PgRow, at: usize, kind: CellKind) -> sqlx::Result<Cell> {
    let value = match kind {
        CellKind::Text => row.try_get::<Option<String>, _>(at)?.map(Cell::Text),
        CellKind::Bytes => row.try_get::<Option<Vec<u8>>, _>(at)?.map(Cell::Bytes),
    };
    Ok(value.unwrap_or(Cell::Null))
}
