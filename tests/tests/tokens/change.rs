//! Passing from a file to a token and back, by the command that operators run.

use std::fs;

use kms_tests::{
    Api, Place,
    api::{KEY, TENANT, context},
    server,
    soft_token::with_token,
};

use crate::server::certificate;

const FILE: &str = "[effaceable]\npath = \"effaceable\"";

fn change(place: &Place) -> (Option<i32>, String, String) {
    let file = place.path("kms-server.toml");
    server::run(&["change-medium", "--config", file.to_str().unwrap()])
}

/// Names what the secrets lie in as the previous medium, and another as the one in use.
fn pass_to(place: &Place, section: &str, previous: &str) {
    place.change_config(|text| {
        let (before, rest) = text.split_once("[effaceable]").unwrap();
        let (_, after) = rest.split_once("\n[tls]").unwrap();
        format!("{before}{section}\n[effaceable.previous]\n{previous}\n[tls]{after}")
    });
}

fn drop_previous(place: &Place) {
    place.change_config(|text| {
        let (before, rest) = text.split_once("[effaceable.previous]").unwrap();
        format!("{before}[tls]{}", rest.split_once("\n[tls]").unwrap().1)
    });
}

#[test]
fn an_instance_passes_from_a_file_to_a_token_and_back_and_keeps_its_keys() {
    let name = "change::an_instance_passes_from_a_file_to_a_token_and_back_and_keeps_its_keys";
    with_token(name, |token| {
        let place = Place::new();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let bound = || context(&[("of", "test")]);
        let sealed = runtime.block_on(async {
            let server = place.start();
            let (operator, attendance) = Api::ground(&place).await;
            let sealed = attendance.encrypt(TENANT, KEY, b"of version 1", bound()).await.unwrap();
            operator.rotate(TENANT, KEY).await.unwrap();
            server.kill();
            sealed
        });

        // The configuration alone changes nothing: the server says what to do.
        let options = token.options();
        let section = format!(
            "[effaceable]\npath = \"token\"\nmedium = \"pkcs11\"\npkcs11 = {{ module = \"{}\", token = \"{}\", pin_file = \"{}\" }}",
            options.module.display(),
            options.token,
            options.pin_file.display()
        );
        let (code, _, stderr) = change(&place);
        assert_eq!(code, Some(1));
        assert!(stderr.contains("`[effaceable.previous]`"), "{stderr}");
        let old = "path = \"effaceable\"\naccept_unsuitable = true";
        pass_to(&place, &section, old);
        let refused = place.try_start(&[]).unwrap_err();
        assert!(refused.stderr.contains("kms-server change-medium"), "{}", refused.stderr);

        let (code, stdout, stderr) = change(&place);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stdout.contains("(`kms tests`)") && stdout.contains("can go"), "{stdout}");
        let (code, again, _) = change(&place);
        assert_eq!((code, &again), (Some(0), &stdout), "what was done is not done again");
        assert_eq!(token.objects(), 1);
        drop_previous(&place);
        let file = fs::read(place.path("effaceable/epoch-secrets")).unwrap();
        fs::remove_dir_all(place.path("effaceable")).unwrap();

        runtime.block_on(async {
            let server = place.start();
            let (operator, attendance) =
                (Api::of(&place, "operator").await, Api::of(&place, "attendance").await);
            assert_eq!(attendance.decrypt(TENANT, KEY, &sealed, bound()).await.unwrap(), b"of version 1");
            operator.destroy(TENANT, KEY, Some(1)).await.unwrap();
            attendance.decrypt(TENANT, KEY, &sealed, bound()).await.unwrap_err();
            assert_eq!(certificate(&operator, 1).await.0, "token");
            server.kill();
        });

        // The old file, brought back, is of no use.
        fs::create_dir(place.path("effaceable")).unwrap();
        fs::write(place.path("effaceable/epoch-secrets"), file).unwrap();
        let on_token_again = place.path("kms-server.toml");
        let configured = fs::read_to_string(&on_token_again).unwrap();
        place.change_config(|text| text.replace(&section, &format!("{FILE}\naccept_unsuitable = true")));
        let refused = place.try_start(&[]).unwrap_err();
        assert!(refused.stderr.contains("the store's secrets lie in pkcs11"), "{}", refused.stderr);
        fs::write(&on_token_again, configured).unwrap();

        // And back, to a new file.
        let previous = section.strip_prefix("[effaceable]\n").unwrap();
        pass_to(&place, "[effaceable]\npath = \"elsewhere\"\naccept_unsuitable = true", previous);
        let (code, stdout, stderr) = change(&place);
        assert_eq!(code, Some(0), "{stdout}{stderr}");
        assert_eq!(token.objects(), 0, "no key of it is left in the token");
        drop_previous(&place);
        runtime.block_on(async {
            let server = place.start();
            let operator = Api::of(&place, "operator").await;
            operator.destroy(TENANT, KEY, Some(2)).await.unwrap();
            assert_eq!(certificate(&operator, 2).await.0, "none");
            server.kill();
        });
    });
}
