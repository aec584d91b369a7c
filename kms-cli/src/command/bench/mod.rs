//! `kms bench`: the server against a bare echo, both started here, both as children of the same binary with the same TLS; in turns,
//! so that what else the machine does touches both. Each figure is the median of its turns.

mod calls;
mod echo;
mod load;
mod serve;

use std::{ffi::OsStr, sync::Arc, time::Duration};

use kms_client::{
    Kms, Reason,
    api::{CreateKey, CreateTenant, Key},
};
use kms_core::{
    names::{KeyName, TenantName},
    state::KeyClass,
};
use serde_json::{Value, json};
use tonic::transport::Channel;

use calls::{Calling, Subject, calling, masked_column, name};
pub use serve::echo as serve_echo;

use crate::{
    args::{self, BenchCall},
    failure::Failure,
    interruption::Interruption,
    own_server::OwnServer,
    print,
    session::Session,
    words,
};

const KEY: &str = "attendance";
const WARM_UP: Duration = Duration::from_millis(300);
/// A server under test is not to be held back by its own limits.
const UNLIMITED: [&str; 3] = ["limits.rate=10000000", "limits.burst=10000000", "limits.in_flight=10000"];

/// One line of the result.
#[derive(Debug, Clone, PartialEq)]
struct Figures {
    name: &'static str,
    concurrency: u32,
    calls_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    server_cpu_us_per_call: f64,
    server_rss_kib: u64,
}

/// Runs it.
///
/// # Errors
/// Where a server does not start, or a call fails.
pub async fn run(command: args::Bench, session: &Session) -> Result<(), Failure> {
    refuse_what_does_not_fit(&command)?;
    let mut interruption = Interruption::catch()?;
    let temporary = tempfile::tempdir().map_err(|e| Failure::failed("INPUT_OUTPUT", e))?;
    let data = command.data.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(data).map_err(|e| Failure::failed("INPUT_OUTPUT", e))?;
    note(session, "starting a server and an echo");
    let server = OwnServer::dev(data, &UNLIMITED)?;
    let words = [OsStr::new("__echo"), OsStr::new("--data"), data.as_os_str()];
    let echo = OwnServer::start(&words, data, "echo.log")?;
    let measured = tokio::select! {
        biased;
        () = interruption.received() => Err(Interruption::failure()),
        runs = measure(&command, &server, &echo, session) => runs,
    };
    // ORDER: nobody writes to the directory any more when it goes.
    server.stop();
    echo.stop();
    drop(temporary);
    let runs = measured?;
    session.answer(|| to_json(&command, &runs), || to_text(&runs))
}

fn refuse_what_does_not_fit(command: &args::Bench) -> Result<(), Failure> {
    if command.class == KeyClass::L4 && command.calls.contains(&BenchCall::OpenDataKeys) {
        return Err(Failure::usage("keys of class L4 release no data keys; leave `open-data-keys` out"));
    }
    let single = |call: &&BenchCall| matches!(call, BenchCall::GenerateDataKey | BenchCall::GenerateRandom);
    match command.calls.iter().find(single) {
        Some(call) if command.batch > 1 => Err(Failure::usage(format!(
            "`{}` makes one value a call, so `--batch {}` would not be measured; run it apart, with `--batch 1`",
            name(*call),
            command.batch
        ))),
        _ => Ok(()),
    }
}

async fn measure(
    command: &args::Bench,
    server: &OwnServer,
    echo: &OwnServer,
    session: &Session,
) -> Result<Vec<Figures>, Failure> {
    let load = Load::prepare(command, server, echo).await?;
    let mut runs = Vec::new();
    for &concurrency in &command.concurrency {
        note(session, &format!("{} at a time", words::count(u64::from(concurrency), "caller")));
        runs.extend(load.measure(command, concurrency, server, echo).await?);
    }
    Ok(runs)
}

fn note(session: &Session, text: &str) {
    if !session.is_json() {
        drop(std::io::Write::write_all(&mut std::io::stderr(), format!("{text} …\n").as_bytes()));
    }
}

/// Everything made that the calls need, so that turns measure calls only.
struct Load {
    echo: Vec<Channel>,
    server: Vec<Channel>,
    /// Connections of the HR portal, which alone may reveal.
    portal: Vec<Channel>,
    calls: Vec<(&'static str, By, Calling)>,
}

/// Over whose connections a call goes.
#[derive(Clone, Copy)]
enum By {
    Echo,
    Attendance,
    Portal,
}

impl Load {
    async fn prepare(command: &args::Bench, server: &OwnServer, echo: &OwnServer) -> Result<Self, Failure> {
        let (tenant, key) = (tenant_of(command.class)?, KeyName::try_from(KEY).map_err(Failure::usage)?);
        let operator = Kms::connect(server.profile("operator")?).await?;
        let made = key_at_hand(&operator, &tenant, &key, command.class).await?;

        let profile = server.profile("attendance")?;
        let at_echo = kms_client::Profile::new(echo.endpoint(), profile.ca(), profile.cert(), profile.key());
        let at_echo = at_echo.map_err(kms_client::Error::from)?;
        let connections = command.connections as usize;
        let kms = Kms::builder(profile).connections(connections).connect().await?;
        let at_echo = Kms::builder(at_echo).connections(connections).connect().await?;

        let plaintext = vec![b'x'; command.payload as usize];
        let sealed = kms.encrypt(&tenant, &key, &no_context(), &plaintext).await?.ciphertext;
        let column = masked_column().map_err(Failure::usage)?;
        let revealed = kms.encrypt(&tenant, &key, &column, &plaintext).await?.ciphertext;
        let portal = server.profile("hr-portal")?;
        let portal = Kms::builder(portal).connections(connections).connect().await?;
        let whole = vec![b'x'; command.payload as usize * command.batch as usize];
        let bare: Calling = Arc::new(move |channel| {
            let payload = whole.clone();
            Box::pin(async move { echo::ask(channel, payload).await.map(drop) })
        });
        let version = made.versions.last().map_or(0, |version| version.id.get());
        let subject = Subject { tenant: tenant.to_string(), plaintext, sealed, revealed, version };
        let mut calls = vec![("echo", By::Echo, bare)];
        for call in &command.calls {
            let calling = calling(*call, command, &subject);
            let by = if *call == args::BenchCall::Reveal { By::Portal } else { By::Attendance };
            calls.push((name(*call), by, calling));
        }
        let (echo, server, portal) = (at_echo.channels(), kms.channels(), portal.channels());
        Ok(Self { echo, server, portal, calls })
    }

    async fn measure(
        &self,
        command: &args::Bench,
        concurrency: u32,
        server: &OwnServer,
        echo: &OwnServer,
    ) -> Result<Vec<Figures>, Failure> {
        let mut turns: Vec<Vec<Figures>> = vec![Vec::new(); self.calls.len()];
        for turn in 0..=command.turns {
            for ((name, by, call), turns) in self.calls.iter().zip(&mut turns) {
                let (channels, child) = match by {
                    By::Echo => (&self.echo, echo),
                    By::Attendance => (&self.server, server),
                    By::Portal => (&self.portal, server),
                };
                // The first round only warms up: connections, caches, the processor's clock.
                let time = if turn == 0 { WARM_UP } else { Duration::from_secs_f64(command.seconds) };
                let call = call.clone();
                let before = child.cpu();
                let turned = load::run(channels, concurrency, time, Arc::new(move |c| call(c))).await?;
                let cpu = child.cpu().saturating_sub(before);
                if turn > 0 {
                    turns.push(Figures {
                        name,
                        concurrency,
                        calls_per_second: turned.calls_per_second,
                        p50_us: turned.p50_us,
                        p99_us: turned.p99_us,
                        server_cpu_us_per_call: cpu.as_secs_f64() * 1e6 / turned.calls.max(1) as f64,
                        server_rss_kib: child.resident_kib(),
                    });
                }
            }
        }
        Ok(turns.iter().filter_map(|turns| Figures::median(turns)).collect())
    }
}

impl Figures {
    fn median(turns: &[Self]) -> Option<Self> {
        let of = |figure: fn(&Self) -> f64| load::median(turns.iter().map(figure).collect());
        Some(Self {
            calls_per_second: of(|t| t.calls_per_second),
            p50_us: of(|t| t.p50_us),
            p99_us: of(|t| t.p99_us),
            server_cpu_us_per_call: of(|t| t.server_cpu_us_per_call),
            server_rss_kib: of(|t| t.server_rss_kib as f64) as u64,
            ..turns.first()?.clone()
        })
    }
}

fn no_context() -> kms_client::api::Binding {
    kms_client::api::Binding::Direct(kms_core::names::Context::default())
}

/// A class is for ever, and a directory of `--data` may be measured again with another: a tenant for each.
fn tenant_of(class: KeyClass) -> Result<TenantName, Failure> {
    TenantName::try_from(format!("bench-{}", class.as_str().to_lowercase()).as_str()).map_err(Failure::usage)
}

/// The key, made where an earlier run has not.
async fn key_at_hand(
    operator: &Kms,
    tenant: &TenantName,
    key: &KeyName,
    class: KeyClass,
) -> Result<Key, Failure> {
    match operator.create_tenant(tenant, CreateTenant::default()).await {
        Err(error) if error.reason() != Some(Reason::AlreadyExists) => return Err(error.into()),
        _ => {}
    }
    let how = CreateKey { class: Some(class), ..CreateKey::default() };
    match operator.create_key(tenant, key, how).await {
        Err(error) if error.reason() == Some(Reason::AlreadyExists) => {
            Ok(operator.describe_key(tenant, key).await?)
        }
        made => Ok(made?),
    }
}

fn to_json(command: &args::Bench, runs: &[Figures]) -> Value {
    let round = |figure: f64| (figure * 10.0).round() / 10.0;
    let run = |run: &Figures| {
        json!({
            "name": run.name,
            "concurrency": run.concurrency,
            "connections": command.connections,
            "payload": command.payload,
            "batch": command.batch,
            "calls_per_second": round(run.calls_per_second),
            "p50_us": round(run.p50_us),
            "p99_us": round(run.p99_us),
            "server_cpu_us_per_call": round(run.server_cpu_us_per_call),
            "server_rss_kib": run.server_rss_kib,
        })
    };
    json!({
        "class": command.class.as_str(),
        "seconds": command.seconds,
        "turns": command.turns,
        "runs": runs.iter().map(run).collect::<Vec<_>>(),
    })
}

fn to_text(runs: &[Figures]) -> String {
    let echo =
        |run: &Figures| runs.iter().find(|r| r.name == "echo" && r.concurrency == run.concurrency).cloned();
    let row = |run: &Figures| {
        let against =
            echo(run).filter(|_| run.name != "echo").map_or((String::new(), String::new()), |echo| {
                let ratio = |ours: f64, theirs: f64| format!("{:.2}×", ours / theirs.max(f64::MIN_POSITIVE));
                (
                    ratio(run.calls_per_second, echo.calls_per_second),
                    ratio(run.server_cpu_us_per_call, echo.server_cpu_us_per_call),
                )
            });
        vec![
            run.name.to_owned(),
            run.concurrency.to_string(),
            words::thousands(run.calls_per_second as u64),
            against.0,
            format!("{:.0}", run.p50_us),
            format!("{:.0}", run.p99_us),
            format!("{:.1}", run.server_cpu_us_per_call),
            against.1,
            words::thousands(run.server_rss_kib),
        ]
    };
    let headings =
        ["call", "callers", "calls/s", "of echo", "p50 µs", "p99 µs", "CPU µs/call", "of echo", "RSS KiB"];
    print::table(&headings, &runs.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn figures(name: &'static str, calls_per_second: f64) -> Figures {
        let (p50_us, p99_us, server_cpu_us_per_call) = (100.0, 200.0, 20.04);
        let (concurrency, server_rss_kib) = (64, 4096);
        Figures {
            name,
            concurrency,
            calls_per_second,
            p50_us,
            p99_us,
            server_cpu_us_per_call,
            server_rss_kib,
        }
    }

    #[test]
    fn the_json_has_the_fields_of_the_contract() {
        let args::Command::Bench(command) = args::Cli::try_parse_from(["kms", "bench"]).unwrap().command
        else {
            panic!("another command")
        };
        let json = to_json(&command, &[figures("echo", 50_000.0)]);
        let fields: Vec<_> = json["runs"][0].as_object().unwrap().keys().cloned().collect();
        let contract = "name concurrency connections payload batch calls_per_second p50_us p99_us \
                        server_cpu_us_per_call server_rss_kib";
        assert_eq!(fields.join(" "), contract);
        assert_eq!(json["runs"][0]["server_cpu_us_per_call"], 20.0);
        assert_eq!((command.concurrency, command.connections, command.payload), (vec![1, 8, 64], 4, 64));
    }

    fn command(words: &str) -> Result<args::Bench, clap::Error> {
        let words = format!("kms bench {words}");
        match args::Cli::try_parse_from(words.split_whitespace())?.command {
            args::Command::Bench(command) => Ok(command),
            _ => panic!("another command"),
        }
    }

    #[test]
    fn a_length_that_cannot_be_waited_for_is_refused() {
        for wrong in ["inf", "nan", "-1", "0", "1e300", "x"] {
            assert!(command(&format!("--seconds={wrong}")).is_err(), "{wrong}");
        }
        assert_eq!(command("--seconds 0.1").unwrap().seconds, 0.1);
    }

    #[test]
    fn a_batch_is_measured_with_calls_that_have_batches_only() {
        let fits = |words: &str| refuse_what_does_not_fit(&command(words).unwrap()).is_ok();
        assert!(fits("--calls encrypt,decrypt,reencrypt,open-data-keys --batch 100"));
        assert!(fits("--calls generate-random,generate-data-key"));
        assert!(!fits("--calls encrypt,generate-random --batch 2"));
        assert!(!fits("--calls open-data-keys --class L4"));
    }

    #[test]
    fn each_call_is_compared_with_the_echo_of_its_concurrency() {
        let text = to_text(&[figures("echo", 50_000.0), figures("encrypt", 40_000.0)]);
        assert!(text.contains("0.80×") && text.contains("1.00×"), "{text}");
    }
}
