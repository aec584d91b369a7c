//! The twin as a row of sqlx.

use proc_macro2::TokenStream;
use quote::quote;

use crate::{
    expand::{index_ident, index_type, twin_type},
    model::Table,
};

pub(crate) fn impls(table: &Table) -> TokenStream {
    let twin = &table.twin;
    let (mut idents, mut columns, mut types) = (Vec::new(), Vec::new(), Vec::new());
    for field in &table.fields {
        idents.push(field.ident.clone());
        columns.push(&field.column);
        types.push(twin_type(field));
        if let Some(index) = field.protected.as_ref().and_then(|protected| protected.index.as_ref()) {
            idents.push(index_ident(field, index));
            columns.push(&index.column);
            types.push(index_type(field));
        }
    }
    quote! {
        impl<'r, R: d::sqlx::Row> d::sqlx::FromRow<'r, R> for #twin
        where
            &'static str: d::sqlx::ColumnIndex<R>,
            #(#types: d::sqlx::Decode<'r, R::Database> + d::sqlx::Type<R::Database>,)*
        {
            fn from_row(row: &'r R) -> ::core::result::Result<Self, d::sqlx::Error> {
                ::core::result::Result::Ok(Self { #(#idents: d::sqlx::Row::try_get(row, #columns)?,)* })
            }
        }

        impl<DB: d::sqlx::Database> ::kms_client::protect::sql::BindRow<DB> for #twin
        where
            #(#types: for<'q> d::sqlx::Encode<'q, DB> + d::sqlx::Type<DB>,)*
        {
            fn bind(
                &self,
                values: &mut ::kms_client::protect::sql::Values<'_, DB>,
            ) -> ::core::result::Result<(), d::sqlx::Error> {
                #(values.push(&self.#idents)?;)*
                ::core::result::Result::Ok(())
            }
        }
    }
}
