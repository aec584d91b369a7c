//! From the derive to `kms`: a program prints what it says of its columns, and the masks of a server are compared with it.

use std::{fs, path::Path};

use kms_client::Protect;
use kms_tests::cli::{Said, kms};

use super::{CheckIn, Scene};

#[derive(Protect)]
#[protect(table = "people", name = "staff", key = "attendance", tenant = "company_id", bind("id"))]
struct Person {
    company_id: String,
    id: i64,
    #[protect(encrypt, column = "full_name", name = "employee", mask = "name")]
    employee: String,
    #[protect(encrypt, key = "payroll", mask = "last4")]
    account: String,
    #[protect(encrypt)]
    diagnosis: String,
}

fn mask(key: &str, table: &str, column: &str, form: &str) -> String {
    format!("[[mask]]\nkey = \"{key}\"\ntable = \"{table}\"\ncolumn = \"{column}\"\nform = \"{form}\"\n")
}

/// The example policies with other masks.
fn policies(directory: &Path, masks: &[String]) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    fs::create_dir_all(directory).unwrap();
    for file in fs::read_dir(example).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), directory.join(file.file_name())).unwrap();
    }
    fs::write(directory.join("masks.toml"), format!("version = 1\n{}", masks.concat())).unwrap();
}

fn check(directory: &Path, schema: &Path) -> Said {
    let words = ["policy", "check", directory.to_str().unwrap(), "--schema", schema.to_str().unwrap()];
    kms(None, words)
}

#[test]
fn every_difference_between_a_derive_and_the_masks_is_told_in_words() {
    let scratch = tempfile::tempdir().unwrap();
    let (directory, schema) = (scratch.path().join("policies"), scratch.path().join("schema.json"));
    // As the guide says: a program prints this.
    let printed = serde_json::to_string_pretty(&[Person::SCHEMA, CheckIn::SCHEMA]).unwrap();
    fs::write(&schema, printed).unwrap();

    let phone = mask("attendance", "checkins", "phone", "phone");
    let good = [
        mask("attendance", "staff", "employee", "name"),
        mask("payroll", "staff", "account", "last4"),
        phone.clone(),
    ];
    policies(&directory, &good);
    let said = check(&directory, &schema).ok();
    assert_eq!(said.stdout.lines().count(), 1, "what agrees is not spoken of: {}", said.stdout);

    for (masks, words) in [
        (
            vec![phone.clone(), good[0].clone()],
            "`account` of table `staff` under key `payroll` says mask `last4`, and none is declared",
        ),
        (
            vec![phone.clone(), good[0].clone(), mask("attendance", "staff", "account", "last4")],
            "the column has a key of its own",
        ),
        (
            vec![phone.clone(), good[1].clone(), mask("attendance", "staff", "employee", "identity")],
            "declared is `identity`: that is what is shown",
        ),
        (
            vec![phone.clone(), good[1].clone(), mask("attendance", "people", "full_name", "name")],
            "masks go by the names that values are bound to, `staff` and `employee`",
        ),
        (
            vec![good.concat(), mask("attendance", "staff", "diagnosis", "last4")],
            "says no mask, and `last4` is declared: it is revealed",
        ),
        (
            vec![good.concat(), mask("attendance", "staff", "phone", "phone")],
            "which the schema does not have",
        ),
    ] {
        policies(&directory, &masks);
        let said = check(&directory, &schema);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stdout.contains(words), "{words}\n{}", said.stdout);
        assert!(said.stderr.contains("1 difference"), "one each: {said:?}");
    }

    let review = kms(None, ["policy", "schema", schema.to_str().unwrap()]).ok().stdout;
    for part in [
        "table `staff` (in the database `people`)",
        "employee (in the database full_name)",
        "payroll",
        "phone_index, 24 bits, phone",
    ] {
        assert!(review.contains(part), "{part}\n{review}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_is_compared_too() {
    let scene = Scene::with(&["acme"]).await;
    let schema = scene.place.scratch().join("schema.json");
    fs::write(&schema, serde_json::to_string(CheckIn::SCHEMA).unwrap()).unwrap();
    let profile = scene.place.profile("operator");
    let ask = || kms(Some(&profile), ["policy", "masks", "--schema", schema.to_str().unwrap()]);
    // The example policies also mask columns of other releases of this table.
    let said = ask();
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stdout.contains("column `employee` of table `checkins` under key `attendance` says no mask"),
        "{said:?}"
    );
    assert!(!said.stdout.contains("`phone` of table `checkins` under key `attendance` says"), "{said:?}");
}
