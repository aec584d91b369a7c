use std::{fs, path::PathBuf};

use super::*;

pub(super) fn vectors(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/certificate_vectors").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let read =
        |file: &PathBuf| (file.file_name().unwrap().to_string_lossy().into_owned(), fs::read(file).unwrap());
    files.iter().map(read).collect()
}

#[test]
fn what_is_read_is_written_again_byte_for_byte() {
    for (name, file) in vectors("valid") {
        let certificate = Certificate::from_file(&file).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(certificate.to_file(), file, "{name}");
    }
}

#[test]
fn sentences_promise_nothing_that_nobody_can_keep() {
    const NEVER: [&str; 5] = ["unrecoverable", "gdpr-compliant", "dod", "military-grade", "fips-compliant"];
    let mut said = String::new();
    for (_, file) in vectors("valid") {
        let body = Certificate::from_file(&file).unwrap().certificate.completed();
        said += &body.to_value().pretty();
    }
    said.extend(risks::Risk::ALL.iter().map(|risk| format!("{} {}\n", risk.meaning(), risk.remedy())));
    let said = said.to_lowercase();
    let words: Vec<&str> = said.split(|char: char| !char.is_alphanumeric() && char != '-').collect();
    assert!(NEVER.iter().all(|never| !words.contains(never)));
}

#[test]
fn risks_stand_in_the_order_of_their_names() {
    let names: Vec<&str> = risks::Risk::ALL.iter().map(|risk| risk.as_str()).collect();
    assert!(names.is_sorted(), "{names:?}");
}

#[test]
fn a_completed_certificate_is_its_own_completion_and_names_what_follows() {
    for (name, file) in vectors("valid") {
        let body = Certificate::from_file(&file).unwrap().certificate;
        let completed = body.clone().completed();
        assert!(body.risks.iter().all(|risk| completed.risks.contains(risk)), "{name}");
        assert_eq!(completed.clone().completed(), completed);
        let signed = Certificate::sign(completed.clone(), |_| [7; 64]);
        assert_eq!(Certificate::from_file(&signed.to_file()).unwrap().certificate, completed);
    }
}

#[test]
fn counted_clients_are_said_to_be_those_of_the_epoch_and_not_of_the_key() {
    let mut erased = 0;
    for (name, file) in vectors("valid") {
        let mut body = Certificate::from_file(&file).unwrap().certificate;
        if body.erasure.status != body::Status::Erased {
            continue;
        }
        erased += 1;
        for (clients_confirmed, clients_ended) in [(0, 0), (3, 0), (0, 4), (3, 4)] {
            for epoch in &mut body.erasure.epochs {
                epoch.clients = Some(body::Clients { clients_confirmed, clients_ended });
            }
            let attested = words::Words::about(&body).attested;
            let of_the_epoch =
                "of the applications that could use a key destroyed in the same epoch, this one or another,";
            let counting = attested.iter().filter(|text| text.as_str().contains(of_the_epoch)).count();
            assert_eq!(counting, usize::from(clients_confirmed + clients_ended > 0), "{name}: {attested:?}");
        }
    }
    assert!(erased > 0);
}
