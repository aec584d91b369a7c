//! What can go wrong with a token, and what to do about it. Never a PIN.

use std::{io, path::PathBuf};

use cryptoki::error::{Error, RvError};

use crate::effaceable::SecretId;

/// The token failed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The vendor's library cannot be loaded.
    #[error("`effaceable.pkcs11.module`: `{}` cannot be loaded: {why}; give the path of the PKCS #11 library of your token", path.display())]
    Module {
        /// Its path.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The library knows no token of that label.
    #[error("`effaceable.pkcs11.token`: there is no token `{label}`; the library knows {}", listed(found))]
    NoToken {
        /// The label that was asked for.
        label: String,
        /// Those that are there.
        found: Vec<String>,
    },
    /// More than one has it.
    #[error("`effaceable.pkcs11.token`: {count} tokens are called `{label}`: give each a label of its own")]
    SeveralTokens {
        /// The label.
        label: String,
        /// How many.
        count: usize,
    },
    /// The token at hand is another one than when the process started.
    #[error(
        "the token `{0}` was replaced by another while the server ran: put the first one back, and start the server again"
    )]
    Replaced(String),
    /// The file with the PIN cannot be read.
    #[error("`effaceable.pkcs11.pin_file`: cannot read `{}`: {source}", path.display())]
    PinUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read it.
    #[error("`effaceable.pkcs11.pin_file`: `{}` has mode {mode:04o}: others can reach it; make it private with `chmod 600`", path.display())]
    PinExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds nothing.
    #[error("`effaceable.pkcs11.pin_file`: `{}` is empty, too long, or no text: it holds the user PIN of the token, on one line", .0.display())]
    PinForm(PathBuf),
    /// The token does not take the PIN. It is not tried again: tokens lock themselves after a few wrong ones.
    #[error(
        "the token `{0}` refuses the PIN in `effaceable.pkcs11.pin_file`: correct the file and start the server again; it is not tried again before that"
    )]
    WrongPin(String),
    /// The token has locked itself.
    #[error("the token `{0}` has locked its user PIN: unlock it with its security officer's PIN")]
    PinLocked(String),
    /// The token can do neither of the ways to wrap.
    #[error(
        "the token `{0}` has neither AES-GCM nor AES key wrap with padding, or makes no AES keys: use another token"
    )]
    Mechanism(String),
    /// The token made a key that could leave it.
    #[error(
        "the token `{0}` made a key that it would give away ({1}): it was destroyed; use a token whose keys stay in it"
    )]
    Weak(String, &'static str),
    /// A key has the label of this instance and not its form.
    #[error(
        "the token `{0}` holds a key with the label of this instance that this server did not make: remove it with the token's tools"
    )]
    Strange(String),
    /// What the token wrapped is not what it unwraps.
    #[error("the secret of epoch {}, attempt {}, does not come out of the token `{label}` as it went in", id.epoch, id.attempt)]
    NotAuthentic {
        /// The token.
        label: String,
        /// The secret.
        id: SecretId,
    },
    /// What the token wrapped was cut or changed on its disk.
    #[error("`{}` was cut or changed: bring it back from a copy; nothing was changed", .0.display())]
    Damaged(PathBuf),
    /// A call failed.
    #[error("the token `{label}` failed: {what}")]
    Call {
        /// The token.
        label: String,
        /// The call and its return code.
        what: String,
    },
}

fn listed(found: &[String]) -> String {
    match found {
        [] => "none".into(),
        _ => found.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", "),
    }
}

impl TokenError {
    /// Of a failed call.
    pub(super) fn call(label: &str, error: &Error) -> Self {
        let label = label.to_owned();
        match error {
            Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _) => {
                Self::WrongPin(label)
            }
            Error::Pkcs11(RvError::PinLocked, _) => Self::PinLocked(label),
            // The library's own text is a paragraph of the standard; its name says as much.
            Error::Pkcs11(code, function) => Self::Call { label, what: format!("{function} says {code:?}") },
            other => Self::Call { label, what: other.to_string() },
        }
    }
}
