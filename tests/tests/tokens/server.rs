//! The whole server on a token.

use kms_core::{certificate::risks::Risk, id::InstanceId};
use kms_proto::v1;
use kms_server::effaceable::{Effaceable, pkcs11::TokenMedium};
use kms_tests::{
    Api, Place,
    api::{KEY, TENANT, context, destroy},
    soft_token::{SoftToken, with_token},
};

/// Has the server of a place keep its secrets in the token.
pub(crate) fn on_token(place: &Place, token: &SoftToken) {
    let options = token.options();
    let section = format!(
        "[effaceable]\nmedium = \"pkcs11\"\npkcs11 = {{ module = \"{}\", token = \"{}\", pin_file = \"{}\" }}\n",
        options.module.display(),
        options.token,
        options.pin_file.display()
    );
    place.change_config(|text| text.replace("[effaceable]\n", &section));
}

/// The certificate of a key's version: its class, what that rests on, its risks, and whose it is.
pub(crate) async fn certificate(operator: &Api, version: u32) -> (String, String, Vec<String>, InstanceId) {
    let mut transparency = v1::transparency_client::TransparencyClient::new(operator.channel());
    let subject = v1::Subject { tenant: TENANT.into(), key: KEY.into(), version, tenant_uid: Vec::new() };
    let message =
        v1::GetCertificateRequest { subject: Some(subject), ..v1::GetCertificateRequest::default() };
    let file = transparency.get_certificate(message).await.unwrap().into_inner().certificate;
    let read = kms_core::certificate::Certificate::from_file(&file).unwrap();
    let body = read.certificate;
    let medium = body.effaceable.first().unwrap_or_else(|| panic!("pending"));
    let risks = body.risks.iter().map(|risk: &Risk| risk.as_str().to_owned()).collect();
    (medium.class.as_str().into(), medium.assurance.to_string(), risks, body.instance)
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn a_server_on_a_token_erases_says_so_and_outlives_kills() {
    with_token("server::a_server_on_a_token_erases_says_so_and_outlives_kills", |token| {
        let place = Place::new();
        on_token(&place, token);
        let bound = || context(&[("of", "test")]);
        let (instance, kept) = run(async {
            let server = place.start();
            let (operator, attendance) = Api::ground(&place).await;
            let sealed = attendance.encrypt(TENANT, KEY, b"of version 1", bound()).await.unwrap();
            operator.rotate(TENANT, KEY).await.unwrap();
            let kept = attendance.encrypt(TENANT, KEY, b"of version 2", bound()).await.unwrap();
            operator.destroy(TENANT, KEY, Some(1)).await.unwrap();
            attendance.decrypt(TENANT, KEY, &sealed, bound()).await.unwrap_err();
            let (class, assurance, risks, instance) = certificate(&operator, 1).await;
            assert_eq!(class, "token");
            assert!(assurance.contains("software token (SoftHSM v2)"), "{assurance}");
            for risk in ["token-software", "token-backup"] {
                assert!(risks.iter().any(|named| named == risk), "{risk}: {risks:?}");
            }
            assert!(!risks.iter().any(|named| named == "medium-none"));
            assert!(server.log().contains("effaceable medium: PKCS #11 token"), "{}", server.log());
            server.kill();
            (instance, kept)
        });
        let keys = || {
            let directory = place.path("effaceable/token-secrets");
            TokenMedium::open(&directory, token.options(), instance).unwrap().list().unwrap().len()
        };
        assert_eq!((keys(), token.objects()), (1, 1));

        // Killed while destructions are under way: whatever they left in the token is gone once the next server is ready.
        run(async {
            for _ in 0..6 {
                let server = place.start();
                let (operator, attendance) =
                    (Api::of(&place, "operator").await, Api::of(&place, "attendance").await);
                let opened = attendance.decrypt(TENANT, KEY, &kept, bound()).await.unwrap();
                assert_eq!(opened, b"of version 2");
                let name = format!("short-{}", uuid::Uuid::new_v4());
                operator.create_key(TENANT, &name).await.unwrap();
                let (before, mut stubs) = (token.objects(), operator.keys());
                let destroying =
                    tokio::spawn(async move { stubs.destroy_key(destroy(TENANT, &name, None)).await });
                // As soon as its key is in the token, or it was too quick for that to be seen.
                while token.objects() <= before && !destroying.is_finished() {
                    tokio::task::yield_now().await;
                }
                server.kill();
                drop(destroying.await.unwrap());
                println!("killed with {} keys in the token", keys());
                place.start().kill();
                assert_eq!(keys(), 1, "a start destroys what a dead process left");
            }
        });
    });
}
