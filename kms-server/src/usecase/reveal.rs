//! Opens values and shows their masked form alone. The form is what policy declares for the column; the caller has no say in it.

use kms_core::id::VersionId;
use kms_core::mask::{Mask, MaskForm};

use super::open::{OpenRefused, open_under};
use super::refused::Refused;
use crate::binding::Binding;
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::keyring::{KeyEntry, Keyring};
use crate::policy::Masks;

/// What may be seen of a value.
#[derive(Debug)]
pub struct Revealed {
    /// The masked form.
    pub masked: MaskedText,
    /// Which form it is.
    pub form: MaskForm,
    /// Address of the version that had sealed the value.
    pub id: VersionId,
    /// Its number.
    pub version: u32,
}

/// A masked form. Part of it is part of the value: not for logs.
pub struct MaskedText(String);

impl MaskedText {
    /// Hands it to its reader.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl std::fmt::Debug for MaskedText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MaskedText(..)")
    }
}

/// A value to be shown, and what it is bound to.
pub type Sealed<'a> = (&'a Binding, &'a [u8]);

/// Reveals one value.
pub fn reveal(
    permit: Permit<op::Reveal>,
    keyring: &Keyring,
    masks: &Masks,
    sealed: Sealed<'_>,
) -> Unrecorded<Result<Revealed, OpenRefused>> {
    let result = reveal_under(keyring, permit.target(), masks, sealed);
    let versions = result.iter().map(|revealed| revealed.id).collect();
    permit.finish(result, Note { versions, ..Note::default() })
}

/// Reveals each item; one that fails leaves the others alone.
pub fn reveal_batch<'a>(
    permit: Permit<op::Reveal>,
    keyring: &Keyring,
    masks: &Masks,
    items: impl Iterator<Item = Sealed<'a>>,
) -> Unrecorded<Result<Vec<Result<Revealed, OpenRefused>>, Refused>> {
    let results: Vec<_> = items.map(|sealed| reveal_under(keyring, permit.target(), masks, sealed)).collect();
    let note = Note::of_batch(&results, |revealed| revealed.id);
    permit.finish(Ok(results), note)
}

fn reveal_under(
    keyring: &Keyring,
    key: &KeyEntry,
    masks: &Masks,
    (binding, ciphertext): Sealed<'_>,
) -> Result<Revealed, OpenRefused> {
    // ORDER: before anything is opened. The column is that of the binding, without which the value does not open.
    let mask = mask_of(key, masks, binding)?;
    let opened = open_under(keyring, key, binding, ciphertext)?;
    let form = mask.form();
    let masked = mask.apply(&opened.plaintext).map_err(|error| Refused::MaskDoesNotFit { form, error })?;
    Ok(Revealed { masked: MaskedText(masked), form, id: opened.id, version: opened.version })
}

fn mask_of<'m>(key: &KeyEntry, masks: &'m Masks, binding: &Binding) -> Result<&'m Mask, Refused> {
    let (table, column) = binding.column().ok_or(Refused::NoColumn)?;
    let family = key.name.family();
    masks.find(family, &table, &column).ok_or_else(|| Refused::NoMask {
        family: family.clone(),
        table,
        column,
    })
}
