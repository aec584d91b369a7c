//! `kms bench`: the server against a bare echo, both started here, both as children of the same binary with the same TLS; in turns,
//! so that what else the machine does touches both. Each figure is the median of its turns.

mod echo;
mod load;
mod serve;

use std::{ffi::OsStr, sync::Arc, time::Duration};

use kms_client::{
    Kms,
    api::{Change, CreateKey, CreateTenant},
};
use kms_core::{
    names::{KeyName, TenantName},
    state::KeyClass,
};
use kms_proto::v1::{self, crypto_client::CryptoClient};
use serde_json::{Value, json};
use tonic::{Status, transport::Channel};

pub use serve::echo as serve_echo;

use crate::{
    args::{self, BenchCall},
    failure::Failure,
    own_server::OwnServer,
    print,
    session::Session,
    words,
};

const TENANT: &str = "bench";
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
    if command.class == KeyClass::L4 && command.calls.contains(&BenchCall::OpenDataKeys) {
        return Err(Failure::usage("keys of class L4 release no data keys; leave `open-data-keys` out"));
    }
    let temporary = tempfile::tempdir().map_err(|e| Failure::failed("INPUT_OUTPUT", e))?;
    let data = command.data.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(data).map_err(|e| Failure::failed("INPUT_OUTPUT", e))?;
    note(session, "starting a server and an echo");
    let server = OwnServer::dev(data, &UNLIMITED)?;
    let words = [OsStr::new("__echo"), OsStr::new("--data"), data.as_os_str()];
    let echo = OwnServer::start(&words, data, "echo.log")?;
    let load = Load::prepare(&command, &server, &echo).await?;

    let mut runs = Vec::new();
    for &concurrency in &command.concurrency {
        note(session, &format!("{} at a time", words::count(u64::from(concurrency), "caller")));
        runs.extend(load.measure(&command, concurrency, &server, &echo).await?);
    }
    server.stop();
    echo.stop();
    session.answer(|| to_json(&command, &runs), || to_text(&runs))
}

fn note(session: &Session, text: &str) {
    if !session.is_json() {
        drop(std::io::Write::write_all(&mut std::io::stderr(), format!("{text} …\n").as_bytes()));
    }
}

type Calling = Arc<dyn Fn(Channel) -> tonic::codegen::BoxFuture<(), Status> + Send + Sync>;

/// Everything made that the calls need, so that turns measure calls only.
struct Load {
    echo: Vec<Channel>,
    server: Vec<Channel>,
    calls: Vec<(&'static str, bool, Calling)>,
}

impl Load {
    async fn prepare(command: &args::Bench, server: &OwnServer, echo: &OwnServer) -> Result<Self, Failure> {
        let (tenant, key) = (TenantName::try_from(TENANT), KeyName::try_from(KEY));
        let (Ok(tenant), Ok(key)) = (tenant, key) else {
            return Err(Failure::failed("INTERNAL", "bench names"));
        };
        let operator = Kms::connect(server.profile("operator")?).await?;
        operator.create_tenant(&tenant, CreateTenant::default()).await?;
        let how = CreateKey { class: Some(command.class), change: Change::default(), ..CreateKey::default() };
        let made = operator.create_key(&tenant, &key, how).await?;

        let profile = server.profile("attendance")?;
        let at_echo = kms_client::Profile::new(echo.endpoint(), profile.ca(), profile.cert(), profile.key());
        let at_echo = at_echo.map_err(kms_client::Error::from)?;
        let connections = command.connections as usize;
        let kms = Kms::builder(profile).connections(connections).connect().await?;
        let at_echo = Kms::builder(at_echo).connections(connections).connect().await?;

        let plaintext = vec![b'x'; command.payload as usize];
        let sealed = kms.encrypt(&tenant, &key, &no_context(), &plaintext).await?.ciphertext;
        let whole = vec![b'x'; (command.payload * command.batch) as usize];
        let bare: Calling = Arc::new(move |channel| {
            let payload = whole.clone();
            Box::pin(async move { echo::ask(channel, payload).await.map(drop) })
        });
        let version = made.versions.last().map_or(0, |version| version.id.get());
        let mut calls = vec![("echo", true, bare)];
        for call in &command.calls {
            let calling = calling(*call, command, &plaintext, &sealed, version);
            calls.push((name(*call), false, calling));
        }
        Ok(Self { echo: at_echo.channels(), server: kms.channels(), calls })
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
            for ((name, is_echo, call), turns) in self.calls.iter().zip(&mut turns) {
                let (channels, child) = if *is_echo { (&self.echo, echo) } else { (&self.server, server) };
                // The first round only warms up: connections, caches, the processor's clock.
                let time =
                    if turn == 0 { WARM_UP } else { Duration::from_secs_f64(command.seconds.max(0.05)) };
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

fn name(call: BenchCall) -> &'static str {
    match call {
        BenchCall::Encrypt => "encrypt",
        BenchCall::Decrypt => "decrypt",
        BenchCall::Reencrypt => "reencrypt",
        BenchCall::OpenDataKeys => "open-data-keys",
        BenchCall::GenerateDataKey => "generate-data-key",
        BenchCall::GenerateRandom => "generate-random",
    }
}

fn no_context() -> kms_client::api::Binding {
    kms_client::api::Binding::Direct(kms_core::names::Context::default())
}

fn binding() -> Option<v1::Binding> {
    Some(v1::Binding { binding: Some(v1::binding::Binding::Direct(v1::Context::default())) })
}

/// A call as the generated client makes it, so that both sides of the comparison have the same client.
fn calling(call: BenchCall, command: &args::Bench, plaintext: &[u8], sealed: &[u8], version: u64) -> Calling {
    let (tenant, key) = (TENANT.to_owned(), KEY.to_owned());
    let batch = command.batch as usize;
    macro_rules! call {
        ($method:ident, $message:expr) => {{
            let message = $message;
            Arc::new(move |channel: Channel| {
                let message = message.clone();
                Box::pin(async move {
                    let mut client = CryptoClient::new(channel).max_decoding_message_size(5 << 20);
                    failed_item(client.$method(message).await?.into_inner())
                })
            })
        }};
    }
    let (plaintext, ciphertext) = (plaintext.to_vec(), sealed.to_vec());
    match call {
        BenchCall::Encrypt if batch > 1 => {
            let item = v1::encrypt_batch_request::Item { plaintext, binding: binding() };
            call!(encrypt_batch, v1::EncryptBatchRequest { tenant, key, items: vec![item; batch] })
        }
        BenchCall::Encrypt => {
            call!(encrypt, v1::EncryptRequest { tenant, key, plaintext, binding: binding() })
        }
        BenchCall::Decrypt if batch > 1 => {
            let item = v1::decrypt_batch_request::Item { ciphertext, binding: binding() };
            call!(decrypt_batch, v1::DecryptBatchRequest { tenant, key, items: vec![item; batch] })
        }
        BenchCall::Decrypt => {
            call!(decrypt, v1::DecryptRequest { tenant, key, ciphertext, binding: binding() })
        }
        BenchCall::Reencrypt => call!(
            re_encrypt,
            v1::ReEncryptRequest {
                tenant,
                key,
                ciphertext,
                source_binding: binding(),
                ..v1::ReEncryptRequest::default()
            }
        ),
        BenchCall::OpenDataKeys => {
            use v1::open_data_keys_request::{Existing, Item, item};
            let existing = |n| Item {
                item: Some(item::Item::Existing(Existing { version_id: version, data_key_id: n })),
            };
            let items = (1..=command.batch).map(existing).collect();
            call!(open_data_keys, v1::OpenDataKeysRequest { tenant, items, ..Default::default() })
        }
        BenchCall::GenerateDataKey => {
            call!(generate_data_key, v1::GenerateDataKeyRequest { tenant, key, ..Default::default() })
        }
        BenchCall::GenerateRandom => {
            call!(generate_random, v1::GenerateRandomRequest { length: command.payload.max(1) })
        }
    }
}

/// A batch in which an item failed measures nothing.
fn failed_item<A: Answer>(answer: A) -> Result<(), Status> {
    match answer.first_failure() {
        Some(reason) => Err(Status::unknown(format!("an item failed: {reason}"))),
        None => Ok(()),
    }
}

trait Answer {
    fn first_failure(self) -> Option<String>
    where
        Self: Sized,
    {
        None
    }
}

impl Answer for v1::EncryptResponse {}
impl Answer for v1::DecryptResponse {}
impl Answer for v1::ReEncryptResponse {}
impl Answer for v1::GenerateDataKeyResponse {}
impl Answer for v1::GenerateRandomResponse {}
macro_rules! batch_answers {
    ($($answer:ident $items:ident),*) => {$(
        impl Answer for v1::$answer {
            fn first_failure(self) -> Option<String> {
                self.items.into_iter().find_map(|item| match item.outcome {
                    Some(v1::$items::item::Outcome::Error(error)) => Some(error.reason),
                    _ => None,
                })
            }
        }
    )*};
}
batch_answers!(
    EncryptBatchResponse encrypt_batch_response,
    DecryptBatchResponse decrypt_batch_response,
    OpenDataKeysResponse open_data_keys_response
);

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

    #[test]
    fn each_call_is_compared_with_the_echo_of_its_concurrency() {
        let text = to_text(&[figures("echo", 50_000.0), figures("encrypt", 40_000.0)]);
        assert!(text.contains("0.80×") && text.contains("1.00×"), "{text}");
    }
}
