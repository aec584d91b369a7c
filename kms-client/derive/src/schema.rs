//! The description of the table, as an expression.

use proc_macro2::TokenStream;
use quote::quote;
use syn::LitStr;

use crate::model::{Field, Index, Previous, Protected, Table};

pub(crate) fn schema(table: &Table) -> TokenStream {
    let name = text(&table.name.as_ref().unwrap_or(&table.table).value());
    let [of_table, key, tenant] =
        [&table.table, &table.key, &tenant_column(table, &table.tenant)].map(|said| text(&said.value()));
    let bind = table.bind.iter().map(|field| text(&tenant_column(table, field).value()));
    let per = optional(table.per.as_ref().map(|per| tenant_column(table, per)).as_ref());
    let columns = table.protected().map(|(field, protected)| column(table, field, protected));
    quote! {
        d::Schema {
            table: #name,
            stored_as: #of_table,
            key: #key,
            tenant: #tenant,
            bind: d::Cow::Borrowed(&[#(#bind),*]),
            per: #per,
            columns: d::Cow::Borrowed(&[#(#columns),*]),
        }
    }
}

/// The column of a field that the struct's attributes name.
fn tenant_column(table: &Table, field: &LitStr) -> LitStr {
    let column = table.field(field).map_or_else(|| field.value(), |field| field.column.clone());
    LitStr::new(&column, field.span())
}

fn column(table: &Table, field: &Field, protected: &Protected) -> TokenStream {
    let column = text(&field.column);
    let name = text(&protected.name.as_ref().map_or_else(|| field.column.clone(), LitStr::value));
    let mode = mode(protected.deterministic);
    let storage = if protected.text { quote!(Text) } else { quote!(Bytes) };
    let nullable = field.optional;
    let [key, mask, until] =
        [&protected.key, &protected.mask, &protected.until].map(|said| optional(said.as_ref()));
    let class = optional(protected.class.as_ref().or(table.class.as_ref()));
    let max_len = match protected.max_len {
        Some(max) => quote!(::core::option::Option::Some(#max)),
        None => quote!(::core::option::Option::None),
    };
    let index = match &protected.index {
        Some(index) => index_schema(index, &protected.index_key(index, table)),
        None => quote!(::core::option::Option::None),
    };
    let previous = protected.previous.iter().map(previous);
    quote! {
        d::ColumnSchema {
            name: #name,
            column: #column,
            mode: #mode,
            storage: d::Storage::#storage,
            nullable: #nullable,
            key: #key,
            class: #class,
            mask: #mask,
            max_len: #max_len,
            index: #index,
            allow_plaintext_until: #until,
            previous: d::Cow::Borrowed(&[#(#previous),*]),
        }
    }
}

fn index_schema(index: &Index, key: &str) -> TokenStream {
    let Index { bits, .. } = index;
    let name = text(&index.name.as_ref().map_or_else(|| "eq".into(), LitStr::value));
    let [column, key, normalize] = [&index.column, key, &index.normalize].map(text);
    quote! {
        ::core::option::Option::Some(d::IndexSchema {
            column: #column,
            name: #name,
            key: #key,
            bits: #bits,
            normalize: #normalize,
        })
    }
}

fn previous(previous: &Previous) -> TokenStream {
    let [table, column, key] =
        [&previous.table, &previous.column, &previous.key].map(|said| optional(said.as_ref()));
    let mode = match previous.deterministic {
        Some(deterministic) => {
            let mode = mode(deterministic);
            quote!(::core::option::Option::Some(#mode))
        }
        None => quote!(::core::option::Option::None),
    };
    let shared = previous.shared;
    quote!(d::Previous { table: #table, column: #column, key: #key, mode: #mode, shared: #shared })
}

fn mode(deterministic: bool) -> TokenStream {
    if deterministic { quote!(d::Mode::Deterministic) } else { quote!(d::Mode::Encrypt) }
}

fn text(text: &str) -> TokenStream {
    quote!(d::Cow::Borrowed(#text))
}

fn optional(said: Option<&LitStr>) -> TokenStream {
    match said {
        Some(said) => {
            let text = text(&said.value());
            quote!(::core::option::Option::Some(#text))
        }
        None => quote!(::core::option::Option::None),
    }
}
