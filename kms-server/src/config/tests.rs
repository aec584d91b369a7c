//! The shipped file against the code, and what is refused.

use super::*;
use crate::effaceable::file::Terms;

const MINIMAL: &str = r#"
version = 1
listen = "127.0.0.1:0"
data = "data"
seal = "/etc/seal"
policies = "policies"
[effaceable]
path = "effaceable"
[tls]
certificate = "server.pem"
key = "server.key"
[[tls.trust_domain]]
name = "dev.local"
ca = ["ca.pem"]
[audit]
directory = "audit"
"#;

fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    Config::parse(text, Path::new("/srv/kms/kms-server.toml"), &Overrides::default())
}

fn problems(text: &str) -> Vec<String> {
    parse(text).unwrap_err().iter().map(ToString::to_string).collect()
}

/// Without the `#` in front of an option, or of a section that is not there by default.
fn uncommented(text: &str) -> String {
    let option = |line: &&str| {
        line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    text.lines().map(|line| if option(&line) { &line[1..] } else { line }).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_shipped_file_is_accepted_and_shows_the_defaults() {
    let shipped = parse(SHIPPED).unwrap();
    // Options of a section that stays a comment would fall to the one above it.
    let mut text = uncommented(SHIPPED).replace("\nca = []\ncrl = []\n", "\n").replace("\nquota", "\n#quota");
    for option in ["module", "token", "pin_file", "path = \"/mnt/old", "witnesses", "pin = "] {
        text = text.replace(&format!("\n{option}"), &format!("\n#{option}"));
    }
    assert_eq!(parse(&text).unwrap(), shipped);
}

#[test]
fn the_shipped_file_explains_every_option() {
    let options = read::parse(SHIPPED, Path::new("/k.toml"), &BTreeMap::new()).options;
    assert!(options.len() > 25);
    for option in options {
        let name = option.rsplit('.').next().unwrap();
        let stands =
            SHIPPED.lines().any(|line| line.trim_start_matches('#').starts_with(&format!("{name} = ")));
        assert!(stands, "{option}");
    }
}

#[test]
fn paths_count_from_the_file_and_the_rest_has_defaults() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.data, Path::new("/srv/kms/data"));
    assert_eq!(config.seal, Path::new("/etc/seal"));
    assert_eq!(config.tls.trust_domains[0].1.ca, [Path::new("/srv/kms/ca.pem")]);
    assert_eq!(config.limits.memory, 256 << 20);
    assert_eq!(config.store.engine, Engine::Sled);
}

#[test]
fn all_problems_are_said_with_their_lines() {
    let text = MINIMAL
        .replace("listen = \"127.0.0.1:0\"", "listen = \"localhost\"")
        .replace("seal = \"/etc/seal\"\n", "")
        .replace("path = \"effaceable\"", "path = \"effaceable\"\npasses = 3")
        .replace("name = \"dev.local\"", "name = \"Dev.local\"")
        .replace("[audit]", "[limits]\nmemory = \"lots\"\n[audit]");
    let found = problems(&text);
    assert_eq!(found.len(), 5, "{found:#?}");
    assert!(found[0].starts_with("`seal` is missing"), "{}", found[0]);
    assert!(found[1].starts_with("line 3: `listen` is `localhost`; must be"), "{}", found[1]);
    assert!(
        found[2].starts_with("line 8: `effaceable.passes` is no option; known here: `path`, `medium`"),
        "{}",
        found[2]
    );
    assert!(found[3].contains("`tls.trust_domain[0].name` is `Dev.local`"), "{}", found[3]);
    assert!(found[4].contains("`limits.memory` must be text like"), "{}", found[4]);
}

#[test]
fn an_empty_file_names_everything_that_is_missing() {
    let found = problems("");
    for option in
        ["version", "listen", "data", "seal", "policies", "effaceable.path", "tls.key", "audit.directory"]
    {
        assert!(found.iter().any(|line| line == &format!("`{option}` is missing")), "{option}: {found:#?}");
    }
}

#[test]
fn what_is_not_toml_is_refused_with_its_line() {
    let found = problems("version = 1\nlisten == 3\n");
    assert!(found.iter().any(|line| line.starts_with("line 2: ")), "{found:#?}");
}

#[test]
fn another_version_a_domain_twice_or_none_are_refused() {
    assert!(!problems(&MINIMAL.replace("version = 1", "version = 2")).is_empty());
    let twice =
        MINIMAL.replace("[audit]", "[[tls.trust_domain]]\nname = \"dev.local\"\nca = [\"b.pem\"]\n[audit]");
    assert!(problems(&twice)[0].contains("comes twice"));
    let none = MINIMAL.replace("[[tls.trust_domain]]\nname = \"dev.local\"\nca = [\"ca.pem\"]\n", "");
    assert!(problems(&none)[0].contains("nobody can connect"));
}

#[test]
fn flags_go_before_the_environment_and_both_before_the_file() {
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let overrides = Overrides {
        flags: pairs(&[("listen", "127.0.0.1:1")]),
        environment: pairs(&[
            ("KMS_LISTEN", "127.0.0.1:2"),
            ("KMS_LIMITS_MEMORY", "16 MiB"),
            ("KMS_LIMITS_IN_FLIGHT", "7"),
            ("KMS_REFLECTION", "true"),
            ("KMS_PROFILE", "someone else's"),
        ]),
    };
    let config = Config::parse(MINIMAL, Path::new("/k.toml"), &overrides).unwrap();
    assert_eq!(config.listen.port(), 1);
    assert_eq!((config.limits.memory, config.limits.in_flight, config.reflection), (16 << 20, 7, true));
}

#[test]
fn a_flag_for_no_option_is_refused() {
    let flags = [("limits.memry".into(), "1 GiB".into())].into();
    let overrides = Overrides { flags, ..Overrides::default() };
    let found = Config::parse(MINIMAL, Path::new("/k.toml"), &overrides).unwrap_err();
    assert_eq!(found[0].option, "limits.memry");
}

#[test]
fn a_token_is_named_whole_and_a_medium_that_is_passed_from_beside_it() {
    let config = parse(MINIMAL).unwrap().effaceable;
    assert_eq!((config.kind, config.previous), (MediumKind::File(Terms::default()), None));
    let with =
        |more: &str| MINIMAL.replace("path = \"effaceable\"", &format!("path = \"effaceable\"\n{more}"));
    let token = "[effaceable.pkcs11]\nmodule = \"/usr/lib/token.so\"\ntoken = \"kms\"\npin_file = \"pin\"";
    let previous = "[effaceable.previous]\npath = \"old\"\naccept_unsuitable = true";
    let config = parse(&with(&format!("medium = \"pkcs11\"\n{token}\n{previous}"))).unwrap().effaceable;
    let MediumKind::Pkcs11(options) = config.kind else { panic!("{config:?}") };
    assert_eq!((options.token.as_str(), options.pin_file.as_path()), ("kms", Path::new("/srv/kms/pin")));
    let previous = *config.previous.unwrap();
    assert_eq!(previous.path, Path::new("/srv/kms/old"));
    let terms = Terms { accept_unsuitable: true, declared_magnetic: false };
    assert_eq!(previous.kind, MediumKind::File(terms));

    let found = problems(&with("medium = \"pkcs11\""));
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found.iter().any(|line| line == "`effaceable.pkcs11.pin_file` is missing"), "{found:#?}");
    let pin = token.replace("pin_file = \"pin\"", "pin = \"1234\"");
    assert!(
        problems(&with(&format!("medium = \"pkcs11\"\n{pin}")))
            .iter()
            .any(|line| line.contains("`effaceable.pkcs11.pin` is no option"))
    );
    assert!(problems(&with("medium = \"tape\""))[0].contains("must be `file` or `pkcs11`"));
    assert!(
        problems(&with("[effaceable.previous]\nmedium = \"file\""))[0]
            .contains("`effaceable.previous.path` is missing")
    );
}

#[test]
fn what_the_medium_is_worth_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::parse(MINIMAL, &dir.path().join("k.toml"), &Overrides::default()).unwrap();
    let findings = examine(&config);
    let said =
        findings.iter().find(|finding| finding.what.starts_with("the effaceable medium: file on ")).unwrap();
    assert!(said.what.contains("class `none`; none claimed: "), "{said}");
    let token =
        TokenOptions { module: "/no/such.so".into(), token: "kms".into(), pin_file: "/no/pin".into() };
    let mut with_token = config;
    with_token.effaceable.kind = MediumKind::Pkcs11(token);
    let findings = examine(&with_token);
    assert!(
        findings.iter().any(|finding| finding.severity == Severity::Error
            && finding.what.contains("`/no/such.so` cannot be loaded")),
        "{findings:?}"
    );
}

#[test]
fn an_unwise_place_for_the_epoch_secret_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let warned = |text: &str| {
        let config = Config::parse(text, &dir.path().join("k.toml"), &Overrides::default()).unwrap();
        examine(&config).iter().any(|finding| finding.what.contains("`effaceable.path` lies inside `data`"))
    };
    assert!(!warned(MINIMAL));
    assert!(warned(&MINIMAL.replace("\"effaceable\"", "\"data/effaceable\"")));
    assert!(warned(&MINIMAL.replace("\"effaceable\"", "\"elsewhere/../data/effaceable\"")));
    std::fs::create_dir(dir.path().join("data")).unwrap();
    std::os::unix::fs::symlink("data", dir.path().join("link")).unwrap();
    assert!(warned(&MINIMAL.replace("\"effaceable\"", "\"link/effaceable\"")));
}
