//! Sessions with a server: what is typed, what is said, what is left on disk. The server is this binary again; it ends with us.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
};

use serde_json::Value;

struct Server {
    dir: tempfile::TempDir,
    _child: Child,
}

/// One server for all tests: each has a tenant of its own.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kms"));
        command.args(["__server", "dev", "--data"]).arg(dir.path().join("server"));
        // Its stdin closes with this process, and it ends.
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.map_while(Result::ok).find(|line| line.starts_with("ready https://127.0.0.1:"));
        assert!(ready.is_some(), "the server does not start");
        Server { dir, _child: child }
    })
}

/// A tenant with a directory to work in.
struct Place {
    tenant: String,
    dir: tempfile::TempDir,
}

struct Said {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
}

impl Said {
    fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }

    fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{} {}", self.text(), self.stderr);
        self
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap()
    }

    /// The object on stderr.
    fn said(&self) -> Value {
        serde_json::from_str(&self.stderr).unwrap()
    }

    fn reason(&self) -> String {
        self.said()["error"]["reason"].as_str().unwrap().to_owned()
    }
}

impl Place {
    fn new(tenant: &str) -> Self {
        let place = Self { tenant: tenant.into(), dir: tempfile::tempdir().unwrap() };
        place.run("operator", &format!("tenant create {tenant}")).ok();
        place
    }

    fn with_key(tenant: &str, terms: &str) -> Self {
        let place = Self::new(tenant);
        place.run("operator", &format!("key create attendance --tenant T {terms}")).ok();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn run(&self, who: &str, words: &str) -> Said {
        self.feed(who, words, b"")
    }

    /// Runs `words` with `stdin`; `T` stands for the tenant, `K` for tenant and key.
    fn feed(&self, who: &str, words: &str, stdin: &[u8]) -> Said {
        let profile = server().dir.path().join("server/profiles").join(format!("{who}.toml"));
        let key = format!("--tenant {} --key attendance", self.tenant);
        let spelled = words.split_whitespace().map(|word| match word {
            "T" => self.tenant.as_str(),
            "K" => key.as_str(),
            word => word,
        });
        let words: Vec<&str> = spelled.flat_map(str::split_whitespace).collect();
        let mut child = Command::new(env!("CARGO_BIN_EXE_kms"))
            .args(words)
            .current_dir(self.dir.path())
            .env("KMS_PROFILE", profile)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut to = child.stdin.take().unwrap();
        let stdin = stdin.to_vec();
        // A command that stops early closes its end: that is its right.
        let feeding = std::thread::spawn(move || drop(to.write_all(&stdin)));
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        feeding.join().unwrap();
        Said { code: status.code().unwrap(), stdout, stderr: String::from_utf8(stderr).unwrap() }
    }
}

#[test]
fn a_value_opens_with_its_context_and_not_with_another() {
    let place = Place::with_key("crypt", "");
    let sealed = place
        .feed("attendance", "encrypt K --context purpose=payroll --context row=7", b"4711\0\xff")
        .ok()
        .stdout;
    assert_eq!(&sealed[..2], &[0x4b, 0x03]);
    let open = |words: &str| place.feed("attendance", words, &sealed);
    assert_eq!(open("decrypt K --context row=7 --context purpose=payroll").ok().stdout, b"4711\0\xff");
    for words in
        ["decrypt K", "decrypt K --context row=7", "decrypt K --context row=8 --context purpose=payroll"]
    {
        let said = open(&format!("{words} -o json")).ends_with(1);
        assert_eq!(said.reason(), "CIPHERTEXT_REJECTED", "{words}");
        assert!(said.said()["error"]["request_id"].is_string());
        assert!(!said.stderr.contains("payroll"), "no context value is shown");
    }
    let moved = open("reencrypt K --context row=7 --context purpose=payroll --to-context row=8").ok().stdout;
    assert_eq!(place.feed("attendance", "decrypt K --context row=8", &moved).ok().stdout, b"4711\0\xff");
    place.feed("attendance", "decrypt K --context row=7 --context purpose=payroll", &moved).ends_with(1);
    place.feed("attendance", "decrypt K", b"nonsense").ends_with(1);
    place.feed("attendance", "encrypt K", &vec![0; (64 << 10) + 1]).ends_with(2);
}

#[test]
fn who_may_not_is_told_so_with_5_and_learns_nothing_else() {
    let place = Place::with_key("denied", "");
    let sealed = place.feed("attendance", "encrypt K", b"secret").ok().stdout;
    for who in ["hr-portal", "operator", "compliance"] {
        let said = place.feed(who, "decrypt K -o json", &sealed).ends_with(5);
        assert_eq!(said.reason(), "KEY_NOT_ACCESSIBLE", "{who}");
    }
    let there = place.feed("hr-portal", "decrypt K -o json", &sealed).said();
    let not_there =
        place.feed("hr-portal", "decrypt --tenant nobody --key attendance -o json", &sealed).said();
    assert_eq!(
        there["error"]["message"], not_there["error"]["message"],
        "no such key and not yours look the same"
    );
    place.run("attendance", "key create other --tenant T").ends_with(5);
    place.run("attendance", "tenant list").ends_with(5);
}

#[test]
fn a_key_is_described_as_the_contract_says() {
    let place = Place::with_key("described", "--class L3 --rotate-every 90d --lease 5m");
    place.run("operator", "key rotate attendance --tenant T").ok();
    let key = place.run("operator", "key describe attendance --tenant T -o json").ok().json();
    let states: Vec<_> =
        key["versions"].as_array().unwrap().iter().map(|v| v["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["deactivated", "active"]);
    assert_eq!((&key["tenant"], &key["name"]), (&"described".into(), &"attendance".into()));
    assert_eq!((&key["class"], &key["state"]), (&"L3".into(), &"active".into()));
    let version = &key["versions"][1];
    assert_eq!(version["version"], 2);
    assert!(version["id"].as_str().unwrap().parse::<u64>().is_ok());
    assert!(version["created"].as_str().unwrap().ends_with('Z'));
    assert_eq!(key["rotate_every_seconds"], 90 * 86_400);
    let text = place.run("operator", "key describe attendance --tenant T").ok().text();
    assert!(text.contains("seals") && text.contains("90d"), "{text}");
    let keys = place.run("operator", "key list --tenant T -o json").ok().json();
    assert_eq!(keys[0]["name"], "attendance");
    let tenants = place.run("operator", "tenant list -o json").ok().json();
    assert!(tenants.as_array().unwrap().iter().any(|tenant| tenant["tenant"] == "described"));
    assert_eq!(place.run("operator", "tenant create T -o json").ends_with(1).reason(), "ALREADY_EXISTS");
}

#[test]
fn a_suspended_key_does_nothing_until_resumed() {
    let place = Place::with_key("suspended", "");
    let sealed = place.feed("attendance", "encrypt K", b"value").ok().stdout;
    place.run("operator", "key suspend attendance --tenant T").ok();
    assert_eq!(
        place.feed("attendance", "encrypt K -o json", b"value").ends_with(1).reason(),
        "KEY_SUSPENDED"
    );
    assert_eq!(place.feed("attendance", "decrypt K -o json", &sealed).ends_with(1).reason(), "KEY_SUSPENDED");
    place.run("operator", "key resume attendance --tenant T").ok();
    assert_eq!(place.feed("attendance", "decrypt K", &sealed).ok().stdout, b"value");
}

#[test]
fn a_destroyed_version_opens_nothing_and_its_neighbours_open_on() {
    let place = Place::with_key("destroyed", "");
    let first = place.feed("attendance", "encrypt K", b"one").ok().stdout;
    place.run("operator", "key rotate attendance --tenant T").ok();
    let second = place.feed("attendance", "encrypt K", b"two").ok().stdout;
    let destroy =
        "key destroy attendance --tenant T --version 1 --reason retention-ended --ticket OPS-1 -o json";
    let done = place.run("operator", destroy).ok().json();
    assert_eq!(done["destroyed_versions"], serde_json::json!([1]));
    assert_eq!(done["effaced"], true);
    assert_eq!(place.feed("attendance", "decrypt K -o json", &first).ends_with(1).reason(), "KEY_DESTROYED");
    assert_eq!(place.feed("attendance", "decrypt K", &second).ok().stdout, b"two");

    place.run("operator", "key destroy attendance --tenant T --all --reason test").ends_with(2);
    assert_eq!(place.feed("attendance", "decrypt K", &second).ok().stdout, b"two", "refused is refused");
    place.run("operator", "key destroy attendance --tenant T --all --now --force --reason test").ok();
    place.feed("attendance", "decrypt K", &second).ends_with(1);
    place.run("operator", "tenant destroy T --now --reason contract-ended").ok();
    place.feed("attendance", "decrypt K", &second);
}

const CELLS: &str = "K --table checkins --id id --column name --column phone:deterministic";
const TABLE: &str =
    "\u{feff}id,name,phone,note\r\n1,\"Zoë, M.\",030,a\r\n\r\n2,,030,\"b\nc\"\r\n3,张三,\"0\"\"31\",\r\n";

#[test]
fn columns_come_back_as_they_were_and_cost_a_handful_of_calls() {
    let place = Place::with_key("columns", "");
    fs::write(place.path("in.csv"), TABLE).unwrap();
    let sealed = place.run("attendance", &format!("columns seal {CELLS} in.csv sealed.csv -o json")).ok();
    assert!(sealed.stdout.is_empty());
    let summary = sealed.said();
    assert_eq!((&summary["rows"], &summary["cells"], &summary["failed"]), (&3.into(), &6.into(), &0.into()));
    assert!(summary["server_calls"].as_u64().unwrap() <= 4, "{summary}");
    assert!(summary["seconds"].is_f64() && summary["blank_lines"] == 1);

    let file = place.read("sealed.csv");
    assert!(file.starts_with("\u{feff}id,name,phone,note\r\n1,\"kf1."));
    let cell = |row: usize| file.lines().nth(row).unwrap().split(',').nth(2).unwrap().to_owned();
    assert_eq!(cell(1), cell(2), "equal phones stay equal");
    assert_eq!(file.matches("kf1.").count(), 6);

    place.run("attendance", &format!("columns open {CELLS} sealed.csv out.csv")).ok();
    assert_eq!(place.read("out.csv"), TABLE.replace("\r\n\r\n", "\r\n"));

    let piped =
        place.feed("attendance", &format!("columns open {CELLS} --format csv - -"), file.as_bytes()).ok();
    assert_eq!(piped.text(), place.read("out.csv"));
    place.run("hr-portal", &format!("columns open {CELLS} sealed.csv peek.csv")).ends_with(5);
    place.run("hr-portal", &format!("columns open {CELLS} --keep-going sealed.csv peek.csv")).ends_with(5);
    assert!(!place.path("peek.csv").exists());
    place
        .run("attendance", "columns open K --table other --id id --column name sealed.csv x.csv")
        .ends_with(1);
}

#[test]
fn a_reseal_moves_cells_to_the_active_version_and_then_the_old_one_can_go() {
    let place = Place::with_key("resealed", "");
    fs::write(place.path("in.csv"), TABLE).unwrap();
    place.run("attendance", &format!("columns seal {CELLS} in.csv v1.csv")).ok();
    place.run("operator", "key rotate attendance --tenant T --deterministic").ok();
    place.run("attendance", &format!("columns reseal {CELLS} v1.csv v2.csv")).ok();
    assert_ne!(place.read("v1.csv"), place.read("v2.csv"));
    place.run("attendance", &format!("columns reseal {CELLS} v2.csv again.csv")).ok();
    assert_eq!(place.read("v2.csv"), place.read("again.csv"), "what is current stays as it is");

    place.run("operator", "key destroy attendance --tenant T --version 1 --reason superseded --force").ok();
    place.run("attendance", &format!("columns open {CELLS} v2.csv out.csv")).ok();
    assert_eq!(place.read("out.csv"), TABLE.replace("\r\n\r\n", "\r\n"));

    let stopped =
        place.run("attendance", &format!("columns open {CELLS} v1.csv lost.csv -o json")).ends_with(1);
    assert_eq!(stopped.reason(), "KEY_DESTROYED");
    assert!(!place.path("lost.csv").exists());
    // Half old, half new: the old half stays sealed, the rest opens.
    let (old, new) = (place.read("v1.csv"), place.read("v2.csv"));
    let row = |file: &str, n: usize| file.split_inclusive("\r\n").nth(n).unwrap().to_owned();
    fs::write(place.path("mixed.csv"), row(&new, 0) + &row(&old, 1) + &row(&new, 3)).unwrap();
    let partly =
        place.run("attendance", &format!("columns open {CELLS} --keep-going mixed.csv left.csv -o json"));
    let partly = partly.ends_with(7).said();
    assert_eq!((&partly["cells"], &partly["failed"]), (&2.into(), &2.into()));
    assert_eq!((&partly["problems"][0]["line"], &partly["problems"][0]["row"]), (&2.into(), &1.into()));
    assert_eq!(
        place.read("left.csv"),
        row(TABLE, 0) + &row(&old, 1) + &row(&TABLE.replace("\r\n\r\n", "\r\n"), 3)
    );
}

#[test]
fn json_lines_keep_their_types() {
    let place = Place::with_key("jsonl", "");
    let lines = "{\"id\":1,\"v\":\"Zoë\",\"w\":17}\n{\"id\":\"b\",\"w\":null,\"x\":[1, 2]}\n{\"id\":\"c\",\"v\":{\"lat\":1.50},\"w\":true}\n";
    let cells = "K --table t --id id --column v --column w";
    let sealed =
        place.feed("attendance", &format!("columns seal {cells} --format jsonl - -"), lines.as_bytes()).ok();
    for line in sealed.text().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let sealed =
            |name: &str| row.get(name).is_none_or(|v| v.is_null() || v.as_str().unwrap().starts_with("kf1."));
        assert!(sealed("v") && sealed("w"), "{line}");
    }
    let opened =
        place.feed("attendance", &format!("columns open {cells} --format jsonl - -"), &sealed.stdout).ok();
    assert_eq!(opened.text(), lines);
}

#[test]
fn under_class_l4_the_server_seals_each_cell_and_no_data_key_leaves_it() {
    let place = Place::with_key("l4", "--class L4");
    fs::write(place.path("in.csv"), TABLE).unwrap();
    let cells = "K --table checkins --id id --column name --column phone";
    place.run("attendance", &format!("columns seal {cells} in.csv sealed.csv")).ok();
    place.run("attendance", &format!("columns open {cells} sealed.csv out.csv")).ok();
    assert_eq!(place.read("out.csv"), TABLE.replace("\r\n\r\n", "\r\n"));
    place.run("attendance", &format!("columns reseal {cells} sealed.csv again.csv")).ok();
    place.run("attendance", &format!("columns seal {CELLS} in.csv no.csv")).ends_with(2);
    fs::write(place.path("file"), "x").unwrap();
    place.run("attendance", "seal-file K file sealed").ends_with(1);
    assert!(!place.path("sealed").exists() && !place.path("no.csv").exists());
}

#[test]
fn a_sealed_file_opens_whole_or_not_at_all() {
    let place = Place::with_key("files", "");
    for length in [0, 1, 65_535, 65_536, 65_537, 300_000] {
        let content: Vec<u8> = (0..length).map(|n: u32| (n % 251) as u8).collect();
        fs::write(place.path("plain"), &content).unwrap();
        place.run("attendance", "seal-file K plain sealed").ok();
        place.run("attendance", "open-file K sealed opened").ok();
        assert_eq!(fs::read(place.path("opened")).unwrap(), content, "{length} bytes");
        fs::remove_file(place.path("opened")).unwrap();
    }
    let sealed = fs::read(place.path("sealed")).unwrap();
    let refused = |name: &str, bytes: &[u8]| {
        fs::write(place.path("bad"), bytes).unwrap();
        place.run("attendance", "open-file K bad opened").ends_with(1);
        assert!(!place.path("opened").exists(), "{name}");
    };
    let (header, chunk) = (sealed.len() - 300_000 - 5 * 16, 65_536 + 16);
    refused("cut in a chunk", &sealed[..sealed.len() - 1]);
    refused("cut after a chunk", &sealed[..header + 2 * chunk]);
    refused("cut after the header", &sealed[..header]);
    refused("cut in the header", &sealed[..20]);
    refused("extended", &[&sealed[..], b"x"].concat());
    refused("not sealed", b"hello");
    let mut swapped = sealed.clone();
    let (first, second) = swapped[header..header + 2 * chunk].split_at_mut(chunk);
    first.swap_with_slice(second);
    refused("reordered", &swapped);
    let mut flipped = sealed.clone();
    flipped[header + 5] ^= 1;
    refused("flipped", &flipped);
    place.run("hr-portal", "open-file K sealed opened").ends_with(5);
}

#[test]
fn the_audit_is_read_by_compliance_and_a_changed_copy_is_found_out() {
    let place = Place::with_key("audited", "");
    let sealed = place.feed("attendance", "encrypt K", b"plain text").ok().stdout;
    place.feed("hr-portal", "decrypt K", &sealed).ends_with(5);
    place.run("attendance", "audit query").ends_with(5);
    let lines = place.run("compliance", "audit query --tenant T -o json").ok().text();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let operations: Vec<_> = lines.iter().map(|line| line["operation"].as_str().unwrap()).collect();
    assert_eq!(operations, ["CreateTenant", "CreateKey", "Encrypt", "Decrypt"]);
    assert_eq!(lines[3]["outcome"], "denied");
    let denied = place.run("compliance", "audit query --tenant T --outcome denied --from 1h").ok().text();
    assert_eq!(denied.lines().count(), 1, "{denied}");
    assert!(denied.contains("hr-portal") && !denied.contains("plain text"));
    assert_eq!(place.run("compliance", "audit query --limit 2 -o json").ok().text().lines().count(), 2);

    place.run("compliance", "audit export copy").ok();
    let report = place.run("compliance", "audit verify copy -o json").ok().json();
    assert_eq!((&report["sound"], &report["wrong"]), (&true.into(), &0.into()));
    place.run("compliance", &format!("audit verify copy --pin {}", report["end"].as_str().unwrap())).ok();
    let segment = fs::read_dir(place.path("copy")).unwrap().map(|f| f.unwrap().path());
    let segment = segment.filter(|f| f.extension().is_some_and(|e| e == "jsonl")).max().unwrap();
    let text = fs::read_to_string(&segment).unwrap();
    let wrong = |text: String| {
        fs::write(&segment, text).unwrap();
        let said = place.run("compliance", "audit verify copy -o json").ends_with(1);
        assert_eq!((said.reason().as_str(), &said.json()["sound"]), ("AUDIT_NOT_SOUND", &false.into()));
    };
    wrong(text.replacen("\"denied\"", "\"allowed\"", 1));
    let mut cut: Vec<&str> = text.split_inclusive('\n').collect();
    cut.remove(2);
    wrong(cut.concat());
    place.run("compliance", "audit verify nothing-here").ends_with(1);
    place.run("operator", "audit delete --through-segment 1 --export copy").ends_with(1);
    fs::write(&segment, &text).unwrap();
    let open_ended = place.run("operator", "audit delete --through-segment 1 --export copy").ends_with(2);
    assert!(open_ended.stderr.contains("ends with that segment"), "{}", open_ended.stderr);
}

#[test]
fn policy_explains_itself_to_those_who_may_ask() {
    let place = Place::with_key("explained", "");
    let ask = |who: &str, operation: &str| {
        let words = format!("policy explain --as spiffe://dev.local/{who} --operation {operation} K -o json");
        place.run("operator", &words).ok().json()
    };
    assert_eq!(ask("attendance", "Decrypt")["allowed"], true);
    let denied = ask("hr-portal", "Decrypt");
    assert_eq!(denied["allowed"], false);
    assert!(!denied["explanation"].as_str().unwrap().is_empty());
    let words = "policy explain --as spiffe://dev.local/hr-portal --operation Decrypt K";
    assert!(place.run("operator", words).ok().text().starts_with("denied"));
    place.run("attendance", words).ends_with(5);
}

#[test]
fn a_server_that_is_not_there_is_6() {
    let place = Place::new("unreachable");
    let profiles = server().dir.path().join("server/profiles");
    let lines = fs::read_to_string(profiles.join("operator.toml")).unwrap();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gone = lines.lines().map(|line| match line.starts_with("endpoint") {
        true => format!("endpoint = \"https://127.0.0.1:{port}\""),
        false => line.into(),
    });
    let profile: PathBuf = profiles.join("gone.toml");
    fs::write(&profile, gone.collect::<Vec<_>>().join("\n")).unwrap();
    let said =
        place.run("operator", &format!("--profile {} tenant list -o json", display(&profile))).ends_with(6);
    assert_eq!(said.reason(), "SERVER_UNREACHABLE");
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn the_demo_goes_as_told_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_kms")).arg("demo").env("TMPDIR", dir.path()).output().unwrap();
    let (told, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{said}");
    for promise in ["byte for byte", "Exactly the 1,000 rows", "What to try next", "NOT SOUND"] {
        assert!(told.contains(promise), "{promise}: {told}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "its directory is gone");
}

#[test]
fn the_bench_measures_both_sides() {
    let place = Place::new("benched");
    let words = "bench --concurrency 2 --connections 1 --seconds 0.1 --turns 1 -o json";
    let json = place.run("operator", words).ok().json();
    let names: Vec<_> =
        json["runs"].as_array().unwrap().iter().map(|run| run["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["echo", "encrypt", "decrypt"]);
    assert!(json["runs"][1]["calls_per_second"].as_f64().unwrap() > 0.0);
}

#[test]
fn an_interrupted_run_leaves_neither_output_nor_leftovers() {
    let place = Place::with_key("interrupted", "");
    for words in [format!("columns seal {CELLS} --format csv - out"), "seal-file K - out".into()] {
        let profile = server().dir.path().join("server/profiles/attendance.toml");
        let words = words.replace('K', "--tenant interrupted --key attendance");
        let mut child = Command::new(env!("CARGO_BIN_EXE_kms"))
            .args(words.split_whitespace())
            .current_dir(place.dir.path())
            .env("KMS_PROFILE", profile)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let count = || fs::read_dir(place.dir.path()).unwrap().count();
        while count() == 0 {
            assert!(child.try_wait().unwrap().is_none(), "it waits for its input");
            std::thread::yield_now();
        }
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_ne!(child.wait().unwrap().code(), Some(0));
        assert_eq!(count(), 0, "{words}");
    }
}
