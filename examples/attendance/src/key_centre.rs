//! The key centre: one that runs already, or a development server of our own, in a directory that goes with us.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use kms_cli::own_server::OwnServer;
use kms_client::{
    Kms, Profile, TenantName,
    api::{CreateKey, CreateTenant},
};

/// The family of keys whose subjects are the employees.
pub(crate) const FAMILY: &str = "attendance";
/// How long clients may hold a data key: a bound on how long an erasure can take.
const LEASE: Duration = Duration::from_secs(5);

/// Who asks the key centre.
#[derive(Debug, Clone)]
pub(crate) struct Identities {
    /// The attendance service: seals and opens.
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
    /// Connects; starts a server where no profiles are named.
    pub(crate) async fn open(profiles: Option<PathBuf>, scratch: &Path) -> anyhow::Result<Self> {
        let (profiles, own) = match profiles {
            Some(profiles) => (profiles, None),
            None => {
                let data = scratch.join("key-centre");
                std::fs::create_dir(&data)?;
                let profiles = data.join("profiles");
                let started = tokio::task::spawn_blocking(move || OwnServer::dev(&data, &[])).await?;
                let server = started.map_err(|failure| anyhow::anyhow!("no key centre: {failure}"))?;
                (profiles, Some(server))
            }
        };
        let connect = |name: &str| {
            let file = profiles.join(format!("{name}.toml"));
            async move {
                let profile =
                    Profile::load(&file).with_context(|| format!("no profile `{}`", file.display()))?;
                anyhow::Ok(Kms::connect(profile).await?)
            }
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
        let tenant: TenantName = company.parse()?;
        let operator = &self.identities.operator;
        if operator.describe_tenant(&tenant).await.is_ok() {
            return Ok(());
        }
        operator.create_tenant(&tenant, CreateTenant::default()).await?;
        for (key, family) in [(FAMILY, true), ("attendance.index", false)] {
            let how = CreateKey { family, lease: Some(LEASE), ..CreateKey::default() };
            operator.create_key(&tenant, &key.parse()?, how).await?;
        }
        Ok(())
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        drop(self.identities);
        if let Some(server) = self.own {
            tokio::task::spawn_blocking(move || server.stop()).await?;
        }
        Ok(())
    }
}
