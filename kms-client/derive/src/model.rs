//! What was asked for.

use proc_macro2::{Ident, Span};
use syn::{LitStr, Path, Type, Visibility};

use crate::field::plain;

/// A struct with protected fields.
pub(crate) struct Table {
    pub(crate) vis: Visibility,
    pub(crate) ident: Ident,
    pub(crate) twin: Ident,
    pub(crate) table: LitStr,
    /// In key derivation.
    pub(crate) name: Option<LitStr>,
    pub(crate) key: LitStr,
    pub(crate) class: Option<LitStr>,
    pub(crate) tenant: LitStr,
    pub(crate) bind: Vec<LitStr>,
    pub(crate) per: Option<LitStr>,
    /// For the twin.
    pub(crate) derives: Vec<Path>,
    pub(crate) fields: Vec<Field>,
}

pub(crate) struct Field {
    pub(crate) vis: Visibility,
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    /// Without its `Option`.
    pub(crate) inner: Type,
    pub(crate) optional: bool,
    /// In the database.
    pub(crate) column: String,
    pub(crate) protected: Option<Protected>,
}

pub(crate) struct Protected {
    pub(crate) deterministic: bool,
    pub(crate) text: bool,
    pub(crate) json: bool,
    /// In key derivation.
    pub(crate) name: Option<LitStr>,
    pub(crate) key: Option<LitStr>,
    pub(crate) class: Option<LitStr>,
    pub(crate) mask: Option<LitStr>,
    pub(crate) max_len: Option<u32>,
    pub(crate) index: Option<Index>,
    pub(crate) until: Option<LitStr>,
    pub(crate) previous: Vec<Previous>,
    pub(crate) accepts_low_entropy: bool,
    pub(crate) accepts_equality_within_subject: bool,
}

pub(crate) struct Index {
    pub(crate) span: Span,
    pub(crate) bits: u16,
    pub(crate) normalize: String,
    pub(crate) key: Option<LitStr>,
    pub(crate) name: Option<LitStr>,
    /// In the database, and the twin's field.
    pub(crate) column: String,
    pub(crate) accepts_long: bool,
}

#[derive(Default)]
pub(crate) struct Previous {
    pub(crate) table: Option<LitStr>,
    pub(crate) column: Option<LitStr>,
    pub(crate) key: Option<LitStr>,
    pub(crate) deterministic: Option<bool>,
    /// Its key was everybody's, where each subject has one now.
    pub(crate) shared: bool,
}

impl Table {
    /// The protected fields, in order.
    pub(crate) fn protected(&self) -> impl Iterator<Item = (&Field, &Protected)> {
        self.fields.iter().filter_map(|field| Some((field, field.protected.as_ref()?)))
    }

    pub(crate) fn field(&self, name: &LitStr) -> Option<&Field> {
        let name = name.value();
        self.fields.iter().find(|field| plain(&field.ident) == name)
    }
}

impl Protected {
    /// The key of its index.
    pub(crate) fn index_key(&self, index: &Index, table: &Table) -> String {
        match &index.key {
            Some(key) => key.value(),
            None => format!("{}.index", self.key.as_ref().unwrap_or(&table.key).value()),
        }
    }
}

impl Field {
    /// The last word of its type, without `Option`.
    pub(crate) fn type_name(&self) -> String {
        match &self.inner {
            Type::Path(path) => {
                path.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default()
            }
            _ => String::new(),
        }
    }
}
