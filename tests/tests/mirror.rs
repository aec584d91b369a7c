//! The log as others read it: `kms log mirror`, checked with the implementation of the Go checksum database (`c2sp/main.go`).

#![expect(clippy::unwrap_used, reason = "where a test's setting up fails, the test has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use kms_tests::{
    Api, Place,
    api::{KEY, TENANT},
    cli, services,
};

/// Our program in Go, built; `None` where there is no Go, or no way to its module.
fn c2sp(directory: &Path) -> Option<PathBuf> {
    let Some(go) = services::program("go", &["/usr/local/go/bin"]) else {
        println!("skipped: go is not installed");
        return None;
    };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c2sp");
    let go = |words: &[&str]| cli::run(Command::new(&go).current_dir(&source).args(words));
    let fetched = go(&["mod", "download"]);
    if fetched.code != Some(0) {
        services::skip(&format!("go cannot fetch golang.org/x/mod: {}", fetched.stderr));
        return None;
    }
    let binary = directory.join("c2sp");
    go(&["build", "-mod=readonly", "-o", binary.to_str().unwrap(), "."]).ok();
    Some(binary)
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn another_implementation_reads_the_mirror_and_refuses_it_where_one_byte_differs() {
    let place = Place::new();
    let Some(c2sp) = c2sp(place.scratch()) else { return };
    let server = place.start_with(&["--set", "limits.rate=10000", "--set", "limits.burst=10000"]);
    let (operator, _) = Api::ground(&place).await;
    let profile = place.profile("operator");
    let scratch = |name: &str| place.scratch().join(name).to_str().unwrap().to_owned();
    let log = |what: &str, out: &str| cli::kms(Some(&profile), ["log", what, &scratch(out)]).ok();

    log("key", "log.vkey");
    log("checkpoint", "first");
    for _ in 0..3 {
        operator.rotate(TENANT, KEY).await.unwrap();
    }
    operator.destroy(TENANT, KEY, Some(1)).await.unwrap();
    log("checkpoint", "second");
    log("mirror", "mirror");
    // More than a tile holds: the next mirror has a full one, and one above it.
    for number in 0..256 {
        operator.create_key(TENANT, &format!("key-{number}")).await.unwrap();
    }
    operator.destroy(TENANT, "key-7", None).await.unwrap();
    operator.destroy_tenant(TENANT).await.unwrap();
    log("checkpoint", "third");
    log("mirror", "mirror");
    drop(server);

    let words = ["mirror", "log.vkey", "first", "second", "third"].map(scratch);
    let check = || cli::run(Command::new(&c2sp).args(&words));
    let said = check().ok().stdout;
    let entries: u64 = said.split(' ').next().unwrap().parse().unwrap();
    assert!(entries > 256 + 8 && said.ends_with("3 earlier checkpoints\n"), "{said}");

    let mirror = PathBuf::from(scratch("mirror"));
    let mut changed = 0;
    // Partial tiles of the smaller log are still there, and nothing reads them.
    let read: Vec<_> =
        kms_core::transparency::tile::tiles(entries).map(|tile| mirror.join(tile.to_string())).collect();
    for file in files(&mirror).into_iter().filter(|file| read.contains(file) || file.ends_with("checkpoint"))
    {
        let good = fs::read(&file).unwrap();
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&file, bad).unwrap();
            let said = check();
            assert_eq!(said.code, Some(1), "byte {at} of {}: {}", file.display(), said.stdout);
            changed += 1;
        }
        fs::write(&file, good).unwrap();
    }
    assert_eq!(changed, 3 * (read.len() + 1));
    check().ok();

    // Of another log, nothing is believed.
    let other = Place::new();
    let _server = other.start();
    cli::kms(Some(&other.profile("operator")), ["log", "key", &scratch("log.vkey")]).ok();
    assert_eq!(check().code, Some(1));
}
