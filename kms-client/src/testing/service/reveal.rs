//! `Reveal`: masked forms, by the masks that are declared. Where the key named is a family, values of its subjects are revealed.

use kms_core::field::Header;
use kms_proto::{reason::Reason, v1};

use super::{
    super::{
        ledger::{Bound, Place},
        refused::Refused,
        rights::Operation,
    },
    Desk,
    crypto::stated,
    item,
    limits::{self, MAX_ITEMS},
};

impl Desk<'_> {
    pub(super) fn reveal(&mut self, message: v1::RevealRequest) -> Result<v1::RevealResponse, Refused> {
        let ciphertext = limits::ciphertext(&message.ciphertext)?;
        let bound = Bound::of(message.binding)?;
        let (names, purpose) = ((&*message.tenant, &*message.key), bound.purpose(&message.purpose));
        let named = self.permit_for(Operation::Reveal, names, purpose)?;
        let masked = self.revealed(&message.tenant, &named, &bound, ciphertext)?;
        Ok(v1::RevealResponse { masked: Some(masked), store_revision: self.revision() })
    }

    pub(super) fn reveal_batch(
        &mut self,
        message: v1::RevealBatchRequest,
    ) -> Result<v1::RevealBatchResponse, Refused> {
        use v1::reveal_batch_response::{Item, item::Outcome};
        let sizes = message.items.iter().map(|item| item.ciphertext.len());
        limits::batch(message.items.len(), MAX_ITEMS, sizes)?;
        let names = (&*message.tenant, &*message.key);
        let parsed = message.items.iter().map(|asked| {
            let bound = Bound::of(asked.binding.clone())?;
            Ok((bound, limits::ciphertext(&asked.ciphertext)?))
        });
        let revealed = self.each(
            parsed.collect(),
            |(bound, _)| stated(bound, &message.purpose),
            |desk, purpose| desk.permit_for(Operation::Reveal, names, purpose.as_deref()),
            |desk, named, (bound, ciphertext)| desk.revealed(names.0, named, &bound, ciphertext),
        )?;
        let items = revealed
            .into_iter()
            .map(|masked| Item { outcome: Some(item(masked, Outcome::Masked, Outcome::Error)) });
        Ok(v1::RevealBatchResponse { items: items.collect(), store_revision: self.revision() })
    }

    fn revealed(
        &self,
        tenant: &str,
        named: &Place,
        bound: &Bound,
        ciphertext: &[u8],
    ) -> Result<v1::Masked, Refused> {
        let ledger = &self.state.ledger;
        // What sealed it, where that is a subject of the family named.
        let sealed_by =
            Header::parse(ciphertext).ok().and_then(|header| ledger.place_of(tenant, header.version));
        let subject = sealed_by.filter(|place| {
            place.key.subject_id().is_some()
                && *place.key.family() == *named.key.family()
                && named.key.subject_id().is_none()
        });
        if subject.is_none() && Header::parse(ciphertext).is_ok() && ledger.is_family(named)? {
            // Another key's it is, and as good as not there.
            return Err(Reason::KeyNotAccessible.into());
        }
        let place = subject.as_ref().unwrap_or(named);
        // Before anything is opened.
        let (table, column) = bound.column().ok_or_else(|| {
            Refused::new(
                Reason::MaskNotDeclared,
                "the context has no pairs `table` and `column`, so no mask is declared for the value and nothing of it is revealed",
            )
        })?;
        let family = place.key.family();
        let mask = self.state.masks.find(family, &table, &column).ok_or_else(|| {
            Refused::new(
                Reason::MaskNotDeclared,
                format!("no mask is declared for column `{column}` of table `{table}` under key `{family}`, so nothing of it is revealed"),
            )
        })?;
        let opened = ledger.open(place, bound, ciphertext)?;
        let form = mask.form();
        let text = mask.apply(opened.plaintext.as_bytes()).map_err(|error| {
            let words = format!("the mask `{form}` of the column does not fit: {error}");
            Refused::new(Reason::MaskDoesNotFit, words)
        })?;
        Ok(v1::Masked { text, form: form.to_string(), version: opened.version })
    }
}
