//! Masked forms of values of subjects, asked for in the name of their family: whose are shown, and that all others are refused alike.

use kms_proto::{
    reason::Reason,
    v1::{self, reveal_batch_response::item::Outcome},
};
use kms_tests::{
    Place,
    api::{Answer, Api, TENANT, answer, field, fresh, named},
    server::Server,
};

const FAMILY: &str = "attendance";
const SHOWN: &str = "138****1234";

/// A subject's value, and one of another tenant's key.
struct Scene {
    place: Place,
    server: Server,
    operator: Api,
    portal: Api,
    compliance: Api,
    of_subject: Vec<u8>,
    of_another: Vec<u8>,
}

fn bound() -> v1::Binding {
    field("checkins", "phone", "1")
}

impl Scene {
    async fn new() -> Self {
        let place = Place::new();
        let server = place.start();
        let (operator, attendance) = (Api::of(&place, "operator").await, Api::of(&place, "attendance").await);
        for tenant in [TENANT, "umbrella"] {
            operator.create_tenant(tenant).await.unwrap();
        }
        operator.create_family(TENANT, FAMILY).await.unwrap();
        operator.create_key("umbrella", FAMILY).await.unwrap();
        attendance.ensure(TENANT, FAMILY, &["one"]).await.unwrap();
        let seal = async |tenant: &str, key: &str| {
            attendance.encrypt(tenant, key, b"13800131234", bound()).await.unwrap()
        };
        let of_subject = seal(TENANT, &format!("{FAMILY}/one")).await;
        let of_another = seal("umbrella", FAMILY).await;
        let (portal, compliance) = (Api::of(&place, "hr-portal").await, Api::of(&place, "compliance").await);
        Self { place, server, operator, portal, compliance, of_subject, of_another }
    }

    /// What a value is revealed as, and the lines of the audit that say so.
    async fn reveal(&self, key: &str, ciphertext: &[u8]) -> (Answer<String>, Vec<serde_json::Value>) {
        let (tenant, key, ciphertext) = (TENANT.into(), key.into(), ciphertext.to_vec());
        let message =
            v1::RevealRequest { tenant, key, ciphertext, binding: Some(bound()), ..Default::default() };
        let id = fresh();
        let answered = answer(self.portal.crypto().reveal(named(&id, message)).await);
        (answered.map(|answered| answered.masked.unwrap().text), self.lines(id).await)
    }

    /// The same for several in one call.
    async fn reveal_batch(
        &self,
        key: &str,
        ciphertexts: &[&[u8]],
    ) -> (Answer<Vec<Answer<String>>>, Vec<serde_json::Value>) {
        let item = |ciphertext: &&[u8]| v1::reveal_batch_request::Item {
            ciphertext: ciphertext.to_vec(),
            binding: Some(bound()),
        };
        let items = ciphertexts.iter().map(item).collect();
        let message =
            v1::RevealBatchRequest { tenant: TENANT.into(), key: key.into(), items, ..Default::default() };
        let id = fresh();
        let answered = answer(self.portal.crypto().reveal_batch(named(&id, message)).await);
        let one = |item: v1::reveal_batch_response::Item| match item.outcome.unwrap() {
            Outcome::Masked(masked) => Ok(masked.text),
            Outcome::Error(error) => Err(error.reason.parse().unwrap()),
        };
        (answered.map(|answered| answered.items.into_iter().map(one).collect()), self.lines(id).await)
    }

    async fn lines(&self, request_id: String) -> Vec<serde_json::Value> {
        self.compliance.lines(v1::AuditFilter { request_id, ..v1::AuditFilter::default() }).await
    }
}

/// Outcome and reason of each line.
fn said(lines: &[serde_json::Value]) -> Vec<(&str, &str)> {
    let of = |line| (text(line, "outcome"), text(line, "reason"));
    lines.iter().map(of).collect()
}

fn text<'a>(line: &'a serde_json::Value, member: &str) -> &'a str {
    line[member].as_str().unwrap_or_default()
}

const DENIED: (&str, &str) = ("denied", "KEY_NOT_ACCESSIBLE");

#[tokio::test]
async fn a_subjects_value_is_revealed_in_the_name_of_its_own_family_only() {
    let scene = Scene::new().await;
    scene.operator.create_family(TENANT, "payroll").await.unwrap();
    assert_eq!(scene.reveal(FAMILY, &scene.of_subject).await.0, Ok(SHOWN.into()));
    let batch = scene.reveal_batch(FAMILY, &[&scene.of_subject, &scene.of_another]).await.0;
    assert_eq!(batch, Ok(vec![Ok(SHOWN.into()), Err(Reason::KeyNotAccessible)]));
    // ATTACK: leave for the subject that sealed it is not leave in whatever name is given.
    for elsewhere in ["payroll", "nothing"] {
        let refused = Err(Reason::KeyNotAccessible);
        assert_eq!(scene.reveal(elsewhere, &scene.of_subject).await.0, refused, "{elsewhere}");
        let batch = scene.reveal_batch(elsewhere, &[&scene.of_subject]).await.0;
        assert_eq!(batch, Err(Reason::KeyNotAccessible), "{elsewhere}");
    }
}

#[tokio::test]
async fn a_value_of_no_subject_of_the_family_is_refused_as_one_that_policy_denies_and_counts_as_much() {
    let scene = Scene::new().await;
    let refused = |(answered, lines): (Answer<String>, Vec<serde_json::Value>)| {
        assert_eq!(answered, Err(Reason::KeyNotAccessible));
        assert_eq!(said(&lines), [DENIED]);
    };
    let all_refused = |(answered, lines): (Answer<Vec<Answer<String>>>, Vec<serde_json::Value>)| {
        assert_eq!(answered, Err(Reason::KeyNotAccessible));
        assert_eq!(said(&lines), [DENIED]);
    };
    refused(scene.reveal(FAMILY, &scene.of_another).await);
    all_refused(scene.reveal_batch(FAMILY, &[&scene.of_another]).await);
    let (mixed, lines) = scene.reveal_batch(FAMILY, &[&scene.of_another, &scene.of_subject]).await;
    assert_eq!(mixed, Ok(vec![Err(Reason::KeyNotAccessible), Ok(SHOWN.into())]));
    let mut said = said(&lines);
    said.sort_unstable();
    assert_eq!(said, [("allowed", ""), DENIED]);

    std::fs::write(
        scene.place.path("policies/kept.cedar"),
        r#"@id("kept") @says("nothing of one is revealed")
           forbid (principal, action == Action::"Reveal", resource is Key)
           when { resource has subject && resource.subject == "one" };"#,
    )
    .unwrap();
    scene.server.hang_up();
    scene.server.wait_for_log("policies reloaded", 1);
    for value in [&scene.of_subject, &scene.of_another] {
        refused(scene.reveal(FAMILY, value).await);
        all_refused(scene.reveal_batch(FAMILY, &[value]).await);
    }
    all_refused(scene.reveal_batch(FAMILY, &[&scene.of_another, &scene.of_subject]).await);
}
