//! The five identities × every call.

use kms_proto::{
    reason::Reason,
    v1::{self, open_data_keys_response::item::Outcome},
};
use kms_tests::api::{self, Answer, Api, KEY};
use prost::Message as _;
use tonic::Status;

use crate::calls::{CALLS, On, call, families, ground};

/// What the agreed grid says: allowed, and the policies that decide.
fn agreed(who: &str, operation: &str, on: On) -> (bool, Vec<String>) {
    let to = match on {
        On::System => "system",
        On::Tenant => "acme",
        On::Key => "acme/attendance L2",
    };
    let row = format!("{who} | {operation} | {to} | - | ");
    let golden = include_str!("../../../policies/decisions.golden");
    let decided =
        golden.lines().find_map(|line| line.strip_prefix(&row)).unwrap_or_else(|| panic!("no row {row}"));
    let (decision, rules) = decided.split_once(" | ").unwrap();
    let rules = rules.split(", ").filter(|rule| *rule != "-").map(Into::into).collect();
    (decision == "allow", rules)
}

/// What a call came to; of the one item of `OpenDataKeys`, what that came to.
fn came_to(name: &str, called: Result<Vec<u8>, Status>) -> Answer<()> {
    let message = called.map_err(|status| api::reason(&status))?;
    if name.starts_with("OpenDataKeys") {
        let mut leased = v1::OpenDataKeysResponse::decode(&*message).unwrap();
        if let Outcome::Error(error) = leased.items.remove(0).outcome.unwrap() {
            return Err(error.reason.parse::<Reason>().unwrap());
        }
    }
    Ok(())
}

#[tokio::test]
async fn each_of_the_five_may_do_what_the_grid_says_and_nothing_else_and_every_call_has_its_line() {
    let place = kms_tests::Place::new();
    let _server = place.start();
    let operator = Api::of(&place, "operator").await;
    let attendance = Api::of(&place, "attendance").await;
    let compliance = Api::of(&place, "compliance").await;
    let mut wrong = Vec::new();
    for who in kms_server::dev::IDENTITIES {
        let api = Api::of(&place, who).await;
        let ground = ground(&operator, &attendance, who).await;
        for (name, operation, on) in CALLS {
            let id = format!("grid-{who}-{}", name.replace([' ', ','], "-"));
            let answered = came_to(name, call(&api, name, &id, &ground).await);
            if operation.is_empty() {
                assert_eq!(answered, Ok(()), "{who} {name}");
                continue;
            }
            let (allowed, rules) = agreed(who, operation, on);
            let expected = if allowed { Ok(()) } else { Err(on.denied()) };
            if answered != expected {
                wrong.push(format!("{who}: {name} is {answered:?}, not {expected:?}"));
            }
            let filter = v1::AuditFilter { request_id: id.clone(), ..v1::AuditFilter::default() };
            let lines = compliance.lines(filter).await;
            let lines: Vec<_> = lines.iter().filter(|line| line["operation"] == *operation).collect();
            let [line] = &lines[..] else {
                wrong.push(format!("{who}: {name} has {} lines: {lines:?}", lines.len()));
                continue;
            };
            let mut said = vec![
                ("type", "request".to_owned()),
                ("identity", api.identity()),
                ("outcome", if allowed { "allowed" } else { "denied" }.into()),
                ("group", "X25519MLKEM768".into()),
            ];
            if on != On::System {
                let tenant = &ground.tenant;
                said.push((
                    "tenant",
                    if name == "EnsureSubjects" { families(tenant) } else { tenant.clone() },
                ));
            }
            if on == On::Key {
                said.push(("key", KEY.to_owned()));
                // Denied items share a line, whether their keys are there or not.
                if allowed || !name.starts_with("OpenDataKeys") {
                    said.push(("class", "L2".into()));
                }
            }
            if !allowed {
                said.push(("reason", on.denied().as_str().into()));
            }
            for (what, is) in said {
                if line[what] != is {
                    wrong.push(format!("{who}: {name}: `{what}` is {} and not {is}", line[what]));
                }
            }
            if line["rules"] != serde_json::json!(rules) {
                wrong.push(format!("{who}: {name}: rules {} and not {rules:?}", line["rules"]));
            }
            if line["certificate"].as_str().is_none_or(|fingerprint| fingerprint.len() != 64) {
                wrong.push(format!("{who}: {name}: certificate {}", line["certificate"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
