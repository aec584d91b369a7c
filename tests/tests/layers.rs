//! What may use what, read from the sources: the layers of `kms-server/src/lib.rs`, and which crate's types stay where.
//!
//! Test code is left out: it may reach anywhere.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "where a test's setting up fails, the test has failed"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The server's modules, a layer a line. A module may use its own layer and those below it, never one above.
const LAYERS: [&[&str]; 7] = [
    &[
        "admin",
        "anchor",
        "cli",
        "clock",
        "config",
        "dev",
        "hardening",
        "instance",
        "logging",
        "main",
        "reload",
        "scheduler",
        "seal",
        "service",
        "watch",
    ],
    &["rpc", "tls"],
    &["usecase"],
    &["gate"],
    &["audit", "erasure", "keyring", "policy", "transparency"],
    &["effaceable", "store"],
    &["binding", "identity", "operation", "rate", "records", "running", "share"],
];

/// Crates whose types stay in one place, and the files that may name them.
const CONFINED: [(&str, &[&str]); 4] = [
    // `Connected` is how a connection tells handlers whose it is; the wiring passes on one error of reflection.
    ("tonic", &["rpc/", "tls/connection.rs", "service.rs"]),
    ("sled", &["store/sled.rs"]),
    ("cedar_policy", &["policy/"]),
    ("cryptoki", &["effaceable/pkcs11/"]),
];

/// A source file without comments and without test code.
struct Source {
    /// Below `src/`.
    file: String,
    /// Its place in the module tree: `erasure::redo` is `["erasure", "redo"]`.
    module: Vec<String>,
    code: String,
}

impl Source {
    fn layer(&self) -> usize {
        layer(&self.module[0]).unwrap_or_else(|| panic!("`{}` has no layer: add it to LAYERS", self.file))
    }

    /// Modules of this crate that its paths name: `crate::x`, `crate::{x, y::z}`, and `super` climbed to the top.
    fn uses(&self) -> BTreeSet<String> {
        let mut used = BTreeSet::new();
        for (at, _) in self.code.match_indices("crate::") {
            if !self.code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
                used.extend(first_names(&self.code[at + "crate::".len()..]));
            }
        }
        let to_the_top = "super::".repeat(self.module.len());
        for (at, _) in self.code.match_indices(&to_the_top) {
            let rest = &self.code[at + to_the_top.len()..];
            if !self.code[..at].ends_with("::") && !rest.starts_with("super::") {
                used.extend(first_names(rest).into_iter().filter(|name| layer(name).is_some()));
            }
        }
        used
    }
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|names| names.contains(&module))
}

/// The first names of a path, or of each path of a group.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.chars().take_while(|&char| char.is_alphanumeric() || char == '_').collect()
    };
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut depth, mut names, mut fresh) = (0, Vec::new(), true);
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            char if depth == 0 && fresh && char.is_alphabetic() => {
                names.push(name(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

fn sources(of: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(of).join("src");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    let mut tests = BTreeSet::new();
    let mut sources = Vec::new();
    for path in paths {
        let file = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let mut module: Vec<String> = file.trim_end_matches(".rs").split('/').map(Into::into).collect();
        if module.len() > 1 && module.last().is_some_and(|name| name == "mod") {
            module.pop();
        }
        let text = fs::read_to_string(&path).unwrap();
        let mut code = String::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if line.trim() == "#[cfg(test)]" {
                // Whatever it stands before: a module of its own file is left out, one written here ends the file.
                let next = lines.next().unwrap_or_default().trim();
                let declared = next.rsplit(' ').next().unwrap_or_default();
                match declared.strip_suffix(';') {
                    Some(name) if next.contains("mod ") => {
                        let parent = if file == "lib.rs" { "" } else { &*module.join("::") };
                        tests.insert(format!("{parent}::{name}"));
                    }
                    _ if next.contains("mod ") => break,
                    _ => {}
                }
                continue;
            }
            let line = line.find("//").map_or(line, |comment| &line[..comment]);
            code.push_str(line);
            code.push('\n');
        }
        sources.push(Source { file, module, code });
    }
    sources.retain(|source| {
        let path = format!("{}::", source.module.join("::"));
        !tests.iter().any(|test| path.starts_with(&format!("{test}::")))
    });
    sources
}

fn files(directory: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        match path.is_dir() {
            true => files(&path, into),
            false if path.extension().is_some_and(|ending| ending == "rs") => into.push(path),
            false => {}
        }
    }
}

#[test]
fn no_module_of_the_server_uses_one_of_a_layer_above_it() {
    let mut wrong = Vec::new();
    for source in sources("kms-server").iter().filter(|source| source.file != "lib.rs") {
        for used in source.uses() {
            let below = layer(&used).unwrap_or_else(|| panic!("{}: `crate::{used}`?", source.file));
            if below < source.layer() {
                wrong.push(format!("{} uses `{used}`", source.file));
            }
        }
    }
    assert!(wrong.is_empty(), "these run against the layers:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_of_the_server_has_a_layer_and_every_layer_its_modules() {
    let stand: BTreeSet<String> = sources("kms-server")
        .into_iter()
        .map(|source| source.module[0].clone())
        .filter(|module| module != "lib")
        .collect();
    let named: BTreeSet<String> =
        LAYERS.iter().flat_map(|names| names.iter().map(|&name| name.into())).collect();
    assert_eq!(stand, named);
}

#[test]
fn types_of_tonic_sled_and_cedar_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for source in sources("kms-server") {
        for (foreign, places) in CONFINED {
            // Our own module of that name, in a group of `super`.
            let code = source.code.replace("sled::SledStore", "");
            let named = code.match_indices(foreign).any(|(at, _)| {
                let after = &code[at + foreign.len()..];
                let starts = !code[..at].ends_with(|before: char| {
                    before.is_alphanumeric() || before == '_' || before == ':' || before == '/'
                });
                // `tonic::`, `tonic_types::`, `use tonic;`
                let whole: String = after.chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect();
                starts
                    && (whole.is_empty() || whole.starts_with('_'))
                    && after[whole.len()..].starts_with("::")
            });
            if named && !places.iter().any(|place| source.file.starts_with(place)) {
                wrong.push(format!("{} names `{foreign}`", source.file));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_core_knows_no_runtime_no_store_no_files_and_no_sockets() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kms-core/Cargo.toml");
    let manifest: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap();
    for foreign in
        ["tokio", "tonic", "prost", "sled", "redb", "rustls", "cedar-policy", "kms-proto", "kms-server"]
    {
        assert!(!dependencies.contains_key(foreign), "kms-core depends on `{foreign}`");
    }
    for source in sources("kms-core") {
        for foreign in ["std::fs", "std::net", "std::process", "std::env", "SystemTime", "std::time::Instant"]
        {
            assert!(!source.code.contains(foreign), "kms-core/src/{} names `{foreign}`", source.file);
        }
    }
}

#[test]
fn paths_are_read_out_of_groups_and_of_super() {
    assert_eq!(first_names("gate::{Op, Permit};"), ["gate"]);
    assert_eq!(
        first_names("{\n    records::{Table, key_bytes},\n    store::Store,\n};"),
        ["records", "store"]
    );
    let source = Source {
        file: "keyring/entry.rs".into(),
        module: vec!["keyring".into(), "entry".into()],
        code: "use super::LookupError; use super::super::rpc::Core; let x = crate::gate::Gate; my_crate::x()"
            .into(),
    };
    assert_eq!(source.uses().into_iter().collect::<Vec<_>>(), ["gate", "rpc"]);
}
