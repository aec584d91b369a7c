//! `kms doctor`: from the profile to policy, step by step, each answered with what is wrong and what to do. Changes nothing; what
//! it asks the server for is on record like everything else.

use std::time::{Duration, SystemTime};

use kms_client::{Kms, Profile, Reason, api::Health};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::json;
use time::{OffsetDateTime, PrimitiveDateTime, macros::format_description};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use crate::{
    failure::{Exit, Failure},
    print,
    session::Session,
    words,
};

const PATIENCE: Duration = Duration::from_secs(5);
/// What is left of a certificate when it is time to renew it.
const RENEW: time::Duration = time::Duration::days(14);
/// Clocks this far apart still agree about certificates and audit.
const DRIFT: Duration = Duration::from_secs(5);
const SERVICES: [&str; 4] = ["kms.v1.Crypto", "kms.v1.Keys", "kms.v1.Policy", "kms.v1.Audit"];
/// Characters of what a check says.
const WIDTH: usize = 300;

/// Looks at everything between this machine and an answer.
///
/// # Errors
/// Where a check fails; with the exit code of the first that did.
pub async fn run(session: &Session) -> Result<(), Failure> {
    let mut report = Report::default();
    // What cannot be reached is not judged: the first step that fails may end the examination.
    let _stopped_early: Option<()> = examine(session, &mut report).await;
    let Report { checks, failed } = report;
    session.answer(
        || {
            let check = |c: &Check| json!({ "name": c.name, "state": c.state.word(), "detail": c.detail });
            json!({ "ok": failed.is_none(), "checks": checks.iter().map(check).collect::<Vec<_>>() })
        },
        || {
            let line = |c: &Check| {
                format!("{:<4}  {:<11}  {}", c.state.word(), c.name, print::brief(&c.detail, WIDTH))
            };
            checks.iter().map(line).collect::<Vec<_>>().join("\n")
        },
    )?;
    match failed {
        None => Ok(()),
        Some((exit, name)) => {
            Err(Failure::new(exit, "CHECK_FAILED", format!("the check `{name}` failed; it says what to do")))
        }
    }
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Warn,
    Fail,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

struct Check {
    name: &'static str,
    state: State,
    detail: String,
}

#[derive(Default)]
struct Report {
    checks: Vec<Check>,
    /// The first failure.
    failed: Option<(Exit, &'static str)>,
}

impl Report {
    fn ok(&mut self, name: &'static str, detail: impl Into<String>) {
        self.checks.push(Check { name, state: State::Ok, detail: detail.into() });
    }

    fn warn(&mut self, name: &'static str, detail: impl Into<String>) {
        self.checks.push(Check { name, state: State::Warn, detail: detail.into() });
    }

    fn fail(&mut self, name: &'static str, exit: Exit, detail: impl Into<String>) {
        self.failed.get_or_insert((exit, name));
        self.checks.push(Check { name, state: State::Fail, detail: detail.into() });
    }

    /// What went well, or `None` after it was noted that it did not.
    fn needs<T>(&mut self, name: &'static str, result: Result<T, impl Into<Failure>>) -> Option<T> {
        result
            .map_err(|error| {
                let failure = error.into();
                self.fail(name, failure.exit, failure.message);
            })
            .ok()
    }

    fn certificate(&mut self, name: &'static str, facts: &Facts, exit: Exit, also: &str) {
        let who = facts.names.join(", ");
        match facts.judged(OffsetDateTime::now_utc()) {
            (State::Ok, dates) => self.ok(name, format!("{who}; {dates}{also}")),
            (State::Warn, dates) => self.warn(name, format!("{who}; {dates}{also}")),
            (State::Fail, dates) => self.fail(name, exit, format!("{who}; {dates}{also}")),
        }
    }
}

async fn examine(session: &Session, report: &mut Report) -> Option<()> {
    let profile = report.needs("profile", session.profile())?;
    report.ok("profile", format!("the server is at {}", profile.endpoint()));
    let built = Kms::builder(profile.clone()).connections(1).deadline(PATIENCE).build();
    let kms = report.needs("files", built)?;
    report.ok("files", "CA and certificate load, and the private key belongs to the certificate");
    match own_certificate(&profile) {
        Some(facts) => report.certificate("identity", &facts, Exit::Denied, ""),
        None => report.warn("identity", "the certificate cannot be read in detail; whose is it?"),
    }
    network(&profile, report).await?;
    let seen = report.needs("tls", kms.look().await)?;
    let group = seen.key_exchange.map(|group| format!("; keys agreed by {group}")).unwrap_or_default();
    match Facts::of(&seen.certificate) {
        Some(facts) => report.certificate("tls", &facts, Exit::Unreachable, &group),
        None => report.warn("tls", "the server is trusted, but its certificate cannot be read in detail"),
    }
    health(&kms, report).await?;
    clock(&kms, report).await;
    policy(&kms, report).await
}

fn own_certificate(profile: &Profile) -> Option<Facts> {
    Facts::of(&CertificateDer::from_pem_file(profile.cert()).ok()?)
}

async fn network(profile: &Profile, report: &mut Report) -> Option<()> {
    let endpoint = profile.endpoint();
    let host = endpoint.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = endpoint.port_u16().unwrap_or(443);
    let unreachable = |message: String| Failure::new(Exit::Unreachable, "SERVER_UNREACHABLE", message);
    let resolved = timeout(PATIENCE, lookup_host((host, port))).await;
    let resolved = resolved.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    let addresses: Vec<_> = report
        .needs(
            "name",
            resolved.map_err(|e| {
                unreachable(format!("`{host}` does not resolve ({e}); check `endpoint` in the profile"))
            }),
        )?
        .collect();
    let shown: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    report.ok("name", format!("`{host}` is {}", shown.join(", ")));
    let connected = timeout(PATIENCE, TcpStream::connect(&*addresses)).await;
    let connected = connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    report.needs(
        "network",
        connected.map_err(|e| {
            unreachable(format!("no connection ({e}); does the server run, and may this machine reach it?"))
        }),
    )?;
    report.ok("network", "the server takes connections");
    Some(())
}

async fn health(kms: &Kms, report: &mut Report) -> Option<()> {
    let whole = report.needs("health", kms.health("").await)?;
    let mut down = Vec::new();
    for service in SERVICES {
        if report.needs("health", kms.health(service).await)? != Health::Serving {
            down.push(service);
        }
    }
    match (whole, &*down) {
        (Health::Serving, []) => report.ok("health", "every service serves"),
        (_, []) => report.fail("health", Exit::Failed, "the server says that it does not serve as a whole"),
        (_, down) => {
            let why = "the server's log and `/readyz` of its admin address say why";
            report.fail("health", Exit::Failed, format!("{} does not serve; {why}", down.join(", ")));
        }
    }
    Some(())
}

/// Leases are durations, but certificates and the audit go by the clock.
async fn clock(kms: &Kms, report: &mut Report) {
    let Some(theirs) = server_time(kms).await else { return };
    let ours = SystemTime::now();
    let apart = ours.duration_since(theirs).unwrap_or_else(|error| error.duration());
    match apart > DRIFT {
        false => report.ok("clock", "this machine and the server agree"),
        true => {
            let which = if ours > theirs { "ahead of" } else { "behind" };
            let apart = words::of_duration(Duration::from_secs(apart.as_secs()));
            report.warn("clock", format!("this machine is {apart} {which} the server; set both by NTP"));
        }
    }
}

async fn server_time(kms: &Kms) -> Option<SystemTime> {
    let mut client = HealthClient::new(kms.channels().pop()?);
    let answer = timeout(PATIENCE, client.check(HealthCheckRequest::default())).await.ok()?.ok()?;
    // RFC 9110, 5.6.7.
    let form = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let date = answer.metadata().get("date")?.to_str().ok()?;
    Some(PrimitiveDateTime::parse(date, &form).ok()?.assume_utc().into())
}

/// One cheap call: whatever policy says to it, it says it to an identity it knows.
async fn policy(kms: &Kms, report: &mut Report) -> Option<()> {
    match kms.generate_random(1).await {
        Ok(_) => report.ok("policy", "the server knows us, and policy lets us draw random bytes"),
        Err(error) if error.reason() == Some(Reason::PolicyDenied) => {
            let ask = "ask about a call of yours with `kms policy explain`";
            report.ok("policy", format!("the server knows us; policy answers, here with a denial; {ask}"));
        }
        Err(error) => {
            report.needs("policy", Err::<(), _>(error))?;
        }
    }
    Some(())
}

/// What matters of a certificate.
#[derive(Debug)]
struct Facts {
    names: Vec<String>,
    begins: OffsetDateTime,
    ends: OffsetDateTime,
}

impl Facts {
    fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = parse_x509_certificate(der).ok()?;
        let names = certificate.subject_alternative_name().ok()?.map(|names| &names.value.general_names);
        let name = |name: &GeneralName<'_>| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => <[u8; 4]>::try_from(*bytes)
                .map(|v4| std::net::IpAddr::from(v4).to_string())
                .or_else(|_| <[u8; 16]>::try_from(*bytes).map(|v6| std::net::IpAddr::from(v6).to_string()))
                .ok(),
            _ => None,
        };
        let mut names: Vec<_> = names.into_iter().flatten().filter_map(name).collect();
        if names.is_empty() {
            names.push("a certificate without names, known by its key".into());
        }
        let validity = certificate.validity();
        Some(Self {
            names,
            begins: validity.not_before.to_datetime(),
            ends: validity.not_after.to_datetime(),
        })
    }

    fn judged(&self, now: OffsetDateTime) -> (State, String) {
        let (from, to) = (self.begins.date(), self.ends.date());
        let left = self.ends - now;
        if now < self.begins {
            return (State::Fail, format!("the certificate is valid from {from} on; is the clock right?"));
        }
        if left.is_negative() {
            return (State::Fail, format!("the certificate expired on {to}; have it renewed"));
        }
        let days = words::count(left.whole_days().unsigned_abs(), "day");
        match left < RENEW {
            true => (State::Warn, format!("the certificate expires in {days}, on {to}; have it renewed")),
            false => (State::Ok, format!("the certificate is valid for {days} more")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_good_soon_over_over_or_early() {
        let begins = OffsetDateTime::UNIX_EPOCH;
        let day = |n| begins + time::Duration::days(n);
        let facts = Facts { names: vec![], begins, ends: day(90) };
        let judged = |n| facts.judged(day(n));
        assert_eq!(judged(1).0, State::Ok);
        assert_eq!(
            judged(80),
            (State::Warn, "the certificate expires in 10 days, on 1970-04-01; have it renewed".into())
        );
        assert_eq!(judged(91).0, State::Fail);
        assert_eq!(judged(-1).0, State::Fail);
        assert!(Facts::of(b"nothing").is_none());
    }
}
