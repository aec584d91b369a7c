//! A token for a test, made by SoftHSM2 in a temporary directory.
//!
//! SoftHSM2 finds its tokens by an environment variable, which must stand before its library is loaded: so a test with a token runs
//! itself again, in a process of its own.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use kms_server::effaceable::pkcs11::TokenOptions;

use crate::services::skip;

const DIRECTORY: &str = "KMS_TESTS_TOKEN";
/// What the fixture calls its token.
pub const LABEL: &str = "kms tests";
/// Where distributions put the library.
const MODULES: [&str; 6] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// A token, and a directory beside it for what a test needs.
#[derive(Debug)]
pub struct SoftToken {
    directory: PathBuf,
    module: PathBuf,
}

impl SoftToken {
    /// Which token, and how to log in.
    pub fn options(&self) -> TokenOptions {
        TokenOptions { module: self.module.clone(), token: LABEL.into(), pin_file: self.path("pin") }
    }

    /// A file or directory beside the token, gone with it.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.directory.join(inside)
    }

    /// Files in which SoftHSM2 keeps the objects of its tokens.
    pub fn objects(&self) -> usize {
        let tokens = fs::read_dir(self.path("tokens")).unwrap().map(|entry| entry.unwrap().path());
        let files = tokens.flat_map(|token| fs::read_dir(token).unwrap());
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".object") && name != "token.object").count()
    }
}

/// Runs the test `name` with a new token, in a process of its own. Without SoftHSM2 it is skipped, and fails where services are required.
pub fn with_token(name: &str, body: impl FnOnce(&SoftToken)) {
    with_token_of(name, "ALL", body);
}

/// The same, of a token with these mechanisms only, in the words of SoftHSM2's configuration.
pub fn with_token_of(name: &str, mechanisms: &str, body: impl FnOnce(&SoftToken)) {
    let module = MODULES.iter().map(Path::new).find(|path| path.exists());
    let tool = Command::new("softhsm2-util").arg("--version").output().is_ok();
    let Some(module) = module.filter(|_| tool) else {
        return skip("SoftHSM2 is not installed (Debian `softhsm2`)");
    };
    if let Some(directory) = env::var_os(DIRECTORY) {
        body(&SoftToken { directory: directory.into(), module: module.into() });
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |inside: &str| directory.path().join(inside);
    fs::create_dir(path("tokens")).unwrap();
    let tokens = path("tokens").display().to_string();
    let configuration = format!(
        "directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\nslots.mechanisms = {mechanisms}\n"
    );
    fs::write(path("softhsm2.conf"), configuration).unwrap();
    fs::write(path("pin"), "4711\n").unwrap();
    fs::set_permissions(path("pin"), fs::Permissions::from_mode(0o600)).unwrap();
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", LABEL, "--pin", "4711", "--so-pin", "4712"])
        .env("SOFTHSM2_CONF", path("softhsm2.conf"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let again = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env("SOFTHSM2_CONF", path("softhsm2.conf"))
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    let ran = again.status.success() && said.contains("1 passed");
    assert!(ran, "{said}\n{}", String::from_utf8_lossy(&again.stderr));
}
