//! What `check-config` says beyond the file's own form: whether what it points to is there, loads, and is wisely placed.
//!
//! Reads only; makes nothing, opens no store.

use std::{
    fmt, io,
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{Config, EffaceableConfig, MediumKind};
use crate::{
    effaceable::{
        file::{FileMedium, worth::Judgement},
        pkcs11,
    },
    policy, seal,
    tls::Tls,
};

/// How long before its end a certificate or CRL is worth a warning.
const SOON: Duration = Duration::from_secs(7 * 86_400);

/// Whether the server would start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It would not.
    Error,
    /// It would, but.
    Warning,
    /// It would; this is worth knowing.
    Note,
}

/// One thing to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What, and what to do.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        write!(f, "{severity}: {}", self.what)
    }
}

/// Looks at everything that `config` points to.
pub fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |severity, what: String| findings.push(Finding { severity, what });

    match Tls::load(&config.tls) {
        Err(problems) => problems.0.iter().for_each(|problem| say(Severity::Error, problem.to_string())),
        Ok(tls) => {
            let soon = SystemTime::now() + SOON;
            let expiries = tls.expiries();
            if expiries.certificate < soon {
                say(Severity::Warning, "`tls.certificate` expires within 7 days; renew it".into());
            }
            if expiries.crl.is_some_and(|expiry| expiry < soon) {
                say(
                    Severity::Warning,
                    "a CRL expires within 7 days; its trust domain is refused from then on".into(),
                );
            }
        }
    }
    match seal::load(&config.seal) {
        Ok(_) => {}
        Err(seal::SealError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let what =
                format!("there is no seal file `{}` yet; `kms-server init` makes it", config.seal.display());
            say(Severity::Warning, what);
        }
        Err(error) => say(Severity::Error, error.to_string()),
    }
    for problem in policy::check(&config.policies).problems {
        say(Severity::Error, format!("`policies`: {problem}"));
    }
    if !config.data.is_dir() {
        say(Severity::Warning, "there is no instance in `data` yet; `kms-server init` makes one".into());
    }

    let (severity, what) = medium(&config.effaceable);
    say(severity, what);
    if let Some(previous) = &config.effaceable.previous {
        let what = format!(
            "`[effaceable.previous]` names `{}`: `kms-server change-medium` passes from it, and then the section can go",
            previous.path.display()
        );
        say(Severity::Warning, what);
    }
    let inside_data = |path: &Path| resolved(path).starts_with(resolved(&config.data));
    // What a token wrapped opens nothing without the token.
    let keeps_secrets = matches!(config.effaceable.kind, MediumKind::File(_));
    if keeps_secrets && inside_data(&config.effaceable.path) {
        let what = "`effaceable.path` lies inside `data`: a backup of the store would keep what erasing is meant to destroy; \
                    move it out";
        say(Severity::Warning, what.into());
    }
    if inside_data(&config.seal) {
        let what = "`seal` lies inside `data`: a backup of the store would hold the secret that wraps it; move it out";
        say(Severity::Warning, what.into());
    }
    if keeps_secrets && resolved(&config.effaceable.path).starts_with(resolved(&config.audit.directory)) {
        say(
            Severity::Warning,
            "`effaceable.path` lies inside `audit.directory`, which is exported; move it out".into(),
        );
    }
    if !config.admin.ip().is_loopback() {
        let what = "`admin` is not a loopback address: whoever reaches it reads metrics without a name";
        say(Severity::Warning, what.into());
    }
    if config.admin == config.listen && config.admin.port() != 0 {
        say(Severity::Error, "`admin` and `listen` are the same address".into());
    }
    findings
}

/// What the medium is worth, in a sentence, and whether it can be used.
fn medium(config: &EffaceableConfig) -> (Severity, String) {
    let said = |worth| (Severity::Note, format!("the effaceable medium: {worth}"));
    match &config.kind {
        MediumKind::File(terms) => match FileMedium::look_at(&config.file(), *terms) {
            Ok(Judgement { worth, unsuitable: None }) => said(worth),
            Ok(Judgement { worth, unsuitable: Some(_) }) if terms.accept_unsuitable => {
                (Severity::Warning, format!("the effaceable medium: {worth}"))
            }
            Ok(Judgement { unsuitable: Some(why), .. }) => (
                Severity::Error,
                format!(
                    "`effaceable.path` is unsuitable: {why}; choose another, or set `effaceable.accept_unsuitable = true`"
                ),
            ),
            Err(error) => (Severity::Error, error.to_string()),
        },
        MediumKind::Pkcs11(options) => match pkcs11::look_at(options) {
            Ok(worth) => said(worth),
            Err(error) => (Severity::Error, error.to_string()),
        },
    }
}

/// The path without symbolic links as far as it exists, and without `.` and `..` beyond.
fn resolved(path: &Path) -> PathBuf {
    let real = path.ancestors().find_map(|ancestor| Some((ancestor, ancestor.canonicalize().ok()?)));
    match real {
        Some((ancestor, real)) => joined(real, path.strip_prefix(ancestor).unwrap_or(Path::new(""))),
        None => path.into(),
    }
}

fn joined(mut real: PathBuf, rest: &Path) -> PathBuf {
    for component in rest.components() {
        match component {
            Component::ParentDir => drop(real.pop()),
            Component::Normal(name) => real.push(name),
            _ => {}
        }
    }
    real
}
