//! Employees and companies leave. Rights end in the application, at once; data ends with its key, wherever copies of it are.

use std::time::Duration;

use kms_client::{
    DestroyReason, Error, FamilyName, KeyName, LifecycleState, Reason, TenantName,
    api::{Change, DestroyKey, DestroyTarget, DestroyTenant, Gone},
};
use kms_core::{
    certificate::check::{Given, Verdict, verify},
    names::SubjectName,
    transparency::VerifierKey,
};

use crate::{
    database::on,
    key_centre::{FAMILY, Identities},
    problem::Problem,
    register::Register,
};

/// Longest wait for an erasure: leases of the example run for seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Takes the rights of an employee away.
pub(crate) async fn leave(register: &Register, company: &str, employee: &str) -> Result<(), Problem> {
    let known = register.employee(company, employee).await?.ok_or(Problem::NoEmployee)?;
    let update =
        "UPDATE employees SET standing = 'left' WHERE company_id = $1 AND id = $2 AND standing = 'active'";
    on!(&register.database, pool => { sqlx::query(update).bind(company).bind(known.id).execute(pool).await?; });
    Ok(())
}

/// Retention is over: the employee's key is destroyed, and with it every copy of the rows. The index values are under the company's
/// key and would outlive it: they are cleared.
///
/// May be repeated: what a crash left undone is done then.
pub(crate) async fn erase(
    register: &Register,
    keys: &Identities,
    company: &str,
    employee: &str,
) -> Result<(), Problem> {
    let known = register.employee(company, employee).await?.ok_or(Problem::NoEmployee)?;
    if known.standing == "active" {
        return Err(Problem::EmployeeStays);
    }
    let how = DestroyKey {
        target: DestroyTarget::All,
        reason: DestroyReason::RetentionEnded,
        ticket: String::new(),
        // A lease that still seals must not keep the data of who has left.
        force: true,
        window: None,
        change: Change::default(),
    };
    let destroyed = keys.operator.destroy_key(&company.parse()?, &key_of(employee)?, how).await;
    done_before(destroyed.map(drop))?;
    let clear = "UPDATE checkins SET phone_index = $3 WHERE company_id = $1 AND employee_id = $2";
    let done = "UPDATE employees SET standing = 'erased' WHERE company_id = $1 AND id = $2";
    on!(&register.database, pool => {
        let mut transaction = pool.begin().await?;
        sqlx::query(clear).bind(company).bind(employee).bind(Vec::<u8>::new()).execute(&mut *transaction).await?;
        sqlx::query(done).bind(company).bind(employee).execute(&mut *transaction).await?;
        transaction.commit().await?;
    });
    Ok(())
}

/// The company's key is destroyed, and with it all that its employees ever checked in. May be repeated.
pub(crate) async fn erase_company(
    register: &Register,
    keys: &Identities,
    company: &str,
) -> Result<(), Problem> {
    match register.active(company).await {
        Ok(()) | Err(Problem::CompanyLeft) => {}
        Err(problem) => return Err(problem),
    }
    // First of all nobody checks in any more.
    let update = "UPDATE companies SET standing = 'gone' WHERE id = $1";
    on!(&register.database, pool => { sqlx::query(update).bind(company).execute(pool).await?; });
    let how = DestroyTenant {
        reason: DestroyReason::ContractEnded,
        ticket: String::new(),
        window: None,
        change: Change::default(),
    };
    done_before(keys.operator.destroy_tenant(&company.parse()?, how).await.map(drop))
}

/// Waits until nothing leads to the key of a company, or of one of its employees, any more; gets the certificate of that.
pub(crate) async fn certificate(
    keys: &Identities,
    company: &str,
    employee: Option<&str>,
) -> Result<Vec<u8>, Problem> {
    let tenant: TenantName = company.parse()?;
    let gone = match employee {
        Some(employee) => Gone::Key(tenant, key_of(employee)?),
        None => Gone::Tenant(tenant),
    };
    match keys.compliance.wait_for_erasure(&gone, PATIENCE).await? {
        LifecycleState::Erased => Ok(keys.compliance.certificate(&gone, &[]).await?.file),
        _ => Err(Problem::Pending),
    }
}

/// Checks a certificate of an erasure as anybody can, without the key centre; gives what stays for a policy to accept.
pub(crate) async fn checked(keys: &Identities, certificate: &[u8]) -> Result<Vec<String>, Problem> {
    // An auditor would have the log's key from elsewhere.
    let key = keys.compliance.checkpoint().await?.verifier_key;
    let key: VerifierKey = key.parse().map_err(|_| Problem::CertificateInvalid)?;
    let outcome = verify(certificate, &Given { key: Some(key), ..Given::default() });
    match outcome.verdict {
        Verdict::Erased | Verdict::Residual => {
            Ok(outcome.risks.iter().map(|standing| standing.risk.to_string()).collect())
        }
        Verdict::Pending => Err(Problem::Pending),
        Verdict::Invalid => Err(Problem::CertificateInvalid),
    }
}

fn key_of(employee: &str) -> Result<KeyName, Problem> {
    Ok(KeyName::of_subject(FamilyName::try_from(FAMILY)?, SubjectName::try_from(employee)?))
}

fn done_before(destroyed: Result<(), Error>) -> Result<(), Problem> {
    match destroyed {
        Err(error) if matches!(error.reason(), Some(Reason::KeyDestroyed | Reason::TenantDestroyed)) => {
            Ok(())
        }
        destroyed => Ok(destroyed?),
    }
}
