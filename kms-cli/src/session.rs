//! What every command gets: how to reach the server, and in which form to answer.

use std::{future::Future, path::PathBuf, time::Duration};

use kms_client::{Kms, Profile, Reason};
use serde_json::Value;

use crate::{
    args::Output,
    failure::{Exit, Failure},
    print,
};

/// How long a call may take: people wait longer than services do.
const DEADLINE: Duration = Duration::from_secs(30);

/// The terms of one command.
#[derive(Debug, Clone)]
pub struct Session {
    /// `--profile` or `KMS_PROFILE`.
    pub profile: Option<PathBuf>,
    /// `--purpose`: stated to policy with every use of a key.
    pub purpose: Option<String>,
    /// `-o`.
    pub output: Output,
}

impl Session {
    /// Reads the profile and connects.
    ///
    /// # Errors
    /// Where no profile was given, it does not load, or the server cannot be reached.
    pub async fn connect(&self) -> Result<Kms, Failure> {
        let kms = Kms::builder(self.profile()?).deadline(DEADLINE).connect().await?;
        Ok(kms.with_purpose(self.purpose.as_deref().unwrap_or_default()))
    }

    /// The profile.
    ///
    /// # Errors
    /// Where none was given, or it does not load.
    pub fn profile(&self) -> Result<Profile, Failure> {
        let file = self.profile.as_ref().ok_or_else(|| {
            Failure::usage(
                "no profile: give `--profile FILE` or set `KMS_PROFILE` to say where the server is and who you are\n  \
                 (`kms-server dev --data DIR` writes profiles under DIR/profiles; `kms demo` needs none)",
            )
        })?;
        Ok(Profile::load(file).map_err(kms_client::Error::from)?)
    }

    /// How long a call may wait for something to happen, and still be answered.
    pub fn longest_wait(&self) -> Duration {
        DEADLINE / 2
    }

    /// Whether programs read the answer.
    pub fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// Answers, in the form that was asked for.
    ///
    /// # Errors
    /// Where stdout is closed.
    pub fn answer(&self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        match self.output {
            Output::Json => print::json(&json()),
            Output::Table => print::line(&text()),
        }
    }
}

/// Runs a command on a runtime of its own.
///
/// # Errors
/// Those of the command.
pub fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::failed("INTERNAL", format!("cannot start: {e}")))?;
    runtime.block_on(command)
}

impl From<kms_client::Error> for Failure {
    fn from(error: kms_client::Error) -> Self {
        let exit = match error.exit_code() {
            2 => Exit::Usage,
            5 => Exit::Denied,
            6 => Exit::Unreachable,
            7 => Exit::Partly,
            _ => Exit::Failed,
        };
        let hint = match &error {
            kms_client::Error::OtherKey { sealed_under, .. } => {
                format!(" that `--key` names; give `--key {sealed_under}`")
            }
            kms_client::Error::Refused(_) if error.reason() == Some(Reason::FieldRequired) => {
                flag_of(&error.to_string())
            }
            _ => String::new(),
        };
        let request_id = error.request_id().map(str::to_owned);
        Self {
            exit,
            reason: error.reason_word().into(),
            message: print::harmless(&format!("{error}{hint}")),
            request_id,
        }
    }
}

/// The server names fields of the call; who typed knows them as flags.
fn flag_of(message: &str) -> String {
    let field =
        message.strip_prefix('`').and_then(|rest| rest.strip_suffix("` is required")).unwrap_or_default();
    match field {
        "tenant" | "key" | "table" | "column" | "reason" | "ticket" => format!("; give `--{field}`"),
        _ => String::new(),
    }
}
