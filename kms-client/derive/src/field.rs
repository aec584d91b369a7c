//! Reads the attributes of a field.

use syn::{
    Error, GenericArgument, LitInt, LitStr, PathArguments, Result, Type, meta::ParseNestedMeta,
    spanned::Spanned as _,
};

use crate::{
    index,
    model::{Field, Index, Previous, Protected},
    table::{name, nested, protects, text},
};

const TAKES: &str = "a field takes `encrypt` or `deterministic`, and with it `index(eq, ..)`, `mask`, `class`, `key`, `name`, `column`, \
    `text`, `json`, `max_len`, `allow_plaintext(until = ..)`, `previous(..)`, `low_entropy`, `equality`";

#[derive(Default)]
struct Said {
    encrypt: bool,
    deterministic: bool,
    text: bool,
    json: bool,
    column: Option<LitStr>,
    name: Option<LitStr>,
    key: Option<LitStr>,
    class: Option<LitStr>,
    mask: Option<LitStr>,
    max_len: Option<u32>,
    index: Option<Index>,
    until: Option<LitStr>,
    previous: Vec<Previous>,
    low_entropy: Option<LitStr>,
    equality: Option<LitStr>,
}

pub(crate) fn read(field: &syn::Field) -> Result<Field> {
    let Some(ident) = field.ident.clone() else {
        return Err(Error::new(field.span(), "`Protect` is for structs with named fields"));
    };
    let mut said = Said::default();
    for attribute in protects(&field.attrs) {
        attribute.parse_nested_meta(|meta| said.read(&meta, &plain(&ident)))?;
    }
    let inner = inside_option(&field.ty);
    let column = said.column.as_ref().map_or_else(|| plain(&ident), LitStr::value);
    let (optional, inner) = (inner.is_some(), inner.unwrap_or(&field.ty).clone());
    let protected = said.protected(&ident)?;
    Ok(Field { vis: field.vis.clone(), ident, ty: field.ty.clone(), inner, optional, column, protected })
}

impl Said {
    fn read(&mut self, meta: &ParseNestedMeta<'_>, field: &str) -> Result<()> {
        let place = match name(meta).as_str() {
            "encrypt" => return flag(meta, &mut self.encrypt),
            "deterministic" => return flag(meta, &mut self.deterministic),
            "text" => return flag(meta, &mut self.text),
            "json" => return flag(meta, &mut self.json),
            "column" => &mut self.column,
            "name" => &mut self.name,
            "key" => &mut self.key,
            "class" => &mut self.class,
            "mask" => &mut self.mask,
            "low_entropy" => &mut self.low_entropy,
            "equality" => &mut self.equality,
            "max_len" => {
                self.max_len = Some(meta.value()?.parse::<LitInt>()?.base10_parse()?);
                return Ok(());
            }
            "index" => {
                self.index = Some(index::read(meta, field)?);
                return Ok(());
            }
            "allow_plaintext" => {
                return nested(meta, UNTIL, |inner| match name(&inner).as_str() {
                    "until" => text(&inner, &mut self.until),
                    _ => Err(inner.error(UNTIL)),
                });
            }
            "previous" => {
                self.previous.push(previous(meta)?);
                return Ok(());
            }
            other => return Err(meta.error(format!("unknown attribute `{other}`; {TAKES}"))),
        };
        text(meta, place)
    }

    fn protected(self, ident: &syn::Ident) -> Result<Option<Protected>> {
        let wrong = |words: &str| Err(Error::new(ident.span(), words));
        match (self.encrypt, self.deterministic) {
            (true, true) => {
                return wrong(
                    "`encrypt` hides which rows are equal and `deterministic` shows it: choose one",
                );
            }
            (false, false) if self.index.is_some() => {
                return wrong("`index` is for a sealed column: write `encrypt, index(eq, ..)`");
            }
            (false, false) if self.says_how() => {
                return wrong(
                    "this says how the field is protected but not that it is: add `encrypt` or `deterministic`",
                );
            }
            (false, false) => return Ok(None),
            _ => {}
        }
        Ok(Some(Protected {
            deterministic: self.deterministic,
            text: self.text,
            json: self.json,
            name: self.name,
            key: self.key,
            class: self.class,
            mask: self.mask,
            max_len: self.max_len,
            index: self.index,
            until: self.until,
            previous: self.previous,
            accepts_low_entropy: accepted(self.low_entropy.as_ref(), "accepted")?,
            accepts_equality_within_subject: accepted(self.equality.as_ref(), "within_subject")?,
        }))
    }

    fn says_how(&self) -> bool {
        let names =
            [&self.name, &self.key, &self.class, &self.mask, &self.until, &self.low_entropy, &self.equality];
        names.iter().any(|said| said.is_some())
            || self.text
            || self.json
            || self.max_len.is_some()
            || !self.previous.is_empty()
    }
}

const UNTIL: &str = "plaintext is taken for a time only: write `allow_plaintext(until = \"2027-01-31\")`";
const PREVIOUS: &str = "write what was different: `previous(table = \"..\")`, `column = \"..\"`, `key = \"..\"`, `deterministic`, `encrypt` or `shared`";

fn previous(meta: &ParseNestedMeta<'_>) -> Result<Previous> {
    let mut previous = Previous::default();
    nested(meta, PREVIOUS, |inner| match name(&inner).as_str() {
        "table" => text(&inner, &mut previous.table),
        "column" => text(&inner, &mut previous.column),
        "key" => text(&inner, &mut previous.key),
        "deterministic" => {
            previous.deterministic = Some(true);
            Ok(())
        }
        "encrypt" => {
            previous.deterministic = Some(false);
            Ok(())
        }
        "shared" => flag(&inner, &mut previous.shared),
        _ => Err(inner.error(PREVIOUS)),
    })?;
    Ok(previous)
}

pub(crate) fn accepted(said: Option<&LitStr>, word: &str) -> Result<bool> {
    match said {
        None => Ok(false),
        Some(said) if said.value() == word => Ok(true),
        Some(said) => Err(Error::new(said.span(), format!("this takes one word only: \"{word}\""))),
    }
}

fn flag(meta: &ParseNestedMeta<'_>, flag: &mut bool) -> Result<()> {
    if std::mem::replace(flag, true) { Err(meta.error("given twice")) } else { Ok(()) }
}

/// Without the `r#` of a raw identifier.
pub(crate) fn plain(ident: &syn::Ident) -> String {
    let name = ident.to_string();
    name.strip_prefix("r#").map_or(name.clone(), str::to_owned)
}

fn inside_option(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Option")?;
    match &last.arguments {
        PathArguments::AngleBracketed(arguments) => match arguments.args.first()? {
            GenericArgument::Type(inner) => Some(inner),
            _ => None,
        },
        _ => None,
    }
}
