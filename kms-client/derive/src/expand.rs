//! The twin, and what turns one into the other. All lists run in the order of the fields.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};

use crate::{
    field::plain,
    model::{Field, Index, Protected, Table},
    schema,
};

pub(crate) fn expand(table: &Table) -> TokenStream {
    let ident = &table.ident;
    let (definition, debugs) = (definition(table), debugs(table));
    let (schema, warnings) = (schema::schema(table), warnings(table));
    let (of_struct, of_twin, probes) = (of_struct(table), of_twin(table), probes(table));
    #[cfg(feature = "sqlx")]
    let sql = crate::sql::impls(table);
    #[cfg(not(feature = "sqlx"))]
    let sql = TokenStream::new();
    quote! {
        #definition
        #[doc(hidden)]
        const _: () = {
            use ::kms_client::protect::derived as d;
            static SCHEMA: d::Schema = #schema;
            static LAYOUT: d::LazyLock<::core::result::Result<d::Layout, ::kms_client::Error>> =
                d::LazyLock::new(|| d::Layout::new(&SCHEMA));
            impl #ident {
                /// The table and its protected columns, as data.
                pub const SCHEMA: &'static d::Schema = &SCHEMA;
            }
            #of_struct
            #of_twin
            #probes
            #debugs
            #sql
            #warnings
        };
    }
}

/// The type of the twin's field.
pub(crate) fn twin_type(field: &Field) -> TokenStream {
    let ty = &field.ty;
    let Some(protected) = &field.protected else { return quote!(#ty) };
    let stored = match protected.text {
        true => quote!(::kms_client::protect::SealedText),
        false => quote!(::kms_client::protect::Sealed),
    };
    if field.optional { quote!(::core::option::Option<#stored>) } else { stored }
}

pub(crate) fn index_type(field: &Field) -> TokenStream {
    let stored = quote!(::kms_client::protect::BlindIndexValue);
    if field.optional { quote!(::core::option::Option<#stored>) } else { stored }
}

/// The twin's field of an index is called as its column, so far as that is an identifier.
pub(crate) fn index_ident(field: &Field, index: &Index) -> Ident {
    match syn::parse_str::<Ident>(&index.column) {
        Ok(mut ident) => {
            ident.set_span(field.ident.span());
            ident
        }
        Err(_) => Ident::new(&format!("{}_index", plain(&field.ident)), field.ident.span()),
    }
}

fn index_of(field: &Field) -> Option<&Index> {
    field.protected.as_ref()?.index.as_ref()
}

fn definition(table: &Table) -> TokenStream {
    let Table { vis, ident, twin, derives, .. } = table;
    let fields = table.fields.iter().map(|field| {
        let (vis, name, ty) = (&field.vis, &field.ident, twin_type(field));
        let doc = match field.protected {
            Some(_) => format!("`{}`, sealed.", field.ident),
            None => format!("`{}`.", field.ident),
        };
        let index = index_of(field).map(|index| {
            let (name, ty) = (index_ident(field, index), index_type(field));
            let doc = format!("The blind index of `{}`.", field.ident);
            quote!(#[doc = #doc] #vis #name: #ty,)
        });
        quote!(#[doc = #doc] #vis #name: #ty, #index)
    });
    let doc = format!("The sealed twin of [`{ident}`]: what the database reads and writes.");
    let derives = (!derives.is_empty()).then(|| quote!(#[derive(#(#derives),*)]));
    quote! {
        #[doc = #doc]
        #[derive(::core::clone::Clone)]
        #derives
        #vis struct #twin { #(#fields)* }
    }
}

/// Protected values are shown by their presence only.
fn debugs(table: &Table) -> TokenStream {
    let Table { ident, twin, .. } = table;
    let (name, twin_name) = (ident.to_string(), twin.to_string());
    let plain_fields = table.fields.iter().map(|field| {
        let (ident, label) = (&field.ident, plain(&field.ident));
        match field.protected {
            Some(_) => quote!(.field(#label, &::core::format_args!("<protected>"))),
            None => quote!(.field(#label, &self.#ident)),
        }
    });
    let twin_fields = table.fields.iter().map(|field| {
        let (ident, label) = (&field.ident, plain(&field.ident));
        let index = index_of(field).map(|index| {
            let ident = index_ident(field, index);
            let label = ident.to_string();
            quote!(.field(#label, &self.#ident))
        });
        quote!(.field(#label, &self.#ident) #index)
    });
    let debug = |ident: &Ident, name: &str, fields: TokenStream| {
        quote! {
            impl ::core::fmt::Debug for #ident {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    f.debug_struct(#name) #fields .finish()
                }
            }
        }
    };
    let of_struct = debug(ident, &name, quote!(#(#plain_fields)*));
    let of_twin = debug(twin, &twin_name, quote!(#(#twin_fields)*));
    quote!(#of_struct #of_twin)
}

/// An expression of the codec of a field's type.
fn codec(field: &Field, protected: &Protected) -> TokenStream {
    let inner = &field.inner;
    match protected.json {
        true => quote!(d::Json),
        // The compiler's word about a type that has neither encoding points at that type.
        false => quote_spanned!(syn::spanned::Spanned::span(inner)=> {
            #[allow(unused_imports)]
            use d::{ByJson as _, ByValue as _};
            (&d::Via::<#inner>::NEW).codec()
        }),
    }
}

fn place(table: &Table) -> TokenStream {
    let field = |name: &syn::LitStr| {
        let ident = table.field(name).map(|field| &field.ident);
        quote!(&self.#ident)
    };
    let (tenant, bind) = (field(&table.tenant), table.bind.iter().map(field));
    let per = match &table.per {
        Some(per) => {
            let per = field(per);
            quote!(::core::option::Option::Some(#per))
        }
        None => quote!(::core::option::Option::None),
    };
    quote! {
        fn place(&self) -> ::core::result::Result<d::Place, d::ProtectError> {
            d::Place::new(&SCHEMA, #tenant, &[#(#bind),*], #per)
        }
    }
}

fn of_struct(table: &Table) -> TokenStream {
    let Table { ident, twin, .. } = table;
    let plaintexts = table.protected().map(|(field, protected)| {
        let (ident, codec) = (&field.ident, codec(field, protected));
        match field.optional {
            true => quote!(values.push_optional(self.#ident.as_ref().map(|value| d::Codec::encode(&#codec, value)));),
            false => quote!(values.push(d::Codec::encode(&#codec, &self.#ident));),
        }
    });
    let sealed = table.fields.iter().map(|field| {
        let (ident, column) = (&field.ident, &field.column);
        let Some(protected) = &field.protected else {
            return quote!(#ident: ::core::clone::Clone::clone(&self.#ident),);
        };
        let required = |value: TokenStream, column: &str| match field.optional {
            true => value,
            false => quote!({ let value = #value; values.required(value, #column)? }),
        };
        let value =
            required(if protected.text { quote!(values.text()?) } else { quote!(values.bytes()?) }, column);
        let index = protected.index.as_ref().map(|index| {
            let (ident, value) = (index_ident(field, index), required(quote!(values.index()), &index.column));
            quote!(#ident: #value,)
        });
        quote!(#ident: #value, #index)
    });
    let place = place(table);
    quote! {
        impl d::Protect for #ident {
            type Sealed = #twin;
            const SCHEMA: &'static d::Schema = &SCHEMA;

            fn layout() -> &'static ::core::result::Result<d::Layout, ::kms_client::Error> {
                &LAYOUT
            }

            #place

            fn plaintexts<'a>(&'a self, values: &mut d::Plaintexts<'a>) {
                #(#plaintexts)*
            }

            fn sealed(&self, values: &mut d::SealedValues<'_>) -> ::core::result::Result<#twin, d::ProtectError> {
                ::core::result::Result::Ok(#twin { #(#sealed)* })
            }
        }
    }
}

fn of_twin(table: &Table) -> TokenStream {
    let Table { ident, twin, .. } = table;
    let columns = columns(table);
    let ciphertexts = table.protected().map(|(field, protected)| {
        let ident = &field.ident;
        let value = match field.optional {
            true => quote!(self.#ident.as_ref()),
            false => quote!(::core::option::Option::Some(&self.#ident)),
        };
        if protected.text { quote!(values.push_text(#value);) } else { quote!(values.push_bytes(#value);) }
    });
    let opened = table.fields.iter().map(|field| {
        let ident = &field.ident;
        let Some(protected) = &field.protected else { return quote!(#ident: self.#ident,) };
        let codec = codec(field, protected);
        match field.optional {
            true => quote!(#ident: values.optional(#codec)?,),
            false => quote!(#ident: values.required(#codec)?,),
        }
    });
    let place = place(table);
    quote! {
        impl #twin {
            /// The columns of the table, in the order of the fields.
            pub const COLUMNS: &'static [&'static str] = &[#(#columns),*];
        }

        impl d::SealedRow for #twin {
            type Plain = #ident;
            const COLUMNS: &'static [&'static str] = #twin::COLUMNS;

            #place

            fn ciphertexts<'a>(&'a self, values: &mut d::Ciphertexts<'a, '_>) {
                #(#ciphertexts)*
            }

            fn opened(self, values: &mut d::OpenedRow<'_>) -> ::core::result::Result<#ident, d::ProtectError> {
                ::core::result::Result::Ok(#ident { #(#opened)* })
            }
        }
    }
}

/// Columns of the twin, in the order of its fields.
pub(crate) fn columns(table: &Table) -> impl Iterator<Item = &String> {
    table
        .fields
        .iter()
        .flat_map(|field| std::iter::once(&field.column).chain(index_of(field).map(|index| &index.column)))
}

/// `CheckIn::phone_index(&kms, &tenant, "138 0013 8000")`
fn probes(table: &Table) -> TokenStream {
    let Table { ident, .. } = table;
    let probes = table.protected().enumerate().filter_map(|(at, (field, protected))| {
        let index = protected.index.as_ref()?;
        let (name, vis, inner) = (Ident::new(&format!("{}_index", plain(&field.ident)), field.ident.span()), &field.vis, &field.inner);
        let (ty, encoded) = match field.type_name().as_str() {
            "String" if !protected.json => {
                (quote!(&str), quote!(::core::result::Result::Ok(d::Encoded::Borrowed(value.as_bytes()))))
            }
            _ => {
                let codec = codec(field, protected);
                (quote!(&#inner), quote!(d::Codec::encode(&#codec, value)))
            }
        };
        let doc = format!(
            "What to look for in `{}` to find the rows whose `{}` is `value`, under every live version of the index key. Some that are found \
             have another: open and compare.",
            index.column, field.ident
        );
        Some(quote! {
            #[doc = #doc]
            ///
            /// # Errors
            /// Where there is no lease of the index key to be had.
            #vis async fn #name(
                kms: &d::Kms,
                tenant: &::kms_client::TenantName,
                value: #ty,
            ) -> ::core::result::Result<d::Probes, d::ProtectError> {
                kms.probes::<#ident>(tenant, #at, #encoded).await
            }
        })
    });
    let probes: Vec<_> = probes.collect();
    if probes.is_empty() { TokenStream::new() } else { quote!(impl #ident { #(#probes)* }) }
}

/// What compiles and may not be meant: a use of something that is deprecated, whose note says so.
fn warnings(table: &Table) -> TokenStream {
    let mut warnings = Vec::new();
    let mut warn = |span: Span, note: String| {
        let name = Ident::new("protect", span);
        warnings.push(quote_spanned! {span=>
            const _: () = {
                #[deprecated(note = #note)]
                #[allow(non_upper_case_globals)]
                const #name: () = ();
                #name
            };
        });
    };
    for (field, protected) in table.protected() {
        if table.per.is_some() && protected.deterministic && !protected.accepts_equality_within_subject {
            let words = format!(
                "with `per`, equal values of `{}` are equal within one subject only: searches, joins and unique constraints over all do not \
                 find them; use `encrypt, index(eq, ..)`, or write `equality = \"within_subject\"` if that is meant",
                field.ident
            );
            warn(field.ident.span(), words);
        }
        if let Some(index) = protected.index.as_ref().filter(|index| index.bits > 32 && !index.accepts_long) {
            let words = format!(
                "an index of {} bits shows exactly which rows have equal values of `{}`; 10 to 24 bits mostly do, or write \
                 `long_index = \"accepted\"`",
                index.bits, field.ident
            );
            warn(index.span, words);
        }
    }
    quote!(#(#warnings)*)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(attributes: &str, field: &str) -> Option<String> {
        let source = format!(
            "#[protect(table = \"rows\", key = \"k\", tenant = \"tenant\", bind(\"id\"){attributes})]
             struct Row {{ tenant: String, id: u64, #[protect({field})] name: String }}"
        );
        let table = crate::table::read(&syn::parse_str(&source).unwrap()).unwrap();
        crate::check::check(&table).unwrap();
        let expanded = expand(&table).to_string();
        let (_, note) = expanded.split_once("deprecated (note = \"")?;
        Some(note.split_once('"').unwrap().0.to_owned())
    }

    #[test]
    fn what_compiles_and_may_not_be_meant_is_warned_of_until_it_is_accepted() {
        let per = ", per = \"id\"";
        let within = warned(per, "deterministic").unwrap();
        assert!(
            within.contains("within one subject only") && within.contains("encrypt, index(eq, ..)"),
            "{within}"
        );
        assert_eq!(warned(per, "deterministic, equality = \"within_subject\""), None);
        assert_eq!(warned("", "deterministic"), None);
        let long = warned("", "encrypt, index(eq, bits = 33)").unwrap();
        assert!(long.contains("33 bits") && long.contains("10 to 24"), "{long}");
        assert_eq!(warned("", "encrypt, index(eq, bits = 33, long_index = \"accepted\")"), None);
        assert_eq!(warned("", "encrypt, index(eq, bits = 32)"), None);
    }
}
