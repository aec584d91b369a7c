//! The medium alone.

use std::fs;

use kms_core::{
    id::{Attempt, Epoch, InstanceId},
    secret::EpochSecret,
};
use kms_server::effaceable::{
    Effaceable, EffaceableClass, EffaceableError, SecretId,
    pkcs11::{TokenError, TokenMedium, TokenOptions, look_at},
};
use kms_tests::soft_token::{LABEL, SoftToken, with_token, with_token_of};

const INSTANCE: InstanceId = InstanceId([7; 16]);
const OTHER: InstanceId = InstanceId([8; 16]);

fn id(epoch: u64) -> SecretId {
    SecretId { epoch: Epoch(epoch), attempt: Attempt([epoch as u8; 16]) }
}

fn secret(byte: u8) -> EpochSecret {
    EpochSecret::copied_from(&[byte; 32]).unwrap()
}

fn open(token: &SoftToken, directory: &str, instance: InstanceId) -> TokenMedium {
    TokenMedium::open(&token.path(directory), token.options(), instance).unwrap()
}

fn holds(medium: &TokenMedium, epoch: u64) -> bool {
    medium.read(id(epoch)).unwrap().is_some_and(|found| *found.expose_secret() == [epoch as u8; 32])
}

#[test]
fn a_secret_has_a_key_of_its_own_and_is_gone_with_it_whoever_kept_the_file() {
    with_token("medium::a_secret_has_a_key_of_its_own_and_is_gone_with_it_whoever_kept_the_file", |token| {
        let mut medium = open(token, "medium", INSTANCE);
        assert!(medium.list().unwrap().is_empty());
        medium.prepare(id(1), &secret(1)).unwrap();
        assert!(matches!(medium.prepare(id(1), &secret(9)), Err(EffaceableError::There(_))));
        medium.prepare(id(2), &secret(2)).unwrap();
        assert!(matches!(medium.prepare(id(3), &secret(3)), Err(EffaceableError::Full)));
        assert_eq!((medium.list().unwrap(), token.objects()), (vec![id(1), id(2)], 2));
        drop(medium);

        let mut medium = open(token, "medium", INSTANCE);
        assert!(holds(&medium, 1) && holds(&medium, 2));
        let file = token.path("medium").join(format!("{}-{}", Epoch(1), Attempt([1; 16])));
        let kept = fs::read(&file).unwrap();
        let evidence = medium.efface_except(id(2)).unwrap();
        assert_eq!(
            (evidence.effaced.as_slice(), evidence.class),
            ([id(1)].as_slice(), EffaceableClass::Token)
        );
        assert!(evidence.assurance.as_str().starts_with("software token (SoftHSM v2)"), "{evidence:?}");
        assert!(evidence.technique.as_str().contains("(AES-GCM) was destroyed with C_DestroyObject"));
        assert!(
            evidence
                .media
                .as_str()
                .starts_with("PKCS #11 token kms tests: SoftHSM project SoftHSM v2, serial ")
        );
        assert!(evidence.verification.as_str().starts_with("a new session found no key"));
        assert_eq!((medium.list().unwrap(), token.objects(), file.exists()), (vec![id(2)], 1, false));
        // ATTACK: the file comes back; its key does not.
        fs::write(&file, &kept).unwrap();
        assert!(medium.read(id(1)).unwrap().is_none());
        assert!(holds(&medium, 2));
        drop(medium);
        assert!(holds(&open(token, "medium", INSTANCE), 2));
    });
}

#[test]
fn two_instances_that_share_a_token_do_not_touch_each_others_keys() {
    with_token("medium::two_instances_that_share_a_token_do_not_touch_each_others_keys", |token| {
        let (mut one, mut other) = (open(token, "one", INSTANCE), open(token, "other", OTHER));
        for epoch in [1, 2] {
            one.prepare(id(epoch), &secret(epoch as u8)).unwrap();
            other.prepare(id(epoch), &secret(epoch as u8)).unwrap();
        }
        assert_eq!(one.efface_except(id(2)).unwrap().effaced, [id(1)]);
        assert_eq!((one.list().unwrap(), other.list().unwrap()), (vec![id(2)], vec![id(1), id(2)]));
        assert!(holds(&other, 1) && holds(&other, 2));
        assert_eq!(token.objects(), 3);
        assert!(one.name().is(&other.name()), "it is one token");
        let locked = TokenMedium::open(&token.path("one"), token.options(), INSTANCE).map(|_| ());
        assert!(matches!(locked, Err(EffaceableError::Locked(_))));
    });
}

#[test]
fn a_key_without_a_file_is_listed_opens_nothing_and_is_destroyed() {
    with_token("medium::a_key_without_a_file_is_listed_opens_nothing_and_is_destroyed", |token| {
        let mut medium = open(token, "medium", INSTANCE);
        medium.prepare(id(1), &secret(1)).unwrap();
        medium.prepare(id(2), &secret(2)).unwrap();
        fs::remove_file(token.path("medium").join(format!("{}-{}", Epoch(2), Attempt([2; 16])))).unwrap();
        assert_eq!(medium.list().unwrap(), [id(1), id(2)]);
        assert!(medium.read(id(2)).unwrap().is_none());
        assert!(matches!(medium.efface_except(id(2)), Err(EffaceableError::NothingKept(_))));
        assert!(matches!(medium.efface_except(id(3)), Err(EffaceableError::NothingKept(_))));
        assert!(holds(&medium, 1), "nothing was destroyed");
        assert_eq!(medium.efface_except(id(1)).unwrap().effaced, [id(2)]);
        assert_eq!(token.objects(), 1);
    });
}

#[test]
fn a_file_of_another_epoch_or_changed_does_not_open() {
    with_token("medium::a_file_of_another_epoch_or_changed_does_not_open", |token| {
        let mut medium = open(token, "medium", INSTANCE);
        medium.prepare(id(1), &secret(1)).unwrap();
        let file = token.path("medium").join(format!("{}-{}", Epoch(1), Attempt([1; 16])));
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        let cut = medium.read(id(1)).map(|_| ());
        assert!(matches!(cut, Err(EffaceableError::Token(TokenError::Damaged(_)))), "{cut:?}");
        fs::write(&file, &whole).unwrap();
        assert!(holds(&medium, 1));
    });
}

#[test]
fn a_token_without_gcm_wraps_with_key_wrap_and_padding() {
    let name = "medium::a_token_without_gcm_wraps_with_key_wrap_and_padding";
    with_token_of(name, "CKM_AES_KEY_GEN,CKM_AES_KEY_WRAP_PAD", |token| {
        let mut medium = open(token, "medium", INSTANCE);
        medium.prepare(id(1), &secret(1)).unwrap();
        medium.prepare(id(2), &secret(2)).unwrap();
        assert!(holds(&medium, 1) && holds(&medium, 2));
        let evidence = medium.efface_except(id(2)).unwrap();
        assert!(evidence.technique.as_str().contains("(AES key wrap with padding)"), "{evidence:?}");
        drop(medium);
        let medium = open(token, "medium", INSTANCE);
        assert!(holds(&medium, 2) && medium.read(id(1)).unwrap().is_none());
        assert_eq!(token.objects(), 1, "what went in as a session object did not stay");
    });
}

#[test]
fn a_token_that_can_wrap_in_no_way_is_refused() {
    let name = "medium::a_token_that_can_wrap_in_no_way_is_refused";
    with_token_of(name, "CKM_AES_KEY_GEN,CKM_AES_CBC", |token| {
        assert!(matches!(look_at(&token.options()), Err(TokenError::Mechanism(_))));
        let opened = TokenMedium::open(&token.path("medium"), token.options(), INSTANCE).map(|_| ());
        assert!(matches!(opened, Err(EffaceableError::Token(TokenError::Mechanism(_)))), "{opened:?}");
    });
}

#[test]
fn what_is_wrong_is_said_and_a_look_costs_no_try_of_the_pin() {
    with_token("medium::what_is_wrong_is_said_and_a_look_costs_no_try_of_the_pin", |token| {
        let good = token.options();
        look_at(&good).unwrap();
        let refusal = |change: &dyn Fn(&mut TokenOptions)| {
            let mut options = good.clone();
            change(&mut options);
            let opened = TokenMedium::open(&token.path("medium"), options, INSTANCE).map(|_| ());
            match opened {
                Err(EffaceableError::Token(error)) => error.to_string(),
                other => panic!("{other:?}"),
            }
        };
        let said = refusal(&|options| options.module = "/no/such/library.so".into());
        assert!(
            said.starts_with("`effaceable.pkcs11.module`: `/no/such/library.so` cannot be loaded"),
            "{said}"
        );
        let said = refusal(&|options| options.token = "another".into());
        assert!(
            said.ends_with(&format!("there is no token `another`; the library knows `{LABEL}`")),
            "{said}"
        );
        let said = refusal(&|options| options.pin_file = token.path("none"));
        assert!(said.contains("`effaceable.pkcs11.pin_file`: cannot read"), "{said}");

        let pin = |name: &str, text: &str, mode: u32| {
            let path = token.path(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            path
        };
        let exposed = pin("exposed", "4711", 0o644);
        assert!(refusal(&|options| options.pin_file = exposed.clone()).contains("chmod 600"));
        let empty = pin("empty", "\n", 0o600);
        assert!(refusal(&|options| options.pin_file = empty.clone()).contains("is empty"));
        let wrong = pin("wrong", "1234567", 0o600);
        look_at(&TokenOptions { pin_file: wrong.clone(), ..good.clone() }).unwrap();
        let said = refusal(&|options| options.pin_file = wrong.clone());
        assert!(said.starts_with(&format!("the token `{LABEL}` refuses the PIN")), "{said}");
        assert!(!said.contains("1234567"));
        open(token, "medium", INSTANCE);
    });
}
