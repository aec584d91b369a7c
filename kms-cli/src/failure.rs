//! What a command that did not succeed says, and with which exit code it ends. The codes are a contract (README, `kms --help`).
//!
//! A failure never carries a plaintext, a key or a context value.

use std::fmt;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// What was asked is done.
    Done = 0,
    /// It was tried and did not work.
    Failed = 1,
    /// The command line, a profile or a file's layout does not fit what was asked.
    Usage = 2,
    /// Policy or identity says no.
    Denied = 5,
    /// No server answered.
    Unreachable = 6,
    /// Some items failed, the rest is done.
    Partly = 7,
}

/// Why a command did not succeed, in the words of the one who typed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// A machine-readable reason, such as `KEY_NOT_ACCESSIBLE` or `USAGE`.
    pub reason: String,
    /// What happened, to what, and what to do: one or two lines.
    pub message: String,
    /// Names the call in the server's audit and logs.
    pub request_id: Option<String>,
}

impl Failure {
    /// The command was used wrongly; nothing was tried.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, "USAGE", message)
    }

    /// It was tried and did not work.
    pub fn failed(reason: &str, message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, reason, message)
    }

    /// Any other.
    pub fn new(exit: Exit, reason: &str, message: impl fmt::Display) -> Self {
        Self { exit, reason: reason.into(), message: message.to_string(), request_id: None }
    }

    /// The object that `-o json` puts on stderr.
    pub fn to_json(&self) -> serde_json::Value {
        let message = self.message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        serde_json::json!({
            "error": { "reason": self.reason, "message": message, "request_id": self.request_id }
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.request_id {
            Some(id) => write!(f, "\n  {}, request {id}", self.reason),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
