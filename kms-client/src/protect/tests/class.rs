//! The class that a column declares, and that of its key.

use kms_proto::reason::Reason;
use uuid::Uuid;

use super::{FieldProblem, ProtectError};
use crate::{
    Error, KeyClass, Kms, Protect,
    testing::{ATTENDANCE, Scene, TENANT, scene},
};

macro_rules! person {
    ($name:ident, $sealed:literal, $($phone:tt)*) => {
        #[derive(Clone, Protect)]
        #[protect(table = "staff", key = "attendance", tenant = "company_id", bind("id"), sealed = $sealed)]
        struct $name {
            company_id: String,
            id: Uuid,
            #[protect(encrypt)]
            name: String,
            #[protect(encrypt, $($phone)*)]
            phone: Option<String>,
        }

        impl $name {
            fn of(tenant: &str) -> Self {
                let (name, phone) = ("李雷".into(), Some("138".into()));
                Self { company_id: tenant.into(), id: Uuid::from_u128(1), name, phone }
            }
        }
    };
}

person!(Silent, "SealedSilent", name = "phone");
person!(OfL2, "SealedOfL2", class = "L2");
person!(OfL3, "SealedOfL3", class = "L3");
person!(OfL4, "SealedOfL4", class = "L4");
person!(MovedToL3, "SealedMovedToL3", key = "vault", class = "L3", previous(key = "attendance"));

person!(MovedToL4, "SealedMovedToL4", key = "safe", class = "L4", previous(key = "attendance"));
person!(RenamedInL4, "SealedRenamedInL4", previous(column = "mobile"));

/// Tenants whose keys are of the classes that they are called after.
fn scene_of_classes() -> Scene {
    let scene = scene();
    for (tenant, class) in [("l2", KeyClass::L2), ("l3", KeyClass::L3), ("l4", KeyClass::L4)] {
        scene.centre.create_tenant(tenant).unwrap();
        scene.centre.create_key_of_class(tenant, ATTENDANCE, class).unwrap();
    }
    scene
}

fn differs(error: &ProtectError, declares: KeyClass, is: KeyClass) {
    let FieldProblem::Kms(error) = error.problem() else { panic!("{error}") };
    let Error::OtherClass { key, declared, actual } = error else { panic!("{error}") };
    assert_eq!((key.to_string().as_str(), *declared, *actual), (ATTENDANCE, declares, is));
    assert_eq!((error.exit_code(), error.is_retryable()), (2, false));
    assert!(error.to_string().contains("declare "), "{error}");
}

async fn refused<T: crate::protect::Protect>(kms: &Kms, row: &T) -> ProtectError {
    let error = kms.seal(row).await.map(|_| ()).unwrap_err();
    assert_eq!(error.column(), "phone");
    error
}

#[tokio::test]
async fn rows_are_sealed_and_opened_where_keys_are_of_the_class_that_is_declared() {
    let scene = scene_of_classes();
    for kms in [scene.kms.clone(), scene.cold()] {
        let twin = kms.seal(&OfL2::of("l2")).await.unwrap();
        assert_eq!(scene.cold().open(&twin).await.unwrap().name, "李雷");
        let twin = kms.seal(&OfL3::of("l3")).await.unwrap();
        assert_eq!(scene.cold().open(&twin).await.unwrap().name, "李雷");
        let twin = kms.seal(&OfL4::of("l4")).await.unwrap();
        assert_eq!(kms.open(&twin).await.unwrap().name, "李雷");
        let twin = kms.seal(&Silent::of("l3")).await.unwrap();
        assert_eq!(scene.cold().open(&twin).await.unwrap().name, "李雷");
    }
}

#[tokio::test]
async fn under_a_key_of_another_class_no_row_is_sealed_and_the_error_says_what_to_do() {
    let scene = scene_of_classes();
    // Cold, and warm.
    for _ in 0..2 {
        differs(&refused(&scene.kms, &OfL3::of("l2")).await, KeyClass::L3, KeyClass::L2);
        differs(&refused(&scene.kms, &OfL2::of("l3")).await, KeyClass::L2, KeyClass::L3);
        differs(&refused(&scene.kms, &OfL3::of("l4")).await, KeyClass::L3, KeyClass::L4);
        differs(&refused(&scene.kms, &OfL4::of("l2")).await, KeyClass::L4, KeyClass::L2);
    }
    // Of a batch only those rows fail whose key it is.
    let rows = [OfL3::of("l3"), OfL3::of("l2"), OfL3::of("l3")];
    let sealed = scene.kms.seal_all(&rows).await;
    assert_eq!(sealed.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
}

#[tokio::test]
async fn nor_is_one_opened_by_a_service_that_only_reads() {
    let scene = scene_of_classes();
    let SealedSilent { company_id, id, name, phone } = scene.kms.seal(&Silent::of("l2")).await.unwrap();
    let twin = SealedOfL3 { company_id, id, name, phone };
    let error = scene.cold().open(&twin).await.map(|_| ()).unwrap_err();
    differs(&error, KeyClass::L3, KeyClass::L2);
    // A value that is not there is under no key.
    let empty = SealedOfL3 { phone: None, ..twin };
    assert!(scene.cold().open(&empty).await.unwrap().phone.is_none());
}

#[tokio::test]
async fn values_of_an_older_key_open_whatever_its_class() {
    let scene = scene();
    scene.centre.create_key_of_class(TENANT, "vault", KeyClass::L3).unwrap();
    let SealedSilent { company_id, id, name, phone } = scene.kms.seal(&Silent::of(TENANT)).await.unwrap();
    let older = SealedMovedToL3 { company_id, id, name, phone };
    let opened = scene.cold().open(&older).await.unwrap();
    assert_eq!(opened.phone.as_deref(), Some("138"));
    let newer = scene.cold().seal(&MovedToL3::of(TENANT)).await.unwrap();
    assert_ne!(newer.phone, older.phone);
    assert!(scene.cold().open(&newer).await.is_ok());
}

#[tokio::test]
async fn what_the_key_centre_sealed_itself_opens_after_its_key_was_left_for_another() {
    let scene = scene_of_classes();
    scene.centre.create_key_of_class("l4", "vault", KeyClass::L3).unwrap();
    scene.centre.create_key_of_class("l4", "safe", KeyClass::L4).unwrap();
    let SealedSilent { company_id, id, name, phone } = scene.kms.seal(&Silent::of("l4")).await.unwrap();
    let to_l3 = SealedMovedToL3 { company_id, id, name, phone };
    assert_eq!(scene.cold().open(&to_l3).await.unwrap().phone.as_deref(), Some("138"));
    let SealedMovedToL3 { company_id, id, name, phone } = to_l3.clone();
    let to_l4 = SealedMovedToL4 { company_id, id, name, phone };
    assert_eq!(scene.cold().open(&to_l4).await.unwrap().phone.as_deref(), Some("138"));
    // What is sealed anew opens without the older key.
    let newer = scene.kms.seal(&MovedToL4::of("l4")).await.unwrap();
    let calls = scene.calls("DecryptBatch");
    assert!(scene.cold().open(&newer).await.is_ok());
    assert_eq!(scene.calls("DecryptBatch") - calls, 2, "one for each key");
    // In another row neither does.
    let moved = SealedMovedToL3 { id: Uuid::from_u128(2), name: to_l3.name.clone(), ..to_l3 };
    assert!(scene.cold().open(&moved).await.is_err());
    // A key that is not there is not asked for again under the older names.
    scene.centre.restrict("stranger", crate::testing::Rights::to([]));
    let renamed = scene.kms.seal(&RenamedInL4::of("l4")).await.unwrap();
    let calls = scene.calls("DecryptBatch");
    let error = scene.centre.client("stranger").open(&renamed).await.map(|_| ()).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::KeyNotAccessible));
    assert_eq!(scene.calls("DecryptBatch") - calls, 1);
}
