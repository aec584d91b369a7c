//! No value and no key in an error, a log line or a `Debug` form, whatever is done.

use std::{cell::Cell, fmt::Debug, io, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing_subscriber::{Layer as _, filter::dynamic_filter_fn, layer::SubscriberExt as _};

use super::{Ciphertexts, Plaintexts, Sealed, SealedRow as _, SealedText};
use crate::{
    KeyClass, Protect,
    lease::{Scope, Want, What},
    protect::Protect as _,
    testing::{ATTENDANCE, Scene, TENANT, scene},
};

/// 24 bytes, so that base64 of it begins and ends where it does.
const MARKER: &str = "zebra-7F3a zebra-7F3a zz";

#[derive(Clone, Serialize, Deserialize)]
struct Place {
    name: String,
}

macro_rules! person {
    ($name:ident, $sealed:literal, $bytes:ty, $place:ty, $($more:tt)*) => {
        #[derive(Clone, Protect)]
        #[protect(table = "people", key = "attendance", tenant = "company_id", bind("id"), sealed = $sealed)]
        struct $name {
            company_id: String,
            id: String,
            #[protect(encrypt, text, index(eq, bits = 20), mask = "phone" $($more)*)]
            phone: String,
            #[protect(encrypt)]
            place: $place,
            #[protect(deterministic)]
            bytes: $bytes,
        }
    };
}

person!(Person, "SealedPerson", Vec<u8>, Place,);
person!(Lenient, "SealedLenient", Vec<u8>, Place, , allow_plaintext(until = "9000-01-31"));
person!(Cramped, "SealedCramped", Vec<u8>, Place, , max_len = 20);
// As a later release has it.
person!(Later, "SealedLater", u8, u64,);

#[derive(Clone, Protect)]
#[protect(table = "notes", key = "attendance", tenant = "company_id", bind("id"))]
struct Note {
    company_id: String,
    id: String,
    #[protect(encrypt)]
    body: String,
}

fn person() -> Person {
    let place = Place { name: MARKER.into() };
    Person { company_id: TENANT.into(), id: "1".into(), phone: MARKER.into(), place, bytes: MARKER.into() }
}

fn shown(of: &impl Debug) -> String {
    format!("{of:?} {of:#?}")
}

fn told(error: &impl std::error::Error) -> String {
    let mut told = format!("{error} {}", shown(&error));
    let mut source = error.source();
    while let Some(error) = source {
        told.push_str(&format!(" {error} {error:?}"));
        source = error.source();
    }
    told
}

fn forms(secret: &[u8]) -> [String; 4] {
    let list = shown(&secret);
    let list = list.split(" [").next().unwrap().trim_matches(['[', ']']).to_owned();
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    // Of what lies at any offset, the middle is the same.
    let base64 = BASE64_STANDARD_NO_PAD.encode(secret);
    [String::from_utf8_lossy(secret).into_owned(), list, hex, base64]
}

fn nowhere(secret: &[u8], heap: &[String]) {
    for form in forms(secret) {
        for text in heap {
            assert!(!text.contains(&form), "a secret is shown");
        }
    }
}

/// The data key that seals, as the lease has it.
async fn data_key(scene: &Scene) -> Vec<u8> {
    let scope = Scope { tenant: TENANT.parse().unwrap(), purpose: "".into() };
    let what = What::Seal { key: ATTENDANCE.parse().unwrap(), deterministic: false };
    let lease = scene.kms.lease(&Want { scope, what }).await.unwrap();
    lease.with_data_key(|key| key.expose_secret().to_vec()).unwrap()
}

thread_local! {
    static HEARD: Cell<bool> = const { Cell::new(false) };
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Errors of all that can be wrong with a row that holds the marker.
async fn errors(scene: &Scene, twin: &SealedPerson) -> Vec<String> {
    let kms = &scene.kms;
    let SealedPerson { company_id, id, phone, phone_index, place, bytes } = twin.clone();
    let mut told = Vec::new();
    macro_rules! fails {
        ($of:expr) => {
            told.push(self::told(&$of.await.map(|_| ()).unwrap_err()))
        };
    }
    let later = SealedLater {
        company_id: company_id.clone(),
        id: id.clone(),
        phone: phone.clone(),
        phone_index: phone_index.clone(),
        place: place.clone(),
        bytes: kms
            .seal(&Later { company_id: TENANT.into(), id: "1".into(), phone: "".into(), place: 1, bytes: 1 })
            .await
            .unwrap()
            .bytes,
    };
    fails!(kms.open(&later));
    fails!(kms.open(&SealedLater { bytes: bytes.clone(), ..later }));
    for place in
        [MARKER.as_bytes().to_vec(), [&place.as_bytes()[..30], MARKER.as_bytes()].concat(), Vec::new()]
    {
        fails!(kms.open(&SealedPerson { place: Sealed::from(place), ..twin.clone() }));
    }
    for phone in [MARKER.to_owned(), format!("kf1.{MARKER}"), phone.as_str()[..40].to_owned()] {
        fails!(kms.open(&SealedPerson { phone: SealedText::from(phone), ..twin.clone() }));
    }
    // What stands in the clear is shown by `Debug` of rows; errors do not show it either.
    fails!(kms.open(&SealedPerson { company_id: MARKER.into(), ..twin.clone() }));
    fails!(kms.seal(&Person { company_id: MARKER.into(), ..person() }));
    fails!(kms.seal(&Person { id: MARKER.repeat(100), ..person() }));
    fails!(kms.open(&SealedPerson { id: MARKER.into(), ..twin.clone() }));
    let Person { company_id, id, phone, place, bytes } = person();
    fails!(kms.seal(&Cramped { company_id, id, phone, place, bytes }));
    let hidden =
        kms.open_masked(&[SealedPerson { phone: SealedText::from(MARKER.to_owned()), ..twin.clone() }]).await;
    told.push(self::told(hidden[0].as_ref().unwrap_err()));
    told
}

#[tokio::test]
async fn no_value_and_no_key_is_in_an_error_a_log_line_or_a_debug_form() {
    let log = Log::default();
    let writer = log.clone();
    // For all threads: with one for this thread, callsites that others reach first would stay silent. What others say is left out.
    let heard = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .with_filter(dynamic_filter_fn(|_, _| HEARD.get()));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(heard)).unwrap();
    HEARD.set(true);
    let scene = scene();
    scene.declare_masks(&[("people", "phone", "phone")]);

    let (kms, row) = (&scene.kms, person());
    let twin = kms.seal(&row).await.unwrap();
    let tenant = TENANT.parse().unwrap();
    let probes = Person::phone_index(kms, &tenant, MARKER).await.unwrap();
    let masked = kms.open_masked(std::slice::from_ref(&twin)).await;
    assert!(masked[0].as_ref().unwrap().column("phone").unwrap().is_ok());
    let opened = kms.open_all([twin.clone()]).await;
    assert_eq!(opened[0].as_ref().unwrap().phone, MARKER);
    let records = scene.records();

    let mut heap = vec![
        shown(&row),
        shown(&twin),
        shown(&kms.seal_all(std::slice::from_ref(&row)).await),
        shown(&opened),
        shown(&probes),
        shown(&masked),
        shown(&Person::layout()),
        shown(kms),
        shown(&records),
        shown(&kms.index(&tenant, &"attendance.index".parse().unwrap())),
        shown(&records.sealer(&crate::Column::randomized("people", "phone").unwrap()).await.unwrap()),
    ];
    let mut plaintexts = Plaintexts::default();
    row.plaintexts(&mut plaintexts);
    heap.push(shown(&plaintexts));
    // A table that moves over: what was never sealed passes by, and opens.
    let SealedPerson { company_id, id, place, bytes, phone_index, .. } = twin.clone();
    let phone = SealedText::from(MARKER.to_owned());
    let mixed = SealedLenient { company_id, id, phone, phone_index, place, bytes };
    let mut stored = Vec::new();
    mixed.ciphertexts(&mut Ciphertexts(&mut |value| stored.push(shown(&value))));
    assert_eq!(stored.len(), 3);
    heap.push(shown(&mixed));
    heap.extend(stored);
    assert_eq!(kms.open(&mixed).await.unwrap().phone, MARKER);

    heap.extend(errors(&scene, &twin).await);
    let keys = data_key(&scene).await;
    // Under class L4 values go over the wire.
    scene.centre.create_tenant("vaults").unwrap();
    scene.centre.create_key_of_class("vaults", ATTENDANCE, KeyClass::L4).unwrap();
    let direct = Note { company_id: "vaults".into(), id: "1".into(), body: MARKER.into() };
    let direct = scene.cold().seal(&direct).await.unwrap();
    assert_eq!(scene.cold().open(&direct).await.unwrap().body, MARKER);
    heap.push(shown(&direct));
    let log = String::from_utf8_lossy(&log.0.lock()).into_owned();
    assert!(log.contains("tonic::") && log.lines().count() > 40, "the log is a log");
    heap.push(log);
    nowhere(MARKER.as_bytes(), &heap);
    nowhere(&keys, &heap);
    // The search finds what is there.
    assert!(std::panic::catch_unwind(|| nowhere(b"people", &["`people`".to_owned()])).is_err());
}
