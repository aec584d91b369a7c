//! The statement that writes a page of PostgreSQL.

use super::{
    columns::ColumnNames,
    identifier::{Binds, quoted},
    postgres::{CellKind, Kind},
    table::Table,
};

/// Sets those cells for which a new value is sent, in those rows that still hold the old ones, and are bound to what they were.
pub(super) fn update(
    name: &str,
    table: &Table,
    columns: &ColumnNames,
    (id, read_too): (Kind, &[Kind]),
    cells: &[CellKind],
) -> String {
    let mut binds = Binds::default();
    let (first, last) = (binds.next(), binds.next());
    let (mut sent, mut names) = (vec![format!("{}::{}[]", binds.next(), id.sent())], vec!["id".to_owned()]);
    let (mut set, mut held) = (Vec::new(), Vec::new());
    for (at, (column, kind)) in table.read_too().zip(read_too).enumerate() {
        sent.push(format!("{}::{}[]", binds.next(), kind.sent()));
        names.push(format!("bound{at}"));
        let exactly = exactly(*kind == Kind::Text);
        held.push(format!("t.{} IS NOT DISTINCT FROM n.bound{at}{exactly}", quoted(column)));
    }
    for (at, (column, kind)) in columns.all().zip(cells).enumerate() {
        let mut send = |side: &str, kind: &str| {
            sent.push(format!("{}::{kind}[]", binds.next()));
            names.push(format!("{side}{at}"));
        };
        if cells.len() > 1 {
            send("has", "bool");
        }
        send("old", kind.sent());
        send("new", kind.sent());
        let column = quoted(column);
        let exactly = exactly(*kind == CellKind::Text);
        if cells.len() == 1 {
            set.push(format!("{column} = n.new0"));
            held.push(format!("t.{column} = n.old0{exactly}"));
        } else {
            set.push(format!("{column} = CASE WHEN n.has{at} THEN n.new{at} ELSE t.{column} END"));
            // An index that is made for the first time stands where there was NULL.
            held.push(format!("(NOT n.has{at} OR t.{column} IS NOT DISTINCT FROM n.old{at}{exactly})"));
        }
    }
    let mut returning = "";
    if columns.counts_apart {
        sent.push(format!("{}::int2[]", binds.next()));
        names.push("what".to_owned());
        returning = " RETURNING n.what";
    }
    if let Some((tenant, _)) = &table.tenant {
        held.push(format!("t.{} = {}", quoted(tenant), binds.next()));
    }
    let id_column = quoted(&table.id);
    // The range lets the index find the page, whatever the planner thinks of the length of the lists.
    format!(
        "UPDATE {name} AS t SET {} FROM unnest({}) AS n({}) WHERE t.{id_column} = n.id AND t.{id_column} BETWEEN \
         {first}::{kind} AND {last}::{kind} AND {}{returning}",
        set.join(", "),
        sent.join(", "),
        names.join(", "),
        held.join(" AND "),
        kind = id.sent(),
    )
}

/// Where a collation takes different letters for the same, another value would pass for the one that was read.
fn exactly(is_text: bool) -> &'static str {
    if is_text { " COLLATE \"C\"" } else { "" }
}
