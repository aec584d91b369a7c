//! `kms key`

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::TryStreamExt as _;
use kms_client::api::{Change, CreateKey, DestroyKey, DestroyTarget, Destroyed, Key, KeyVersion, RotateKey};
use kms_core::names::FamilyName;
use kms_core::state::KeyClass;
use serde_json::{Value, json};

use super::tenant::effaced;
use crate::{
    args::{self, OneKey},
    failure::Failure,
    print,
    session::Session,
    words,
};

/// Runs it.
///
/// # Errors
/// Those of the call.
pub async fn run(command: args::Key, session: &Session) -> Result<(), Failure> {
    match command {
        args::Key::Create { key, of, family, class, purposes, rotate_every, lease } => {
            let change = Change::default();
            let how = CreateKey { class, purposes, lease, rotate_every, family, change };
            let made = session.connect().await?.create_key(&of.tenant, &key, how).await?;
            session.answer(
                || to_json(&made),
                || {
                    let kind = if family { "family" } else { "key" };
                    let (tenant, class) = (&of.tenant, made.class);
                    let active = match made.active_version {
                        0 => "it seals nothing itself, its subjects do".to_owned(),
                        active => format!("version {active} is active"),
                    };
                    format!("created {kind} {key} of tenant {tenant}: class {class}, {active}")
                },
            )
        }
        args::Key::Ensure { family, of, subjects } => {
            super::subjects::ensure(&of.tenant, &family, subjects, session).await
        }
        args::Key::List { of, family } => list(&of.tenant, family.as_ref(), session).await,
        args::Key::Describe(OneKey { key, of }) => {
            let kms = session.connect().await?;
            let mut found = kms.describe_key(&of.tenant, &key).await?;
            if lacks_older(found.versions.first().map(|oldest| oldest.version)) {
                found.versions = kms.list_versions(&of.tenant, &key).try_collect().await?;
            }
            session.answer(|| to_json(&found), || to_text(&found))
        }
        args::Key::Census(which) => super::census::run(which, session).await,
        args::Key::Rotate { which: OneKey { key, of }, deterministic } => {
            let how = RotateKey { deterministic, change: Change::default() };
            let rotated = session.connect().await?.rotate_key(&of.tenant, &key, how).await?;
            session.answer(|| to_json(&rotated), || rotation(&rotated, deterministic))
        }
        args::Key::Suspend(OneKey { key, of }) => {
            let now = session.connect().await?.suspend_key(&of.tenant, &key, Change::default()).await?;
            session.answer(|| to_json(&now), || format!("suspended key {key}: it neither seals nor opens"))
        }
        args::Key::Resume(OneKey { key, of }) => {
            let now = session.connect().await?.resume_key(&of.tenant, &key, Change::default()).await?;
            session.answer(|| to_json(&now), || format!("resumed key {key}"))
        }
        args::Key::Destroy { which, version, all: _, terms, force } => {
            destroy(which, version, terms, force, session).await
        }
        args::Key::CancelDestroy { which: OneKey { key, of }, version, all: _ } => {
            let target = version.map_or(DestroyTarget::All, DestroyTarget::Version);
            let kms = session.connect().await?;
            let now = kms.cancel_destroy_key(&of.tenant, &key, target, Change::default()).await?;
            let what = version.map_or("every version".to_owned(), |number| format!("version {number}"));
            session.answer(
                || to_json(&now),
                || format!("the destruction of {what} of key {key} is called off; the key is {}", now.state),
            )
        }
    }
}

/// Whether the server may have older versions than it told, of which `oldest` is the first: it describes the newest 1,000.
fn lacks_older(oldest: Option<u32>) -> bool {
    oldest != Some(1)
}

fn rotation(key: &Key, asked_deterministic: bool) -> String {
    if key.family {
        let columns = match asked_deterministic {
            true => "their deterministic columns move with it, and ask for a reseal",
            false => {
                "their deterministic columns stay under the versions that seal them (`--deterministic` moves them)"
            }
        };
        return format!(
            "rotated family {}: each subject gets its next version when it is next to seal, and at the latest from \
             `kms reseal`; older ones open on\n{columns}",
            key.name
        );
    }
    let (name, active, deterministic) = (&key.name, key.active_version, key.deterministic_version);
    let columns = match active == deterministic {
        true => "reseal deterministic columns with `kms reseal` or `kms columns reseal`".to_owned(),
        false => format!(
            "version {deterministic} goes on sealing deterministic columns (`--deterministic` moves them)"
        ),
    };
    format!("rotated key {name}: version {active} is active, older ones open on\n{columns}")
}

/// Until when clients may go on with what the server gave them before.
fn leased(key: &Key, now: SystemTime) -> String {
    match (key.class, key.lease) {
        (KeyClass::L4, _) => "no client holds a data key: class L4 releases none".to_owned(),
        (_, Some(lease)) => format!(
            "clients may hold data keys until the end of their leases, {} at the latest (lease time {})",
            words::of_moment(whole_seconds(now + lease)),
            words::of_duration(lease)
        ),
        (_, None) => "clients may hold data keys until the end of their leases".to_owned(),
    }
}

/// The next whole second, as people read the time.
fn whole_seconds(moment: SystemTime) -> SystemTime {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since.as_secs() + u64::from(since.subsec_nanos() > 0))
}

async fn destroy(
    OneKey { key, of }: OneKey,
    version: Option<u32>,
    terms: args::Destruction,
    force: bool,
    session: &Session,
) -> Result<(), Failure> {
    let window = terms.window(version.is_none());
    let target = version.map_or(DestroyTarget::All, DestroyTarget::Version);
    let (reason, ticket, change) = (terms.reason, terms.ticket, Change::default());
    let how = DestroyKey { target, reason, ticket, force, window, change };
    let kms = session.connect().await?;
    let done = kms.destroy_key(&of.tenant, &key, how).await?;
    let Destroyed { key: now, versions, epoch, effaced: is_effaced } = &done;
    if window.is_some() {
        let due = match version {
            Some(number) => now.versions.iter().find(|v| v.version == number).and_then(|v| v.destroy_due),
            None => now.destroy_due,
        };
        let what = version.map_or("every version".to_owned(), |number| format!("version {number}"));
        let option = version.map_or("--all".to_owned(), |number| format!("--version {number}"));
        return session.answer(
            || to_json(now),
            || {
                format!(
                    "{what} of key {key} will be destroyed at {}; until then it opens and does not seal\n\
                     call that off with `kms key cancel-destroy {key} --tenant {} {option}`",
                    due.map(words::of_moment).unwrap_or_default(),
                    of.tenant
                )
            },
        );
    }
    let as_json = || {
        let mut json = to_json(now);
        json["destroyed_versions"] = versions.clone().into();
        json["epoch"] = epoch.0.into();
        json["effaced"] = (*is_effaced).into();
        json
    };
    session.answer(as_json, || {
        let numbers: Vec<_> = versions.iter().map(u32::to_string).collect();
        let noun = if versions.len() == 1 { "version" } else { "versions" };
        format!(
            "destroyed {noun} {} of key {key}, in epoch {}\n{}{}",
            numbers.join(", "),
            epoch.0,
            leased(now, SystemTime::now()),
            effaced(*is_effaced)
        )
    })
}

/// `kms clock confirm`
///
/// # Errors
/// Those of the call.
pub async fn confirm_clock(session: &Session) -> Result<(), Failure> {
    let forward = session.connect().await?.confirm_clock(Change::default()).await?;
    session.answer(
        || json!({ "forward_seconds": forward.as_secs() }),
        || match forward.as_secs() {
            0 => "the clock had not gone forward: nothing waited".to_owned(),
            _ => format!(
                "confirmed: the clock had gone forward by {}; what is scheduled goes on",
                words::of_duration(forward)
            ),
        },
    )
}

async fn list(
    tenant: &kms_client::TenantName,
    family: Option<&FamilyName>,
    session: &Session,
) -> Result<(), Failure> {
    let kms = session.connect().await?;
    let keys: Vec<Key> = match family {
        None => kms.list_keys(tenant).try_collect().await?,
        Some(family) => kms.list_subjects(tenant, family).try_collect().await?,
    };
    session.answer(
        || keys.iter().map(to_json).collect(),
        || {
            let row = |k: &Key| {
                let active = if k.family { "family".into() } else { k.active_version.to_string() };
                vec![
                    k.name.to_string(),
                    k.class.to_string(),
                    k.state.to_string(),
                    active,
                    words::of_moment(k.created),
                ]
            };
            print::table(
                &["key", "class", "state", "version", "created"],
                &keys.iter().map(row).collect::<Vec<_>>(),
            )
        },
    )
}

/// The shape of the contract, and what else there is to say.
pub(crate) fn to_json(key: &Key) -> Value {
    json!({
        "tenant": key.tenant.as_str(),
        "name": key.name.to_string(),
        "class": key.class.as_str(),
        "state": key.state.as_str(),
        "versions": key.versions.iter().map(version_to_json).collect::<Vec<_>>(),
        "active_version": key.active_version,
        "deterministic_version": key.deterministic_version,
        "purposes": key.purposes,
        "lease_seconds": key.lease.map(|lease| lease.as_secs()),
        "rotate_every_seconds": key.rotate_every.map(|every| every.as_secs()),
        "family": key.family,
        "destroy_due": key.destroy_due.map(words::of_moment),
        "rotate_due": key.rotate_due.map(words::of_moment),
        "created": words::of_moment(key.created),
        "revision": key.revision,
        "uid": hex::encode(key.uid.0),
    })
}

fn version_to_json(version: &KeyVersion) -> Value {
    json!({
        "version": version.version,
        "id": version.id.get().to_string(),
        "state": version.state.as_str(),
        "created": words::of_moment(version.created),
        "destroyed": version.destroyed.map(words::of_moment),
        "destroy_due": version.destroy_due.map(words::of_moment),
    })
}

fn to_text(key: &Key) -> String {
    let facts = print::facts(&[
        ("key", key.name.to_string()),
        ("tenant", key.tenant.to_string()),
        ("class", key.class.to_string()),
        ("state", key.state.to_string()),
        ("purposes", key.purposes.join(", ")),
        ("lease", key.lease.map(words::of_duration).unwrap_or_default()),
        ("rotate every", key.rotate_every.map(words::of_duration).unwrap_or_default()),
        ("rotates at", key.rotate_due.map(words::of_moment).unwrap_or_default()),
        ("to be destroyed at", key.destroy_due.map(words::of_moment).unwrap_or_default()),
        ("created", words::of_moment(key.created)),
        ("revision", key.revision.to_string()),
    ]);
    let row = |v: &KeyVersion| {
        let mut uses = Vec::new();
        if v.version == key.active_version {
            uses.push("seals".to_owned());
        }
        if v.version == key.deterministic_version {
            uses.push("seals deterministic columns".to_owned());
        }
        if let Some(due) = v.destroy_due {
            uses.push(format!("to be destroyed at {}", words::of_moment(due)));
        }
        let destroyed = v.destroyed.map(words::of_moment).unwrap_or_default();
        let (number, id) = (v.version.to_string(), v.id.get().to_string());
        vec![number, id, v.state.to_string(), words::of_moment(v.created), destroyed, uses.join(", ")]
    };
    let rows: Vec<_> = key.versions.iter().map(row).collect();
    format!("{facts}\n\n{}", print::table(&["version", "id", "state", "created", "destroyed", ""], &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_listed_where_the_description_does_not_reach_back_to_the_first() {
        assert!(!lacks_older(Some(1)));
        assert!(lacks_older(Some(2)) && lacks_older(None));
    }
}
