//! How values are sent to PostgreSQL: one, or a page's as a list.

use super::{
    postgres::{Asked, CellKind, Kind},
    row::{Cell, Scalar},
};

pub(super) fn bind_scalar<'q>(query: Asked<'q>, value: &Scalar) -> Asked<'q> {
    match value {
        Scalar::Integer(number) => query.bind(*number),
        Scalar::Text(text) => query.bind(text.clone()),
        Scalar::Uuid(uuid) => query.bind(*uuid),
        // No id here is of these.
        Scalar::Boolean(_) | Scalar::Bytes(_) | Scalar::Real(_) | Scalar::Null => query.bind(None::<i64>),
    }
}

/// A column of them; what is of no such kind is NULL.
pub(super) fn bind_scalars<'q>(
    query: Asked<'q>,
    kind: Kind,
    scalars: impl Iterator<Item = Option<&'q Scalar>>,
) -> Asked<'q> {
    match kind {
        Kind::Integer => {
            query.bind(list(
                scalars,
                |scalar| {
                    if let Scalar::Integer(number) = scalar { Some(*number) } else { None }
                },
            ))
        }
        Kind::Text => query.bind(list(scalars, |scalar| {
            if let Scalar::Text(text) = scalar { Some(text.as_str()) } else { None }
        })),
        Kind::Uuid => query
            .bind(list(scalars, |scalar| if let Scalar::Uuid(uuid) = scalar { Some(*uuid) } else { None })),
        Kind::Boolean => query.bind(list(scalars, |scalar| {
            if let Scalar::Boolean(boolean) = scalar { Some(*boolean) } else { None }
        })),
    }
}

fn list<'q, T>(
    scalars: impl Iterator<Item = Option<&'q Scalar>>,
    of_kind: impl Fn(&'q Scalar) -> Option<T>,
) -> Vec<Option<T>> {
    scalars.map(|scalar| scalar.and_then(&of_kind)).collect()
}

pub(super) fn bind_cells<'q>(query: Asked<'q>, kind: CellKind, cells: &[Option<&'q Cell>]) -> Asked<'q> {
    let text =
        |cell: &Option<&'q Cell>| if let Some(Cell::Text(text)) = cell { Some(text.as_str()) } else { None };
    let bytes =
        |cell: &Option<&'q Cell>| if let Some(Cell::Bytes(bytes)) = cell { Some(&**bytes) } else { None };
    match kind {
        CellKind::Text => query.bind(cells.iter().map(text).collect::<Vec<Option<&str>>>()),
        CellKind::Bytes => query.bind(cells.iter().map(bytes).collect::<Vec<Option<&[u8]>>>()),
    }
}
