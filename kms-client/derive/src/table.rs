//! Reads the attributes of the struct.

use quote::format_ident;
use syn::{
    Attribute, Data, DeriveInput, Error, Fields, LitStr, Path, Result, Token, meta::ParseNestedMeta,
    parenthesized, punctuated::Punctuated,
};

use crate::{field, model::Table};

const TAKES: &str =
    "a struct takes `table`, `key`, `tenant`, `bind(..)`, `per`, `class`, `name`, `sealed`, `derive(..)`";

#[derive(Default)]
struct Said {
    table: Option<LitStr>,
    name: Option<LitStr>,
    key: Option<LitStr>,
    class: Option<LitStr>,
    tenant: Option<LitStr>,
    bind: Vec<LitStr>,
    per: Option<LitStr>,
    sealed: Option<LitStr>,
    derives: Vec<Path>,
}

pub(crate) fn read(input: &DeriveInput) -> Result<Table> {
    let named = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(named) => Some(named),
            _ => None,
        },
        _ => None,
    };
    let Some(named) = named else {
        return Err(Error::new_spanned(&input.ident, "`Protect` is for structs with named fields"));
    };
    if !input.generics.params.is_empty() {
        let words = "`Protect` is for structs without parameters: a table has columns of known types";
        return Err(Error::new_spanned(&input.generics, words));
    }
    let mut said = Said::default();
    for attribute in protects(&input.attrs) {
        attribute.parse_nested_meta(|meta| said.read(&meta))?;
    }
    let missing = |what: &str| Error::new_spanned(&input.ident, format!("`#[protect(..)]` lacks {what}"));
    let twin = match &said.sealed {
        Some(name) => name.parse()?,
        None => format_ident!("Sealed{}", input.ident),
    };
    if said.bind.is_empty() {
        return Err(missing(
            "`bind(\"id\")`: the fields that tell a row from all others; values then open in their row only",
        ));
    }
    Ok(Table {
        vis: input.vis.clone(),
        ident: input.ident.clone(),
        twin,
        table: said.table.ok_or_else(|| missing("`table = \"checkins\"`: the table's name"))?,
        name: said.name,
        key: said
            .key
            .ok_or_else(|| missing("`key = \"attendance\"`: the key that its values are sealed under"))?,
        class: said.class,
        tenant: said
            .tenant
            .ok_or_else(|| missing("`tenant = \"company_id\"`: the field that names the tenant"))?,
        bind: said.bind,
        per: said.per,
        derives: said.derives,
        fields: named.named.iter().map(field::read).collect::<Result<_>>()?,
    })
}

impl Said {
    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let place = match name(meta).as_str() {
            "table" => &mut self.table,
            "name" => &mut self.name,
            "key" => &mut self.key,
            "class" => &mut self.class,
            "tenant" => &mut self.tenant,
            "per" => &mut self.per,
            "sealed" => &mut self.sealed,
            "bind" => {
                self.bind.extend(list::<LitStr>(meta)?);
                return Ok(());
            }
            "derive" => {
                self.derives.extend(list::<Path>(meta)?);
                return Ok(());
            }
            other => return Err(meta.error(format!("unknown attribute `{other}`; {TAKES}"))),
        };
        text(meta, place)
    }
}

/// The `#[protect(..)]` among the attributes.
pub(crate) fn protects(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("protect"))
}

pub(crate) fn name(meta: &ParseNestedMeta<'_>) -> String {
    meta.path.get_ident().map(ToString::to_string).unwrap_or_default()
}

/// `name = "text"`, once.
pub(crate) fn text(meta: &ParseNestedMeta<'_>, place: &mut Option<LitStr>) -> Result<()> {
    if !meta.input.peek(Token![=]) {
        return Err(meta.error(format!("write `{} = \"..\"`", name(meta))));
    }
    let value: LitStr = meta.value()?.parse()?;
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(meta.error(format!("`{}` is given twice", name(meta)))),
    }
}

/// `name(one, other)`.
fn list<T: syn::parse::Parse>(meta: &ParseNestedMeta<'_>) -> Result<Punctuated<T, Token![,]>> {
    let content;
    parenthesized!(content in meta.input);
    Punctuated::parse_terminated(&content)
}

/// `name(one, other = "..")`, of which there is at least one.
pub(crate) fn nested(
    meta: &ParseNestedMeta<'_>,
    words: &str,
    read: impl FnMut(ParseNestedMeta<'_>) -> Result<()>,
) -> Result<()> {
    let ahead = meta.input.fork();
    let empty = |ahead: &syn::parse::ParseBuffer<'_>| -> Result<bool> {
        let content;
        parenthesized!(content in ahead);
        Ok(content.is_empty())
    };
    match empty(&ahead) {
        Ok(false) => meta.parse_nested_meta(read),
        Ok(true) | Err(_) => Err(meta.error(words)),
    }
}
