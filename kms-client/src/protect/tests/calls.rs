//! How many calls batches make, and that rows come back as they were.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{CheckIn, SealedCheckIn, checkin, sealed};
use crate::{
    KeyClass, Protect,
    protect::{Schema, Sealed, SealedText},
    testing::{ATTENDANCE, scene, until},
};

const OPEN: &str = "OpenDataKeys";

#[tokio::test]
async fn a_cold_batch_makes_one_call_and_a_warm_one_none() {
    let scene = scene();
    let rows: Vec<CheckIn> = (1..=1_500).map(checkin).collect();
    let older = sealed(&scene.kms, &rows).await;
    assert_eq!(scene.calls(OPEN), 1, "all rows, columns and modes");
    sealed(&scene.kms, &rows).await;
    assert_eq!(scene.calls(OPEN), 1);

    scene.rotate(ATTENDANCE).await;
    let newer = sealed(&scene.cold(), &rows).await;
    let cold = scene.cold();
    let before = scene.calls(OPEN);
    let both: Vec<SealedCheckIn> = older.iter().chain(&newer).cloned().collect();
    let opened = cold.open_all(both.clone()).await;
    assert_eq!(scene.calls(OPEN), before + 1, "two versions, all columns, in one call");
    for (opened, row) in opened.iter().zip(rows.iter().chain(&rows)) {
        assert!(opened.as_ref().unwrap() == row);
    }
    assert!(cold.open_all(both).await.iter().all(Result::is_ok));
    assert_eq!(scene.calls(OPEN), before + 1, "then none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tasks_that_seal_or_open_under_one_cold_key_make_one_call() {
    let scene = scene();
    let twin = scene.kms.seal(&checkin(1)).await.unwrap();
    for seals in [true, false] {
        let cold = scene.cold();
        let before = scene.calls(OPEN);
        scene.hold_calls();
        let task = |_| {
            let (cold, twin) = (cold.clone(), twin.clone());
            tokio::spawn(async move {
                match seals {
                    true => cold.seal(&checkin(1)).await.map(|_| ()),
                    false => cold.open(&twin).await.map(|_| ()),
                }
            })
        };
        let tasks: Vec<_> = (0..1_000).map(task).collect();
        until("the call has arrived", || scene.calls(OPEN) == before + 1).await;
        scene.release_calls();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(scene.calls(OPEN), before + 1);
    }
}

#[tokio::test]
async fn null_stays_null_and_what_is_not_protected_stays_as_it_is() {
    let scene = scene();
    let [odd, even] = [checkin(1), checkin(2)];
    let twins = sealed(&scene.kms, &[odd.clone(), even.clone()]).await;
    assert!(twins[0].location.is_none() && twins[1].location.is_some());
    assert_eq!((twins[0].note.as_deref(), twins[0].id), (Some("gate 2"), odd.id));
    assert_eq!(twins[0].badge, twins[1].badge, "deterministic");
    assert_ne!(twins[0].phone, twins[1].phone, "randomized");
    assert!(twins[0].phone.as_str().starts_with("kf1."));
    assert!(scene.kms.open(&twins[0]).await.unwrap() == odd);
    assert!(scene.kms.open(&twins[1]).await.unwrap() == even);
}

#[tokio::test]
async fn nothing_is_asked_for_where_there_is_nothing_to_seal_or_open() {
    let scene = scene();
    assert!(scene.kms.seal_all::<CheckIn>(&[]).await.is_empty());
    assert!(scene.kms.open_all(Vec::<SealedCheckIn>::new()).await.is_empty());
    assert_eq!(scene.calls(OPEN), 0);
}

#[tokio::test]
async fn a_caller_that_gives_up_leaves_the_client_as_it_was() {
    let scene = scene();
    scene.hold_calls();
    let row = checkin(1);
    let mut sealing = Box::pin(scene.kms.seal(&row));
    assert!(futures_util::poll!(&mut sealing).is_pending());
    drop(sealing);
    scene.release_calls();
    let twin = scene.kms.seal(&row).await.unwrap();
    assert!(scene.kms.open(&twin).await.unwrap() == row);
    assert_eq!(scene.calls(OPEN), 2, "to seal, which the second caller joined, and to open");
}

#[derive(Protect)]
#[protect(
    table = "notes",
    key = "attendance",
    tenant = "owner",
    bind("id"),
    derive(Serialize, Deserialize, PartialEq)
)]
struct Note {
    owner: String,
    id: u32,
    #[protect(encrypt)]
    body: String,
    #[protect(encrypt, text)]
    title: Option<String>,
}

#[tokio::test]
async fn a_twin_goes_through_json_and_opens() {
    let scene = scene();
    let note = Note { owner: "acme".into(), id: 7, body: "hello".into(), title: None };
    let twin = scene.kms.seal(&note).await.unwrap();
    let json = serde_json::to_string(&twin).unwrap();
    assert!(json.contains(r#""body":"kf1."#) && json.contains(r#""title":null"#), "{json}");
    let again: SealedNote = serde_json::from_str(&json).unwrap();
    assert!(again == twin);
    assert_eq!(scene.kms.open(&again).await.unwrap().body, "hello");
    assert!(serde_json::from_str::<SealedNote>(&json.replace("kf1.", "")).is_err());
}

#[tokio::test]
async fn a_twin_goes_through_a_driver_that_knows_bytes_and_text_only() {
    let scene = scene();
    let note = Note { owner: "acme".into(), id: 7, body: "hello".into(), title: Some("t".into()) };
    let SealedNote { owner, id, body, title } = scene.kms.seal(&note).await.unwrap();
    let (bytes, text): (Vec<u8>, Option<String>) = (body.into_bytes(), title.map(SealedText::into_string));
    let again = SealedNote { owner, id, body: Sealed::from(bytes), title: text.map(SealedText::from) };
    let opened = scene.kms.open(&again).await.unwrap();
    assert_eq!((opened.body.as_str(), opened.title.as_deref()), ("hello", Some("t")));
}

#[tokio::test]
async fn under_class_l4_rows_are_sealed_and_opened_by_the_server() {
    let scene = scene();
    scene.centre.create_tenant("vaults").unwrap();
    scene.centre.create_key_of_class("vaults", ATTENDANCE, KeyClass::L4).unwrap();
    let note = Note { owner: "vaults".into(), id: 7, body: "hello".into(), title: Some("t".into()) };
    let twin = scene.kms.seal(&note).await.unwrap();
    assert_eq!(scene.kms.open(&twin).await.unwrap().body, "hello");
    assert_eq!((scene.calls("EncryptBatch"), scene.calls("DecryptBatch")), (1, 1));
}

#[test]
fn the_schema_is_data_that_comes_back_from_json() {
    let json = serde_json::to_string_pretty(CheckIn::SCHEMA).unwrap();
    assert_eq!(&serde_json::from_str::<Schema>(&json).unwrap(), CheckIn::SCHEMA);
    let phone = CheckIn::SCHEMA.column("phone").unwrap();
    assert_eq!((phone.mask.as_deref(), phone.max_len), (Some("phone"), Some(255)));
    assert_eq!(CheckIn::SCHEMA.column("location").unwrap().class.as_deref(), Some("L2"));
    assert_eq!(*CheckIn::SCHEMA.bind, ["company_id", "id"]);
    assert!(CheckIn::SCHEMA.column("note").is_none(), "in the clear");
    assert_eq!(
        SealedCheckIn::COLUMNS,
        ["company_id", "id", "employee", "phone", "location", "badge", "photo", "note"]
    );
}

#[test]
fn debug_forms_show_no_protected_value() {
    let shown = format!("{:?} {:#?}", checkin(2), checkin(2));
    for hidden in ["李雷", "138", "31.25", "17"] {
        assert!(!shown.contains(hidden), "{hidden} is shown");
    }
    assert!(shown.contains("gate 2") && shown.contains(&Uuid::from_u128(2).to_string()));
}

#[tokio::test]
async fn batches_run_in_tasks_of_their_own() {
    let scene = scene();
    let (kms, rows) = (scene.kms.clone(), vec![checkin(1), checkin(2)]);
    let task = tokio::spawn(async move {
        let twins = kms.seal_all(&rows).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
        let one = kms.open(&twins[0]).await.unwrap();
        let all = kms.open_all(twins).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
        one == rows[0] && all == rows
    });
    assert!(task.await.unwrap());
}

#[tokio::test]
async fn a_batch_does_not_carry_the_state_of_a_call_that_it_does_not_make() {
    let scene = scene();
    let rows = [checkin(1)];
    let twins = sealed(&scene.kms, &rows).await;
    let (sealing, opening) = (scene.kms.seal_all(&rows), scene.kms.open_all(twins));
    // Futures are moved before they run; with a call inside these were more than 4,000 bytes.
    assert!(size_of_val(&sealing) < 2_000, "{}", size_of_val(&sealing));
    assert!(size_of_val(&opening) < 2_000, "{}", size_of_val(&opening));
}
