//! Records against a key centre in memory.

use std::time::Duration;

use kms_proto::reason::Reason;

use super::{Column, Pause, ToOpenField, ToSealField};
use crate::{
    Error, KeyClass, RecordId,
    testing::{ATTENDANCE, TENANT, key, phone, records, row, scene, tenant},
};

const OPEN: &str = "OpenDataKeys";

fn rows(count: usize) -> Vec<RecordId> {
    (0..count).map(|n| row(&format!("row-{n}"))).collect()
}

#[tokio::test]
async fn a_cold_batch_makes_one_call_and_a_warm_one_none() {
    let scene = scene();
    let (column, name) = (phone(), Column::randomized("checkins", "name").unwrap());
    let rows = rows(3_000);
    let mut items = Vec::new();
    for record in &rows {
        items.push(ToSealField { column: &column, record, plaintext: b"138 0013 8000" });
        items.push(ToSealField { column: &name, record, plaintext: "李雷".as_bytes() });
    }
    let sealed: Vec<_> =
        scene.records().seal_batch(&items).await.into_iter().collect::<Result<_, _>>().unwrap();
    scene.records().seal_batch(&items).await;
    assert_eq!(scene.calls(OPEN), 1);

    scene.rotate(ATTENDANCE).await;
    let cold = records(&scene.cold());
    let newer = cold.seal(&column, &rows[0], b"newer").await.unwrap();
    let before = scene.calls(OPEN);
    let mut to_open: Vec<_> = items
        .iter()
        .zip(&sealed)
        .map(|(item, ciphertext)| ToOpenField { column: item.column, record: item.record, ciphertext })
        .collect();
    to_open.push(ToOpenField { column: &column, record: &rows[0], ciphertext: &newer });
    let opened = cold.open_batch(&to_open).await;
    assert_eq!(scene.calls(OPEN), before + 1, "two versions in one call");
    assert_eq!(opened.last().unwrap().as_ref().unwrap().as_bytes(), b"newer");
    for (item, opened) in items.iter().zip(&opened) {
        assert_eq!(opened.as_ref().unwrap().as_bytes(), item.plaintext);
    }
    cold.open_batch(&to_open).await;
    assert_eq!(scene.calls(OPEN), before + 1, "then none");
}

#[tokio::test]
async fn a_value_moved_to_another_row_column_or_table_does_not_open() {
    let scene = scene();
    let records = scene.records();
    let sealed = records.seal(&phone(), &row("1"), b"x").await.unwrap();
    let mut flipped = sealed.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let places = [
        (phone(), row("2"), &sealed),
        (Column::randomized("checkins", "name").unwrap(), row("1"), &sealed),
        (Column::randomized("visits", "phone").unwrap(), row("1"), &sealed),
        (phone(), row("1"), &flipped),
    ];
    for (column, row, sealed) in places {
        let error = records.open(&column, &row, sealed).await.unwrap_err();
        assert_eq!((error.reason(), error.exit_code()), (Some(Reason::CiphertextRejected), 1));
        assert!(error.is_about_one_value());
    }
    assert_eq!(records.open(&phone(), &row("1"), &sealed).await.unwrap().as_bytes(), b"x");
}

#[tokio::test]
async fn one_bad_value_does_not_harm_the_others() {
    let scene = scene();
    let records = scene.records();
    let (column, record) = (phone(), row("1"));
    let sealed = records.seal(&column, &record, b"x").await.unwrap();
    let unknown = {
        let mut other = sealed.clone();
        other[9] = 0xEE;
        other
    };
    let ciphertexts: [&[u8]; 5] = [&sealed, b"", &unknown, &sealed[..40], &sealed];
    let items = ciphertexts.map(|ciphertext| ToOpenField { column: &column, record: &record, ciphertext });
    let opened = records.open_batch(&items).await;
    let reasons: Vec<_> = opened.iter().map(|one| one.as_ref().err().and_then(Error::reason)).collect();
    let malformed = Some(Reason::CiphertextMalformed);
    assert_eq!(reasons, [None, malformed, Some(Reason::KeyNotAccessible), malformed, None]);
}

#[tokio::test]
async fn a_value_of_another_key_is_not_opened_in_the_name_of_this_one() {
    let scene = scene();
    let payroll = scene.kms.records(&TENANT.parse().unwrap(), &"payroll".parse().unwrap());
    let sealed = payroll.seal(&phone(), &row("1"), b"x").await.unwrap();
    let error = scene.records().open(&phone(), &row("1"), &sealed).await.unwrap_err();
    assert_eq!((error.reason(), error.exit_code()), (Some(Reason::CiphertextRejected), 1), "not a denial");
    assert_eq!(error.to_string(), "it was sealed under key `payroll`, and not under `attendance`");
    payroll.open(&phone(), &row("1"), &sealed).await.unwrap();
    scene.records().open(&phone(), &row("1"), &sealed).await.unwrap_err();
}

#[tokio::test]
async fn equal_values_of_a_deterministic_column_stay_equal_and_others_do_not() {
    let scene = scene();
    let records = scene.records();
    let staff = Column::deterministic("checkins", "staff").unwrap();
    let first = records.seal(&staff, &row("1"), b"17").await.unwrap();
    assert_eq!(records.seal(&staff, &row("2"), b"17").await.unwrap(), first);
    assert_ne!(
        records.seal(&phone(), &row("1"), b"17").await.unwrap(),
        records.seal(&phone(), &row("1"), b"17").await.unwrap()
    );
    assert_eq!(records.open(&staff, &row("9"), &first).await.unwrap().as_bytes(), b"17");
    scene.rotate(ATTENDANCE).await;
    let cold = scene.cold().records(records.tenant(), records.key());
    assert_eq!(cold.seal(&staff, &row("3"), b"17").await.unwrap(), first, "rotation leaves it");
}

#[tokio::test]
async fn under_class_l4_the_server_seals_and_opens_in_batches() {
    let scene = scene();
    scene.centre.create_key_of_class(TENANT, "vault", KeyClass::L4).unwrap();
    let records = scene.kms.records(&tenant(), &key("vault"));
    let (column, rows) = (phone(), rows(2_500));
    let items: Vec<_> =
        rows.iter().map(|record| ToSealField { column: &column, record, plaintext: b"x" }).collect();
    let sealed: Vec<_> = records.seal_batch(&items).await.into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(scene.calls("EncryptBatch"), 3);
    assert!(records.sealer(&column).await.unwrap().is_none());
    assert_eq!(scene.calls(OPEN), 1, "it is asked once whether there is a lease");

    let to_open: Vec<_> = rows
        .iter()
        .zip(&sealed)
        .map(|(record, ciphertext)| ToOpenField { column: &column, record, ciphertext })
        .collect();
    let opened = records.open_batch(&to_open).await;
    assert!(opened.iter().all(|one| one.as_ref().unwrap().as_bytes() == b"x"));
    assert_eq!(scene.calls("DecryptBatch"), 3);

    let moved = records.open(&column, &row("another"), &sealed[0]).await.unwrap_err();
    assert_eq!(moved.reason(), Some(Reason::CiphertextRejected));
    let staff = Column::deterministic("checkins", "staff").unwrap();
    let error = records.seal(&staff, &row("1"), b"x").await.unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)) && error.exit_code() == 2, "{error}");
}

#[tokio::test]
async fn a_sealer_waits_for_nothing_until_its_lease_is_used_up() {
    let scene = scene();
    scene.faults().limit_budget(300);
    let records = scene.records();
    let mut sealer = records.sealer(&phone()).await.unwrap().unwrap();
    let (mut sealed, mut renewed) = (Vec::new(), 0);
    for record in &rows(1_000) {
        loop {
            match sealer.seal(record, b"x") {
                Ok(one) => break sealed.push((record.clone(), one)),
                Err(Pause::Renew) => {
                    sealer.renew().await.unwrap();
                    renewed += 1;
                }
                Err(Pause::Failed(error)) => panic!("{error}"),
            }
        }
    }
    assert_eq!(renewed, 3);
    for (record, sealed) in &sealed {
        records.open(&phone(), record, sealed).await.unwrap();
    }

    scene.centre.advance(Duration::from_secs(60));
    assert!(matches!(sealer.seal(&row("1"), b"x"), Err(Pause::Renew)));
    sealer.renew().await.unwrap();
    assert!(sealer.seal(&row("1"), b"x").is_ok());
}

#[tokio::test]
async fn a_data_key_for_files_is_shown_only_during_its_lease() {
    let scene = scene();
    let records = scene.records();
    let lease = records.data_key_to_seal().await.unwrap();
    let shown = lease.with_data_key(|key| *key.expose_secret()).unwrap();
    let to_open = records.data_key_to_open(lease.version(), lease.data_key_id()).await.unwrap();
    assert!(to_open.with_data_key(|key| *key.expose_secret() == shown).unwrap());
    scene.centre.advance(Duration::from_secs(60));
    assert!(lease.with_data_key(|_| ()).is_err());
    let own = kms_core::id::DataKeyId::server_own(3).unwrap();
    let error = records.data_key_to_open(lease.version(), own).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ServerOwnDataKey));
}

#[tokio::test]
async fn errors_and_debug_forms_show_no_values() {
    let scene = scene();
    let records = scene.records();
    let sealed = records.seal(&phone(), &row("1"), b"zebra crossing").await.unwrap();
    let error = records.open(&phone(), &row("secret-row"), &sealed).await.unwrap_err();
    let (column, record) = (phone(), row("secret-row"));
    let item = ToSealField { column: &column, record: &record, plaintext: b"zebra crossing" };
    let sealer = records.sealer(&phone()).await.unwrap().unwrap();
    let shown = format!("{error} {error:?} {item:?} {sealer:?} {:?}", scene.kms);
    for hidden in ["zebra", "[122, 101, 98", "secret-row"] {
        assert!(!shown.contains(hidden), "{hidden} is shown");
    }
}

#[tokio::test]
async fn randomized_and_deterministic_values_are_sealed_after_one_call() {
    let scene = scene();
    let (staff, record) = (Column::deterministic("checkins", "staff").unwrap(), row("1"));
    let columns = [phone(), staff.clone(), phone(), staff];
    let items: Vec<_> =
        columns.iter().map(|column| ToSealField { column, record: &record, plaintext: b"17" }).collect();
    let sealed: Vec<_> =
        scene.records().seal_batch(&items).await.into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(scene.calls(OPEN), 1);
    assert_eq!(sealed[1], sealed[3]);
    assert_ne!(sealed[0], sealed[2]);
}
