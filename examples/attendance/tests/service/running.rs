//! The service as a process, and a client for its requests.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use kms_cli::own_server::ended_within;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);

/// A running service. Stopped when dropped.
pub(crate) struct Running {
    process: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
    /// For what it leaves lying about.
    pub(crate) scratch: TempDir,
}

/// What it answered.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// The service, not yet started.
pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attendance"));
    command.args(words).env_remove("ATTENDANCE_DATABASE");
    command
}

/// Runs it where it is to refuse to start.
pub(crate) fn refused(words: &[&str]) -> Output {
    let output = command(words).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    output
}

impl Running {
    /// Starts it, on a free port.
    pub(crate) fn start(words: &[&str]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut command = command(&[&["--listen", "127.0.0.1:0"], words].concat());
        let mut process = command.env("TMPDIR", scratch.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address =
            line.trim().strip_prefix("The page is at http://").unwrap_or_else(|| panic!("{line:?}"));
        Self { address: address.parse().unwrap(), process, stdout, scratch }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Waits until it has ended by itself; gives how, what else it had said, and where its temporary files were.
    pub(crate) fn ended(mut self) -> (ExitStatus, String, TempDir) {
        let status = ended_within(&mut self.process, PATIENCE).unwrap().expect("it does not end");
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).unwrap();
        (status, said, std::mem::replace(&mut self.scratch, tempfile::tempdir().unwrap()))
    }

    /// Sends a request as it stands.
    pub(crate) fn send(&self, request: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        let (body, host) = (body.to_string(), self.address);
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        ))
    }

    /// One of the four views.
    pub(crate) fn view(&self, of: &str, company: &str, employee: &str) -> Value {
        let mut views = self.get(&format!("/api/views?company={company}&employee={employee}")).ok().json();
        views[of].take()
    }

    /// The texts of a column in one of the views; where a cell is dead, `dead: ` and the word for it.
    pub(crate) fn column(&self, of: &str, company: &str, employee: &str, column: &str) -> Vec<String> {
        let view = self.view(of, company, employee);
        let at = view["columns"].as_array().unwrap().iter().position(|name| name == column).unwrap();
        let text = |row: &Value| match &row["cells"][at] {
            Value::Object(cell) if cell.contains_key("dead") => {
                format!("dead: {}", cell["dead"]["word"].as_str().unwrap())
            }
            Value::Object(cell) => cell.values().next().unwrap().as_str().unwrap().to_owned(),
            other => panic!("{other}"),
        };
        view["rows"].as_array().unwrap().iter().map(text).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Where it has ended already there is nothing to signal.
        let _ended = kill_process(Pid::from_child(&self.process), Signal::TERM);
        if !matches!(ended_within(&mut self.process, PATIENCE), Ok(Some(_))) {
            drop(self.process.kill());
            drop(self.process.wait());
        }
    }
}

impl Reply {
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.body);
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The words for what is wrong, and that it is this kind of mistake.
    pub(crate) fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

/// A check-in as the page sends it.
pub(crate) fn checkin(company: &str, employee: &str, name: &str, phone: &str) -> Value {
    let place = json!({ "lat": 31.2304, "lon": 121.4737 });
    let id = Uuid::now_v7();
    json!({ "id": id, "company": company, "employee": employee, "name": name, "phone": phone, "place": place })
}

/// Where nothing is left.
pub(crate) fn assert_empty(directory: &Path) {
    let left: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, Vec::<std::path::PathBuf>::new());
}
