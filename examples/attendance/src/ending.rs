//! Employees and companies leave. Rights end in the application, at once; data ends with its key, wherever copies of it are.

use std::{str::FromStr, time::Duration};

use anyhow::bail;
use kms_client::{
    DestroyReason, KeyName, LifecycleState, TenantName,
    api::{Change, DestroyKey, DestroyTarget, DestroyTenant, Gone},
};
use kms_core::{
    certificate::check::{Given, Verdict, verify},
    transparency::VerifierKey,
};

use crate::{
    database::on,
    key_centre::{FAMILY, Identities},
    register::Register,
};

/// Longest wait for an erasure: leases of the example run for seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// A destruction, certified.
pub(crate) struct Ended {
    /// The file to keep.
    pub(crate) certificate: Vec<u8>,
    /// What checking it said.
    pub(crate) verdict: String,
}

/// Takes the rights of an employee away.
pub(crate) async fn leave(register: &Register, company: &str, employee: &str) -> anyhow::Result<()> {
    let update = "UPDATE employees SET left_it = 1 WHERE company_id = $1 AND id = $2";
    let changed = on!(&register.database, pool => sqlx::query(update).bind(company).bind(employee).execute(pool).await?.rows_affected());
    if changed == 0 {
        bail!("{company} has no employee {employee}");
    }
    Ok(())
}

/// Retention is over: the employee's key is destroyed, and with it every copy of the rows. The index values are under the
/// company's key and would outlive it: they are cleared.
pub(crate) async fn erase(
    register: &Register,
    keys: &Identities,
    company: &str,
    employee: &str,
) -> anyhow::Result<Ended> {
    match register.employee(company, employee).await? {
        None => bail!("{company} has no employee {employee}"),
        Some(known) if !known.left => bail!("{employee} has not left {company}"),
        Some(_) => {}
    }
    let (tenant, key) = (TenantName::from_str(company)?, KeyName::from_str(&format!("{FAMILY}/{employee}"))?);
    let how = DestroyKey {
        target: DestroyTarget::All,
        reason: DestroyReason::RetentionEnded,
        ticket: String::new(),
        force: true,
        window: None,
        change: Change::default(),
    };
    keys.operator.destroy_key(&tenant, &key, how).await?;
    let clear = "UPDATE checkins SET phone_index = $3 WHERE company_id = $1 AND employee_id = $2";
    let done = "UPDATE employees SET erased = 1 WHERE company_id = $1 AND id = $2";
    on!(&register.database, pool => {
        let mut transaction = pool.begin().await?;
        sqlx::query(clear).bind(company).bind(employee).bind(Vec::<u8>::new()).execute(&mut *transaction).await?;
        sqlx::query(done).bind(company).bind(employee).execute(&mut *transaction).await?;
        transaction.commit().await?;
    });
    certified(keys, &Gone::Key(tenant, key)).await
}

/// The company's key is destroyed, and with it all that its employees ever checked in.
pub(crate) async fn erase_company(
    register: &Register,
    keys: &Identities,
    company: &str,
) -> anyhow::Result<Ended> {
    let tenant = TenantName::from_str(company)?;
    let how = DestroyTenant {
        reason: DestroyReason::ContractEnded,
        ticket: String::new(),
        window: None,
        change: Change::default(),
    };
    keys.operator.destroy_tenant(&tenant, how).await?;
    let done = "UPDATE companies SET gone = 1 WHERE id = $1";
    on!(&register.database, pool => { sqlx::query(done).bind(company).execute(pool).await?; });
    certified(keys, &Gone::Tenant(tenant)).await
}

/// Waits until nothing leads to the key any more, gets the certificate, and checks it as anybody can.
async fn certified(keys: &Identities, gone: &Gone) -> anyhow::Result<Ended> {
    let state = keys.compliance.wait_for_erasure(gone, PATIENCE).await?;
    if state != LifecycleState::Erased {
        bail!("it is destroyed; the last lease has not ended yet: ask for the certificate later");
    }
    let certificate = keys.compliance.certificate(gone, &[]).await?.file;
    // An auditor would have this key from elsewhere.
    let key = VerifierKey::from_str(&keys.compliance.checkpoint().await?.verifier_key)?;
    let outcome = verify(&certificate, &Given { key: Some(key), policy: None, pin: None, mirror: None });
    let risks: Vec<_> = outcome.risks.iter().map(|standing| standing.risk.to_string()).collect();
    let verdict = match outcome.verdict {
        Verdict::Erased => "erased".into(),
        Verdict::Residual => format!("erased; residual risks: {}", risks.join(", ")),
        Verdict::Pending => "pending".into(),
        Verdict::Invalid => bail!("the certificate does not hold"),
    };
    Ok(Ended { certificate, verdict })
}
