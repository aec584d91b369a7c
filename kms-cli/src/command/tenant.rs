//! `kms tenant`

use std::time::Duration;

use futures_util::TryStreamExt as _;
use kms_client::{
    Kms,
    api::{Change, CreateTenant, DestroyTenant, Tenant},
};
use serde_json::{Value, json};

use crate::{args, failure::Failure, print, session::Session, words};

/// Runs it.
///
/// # Errors
/// Those of the call.
pub async fn run(command: args::Tenant, session: &Session) -> Result<(), Failure> {
    match command {
        args::Tenant::Create { tenant, label } => {
            let how = CreateTenant { label, change: Change::default() };
            let made = session.connect().await?.create_tenant(&tenant, how).await?;
            session.answer(|| to_json(&made), || format!("created tenant {}", made.name))
        }
        args::Tenant::Describe { tenant } => {
            let found = session.connect().await?.describe_tenant(&tenant).await?;
            session.answer(|| to_json(&found), || to_text(&found))
        }
        args::Tenant::List => list(&session.connect().await?, session).await,
        args::Tenant::Destroy { tenant, terms } => {
            let window = terms.window(true);
            let how = DestroyTenant {
                reason: terms.reason,
                ticket: terms.ticket,
                window,
                change: Change::default(),
            };
            let done = session.connect().await?.destroy_tenant(&tenant, how).await?;
            if let Some(due) = done.tenant.destroy_due {
                return session.answer(
                    || to_json(&done.tenant),
                    || {
                        format!(
                            "tenant {tenant} will be destroyed at {} with all its keys; until then they open and do not seal\n\
                             call that off with `kms tenant cancel-destroy {tenant}`",
                            words::of_moment(due)
                        )
                    },
                );
            }
            let as_json = || {
                let mut json = to_json(&done.tenant);
                json["epoch"] = done.epoch.0.into();
                json["effaced"] = done.effaced.into();
                json
            };
            session.answer(as_json, || {
                format!(
                    "destroyed tenant {tenant} with all its keys, in epoch {}\n\
                     clients may hold data keys until the end of their leases{}",
                    done.epoch.0,
                    effaced(done.effaced)
                )
            })
        }
        args::Tenant::CancelDestroy { tenant } => {
            let now = session.connect().await?.cancel_destroy_tenant(&tenant, Change::default()).await?;
            session.answer(
                || to_json(&now),
                || format!("the destruction of tenant {tenant} is called off; it is {}", now.state),
            )
        }
    }
}

/// What a destruction says about the bytes left behind. How far the medium forgets, the server does not tell, and most prove nothing.
pub(super) fn effaced(effaced: bool) -> &'static str {
    if effaced {
        "\nthe server effaced what led to the material; what that is worth on its medium, the certificate says (`kms cert get`)"
    } else {
        "\nthe medium still has to efface what leads to the material"
    }
}

async fn list(kms: &Kms, session: &Session) -> Result<(), Failure> {
    let tenants: Vec<Tenant> = kms.list_tenants().try_collect().await?;
    session.answer(
        || tenants.iter().map(to_json).collect(),
        || {
            let row = |t: &Tenant| {
                vec![t.name.to_string(), t.state.to_string(), words::of_moment(t.created), t.label.clone()]
            };
            print::table(
                &["tenant", "state", "created", "label"],
                &tenants.iter().map(row).collect::<Vec<_>>(),
            )
        },
    )
}

fn to_json(tenant: &Tenant) -> Value {
    json!({
        "tenant": tenant.name.as_str(),
        "state": tenant.state.as_str(),
        "label": tenant.label,
        "created": words::of_moment(tenant.created),
        "destroyed": tenant.destroyed.map(words::of_moment),
        "destroy_due": tenant.destroy_due.map(words::of_moment),
        "revision": tenant.revision,
        "uid": hex::encode(tenant.uid.0),
    })
}

fn to_text(tenant: &Tenant) -> String {
    print::facts(&[
        ("tenant", tenant.name.to_string()),
        ("state", tenant.state.to_string()),
        ("label", tenant.label.clone()),
        ("created", words::of_moment(tenant.created)),
        ("destroyed", tenant.destroyed.map(words::of_moment).unwrap_or_default()),
        ("to be destroyed at", tenant.destroy_due.map(words::of_moment).unwrap_or_default()),
        ("revision", tenant.revision.to_string()),
        ("uid", hex::encode(tenant.uid.0)),
    ])
}

/// In how long something wider than a version is destroyed, where nothing else is said.
const WIDE: Duration = Duration::from_secs(7 * 86_400);

impl args::Destruction {
    /// In how long it is destroyed; `None` for at once.
    pub(super) fn window(&self, is_wide: bool) -> Option<Duration> {
        let unsaid = (is_wide && !self.now).then_some(WIDE);
        self.after.or(unsaid)
    }
}
