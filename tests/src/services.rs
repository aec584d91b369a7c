//! Programs of others that a test needs: where one is absent the test says that it was skipped, or fails.

use std::{env, path::PathBuf};

/// The file of a program on the path, or in one of the further directories given.
pub fn program(name: &str, further: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(further.iter().map(PathBuf::from));
    directories.map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Says that a test is skipped, and why. Where `KMS_REQUIRE_SERVICES` is 1, as in the pipeline, that is a failure.
pub fn skip(why: &str) {
    assert_ne!(
        env::var("KMS_REQUIRE_SERVICES").as_deref(),
        Ok("1"),
        "{why}, and `KMS_REQUIRE_SERVICES` is 1"
    );
    println!("skipped: {why}");
}
