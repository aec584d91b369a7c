//! What a command that did not succeed says, and with which exit code it ends. The codes are a contract (README, `kms --help`).
//!
//! A failure never carries a plaintext, a key or a context value.

use std::fmt;

use crate::print;

/// Characters of one line of an error.
const LONGEST_LINE: usize = 400;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// What was asked is done.
    Done = 0,
    /// It was tried and did not work; of `verify`: the certificate is invalid.
    Failed = 1,
    /// The command line, a profile or a file's layout does not fit what was asked.
    Usage = 2,
    /// Only `verify`: erased, with residual risks that are not accepted.
    Residual = 3,
    /// Only `verify`: the erasure is not complete yet.
    Pending = 4,
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
        let message = self.lines(1).concat();
        serde_json::json!({
            "error": { "reason": self.reason, "message": message, "request_id": self.request_id }
        })
    }

    /// The message in at most so many lines, each with an end.
    // ATTACK: a message can quote a file, a header or a server: it must neither steer the terminal nor fill it.
    fn lines(&self, most: usize) -> Vec<String> {
        let mut lines: Vec<&str> =
            self.message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let rest = lines.split_off(lines.len().min(most.saturating_sub(1))).join(" ");
        let said = lines.into_iter().chain((!rest.is_empty()).then_some(rest.as_str()));
        said.map(|line| print::brief(line, LONGEST_LINE)).collect()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.request_id {
            Some(id) => {
                write!(
                    f,
                    "{}\n  {}, request {}",
                    self.lines(1).concat(),
                    self.reason,
                    print::brief(id, LONGEST_LINE)
                )
            }
            None => f.write_str(&self.lines(2).join("\n  ")),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_or_two_lines_whatever_it_quotes() {
        let quoted = format!("first\n  second\u{1b}[2J\n\n third{}", "x".repeat(5_000));
        let mut failure = Failure::usage(quoted);
        let text = failure.to_string();
        assert!(text.starts_with("first\n  second\\u{1b}[2J third"), "{text}");
        assert!(text.lines().count() == 2 && text.len() < 1_000);
        failure.request_id = Some("id".into());
        let text = failure.to_string();
        assert!(text.starts_with("first second") && text.ends_with("\n  USAGE, request id"), "{text}");
        assert_eq!(text.lines().count(), 2);
        assert!(!failure.to_json()["error"]["message"].as_str().unwrap().contains('\u{1b}'));
        assert_eq!(Failure::usage("one").to_string(), "one");
    }
}
