//! A headless Chromium of a test's own, where it is installed, driven as a person would: keys, mouse, what is to be seen. Speaks its
//! DevTools protocol (<https://chromedevtools.github.io/devtools-protocol/>) over two pipes, so that no port is open.

use std::{
    collections::VecDeque,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kms_cli::own_server::ended_within;
use rustix::process::geteuid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::services::{program, skip};

/// Longer than anything that is waited for takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running browser with one page. Gone when dropped.
#[derive(Debug)]
pub struct Browser {
    process: Child,
    directory: TempDir,
    commands: Option<ChildStdin>,
    messages: Receiver<Value>,
    events: VecDeque<Value>,
    /// Names the page in what is said.
    session: Option<String>,
    last: u64,
}

impl Browser {
    /// Starts it. Where Chromium is not installed the test is skipped, and fails where services are required.
    pub fn start() -> Option<Self> {
        let Some(chromium) = ["chromium", "chromium-browser"].iter().find_map(|name| program(name, &[]))
        else {
            skip("Chromium is not installed");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        // It reads commands from file descriptor 3 and answers on 4.
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1"]).arg(chromium);
        command.args(["--headless", "--remote-debugging-pipe", "--disable-gpu", "--disable-dev-shm-usage"]);
        command.args(["--no-first-run", "--disable-background-networking", "--disable-component-update"]);
        // Nothing leaves the machine.
        command.arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1");
        if geteuid().is_root() {
            // Its sandbox refuses to run as root; what it shows is our own.
            command.arg("--no-sandbox");
        }
        command.arg(format!("--user-data-dir={}", directory.path().join("profile").display()));
        command.env("HOME", directory.path()).env("LANG", "en_GB.UTF-8");
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).split(0).map_while(Result::ok);
        let (heard, messages) = mpsc::channel();
        thread::spawn(move || {
            answers.for_each(|message| drop(heard.send(serde_json::from_slice(&message).unwrap())));
        });
        let commands = process.stdin.take();
        let (events, session) = (VecDeque::new(), None);
        let mut browser = Self { process, directory, commands, messages, events, session, last: 0 };
        let page = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach);
        let downloads =
            json!({ "behavior": "allow", "downloadPath": browser.downloads(), "eventsEnabled": true });
        browser.call("Browser.setDownloadBehavior", downloads);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, json!({}));
        }
        Some(browser)
    }

    /// Goes to a page and waits until it is there.
    pub fn open(&mut self, url: &str) {
        self.events.retain(|event| event["method"] != "Page.loadEventFired");
        let gone = self.call("Page.navigate", json!({ "url": url }));
        assert_eq!(gone["errorText"], Value::Null, "{url}");
        self.event("Page.loadEventFired", |_| true);
    }

    /// The value of an expression; of a promise, what it comes to.
    pub fn value(&mut self, expression: &str) -> Value {
        let how = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", how);
        assert_eq!(answer["exceptionDetails"], Value::Null, "{expression}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression holds; it is asked again whenever the page changes.
    pub fn wait_until(&mut self, expression: &str) {
        let patience = PATIENCE.as_millis() / 2;
        let holds = self.value(&format!(
            "new Promise(done => {{
                const look = () => {{ if ({expression}) end(null); }};
                const end = why => {{ observer.disconnect(); clearTimeout(timer); done(why); }};
                const observer = new MutationObserver(look);
                const timer = setTimeout(() => end(document.body.innerText), {patience});
                const all = {{ subtree: true, childList: true, attributes: true, characterData: true }};
                observer.observe(document, all);
                look();
            }})"
        ));
        assert_eq!(holds, Value::Null, "not so: {expression}");
    }

    /// Clicks in the middle of an element.
    pub fn click(&mut self, selector: &str) {
        let place = self.value(&format!(
            "(() => {{
                const element = document.querySelector({selector:?});
                element.scrollIntoView({{ block: 'center' }});
                const {{ x, y, width, height }} = element.getBoundingClientRect();
                return {{ x: x + width / 2, y: y + height / 2 }};
            }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let click =
                json!({ "type": kind, "x": place["x"], "y": place["y"], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", click);
        }
    }

    /// Presses a key: `Tab`, `Enter`.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            other => panic!("no key `{other}` is known here"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Types over what the field that has the focus holds.
    pub fn type_over(&mut self, text: &str) {
        self.value("document.activeElement.select()");
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Waits for a download that was begun; gives its file.
    pub fn downloaded(&mut self) -> PathBuf {
        let begun = self.event("Browser.downloadWillBegin", |_| true);
        self.event("Browser.downloadProgress", |progress| progress["state"] == "completed");
        self.downloads().join(begun["suggestedFilename"].as_str().unwrap())
    }

    /// The window's size in pixels, and whether its user prefers dark.
    pub fn show_as(&mut self, width: u32, height: u32, dark: bool) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!({ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } });
        self.call("Emulation.setEmulatedMedia", json!({ "features": [scheme] }));
    }

    /// A picture of the whole page, as PNG.
    pub fn picture(&mut self, file: &Path) {
        let taken = self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        fs::write(file, STANDARD.decode(taken["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    /// What the console complained of since it was last asked: errors and warnings of scripts, of loading, of policies.
    pub fn complaints(&mut self) -> Vec<String> {
        // What the page did before is told before this is answered.
        self.value("null");
        let mut complaints = Vec::new();
        self.events.retain(|event| {
            let (method, what) = (event["method"].as_str().unwrap(), &event["params"]);
            let kind = [&what["type"], &what["entry"]["level"]].into_iter().find_map(Value::as_str);
            let about = match method {
                "Runtime.exceptionThrown" => true,
                "Runtime.consoleAPICalled" => matches!(kind, Some("error" | "warning" | "assert")),
                "Log.entryAdded" => matches!(kind, Some("error" | "warning")),
                _ => false,
            };
            if about {
                complaints.push(what.to_string());
            }
            !about
        });
        complaints
    }

    fn downloads(&self) -> PathBuf {
        self.directory.path().join("downloads")
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let id = self.last;
        let mut command = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        let commands = self.commands.as_mut().unwrap();
        commands.write_all(format!("{command}\0").as_bytes()).unwrap();
        loop {
            let mut message = self.next();
            if message["id"] == id {
                assert_eq!(message["error"], Value::Null, "{method}");
                return message["result"].take();
            }
            self.events.push_back(message);
        }
    }

    /// Waits for an event that fits, and takes it away.
    fn event(&mut self, method: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let right = |event: &Value| event["method"] == method && fits(&event["params"]);
        if let Some(at) = self.events.iter().position(right) {
            return self.events.remove(at).unwrap()["params"].take();
        }
        loop {
            let mut message = self.next();
            if right(&message) {
                return message["params"].take();
            }
            self.events.push_back(message);
        }
    }

    fn next(&mut self) -> Value {
        self.messages.recv_timeout(PATIENCE).expect("the browser says nothing")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends when nobody commands it any more.
        drop(self.commands.take());
        if !matches!(ended_within(&mut self.process, PATIENCE), Ok(Some(_))) {
            drop(self.process.kill());
            drop(self.process.wait());
        }
    }
}
