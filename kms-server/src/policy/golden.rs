//! The golden grid: what the example policies decide, for every caller, operation and kind of key, and by which rule.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kms_core::{
    names::{KeyName, TenantName},
    state::KeyClass,
};

use super::{
    Decision, EXAMPLES, Options, PolicyEngine, PolicyRequest, Resource, ResourceKind, resource_kinds,
};
use crate::{
    identity::{IdentityName, KeyExchangeGroup},
    operation::Operation,
};

const CALLERS: [&str; 8] = [
    "operator",
    "second-operator",
    "attendance",
    "hr-portal",
    "compliance",
    "acme-billing",
    "nobody-we-know",
    "spki",
];
const TENANTS: [&str; 2] = ["acme", "umbrella"];
/// Tenant, key, class, purposes.
const KEYS: [(&str, &str, KeyClass, &[&str]); 8] = [
    ("acme", "attendance", KeyClass::L2, &[]),
    ("acme", "attendance", KeyClass::L4, &[]),
    ("acme", "attendance", KeyClass::L2, &["billing"]),
    ("acme", "attendance/employee-17", KeyClass::L2, &[]),
    ("acme", "attendance.index", KeyClass::L2, &[]),
    ("acme", "payroll", KeyClass::L2, &[]),
    ("umbrella", "attendance", KeyClass::L2, &[]),
    ("umbrella", "payroll", KeyClass::L2, &[]),
];
const PURPOSES: [Option<&str>; 2] = [None, Some("billing")];

fn name_of(caller: &str) -> IdentityName {
    match caller {
        "spki" => IdentityName::Spki([7; 32]),
        name => IdentityName::Spiffe(format!("spiffe://dev.local/{name}").into()),
    }
}

/// Every caller, operation, resource and purpose of the grid: the caller, the request, and the resource in words.
pub(super) fn each(mut tell: impl FnMut(&str, &PolicyRequest<'_>, &str)) {
    for caller in CALLERS {
        let principal = name_of(caller);
        let group = KeyExchangeGroup::X25519MlKem768;
        for operation in Operation::ALL.iter().copied() {
            let mut ask = |resource: Resource<'_>, what: &str, purpose| {
                tell(
                    caller,
                    &PolicyRequest {
                        principal: &principal,
                        operation,
                        resource,
                        purpose,
                        group,
                        window: Duration::ZERO,
                    },
                    what,
                );
            };
            for kind in resource_kinds(operation) {
                match kind {
                    ResourceKind::System => ask(Resource::System, "system", None),
                    ResourceKind::Tenant => {
                        for name in TENANTS {
                            ask(Resource::Tenant { name: &TenantName::try_from(name).unwrap() }, name, None);
                        }
                    }
                    ResourceKind::Key => each_key(&mut ask),
                }
            }
        }
    }
}

fn each_key(ask: &mut impl FnMut(Resource<'_>, &str, Option<&'static str>)) {
    for (tenant, name, class, purposes) in KEYS {
        let only = if purposes.is_empty() { "" } else { " billing-only" };
        let what = format!("{tenant}/{name} {class}{only}");
        let tenant = &TenantName::try_from(tenant).unwrap();
        let name = &KeyName::try_from(name).unwrap();
        let name = name.into();
        let purposes: &[Arc<str>] = &purposes.iter().map(|purpose| (*purpose).into()).collect::<Vec<_>>();
        for purpose in PURPOSES {
            ask(Resource::Key { tenant, name, class, purposes, key_revision: 1 }, &what, purpose);
        }
    }
}

fn grid(engine: &PolicyEngine) -> String {
    let mut grid = String::from(
        "# What the example policies decide: caller | operation | to what | purpose | decision | by which policy.\n\
         # Written by the test `the_grid_is_as_agreed`; `-`: no purpose, or no policy permits it.\n",
    );
    each(|caller, request, what| {
        let decision = engine.decide(request);
        assert_eq!(decision, engine.decide(request), "the cached decision is the decision");
        if let Decision::Deny { errors, .. } = &*decision {
            assert!(errors.is_empty(), "{errors:?}");
        }
        let verdict = if decision.is_allowed() { "allow" } else { "deny" };
        let rules: Vec<_> = decision.policies().iter().map(|id| id.as_str()).collect();
        let rules = if rules.is_empty() { "-".to_owned() } else { rules.join(", ") };
        let (operation, purpose) = (request.operation, request.purpose.unwrap_or("-"));
        grid += &format!("{caller} | {operation} | {what} | {purpose} | {verdict} | {rules}\n");
    });
    grid
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/decisions.golden")
}

#[test]
fn the_grid_is_as_agreed() {
    let engine = PolicyEngine::of(EXAMPLES, Options::default()).unwrap();
    let found = grid(&engine);
    if std::env::var_os("KMS_REWRITE_GOLDEN").is_some() {
        std::fs::write(path(), &found).unwrap();
    }
    let agreed = std::fs::read_to_string(path()).unwrap();
    for (line, (agreed, found)) in agreed.lines().zip(found.lines()).enumerate() {
        assert_eq!(
            agreed,
            found,
            "line {}; KMS_REWRITE_GOLDEN=1 writes the grid anew, then read its diff",
            line + 1
        );
    }
    assert_eq!(agreed.lines().count(), found.lines().count());
}

/// The manual's sentences on the five identities, each with its "may not", read from the agreed grid.
#[test]
fn the_five_identities_are_as_the_manual_says() {
    let grid = std::fs::read_to_string(path()).unwrap();
    let allowed = |caller: &str, operation: &str| -> Vec<String> {
        let start = format!("{caller} | {operation} | ");
        let rows = grid.lines().filter(|line| line.starts_with(&start) && line.contains(" | allow | "));
        rows.map(|line| line.split(" | ").nth(2).unwrap().to_owned()).collect()
    };
    let data = ["Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "LeaseToSeal", "LeaseToOpen"];
    for operator in ["operator", "second-operator"] {
        for managed in
            ["CreateTenant", "DestroyTenant", "CreateKey", "RotateKey", "DestroyKey", "ListTenants"]
        {
            assert!(!allowed(operator, managed).is_empty(), "{operator} may {managed}");
        }
        for never in data.iter().chain(&["Reveal", "ReadAudit", "DeleteAudit"]) {
            assert!(allowed(operator, never).is_empty(), "{operator} may not {never}");
        }
    }
    for operation in data {
        let keys = allowed("attendance", operation);
        assert!(keys.iter().any(|key| key.starts_with("acme/attendance")), "{operation}");
        assert!(keys.iter().any(|key| key.starts_with("umbrella/attendance")), "of any tenant");
        assert!(keys.iter().all(|key| key.contains("/attendance")), "and no other key: {keys:?}");
    }
    let ensured = allowed("attendance", "EnsureSubjects");
    assert!(!ensured.is_empty() && ensured.iter().all(|key| key.contains("/attendance")), "{ensured:?}");
    let control = Operation::ALL.iter().filter(|operation| operation.is_control_plane());
    for operation in control.filter(|operation| **operation != Operation::EnsureSubjects) {
        assert!(allowed("attendance", operation.as_str()).is_empty(), "attendance may not {operation}");
    }
    for operation in Operation::ALL {
        let found = allowed("hr-portal", operation.as_str());
        match operation {
            Operation::Reveal => assert!(found.iter().all(|key| key.contains("/attendance")), "{found:?}"),
            Operation::Reflect => {}
            other => assert!(found.is_empty(), "hr-portal may not {other}"),
        }
    }
    for reads in ["DescribeTenant", "DescribeKey", "ListKeys", "ListTenants", "ReadAudit"] {
        assert!(!allowed("compliance", reads).is_empty(), "compliance may {reads}");
    }
    for never in data.iter().chain(&["Reveal", "CreateKey", "RotateKey", "DestroyKey", "DeleteAudit"]) {
        assert!(allowed("compliance", never).is_empty(), "compliance may not {never}");
    }
    for operation in Operation::ALL {
        assert!(
            allowed("spki", operation.as_str()).is_empty(),
            "a caller without a name may not {operation}"
        );
    }
}
