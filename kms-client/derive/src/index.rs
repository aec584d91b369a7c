//! Reads `index(eq, normalize = "phone", bits = 20)`.

use syn::{LitInt, LitStr, Result, meta::ParseNestedMeta};

use crate::{
    field::accepted,
    model::Index,
    table::{name, nested, text},
};

const NORMALIZERS: &[&str] = &["none", "lower", "digits", "phone", "email"];
const WRITE: &str = "write `index(eq, bits = 20)`, with `normalize = \"phone\"` where people write one value in several ways; it also takes \
    `key`, `name`, `column`";
const BITS: &str = "say how many bits the index keeps, as `bits = 20`: of R rows a search then brings R / 2^bits besides its own; good are 2 \
    to √R";

pub(crate) fn read(meta: &ParseNestedMeta<'_>, field: &str) -> Result<Index> {
    let (mut eq, mut bits, mut normalize) = (false, None::<u16>, None::<LitStr>);
    let (mut key, mut index_name, mut column, mut long) = (None, None, None, None);
    nested(meta, WRITE, |inner| match name(&inner).as_str() {
        "eq" => {
            eq = true;
            Ok(())
        }
        "bits" => {
            let said: LitInt = inner.value()?.parse()?;
            let parsed = said.base10_parse().ok().filter(|bits| (1..=256).contains(bits));
            bits =
                Some(parsed.ok_or_else(|| syn::Error::new(said.span(), "a blind index has 1 to 256 bits"))?);
            Ok(())
        }
        "normalize" => text(&inner, &mut normalize),
        "key" => text(&inner, &mut key),
        "name" => text(&inner, &mut index_name),
        "column" => text(&inner, &mut column),
        "long_index" => text(&inner, &mut long),
        other => Err(inner.error(format!("unknown attribute `{other}`; {WRITE}"))),
    })?;
    if !eq {
        return Err(meta.error(format!("an index is for equality: {WRITE}")));
    }
    if let Some(said) = normalize.as_ref().filter(|said| !NORMALIZERS.contains(&said.value().as_str())) {
        let words = format!("no normalizer has that name; there are {}", NORMALIZERS.join(", "));
        return Err(syn::Error::new(said.span(), words));
    }
    Ok(Index {
        span: meta.path.get_ident().map_or_else(proc_macro2::Span::call_site, |ident| ident.span()),
        bits: bits.ok_or_else(|| meta.error(BITS))?,
        normalize: normalize.map_or_else(|| "none".into(), |said| said.value()),
        key,
        name: index_name,
        column: column.map_or_else(|| format!("{field}_index"), |said: LitStr| said.value()),
        accepts_long: accepted(long.as_ref(), "accepted")?,
    })
}
