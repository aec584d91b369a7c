//! Masked forms of values: for those who may not see them. Always asked of the server, which alone opens them.

use kms_core::{
    field::{Header, Kind},
    names::RecordId,
};

use super::{
    NO_RESULT, Records,
    column::{Column, ToOpenField, open_error},
};
use crate::{
    api::{Masked, ToOpen},
    error::Error,
};

impl Records {
    /// The masked form of one value: what the server's policy lets be seen of its column.
    ///
    /// # Errors
    /// Where policy does not let this caller reveal, no mask is declared for the column, or the value does not open in this place.
    pub async fn reveal(
        &self,
        column: &Column,
        record: &RecordId,
        ciphertext: &[u8],
    ) -> Result<Masked, Error> {
        let mut revealed = self.reveal_batch(&[ToOpenField { column, record, ciphertext }]).await;
        revealed.pop().unwrap_or(Err(NO_RESULT))
    }

    /// Masked forms of values; results in order, a thousand a call. Where the key is a family, values of all its subjects.
    pub async fn reveal_batch(&self, items: &[ToOpenField<'_>]) -> Vec<Result<Masked, Error>> {
        let mut results: Vec<_> = std::iter::repeat_with(|| Err(NO_RESULT)).take(items.len()).collect();
        let (mut asked, mut places) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
        for (at, ToOpenField { column, record, ciphertext }) in items.iter().enumerate() {
            let binding = match Header::parse(ciphertext) {
                Ok(Header { kind: Kind::Direct, .. }) => column.direct(record),
                Ok(_) => Ok(column.field(record)),
                Err(error) => Err(open_error(&error.into())),
            };
            match binding {
                Ok(binding) => {
                    asked.push(ToOpen { ciphertext, binding });
                    places.push(at);
                }
                Err(error) => results[at] = Err(error),
            }
        }
        let revealed = self.kms.reveal_for(&self.scope.tenant, &self.key, &self.scope.purpose, &asked).await;
        for (at, revealed) in places.into_iter().zip(revealed) {
            results[at] = revealed;
        }
        results
    }
}

#[cfg(test)]
mod tests {
    use kms_proto::reason::Reason;

    use super::*;
    use crate::testing::{phone, row, scene};

    #[tokio::test]
    async fn values_of_every_kind_are_revealed_in_one_call_and_each_has_its_own_result() {
        let scene = scene();
        scene.declare_masks(&[("checkins", "phone", "phone"), ("checkins", "name", "name")]);
        let records = scene.records();
        let (name, office) = (
            Column::deterministic("checkins", "name").unwrap(),
            Column::randomized("checkins", "office").unwrap(),
        );
        let sealed_phone = records.seal(&phone(), &row("1"), b"13800131234").await.unwrap();
        let sealed_name = records.seal(&name, &row("1"), "李雷".as_bytes()).await.unwrap();
        let sealed_office = records.seal(&office, &row("1"), b"north").await.unwrap();
        // As the server seals under class L4.
        let bound = phone().direct(&row("2")).unwrap();
        let direct =
            scene.kms.encrypt(records.tenant(), records.key(), &bound, b"13900131234").await.unwrap();
        let direct = direct.ciphertext;
        let one = row("1");
        let two = row("2");
        let of = |column, record, ciphertext| ToOpenField { column, record, ciphertext };
        let phone = phone();
        let items = [
            of(&phone, &one, &*sealed_phone),
            of(&name, &one, &sealed_name),
            of(&office, &one, &sealed_office),
            of(&phone, &two, &sealed_phone),
            of(&phone, &one, b"nonsense"),
            of(&phone, &two, &direct),
        ];
        let revealed = records.reveal_batch(&items).await;
        assert_eq!(scene.calls("RevealBatch"), 1);
        let text = |at: usize| revealed[at].as_ref().unwrap().to_string();
        assert_eq!((text(0), text(1), text(5)), ("138****1234".into(), "李**".into(), "139****1234".into()));
        assert_eq!(revealed[0].as_ref().unwrap().form, "phone");
        let reason = |at: usize| revealed[at].as_ref().unwrap_err().reason();
        assert_eq!(reason(2), Some(Reason::MaskNotDeclared));
        assert_eq!(reason(3), Some(Reason::CiphertextRejected), "of another row");
        assert_eq!(reason(4), Some(Reason::CiphertextMalformed));
        let shown = format!("{revealed:?}");
        assert!(!shown.contains("138") && !shown.contains('李'), "{shown}");
    }

    #[tokio::test]
    async fn a_call_that_fails_fails_each_of_its_items() {
        let scene = scene();
        let records = scene.records();
        let sealed = records.seal(&phone(), &row("1"), b"13800131234").await.unwrap();
        let denied = kms_proto::refusal::status(Reason::KeyNotAccessible, "no", None, None);
        scene.fail([denied]);
        let revealed = records.reveal(&phone(), &row("1"), &sealed).await;
        assert_eq!(revealed.unwrap_err().reason(), Some(Reason::KeyNotAccessible));
    }
}
