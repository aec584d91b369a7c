//! Who asks the key centre; and one of our own, for whoever has none: a development server beside us, which ends when we do.

use std::{fs, path::Path, path::PathBuf, time::Duration};

use anyhow::Context;
use kms_cli::own_server::OwnServer;
use kms_client::{
    Error, Kms, Profile, Reason, TenantName,
    api::{CreateKey, CreateTenant},
};

/// The family of keys whose subjects are the employees.
pub(crate) const FAMILY: &str = "attendance";
/// How long clients may hold a data key: a bound on how long an erasure can take.
const LEASE: Duration = Duration::from_secs(5);

/// Who asks the key centre. They stand side by side here so that one page can show what each of them sees.
#[derive(Debug, Clone)]
pub(crate) struct Identities {
    /// The attendance service: seals and opens. It is all that an application needs.
    pub(crate) service: Kms,
    /// The HR portal: sees masked forms only.
    pub(crate) hr: Kms,
    /// Runs the key centre: makes keys and destroys them, opens nothing.
    pub(crate) operator: Kms,
    /// Gets certificates.
    pub(crate) compliance: Kms,
}

/// The key centre, and who we are there.
pub(crate) struct KeyCentre {
    pub(crate) identities: Identities,
    own: Option<OwnServer>,
}

impl KeyCentre {
    /// Connects with these profiles; or starts a server in `directory`, and connects with its.
    pub(crate) async fn open(profiles: Option<PathBuf>, directory: &Path) -> anyhow::Result<Self> {
        let (profiles, own) = match profiles {
            Some(profiles) => (profiles, None),
            None => (directory.join("profiles"), Some(start(directory.to_owned()).await?)),
        };
        let connect = async |name: &str| {
            let profile = Profile::load(profiles.join(format!("{name}.toml")))?;
            Kms::connect(profile).await.with_context(|| format!("no connection as `{name}`"))
        };
        let identities = Identities {
            service: connect("attendance").await?,
            hr: connect("hr-portal").await?,
            operator: connect("operator").await?,
            compliance: connect("compliance").await?,
        };
        Ok(Self { identities, own })
    }

    /// Takes up a company: a tenant with a family of keys, one for each employee to come, and the key of its indexes.
    pub(crate) async fn take_up(&self, company: &str) -> anyhow::Result<()> {
        let tenant = TenantName::try_from(company)?;
        let operator = &self.identities.operator;
        there_before(operator.create_tenant(&tenant, CreateTenant::default()).await.map(drop))?;
        for (key, family) in [(FAMILY, true), ("attendance.index", false)] {
            let how = CreateKey { family, lease: Some(LEASE), ..CreateKey::default() };
            there_before(operator.create_key(&tenant, &key.parse()?, how).await.map(drop))?;
        }
        Ok(())
    }

    /// Stops the server, if it is ours.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        drop(self.identities);
        if let Some(server) = self.own {
            tokio::task::spawn_blocking(move || server.stop()).await?;
        }
        Ok(())
    }
}

async fn start(directory: PathBuf) -> anyhow::Result<OwnServer> {
    let started = tokio::task::spawn_blocking(move || {
        fs::create_dir_all(&directory)?;
        OwnServer::dev(&directory, &[]).map_err(|failure| anyhow::anyhow!("no key centre: {failure}"))
    });
    started.await?
}

fn there_before(created: Result<(), Error>) -> Result<(), Error> {
    match created {
        Err(error) if error.reason() == Some(Reason::AlreadyExists) => Ok(()),
        created => created,
    }
}
