//! Sessions with a server: what is typed, what is said, what is left on disk. The server is this binary again; it ends with us.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod doctor;
mod keys;
mod own_servers;
mod reading;
mod tables;

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
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

/// A profile like that of `who`, with one line changed.
fn profile_with(who: &str, name: &str, line: &str) -> PathBuf {
    let profiles = server().dir.path().join("server/profiles");
    let text = fs::read_to_string(profiles.join(format!("{who}.toml"))).unwrap();
    let option = line.split(' ').next().unwrap();
    assert!(text.lines().any(|known| known.starts_with(option)));
    let changed = text.lines().map(|known| if known.starts_with(option) { line } else { known });
    let profile = profiles.join(format!("{name}.toml"));
    fs::write(&profile, changed.collect::<Vec<_>>().join("\n")).unwrap();
    profile
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
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
