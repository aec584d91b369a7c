//! This server's options: their names, defaults and bounds, section by section.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use kms_core::transparency::WitnessKey;
use spiffe::TrustDomain;
use toml::de::DeTable;

use super::{
    AuditConfig, AuditDurability, Config, EffaceableConfig, Engine, Limits, LogConfig, LogFormat, MediumKind,
    Problem, StoreConfig, VERSION,
    fields::{Document, Fields},
    value,
};
use crate::{
    effaceable::{file::Terms, pkcs11::TokenOptions},
    tls::{TlsFiles, TrustFiles},
    transparency::Outside,
};

/// What reading gave.
pub(super) struct Parse {
    pub(super) config: Option<Config>,
    pub(super) problems: Vec<Problem>,
    /// Every option with a plain value.
    pub(super) options: Vec<String>,
}

pub(super) fn parse(text: &str, file: &Path, overrides: &BTreeMap<String, String>) -> Parse {
    let document = Document::new(text, overrides);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        document.problem(error.span(), "", error.message());
    }
    let mut top = Fields::top(&document, table.get_ref());
    let config = config(&mut top, file);
    top.finish();
    let options = document.asked();
    let mut problems = document.into_problems();
    if config.is_none() && problems.is_empty() {
        // Cannot be: whatever is not there has said so. Refused rather than believed.
        problems.push(Problem { line: None, option: String::new(), what: "cannot be read".into() });
    }
    Parse { config, problems, options }
}

const SECOND: Duration = Duration::from_secs(1);

/// Every section is read before the first missing option ends it, so that all problems are found.
fn config(top: &mut Fields<'_, '_>, file: &Path) -> Option<Config> {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.into());
    let base = absolute.parent().unwrap_or(Path::new("/"));
    let version = top.required("version", value::integer::<u64>(VERSION..=VERSION));
    let listen = top.required("listen", value::address);
    let admin = top.or("admin", SocketAddr::from(([127, 0, 0, 1], 7444)), value::address);
    let data = top.required("data", value::path(base));
    let seal = top.required("seal", value::path(base));
    let policies = top.required("policies", value::path(base));
    let reflection = top.or("reflection", false, value::flag);
    let erasure_interval =
        top.or("erasure_interval", SECOND, value::duration(Duration::from_millis(10)..=SECOND * 3600));
    let store = store(top.section("store"));
    let effaceable = effaceable(top.section("effaceable"), base);
    let tls = tls(top.section("tls"), base);
    let audit = audit(top.section("audit"), base);
    let limits = limits(top.section("limits"));
    let transparency = transparency(top.section("transparency"), base);
    let log = log(top.section("log"));
    version?;
    Some(Config {
        file: absolute.clone(),
        listen: listen?,
        admin,
        data: data?,
        seal: seal?,
        policies: policies?,
        reflection,
        store,
        effaceable: effaceable?,
        erasure_interval,
        tls: tls?,
        audit: audit?,
        limits,
        transparency,
        log,
    })
}

fn store(mut fields: Fields<'_, '_>) -> StoreConfig {
    let engine =
        fields.or("engine", Engine::Sled, value::choice(&[("sled", Engine::Sled), ("redb", Engine::Redb)]));
    let cache = fields.or("cache", crate::store::open::CACHE, value::size(1 << 20..=1 << 40));
    fields.finish();
    StoreConfig { engine, cache }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Pkcs11,
}

fn effaceable(mut fields: Fields<'_, '_>, base: &Path) -> Option<EffaceableConfig> {
    let current = medium(&mut fields, base);
    let mut section = fields.section("previous");
    let previous = if section.is_there() { Some(medium(&mut section, base)) } else { None };
    section.finish();
    fields.finish();
    let previous = match previous {
        Some(previous) => Some(Box::new(previous?)),
        None => None,
    };
    Some(EffaceableConfig { previous, ..current? })
}

fn medium(fields: &mut Fields<'_, '_>, base: &Path) -> Option<EffaceableConfig> {
    let path = fields.required("path", value::path(base));
    let kind =
        fields.or("medium", Kind::File, value::choice(&[("file", Kind::File), ("pkcs11", Kind::Pkcs11)]));
    let terms = Terms {
        accept_unsuitable: fields.or("accept_unsuitable", false, value::flag),
        declared_magnetic: fields.or("magnetic_disk", false, value::flag),
    };
    let mut section = fields.section("pkcs11");
    let options = match kind {
        Kind::Pkcs11 => token(&mut section, base).map(MediumKind::Pkcs11),
        // What is there already for a change to come is read, and not used.
        Kind::File => {
            if section.is_there() {
                token(&mut section, base);
            }
            Some(MediumKind::File(terms))
        }
    };
    section.finish();
    Some(EffaceableConfig { path: path?, kind: options?, previous: None })
}

fn token(fields: &mut Fields<'_, '_>, base: &Path) -> Option<TokenOptions> {
    let module = fields.required("module", value::path(base));
    let token = fields.required("token", value::text);
    let pin_file = fields.required("pin_file", value::path(base));
    Some(TokenOptions { module: module?, token: token?, pin_file: pin_file? })
}

fn tls(mut fields: Fields<'_, '_>, base: &Path) -> Option<TlsFiles> {
    let certificate = fields.required("certificate", value::path(base));
    let key = fields.required("key", value::path(base));
    let mut trust_domains: Vec<(TrustDomain, TrustFiles)> = Vec::new();
    let mut incomplete = false;
    for mut section in fields.sections("trust_domain") {
        let name = section.required("name", trust_domain);
        let files = trust(&mut section, base);
        if name.as_ref().is_some_and(|name| trust_domains.iter().any(|(other, _)| other == name)) {
            section.problem("name", "comes twice; give one trust domain all its roots");
        }
        section.finish();
        match name.zip(files) {
            Some(domain) => trust_domains.push(domain),
            None => incomplete = true,
        }
    }
    let mut section = fields.section("without_spiffe_id");
    let without_spiffe_id = if section.is_there() { Some(trust(&mut section, base)) } else { None };
    section.finish();
    if trust_domains.is_empty() && without_spiffe_id.is_none() && !incomplete {
        fields.problem("trust_domain", "is missing: without one nobody can connect");
    }
    fields.finish();
    let without_spiffe_id = match without_spiffe_id {
        Some(files) => Some(files?),
        None => None,
    };
    Some(TlsFiles { certificate: certificate?, key: key?, trust_domains, without_spiffe_id })
}

fn trust(fields: &mut Fields<'_, '_>, base: &Path) -> Option<TrustFiles> {
    let ca = fields.required("ca", |value| {
        let files = value::paths(base)(value)?;
        if files.is_empty() { Err("must name at least one file".into()) } else { Ok(files) }
    });
    let crl = fields.or("crl", Vec::new(), value::paths(base));
    Some(TrustFiles { ca: ca?, crl })
}

fn trust_domain(value: &toml::de::DeValue<'_>) -> Result<TrustDomain, String> {
    let text = value::text(value)?;
    let wrong = || format!("is `{text}`; must be a trust domain in lower case, like `example.org`");
    let domain = TrustDomain::new(&text).map_err(|_| wrong())?;
    if domain.as_str() == text { Ok(domain) } else { Err(wrong()) }
}

fn transparency(mut fields: Fields<'_, '_>, base: &Path) -> Outside {
    let witnesses = fields.or("witnesses", Vec::new(), |value| {
        let keys = value::list(value)?.into_iter().map(|key| {
            key.parse::<WitnessKey>()
                .map_err(|error| format!("holds `{key}`, which is no key of a witness: {error}"))
        });
        let keys: Vec<WitnessKey> = keys.collect::<Result<_, _>>()?;
        // ATTACK: a cosignature does not name its witness: one key under two names would count twice.
        let twice =
            keys.iter().enumerate().any(|(at, key)| keys[..at].iter().any(|other| other.is_same_key(key)));
        if twice { Err("names one key twice".into()) } else { Ok(keys) }
    });
    let pin = fields.optional("pin", value::path(base));
    fields.finish();
    Outside { witnesses, pin }
}

fn audit(mut fields: Fields<'_, '_>, base: &Path) -> Option<AuditConfig> {
    let directory = fields.required("directory", value::path(base));
    let segment_size = fields.or("segment_size", 64 << 20, value::size(1 << 20..=1 << 34));
    let durability = fields.or(
        "durability",
        AuditDurability::ByClass,
        value::choice(&[("by-class", AuditDurability::ByClass), ("synced", AuditDurability::Synced)]),
    );
    let quota = fields.optional("quota", value::size(16 << 20..=1 << 50));
    fields.finish();
    Some(AuditConfig { directory: directory?, segment_size, durability, quota })
}

fn limits(mut fields: Fields<'_, '_>) -> Limits {
    let in_flight = fields.or("in_flight", 1024, value::integer(1..=1_000_000));
    let connections = fields.or("connections", 10_000, value::integer(1..=1_000_000));
    // One identity never has all places, unless the operator says so.
    let quarter = |all: usize| all.div_ceil(4);
    let limits = Limits {
        in_flight,
        in_flight_per_identity: fields.or(
            "in_flight_per_identity",
            quarter(in_flight),
            value::integer(1..=1_000_000),
        ),
        rate: fields.or("rate", 100_000, value::integer(1..=10_000_000)),
        burst: fields.or("burst", 10_000, value::integer(1..=10_000_000)),
        deadline: fields.or("deadline", SECOND * 30, value::duration(SECOND / 10..=SECOND * 600)),
        handshakes: fields.or("handshakes", 256, value::integer(1..=65_536)),
        handshake_timeout: fields.or(
            "handshake_timeout",
            SECOND * 10,
            value::duration(SECOND / 10..=SECOND * 60),
        ),
        connections,
        connections_per_identity: fields.or(
            "connections_per_identity",
            quarter(connections),
            value::integer(1..=1_000_000),
        ),
        streams: fields.or("streams", 256, value::integer(1..=65_536)),
        memory: fields.or("memory", 256 << 20, value::size(8 << 20..=1 << 40)),
        drain: fields.or("drain", SECOND * 20, value::duration(Duration::ZERO..=SECOND * 600)),
    };
    fields.finish();
    limits
}

fn log(mut fields: Fields<'_, '_>) -> LogConfig {
    let format = fields.or(
        "format",
        LogFormat::Text,
        value::choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]),
    );
    let filter = fields.or("filter", "info".into(), |value| {
        let text = value::text(value)?;
        match text.parse::<tracing_subscriber::filter::Targets>() {
            Ok(_) => Ok(text),
            Err(_) => Err(format!("is `{text}`; must be a level or `target=level` pairs, like `info`")),
        }
    });
    fields.finish();
    LogConfig { format, filter }
}
