//! What may be loaded, what may not; what is cached, what is not; what is said.

use std::{fs, sync::Arc, time::Duration};

use kms_core::{
    names::{KeyName, TenantName},
    state::KeyClass,
};

use super::*;
use crate::{
    identity::{IdentityName, KeyExchangeGroup},
    operation::Operation,
};

const ATTENDANCE: &str = "spiffe://dev.local/attendance";
const BILLING: &str = "spiffe://dev.local/acme-billing";

/// A request that owns its names.
struct Asked {
    principal: IdentityName,
    operation: Operation,
    tenant: TenantName,
    key: KeyName,
    class: KeyClass,
    purposes: Vec<Arc<str>>,
    revision: u64,
    purpose: Option<String>,
    group: KeyExchangeGroup,
    window: Duration,
}

impl Asked {
    fn new(principal: &str, operation: Operation, tenant: &str, key: &str) -> Self {
        Self {
            principal: IdentityName::Spiffe(principal.into()),
            operation,
            tenant: TenantName::try_from(tenant).unwrap(),
            key: KeyName::try_from(key).unwrap(),
            class: KeyClass::L2,
            purposes: Vec::new(),
            revision: 1,
            purpose: None,
            group: KeyExchangeGroup::X25519MlKem768,
            window: Duration::ZERO,
        }
    }

    fn for_purpose(mut self, purpose: &str) -> Self {
        self.purpose = Some(purpose.to_owned());
        self
    }

    fn request(&self) -> PolicyRequest<'_> {
        PolicyRequest {
            principal: &self.principal,
            operation: self.operation,
            resource: Resource::Key {
                tenant: &self.tenant,
                name: (&self.key).into(),
                class: self.class,
                purposes: &self.purposes,
                key_revision: self.revision,
            },
            purpose: self.purpose.as_deref(),
            group: self.group,
            window: self.window,
        }
    }
}

fn examples() -> PolicyEngine {
    PolicyEngine::of(EXAMPLES, Options::default()).unwrap()
}

fn engine(policy: &str) -> PolicyEngine {
    PolicyEngine::of(&[("a.cedar", policy)], Options::default()).unwrap()
}

fn problems(policy: &str) -> String {
    match PolicyEngine::of(&[("a.cedar", policy)], Options::default()) {
        Ok(_) => "taken".into(),
        Err(problems) => problems.to_string(),
    }
}

fn permit(rest: &str) -> String {
    format!(
        "@id(\"p\")\n@says(\"s\")\n@tenants(\"any\")\npermit (principal, action, resource is Key)\n{rest};\n"
    )
}

#[test]
fn a_service_of_one_tenant_does_not_reach_another() {
    let engine = examples();
    let mine = Asked::new(BILLING, Operation::Decrypt, "acme", "invoices").for_purpose("billing");
    let theirs = Asked::new(BILLING, Operation::Decrypt, "umbrella", "invoices").for_purpose("billing");
    assert!(engine.decide(&mine.request()).is_allowed());
    assert!(!engine.decide(&theirs.request()).is_allowed());
    let without = Asked::new(BILLING, Operation::Decrypt, "acme", "invoices");
    assert!(!engine.decide(&without.request()).is_allowed(), "nor its own for another purpose");
}

#[test]
fn a_permit_that_would_reach_every_tenant_unsaid_is_refused() {
    let unsaid = r#"@id("p") @says("s") permit (principal, action, resource is Key);"#;
    assert!(problems(unsaid).contains("would reach every tenant"), "{}", problems(unsaid));
    // A condition is no wall: `unless` names a tenant and reaches all the others.
    let condition = r#"@id("p") @says("s") permit (principal, action, resource is Key) unless { resource in Tenant::"acme" };"#;
    assert!(problems(condition).contains("would reach every tenant"));
    let action_alone = r#"@id("p") @says("s") permit (principal, action == Action::"Decrypt", resource);"#;
    assert!(problems(action_alone).contains("would reach every tenant"));
    let both =
        r#"@id("p") @says("s") @tenants("any") permit (principal, action, resource in Tenant::"acme");"#;
    assert!(problems(both).contains("leave one of them out"));
    let misspelt = r#"@id("p") @says("s") @tenants("all") permit (principal, action, resource is Key);"#;
    assert!(problems(misspelt).contains("is not understood"));

    for fine in [
        r#"@id("p") @says("s") permit (principal, action, resource in Tenant::"acme");"#,
        r#"@id("p") @says("s") permit (principal, action, resource == Key::"acme/invoices");"#,
        r#"@id("p") @says("s") permit (principal, action, resource == System::"kms");"#,
        r#"@id("p") @says("s") permit (principal, action == Action::"Reflect", resource);"#,
        r#"@id("p") @says("s") forbid (principal, action, resource);"#,
    ] {
        assert_eq!(problems(fine), "taken", "{fine}");
    }
}

#[test]
fn every_mistake_is_reported_with_file_and_line() {
    let bad = "// a comment; with a semicolon\n\
        permit (principal, action, resource == System::\"kms\");\n\
        @id(\"two\") @says(\"s; t\")\n\
        permit (principal, action == Action::\"Decript\", resource == Key::\"acme/a\");\n\
        @id(\"three\") @says(\"s\")\n\
        permit (principal, action, resource == System::\"kms\") when {\n\
          context.colour == \"blue\"\n\
        };\n";
    let worse =
        "@id(\"two\") @says(\"s\") permit (principal, action, resource == System::\"kms\");\n\npermit (oops";
    let files = [("a.cedar", bad), ("b.cedar", worse)];
    let found = PolicyEngine::of(&files, Options::default()).err().unwrap();
    let lines: Vec<_> =
        found.problems.iter().map(|problem| format!("{}:{}", problem.file, problem.line.unwrap())).collect();
    assert_eq!(
        lines,
        ["a.cedar:2", "a.cedar:2", "a.cedar:4", "a.cedar:7", "b.cedar:1", "b.cedar:3"],
        "{found}"
    );
}

#[test]
fn warnings_refuse_as_errors_do() {
    let impossible = permit("when { resource.class == \"L2\" && false }");
    assert!(problems(&impossible).contains("a.cedar:"), "{}", problems(&impossible));
    let confusable = permit("when { resource.family == \"attend\u{430}nce\" }");
    assert!(problems(&confusable).contains("a.cedar:5"), "{}", problems(&confusable));
}

#[test]
fn templates_and_unknown_annotations_are_refused() {
    let template =
        r#"@id("p") @says("s") permit (principal == ?principal, action, resource == System::"kms");"#;
    assert_ne!(problems(template), "taken");
    let annotation = r#"@id("p") @says("s") @tennants("any") forbid (principal, action, resource);"#;
    assert!(problems(annotation).contains("@tennants"));
    let (empty, comment) = (problems(""), problems("// nothing; yet\n"));
    assert!(empty.contains("no policy") && comment.contains("no policy"));
}

#[test]
fn a_schema_that_is_not_of_this_release_is_refused() {
    let policy = ("a.cedar", r#"@id("p") @says("s") forbid (principal, action, resource);"#);
    let of = |schema: &str| {
        let files = [("schema.cedarschema", schema), policy];
        PolicyEngine::of(&files, Options::default()).err().map(|problems| problems.to_string())
    };
    assert_eq!(of(SCHEMA), None);
    let without = of(&SCHEMA.replace("action Decrypt, ", "action ")).unwrap();
    assert!(without.contains("`Decrypt`"), "{without}");
    let more = of(&SCHEMA.replace("action Reveal in", "action Reveal, Frobnicate in")).unwrap();
    assert!(more.contains("`Frobnicate`"), "{more}");
    let other = of(&SCHEMA.replace("class: String", "class: Long")).unwrap();
    assert!(other.contains("schema"), "{other}");
    assert!(of("entity {").unwrap().contains("schema.cedarschema:1"));
}

#[test]
fn an_error_in_any_policy_denies_what_another_permits() {
    let overflow = r#"@id("q") @says("s") forbid (principal, action, resource is Key)
        when { 9223372036854775807 + resource.purposes.contains("x") == 0 };"#;
    // Adding a boolean does not validate; overflowing does.
    assert_ne!(problems(overflow), "taken");
    let overflow =
        overflow.replace("resource.purposes.contains(\"x\")", "(if resource.class == \"L2\" then 1 else 0)");
    let policies = permit("") + &overflow;
    let engine = engine(&policies);
    let asked = Asked::new(ATTENDANCE, Operation::Decrypt, "acme", "attendance");
    let decision = engine.decide(&asked.request());
    let Decision::Deny { errors, .. } = &*decision else { unreachable!("{decision:?}") };
    assert!(errors[0].contains("`q` failed"), "{errors:?}");
    let fine =
        Asked { class: KeyClass::L1, ..Asked::new(ATTENDANCE, Operation::Decrypt, "acme", "attendance") };
    assert!(engine.decide(&fine.request()).is_allowed());
}

#[test]
fn an_operation_on_the_wrong_kind_of_resource_is_denied() {
    let engine = engine(r#"@id("p") @says("s") @tenants("any") permit (principal, action, resource);"#);
    let principal = IdentityName::Spiffe(ATTENDANCE.into());
    let group = KeyExchangeGroup::X25519;
    for operation in Operation::ALL {
        let on = |resource| {
            let request = PolicyRequest {
                principal: &principal,
                operation: *operation,
                resource,
                purpose: None,
                group,
                window: Duration::ZERO,
            };
            engine.decide(&request).is_allowed()
        };
        let kinds = resource_kinds(*operation);
        assert_eq!(on(Resource::System), kinds.contains(&ResourceKind::System), "{operation}");
        let name = TenantName::try_from("acme").unwrap();
        assert_eq!(
            on(Resource::Tenant { name: &name }),
            kinds.contains(&ResourceKind::Tenant),
            "{operation}"
        );
    }
}

#[test]
fn a_forbid_wins_across_shards() {
    let policies = r#"
        @id("all") @says("s") @tenants("any") permit (principal, action, resource is Key);
        @id("not-acme") @says("s") forbid (principal, action, resource in Tenant::"acme");
        @id("not-him") @says("s") forbid (principal == Service::"spiffe://dev.local/him", action, resource);
        @id("not-here") @says("s")
        forbid (principal == Service::"spiffe://dev.local/her", action, resource == Key::"umbrella/a");"#;
    let engine = engine(policies);
    let deciding = |principal: &str, tenant: &str, key: &str| {
        let asked = Asked::new(&format!("spiffe://dev.local/{principal}"), Operation::Encrypt, tenant, key);
        let decision = engine.decide(&asked.request());
        let ids: Vec<_> = decision.policies().iter().map(ToString::to_string).collect();
        (decision.is_allowed(), ids.join(","))
    };
    assert_eq!(deciding("her", "umbrella", "b"), (true, "all".into()));
    assert_eq!(deciding("her", "umbrella", "a"), (false, "not-here".into()));
    assert_eq!(deciding("her", "acme", "b"), (false, "not-acme".into()));
    assert_eq!(deciding("him", "umbrella", "b"), (false, "not-him".into()));
    assert_eq!(deciding("him", "acme", "b"), (false, "not-acme,not-him".into()));
}

#[test]
fn a_decision_is_cached_for_the_same_attributes_and_no_others() {
    let engine = engine(&permit(
        r#"when { resource.class == "L2" && resource.purposes.contains("a") && context has purpose
            && context.purpose == "a" && context.group == "x25519" && resource.family == "k" }"#,
    ));
    let base = || Asked {
        purposes: vec!["a".into()],
        group: KeyExchangeGroup::X25519,
        ..Asked::new(ATTENDANCE, Operation::Encrypt, "acme", "k").for_purpose("a")
    };
    let cached =
        |asked: &Asked| Arc::ptr_eq(&engine.decide(&asked.request()), &engine.decide(&asked.request()));
    assert!(engine.decide(&base().request()).is_allowed() && cached(&base()));
    // Each differs in one attribute, with the same revision: a cache that left one out of its key would allow it.
    for other in [
        Asked { class: KeyClass::L3, ..base() },
        Asked { purposes: vec!["b".into()], ..base() },
        Asked { purpose: None, ..base() },
        base().for_purpose("b"),
        Asked { group: KeyExchangeGroup::X25519MlKem768, ..base() },
        Asked { key: KeyName::try_from("kk").unwrap(), ..base() },
    ] {
        assert!(!engine.decide(&other.request()).is_allowed());
    }
    let later = Asked { revision: 2, ..base() };
    assert!(!Arc::ptr_eq(&engine.decide(&later.request()), &engine.decide(&base().request())));
}

#[test]
fn what_reads_time_is_not_cached_and_the_rest_still_is() {
    let engine = engine(
        r#"@id("p") @says("s") @tenants("any") permit (principal, action, resource is Key);
        @id("q") @says("s") forbid (principal, action == Action::"Decrypt", resource is Key)
        when { context.time < datetime("2001-01-01") };
        @id("r") @says("s") forbid (principal, action == Action::"Reveal", resource is Key)
        when { {Var: context.time}.Var < datetime("2001-01-01") };"#,
    );
    let cached = |operation| {
        let asked = Asked::new(ATTENDANCE, operation, "acme", "k");
        let (first, second) = (engine.decide(&asked.request()), engine.decide(&asked.request()));
        assert!(first.is_allowed());
        Arc::ptr_eq(&first, &second)
    };
    assert!(cached(Operation::Encrypt));
    assert!(!cached(Operation::Decrypt));
    assert!(!cached(Operation::Reveal));
}

#[test]
fn the_cache_stays_within_its_bytes() {
    let engine = PolicyEngine::of(EXAMPLES, Options { cache_bytes: 64 << 10 }).unwrap();
    for number in 0..2_000 {
        engine.decide(&Asked::new(ATTENDANCE, Operation::Encrypt, "acme", &format!("k{number}")).request());
    }
    assert!(
        engine.cache_weight() <= 64 << 10 && engine.cache_weight() > 16 << 10,
        "{}",
        engine.cache_weight()
    );
}

#[test]
fn a_purpose_that_is_too_long_is_denied() {
    let engine = engine(&permit(""));
    let asked = |len| Asked::new(ATTENDANCE, Operation::Encrypt, "acme", "k").for_purpose(&"p".repeat(len));
    assert!(engine.decide(&asked(MAX_PURPOSE).request()).is_allowed());
    assert!(!engine.decide(&asked(MAX_PURPOSE + 1).request()).is_allowed());
}

#[test]
fn a_reload_that_does_not_validate_keeps_the_old_policies() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.cedar");
    fs::write(&file, permit("")).unwrap();
    let engine = PolicyEngine::load(directory.path()).unwrap();
    let asked = Asked::new(ATTENDANCE, Operation::Encrypt, "acme", "k");
    assert!(engine.decide(&asked.request()).is_allowed());

    fs::write(&file, permit("when { nonsense }")).unwrap();
    let refused = engine.reload().unwrap_err().to_string();
    assert!(refused.contains("stay in force") && refused.contains("a.cedar:5"), "{refused}");
    assert!(engine.decide(&asked.request()).is_allowed());
    assert_eq!(engine.epoch(), PolicyEpoch(1));

    fs::write(&file, permit("when { resource.class == \"L1\" }")).unwrap();
    assert_eq!(engine.reload().unwrap(), PolicyEpoch(2));
    assert!(!engine.decide(&asked.request()).is_allowed(), "and no cached decision outlives its policies");
    assert_eq!(engine.reload().unwrap(), PolicyEpoch(2), "nothing changed, so the cache stays warm");
}

#[test]
fn a_directory_is_checked_whole() {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in EXAMPLES {
        fs::write(directory.path().join(name), text).unwrap();
    }
    fs::create_dir(directory.path().join("..data")).unwrap();
    let checked = check(directory.path());
    // Beside the policies: the schema, the README, the masks.
    assert_eq!((checked.files, checked.policies, checked.problems), (EXAMPLES.len() - 3, 15, Vec::new()));
    assert!(!checked.masks.all().is_empty());
    let masks = directory.path().join("masks.toml");
    let whole = fs::read_to_string(&masks).unwrap();
    fs::write(&masks, whole.replace("version = 1", "version = 9")).unwrap();
    let broken = check(directory.path());
    assert_eq!((&*broken.problems[0].file, broken.policies, broken.masks.all().len()), ("masks.toml", 0, 0));
    fs::write(&masks, whole).unwrap();

    fs::create_dir(directory.path().join("more")).unwrap();
    fs::write(directory.path().join("latin.cedar"), b"// \xe9\n").unwrap();
    let found = check(directory.path()).problems;
    let files: Vec<_> = found.iter().map(|problem| problem.file.as_str()).collect();
    assert_eq!(files, ["latin.cedar", "more"], "{found:?}");

    let absent = check(&directory.path().join("absent")).problems;
    assert!(absent[0].text.contains("cannot be read"), "{absent:?}");
    assert!(PolicyEngine::load(&directory.path().join("absent")).is_err());
}

#[test]
fn decisions_are_explained_in_words() {
    let engine = examples();
    let words = |asked: Asked| engine.explain(&asked.request()).words;
    let allowed = words(Asked::new(ATTENDANCE, Operation::Decrypt, "acme", "attendance"));
    assert_eq!(
        allowed,
        "allowed by `attendance-seals-and-opens`: the attendance service makes subjects of keys named `attendance`, seals and opens with them, \
         of any tenant"
    );
    let forbidden =
        words(Asked::new("spiffe://dev.local/operator", Operation::Decrypt, "acme", "attendance"));
    assert!(forbidden.starts_with("denied: forbidden by `people-never-open`: operators"), "{forbidden}");
    let denied = words(Asked::new(ATTENDANCE, Operation::Decrypt, "acme", "payroll"));
    assert!(
        denied.starts_with(
            "denied: no policy permits `spiffe://dev.local/attendance` to Decrypt key `payroll`"
        )
    );
    assert!(denied.contains("near: `attendance-seals-and-opens` covers this, but its `when`"), "{denied}");
    let portal = words(Asked::new("spiffe://dev.local/hr-portal", Operation::Decrypt, "acme", "attendance"));
    assert!(portal.contains("near: `hr-portal-reveals` covers it, but not this operation"), "{portal}");
    let wall = words(Asked::new(BILLING, Operation::Decrypt, "umbrella", "k").for_purpose("billing"));
    assert!(wall.contains("near: `acme-billing` covers this operation, but not there"), "{wall}");
}

#[test]
fn each_shipped_policy_is_one_of_the_examples() {
    let shipped = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../policies")).unwrap();
    for entry in shipped {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = EXAMPLES.iter().any(|(example, _)| *example == name);
        assert!(known || name == "decisions.golden", "`{name}` is not in EXAMPLES");
    }
}
