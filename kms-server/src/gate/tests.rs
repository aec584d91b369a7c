//! What the gate lets through, and what must be on record before or after.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::*;
use crate::audit::ServerEvent;
use crate::audit::tests::failing::{failing, resumed};
use crate::gate::permit::op;
use crate::identity::{IdentityName, KeyExchangeGroup};
use crate::policy;

const POLICIES: &str = r#"
    @id("tenants") @says("s") @tenants("any")
    permit (principal == Service::"spiffe://dev.local/operator", action, resource is Tenant);
    @id("random") @says("s")
    permit (principal == Service::"spiffe://dev.local/operator", action == Action::"GenerateRandom", resource == System::"kms");
"#;

fn gate(audit: &AuditLog, denials: DenialLimit) -> Gate {
    let engine = PolicyEngine::of(&[("a.cedar", POLICIES)], policy::Options::default()).unwrap();
    Gate::new(Arc::new(engine), audit.clone(), denials)
}

fn caller(name: &str) -> Caller {
    let identity = Identity {
        name: IdentityName::Spiffe(format!("spiffe://dev.local/{name}").into()),
        certificate: [1; 32],
        group: KeyExchangeGroup::X25519MlKem768,
        not_after: SystemTime::now() + Duration::from_secs(60),
    };
    Caller { identity: Arc::new(identity), request_id: Arc::new(RequestId::fresh()) }
}

#[tokio::test]
async fn no_change_is_permitted_while_the_audit_refuses_lines() {
    let (_dir, audit, disk) = failing();
    let gate = gate(&audit, Box::new(|_| Ok(0)));
    let (operator, acme) = (caller("operator"), "acme".parse::<TenantName>().unwrap());
    drop(gate.authorize::<op::CreateTenant>(&operator, acme.clone(), None).await.unwrap());
    disk.full.store(true, Ordering::SeqCst);
    audit.record_server(ServerEvent::Started).await.unwrap_err();
    let refused = gate.authorize::<op::CreateTenant>(&operator, acme.clone(), None).await;
    assert!(matches!(refused, Err(Denied::Audit(_))));
    // What changes nothing is refused by its own line.
    drop(gate.authorize::<op::GenerateRandom>(&operator, target::System, None).await.unwrap());
    disk.full.store(false, Ordering::SeqCst);
    resumed(&audit).await;
    drop(gate.authorize::<op::CreateTenant>(&operator, acme, None).await.unwrap());
}

#[tokio::test]
async fn a_denial_says_how_many_before_it_were_not_recorded() {
    let (dir, audit, _disk) = failing();
    let asked = AtomicU64::new(0);
    let every_fourth = Box::new(move |_: &Identity| match asked.fetch_add(1, Ordering::Relaxed) % 4 {
        0 => Ok(3),
        _ => Err(Duration::from_secs(1)),
    });
    let gate = gate(&audit, every_fourth);
    let (stranger, acme) = (caller("stranger"), "acme".parse::<TenantName>().unwrap());
    for call in 0..5 {
        let denied = gate.authorize::<op::CreateTenant>(&stranger, acme.clone(), None).await.err().unwrap();
        assert_eq!(matches!(denied, Denied::TenantNotAccessible), call % 4 == 0, "{denied}");
    }
    drop(gate);
    drop(audit);
    let text = std::fs::read_to_string(dir.path().join("audit-0000000001.jsonl")).unwrap();
    assert_eq!(text.matches(r#""outcome":"denied""#).count(), 2);
    assert_eq!(text.matches(r#""suppressed":3"#).count(), 2);
}
