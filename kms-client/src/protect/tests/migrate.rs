//! Plaintext and older schemes, while they last; renames.

use uuid::Uuid;

use super::{FieldProblem, Sealed, SealedText, refusal};
use crate::{Protect, testing::scene};

macro_rules! person {
    ($name:ident, $sealed:literal, [$($table:tt)*], [$($employee:tt)*]) => {
        #[derive(Clone, Protect)]
        #[protect(key = "attendance", tenant = "company_id", bind("id"), sealed = $sealed, $($table)*)]
        struct $name {
            company_id: String,
            id: Uuid,
            #[protect($($employee)*)]
            employee: String,
            #[protect(encrypt)]
            other: String,
        }

        impl $name {
            fn row() -> Self {
                let (employee, other) = ("李雷".into(), "x".into());
                Self { company_id: "acme".into(), id: Uuid::from_u128(1), employee, other }
            }
        }
    };
}

person!(Old, "SealedOld", [table = "staff"], [encrypt]);
person!(
    Renamed,
    "SealedRenamed",
    [table = "people", name = "staff"],
    [encrypt, column = "full_name", name = "employee"]
);
person!(Moved, "SealedMoved", [table = "people"], [encrypt]);
person!(Bridge, "SealedBridge", [table = "people"], [encrypt, previous(table = "staff")]);
person!(Loose, "SealedLoose", [table = "staff"], [deterministic]);
person!(Tightened, "SealedTightened", [table = "staff"], [encrypt, previous(deterministic)]);
person!(
    Rekeyed,
    "SealedRekeyed",
    [table = "staff"],
    [encrypt, key = "payroll", previous(key = "attendance")]
);
person!(Late, "SealedLate", [table = "staff"], [encrypt, text, allow_plaintext(until = "2020-01-31")]);
person!(Lenient, "SealedLenient", [table = "staff"], [encrypt, text, allow_plaintext(until = "9000-01-31")]);
person!(
    LenientBytes,
    "SealedLenientBytes",
    [table = "staff"],
    [encrypt, allow_plaintext(until = "9000-01-31")]
);
person!(Strict, "SealedStrict", [table = "staff"], [encrypt, text]);

macro_rules! with_employee {
    ($twin:ident, $of:expr, $employee:expr) => {
        $twin { employee: $employee, ..$of.clone() }
    };
}

#[tokio::test]
async fn a_renamed_table_and_column_keep_their_cryptographic_names() {
    let kms = scene();
    let old = kms.kms.seal(&Old::row()).await.unwrap();
    let SealedOld { company_id, id, employee, other } = old.clone();
    let renamed = SealedRenamed { company_id, id, employee, other };
    assert_eq!(kms.kms.open(&renamed).await.unwrap().employee, "李雷");
    let sealed_anew = kms.kms.seal(&Renamed::row()).await.unwrap().employee;
    let back = with_employee!(SealedOld, old, sealed_anew);
    assert_eq!(
        kms.kms.open(&back).await.unwrap().employee,
        "李雷",
        "a release that is rolled back reads what the newer one wrote"
    );
    assert_eq!(SealedRenamed::COLUMNS, ["company_id", "id", "full_name", "other"]);
    let moved = SealedMoved {
        company_id: renamed.company_id,
        id: renamed.id,
        employee: renamed.employee,
        other: renamed.other,
    };
    refusal(&kms.kms, &moved).await;
}

#[tokio::test]
async fn values_of_an_older_place_mode_or_key_open_and_new_ones_are_sealed_in_the_new() {
    let scene = scene();
    let (old, loose) =
        (scene.kms.seal(&Old::row()).await.unwrap(), scene.kms.seal(&Loose::row()).await.unwrap());
    let before = scene.calls("OpenDataKeys");

    let bridge = scene.kms.seal(&Bridge::row()).await.unwrap();
    let older = with_employee!(SealedBridge, bridge, old.employee.clone());
    assert_eq!(scene.kms.open(&older).await.unwrap().employee, "李雷");
    assert_eq!(scene.kms.open(&bridge).await.unwrap().employee, "李雷");
    assert_eq!(scene.calls("OpenDataKeys"), before + 1, "an older place takes no call of its own");
    let moved = scene.kms.seal(&Moved::row()).await.unwrap();
    let moved = with_employee!(SealedMoved, moved, bridge.employee.clone());
    assert_eq!(
        scene.kms.open(&moved).await.unwrap().employee,
        "李雷",
        "what a bridge seals is in the new place"
    );

    let tightened = scene.kms.seal(&Tightened::row()).await.unwrap();
    assert_ne!(tightened.employee, loose.employee);
    let older = with_employee!(SealedTightened, tightened, loose.employee.clone());
    assert_eq!(scene.kms.open(&older).await.unwrap().employee, "李雷");

    let rekeyed = scene.kms.seal(&Rekeyed::row()).await.unwrap();
    let older = with_employee!(SealedRekeyed, rekeyed, old.employee.clone());
    assert_eq!(scene.kms.open(&older).await.unwrap().employee, "李雷");
    assert_eq!(scene.kms.open(&rekeyed).await.unwrap().employee, "李雷");
}

#[tokio::test]
async fn plaintext_is_taken_until_the_day_and_not_where_nothing_is_said() {
    let scene = scene();
    let plain = || SealedText::from("李雷".to_owned());
    let lenient = scene.kms.seal(&Lenient::row()).await.unwrap();
    assert!(lenient.employee.as_str().starts_with("kf1."), "new values are sealed");
    let mixed = [lenient.clone(), with_employee!(SealedLenient, lenient, plain())];
    for opened in scene.kms.open_all(mixed).await {
        assert_eq!(opened.unwrap().employee, "李雷");
    }
    let bytes = scene.kms.seal(&LenientBytes::row()).await.unwrap();
    let bytes = with_employee!(SealedLenientBytes, bytes, Sealed::from("李雷".as_bytes().to_vec()));
    assert_eq!(scene.kms.open(&bytes).await.unwrap().employee, "李雷");

    let strict = scene.kms.seal(&Strict::row()).await.unwrap();
    let error = refusal(&scene.kms, &with_employee!(SealedStrict, strict, plain())).await;
    assert!(matches!(error.problem(), FieldProblem::Plaintext), "{error}");
    let late = scene.kms.seal(&Late::row()).await.unwrap();
    let error = refusal(&scene.kms, &with_employee!(SealedLate, late, plain())).await;
    assert!(error.to_string().contains("2020-01-31") && !format!("{error:?}").contains("李雷"), "{error}");
    assert!(matches!(error.problem(), FieldProblem::PlaintextNoMore { .. }));
}

#[tokio::test]
async fn what_was_sealed_and_cut_is_not_taken_for_plaintext() {
    let scene = scene();
    let lenient = scene.kms.seal(&Lenient::row()).await.unwrap();
    let text = lenient.employee.as_str();
    for len in [4, 5, 20, text.len() - 1] {
        let cut = with_employee!(SealedLenient, lenient, SealedText::from(text[..len].to_owned()));
        let error = refusal(&scene.kms, &cut).await;
        assert!(matches!(error.problem(), FieldProblem::Kms(_)), "{len}: {error}");
    }
    let bytes = scene.kms.seal(&LenientBytes::row()).await.unwrap();
    for len in [2, 14, 40, bytes.employee.as_bytes().len() - 1] {
        let cut = Sealed::from(bytes.employee.as_bytes()[..len].to_vec());
        let error = refusal(&scene.kms, &with_employee!(SealedLenientBytes, bytes, cut)).await;
        assert!(matches!(error.problem(), FieldProblem::Kms(_)), "{len}: {error}");
    }
}
