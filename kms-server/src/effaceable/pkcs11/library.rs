//! The vendor's library, and what is found through it before anyone logs in: which token, what it is, what it can do.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::MechanismType,
    slot::Slot,
    types::AuthPin,
};
use kms_core::canonical::Text;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::error::TokenError;
use crate::effaceable::{EffaceableClass, Worth};

/// Longest PIN that is read.
const PIN: u64 = 256;

/// Which token, and how to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenOptions {
    /// The vendor's library.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// File with the user PIN, for its owner's eyes only.
    pub pin_file: PathBuf,
}

/// How the token's key wraps a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrapping {
    /// AES-GCM, by C_Encrypt.
    Gcm,
    /// AES key wrap with padding (RFC 5649), by C_WrapKey of a session object.
    KeyWrap,
}

impl Wrapping {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Gcm => 1,
            Self::KeyWrap => 2,
        }
    }

    pub(super) fn of_number(number: u8) -> Option<Self> {
        [Self::Gcm, Self::KeyWrap].into_iter().find(|how| how.number() == number)
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Gcm => "AES-GCM",
            Self::KeyWrap => "AES key wrap with padding",
        }
    }
}

/// What names a token among all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) maker: String,
    pub(super) model: String,
    pub(super) serial: String,
    pub(super) firmware: String,
    /// Whether the slot says that a device is behind it.
    pub(super) hardware: bool,
}

/// What a token would be worth. Does not log in, so that a wrong PIN costs no try.
///
/// # Errors
/// Where it could not be used.
pub fn look_at(options: &TokenOptions) -> Result<Worth, TokenError> {
    let library = module(&options.module)?;
    let slot = slot(&library, &options.token)?;
    wrapping(&library, slot, &options.token)?;
    pin(&options.pin_file)?;
    Ok(worth(&options.token, &identity(&library, slot, &options.token)?))
}

pub(super) fn worth(label: &str, identity: &Identity) -> Worth {
    let Identity { maker, model, serial, firmware, .. } = identity;
    let assurance = match software(identity) {
        Some(Software::SoftHsm) => {
            "software token (SoftHSM v2): a test double, which only unlinks a file when it destroys a key"
        }
        Some(Software::Other) => {
            "software token: nothing says that a device is behind it, and what becomes of the bytes of a destroyed key is not known"
        }
        None => {
            "the token says that the key never could leave it and is destroyed; whether it keeps a backup is for its operator to say"
        }
    };
    let media = format!("PKCS #11 token {label}: {maker} {model}, serial {serial}, firmware {firmware}");
    Worth { class: EffaceableClass::Token, assurance: Text::lossy(assurance), media: Text::lossy(&media) }
}

/// Loads a library once for the life of the process: many of them do not survive being unloaded.
pub(super) fn module(path: &Path) -> Result<Pkcs11, TokenError> {
    static LOADED: OnceLock<Mutex<BTreeMap<PathBuf, Pkcs11>>> = OnceLock::new();
    let mut loaded = LOADED.get_or_init(Mutex::default).lock();
    if let Some(library) = loaded.get(path) {
        return Ok(library.clone());
    }
    let failed = |error: Error| TokenError::Module { path: path.into(), why: error.to_string() };
    let library = Pkcs11::new(path).map_err(failed)?;
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(failed(error)),
    }
    loaded.insert(path.into(), library.clone());
    Ok(library)
}

pub(super) fn slot(library: &Pkcs11, label: &str) -> Result<Slot, TokenError> {
    let call = |error| TokenError::call(label, &error);
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for slot in library.get_slots_with_initialized_token().map_err(call)? {
        let info = library.get_token_info(slot).map_err(call)?;
        match info.label() == label {
            true => found.push(slot),
            false => others.push(info.label().to_owned()),
        }
    }
    match found.as_slice() {
        [slot] => Ok(*slot),
        [] => Err(TokenError::NoToken { label: label.into(), found: others }),
        several => Err(TokenError::SeveralTokens { label: label.into(), count: several.len() }),
    }
}

pub(super) fn identity(library: &Pkcs11, slot: Slot, label: &str) -> Result<Identity, TokenError> {
    let call = |error| TokenError::call(label, &error);
    let token = library.get_token_info(slot).map_err(call)?;
    let hardware = library.get_slot_info(slot).map_err(call)?.hardware_slot();
    Ok(Identity {
        maker: token.manufacturer_id().to_owned(),
        model: token.model().to_owned(),
        serial: token.serial_number().to_owned(),
        firmware: token.firmware_version().to_string(),
        hardware,
    })
}

pub(super) fn wrapping(library: &Pkcs11, slot: Slot, label: &str) -> Result<Wrapping, TokenError> {
    // Both are asked: some libraries describe mechanisms that they were told not to offer.
    let offered = library.get_mechanism_list(slot).map_err(|error| TokenError::call(label, &error))?;
    let info = |mechanism| {
        let offered = offered.contains(&mechanism);
        offered.then(|| library.get_mechanism_info(slot, mechanism).ok()).flatten()
    };
    let makes_keys = info(MechanismType::AES_KEY_GEN).is_some_and(|info| info.generate());
    let gcm = info(MechanismType::AES_GCM).is_some_and(|info| info.encrypt() && info.decrypt());
    let key_wrap = info(MechanismType::AES_KEY_WRAP_PAD).is_some_and(|info| info.wrap() && info.unwrap());
    match (makes_keys, gcm, key_wrap) {
        (true, true, _) => Ok(Wrapping::Gcm),
        (true, false, true) => Ok(Wrapping::KeyWrap),
        _ => Err(TokenError::Mechanism(label.into())),
    }
}

pub(super) fn pin(path: &Path) -> Result<AuthPin, TokenError> {
    let unreadable = |source| TokenError::PinUnreadable { path: path.into(), source };
    let file = File::open(path).map_err(unreadable)?;
    // The opened file is asked, not the path, which may by now name another.
    let mode = file.metadata().map_err(unreadable)?.mode();
    if mode & 0o077 != 0 {
        return Err(TokenError::PinExposed { path: path.into(), mode: mode & 0o7777 });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(512));
    file.take(PIN + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    match std::str::from_utf8(&bytes).map(str::trim_end) {
        Ok(pin) if !pin.is_empty() && bytes.len() as u64 <= PIN => Ok(AuthPin::new(pin.into())),
        _ => Err(TokenError::PinForm(path.into())),
    }
}

/// Programs that look like tokens.
enum Software {
    SoftHsm,
    Other,
}

fn software(identity: &Identity) -> Option<Software> {
    let names = [&identity.maker, &identity.model].map(|name| name.to_ascii_lowercase());
    let named = |name: &str| names.iter().any(|known| known.contains(name));
    if named("softhsm") {
        return Some(Software::SoftHsm);
    }
    let known =
        ["nss", "mozilla", "kryoptic", "opencryptoki soft", "soft token"].iter().any(|name| named(name));
    (known || !identity.hardware).then_some(Software::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(maker: &str, model: &str, hardware: bool) -> Identity {
        let (serial, firmware) = ("1".to_owned(), "1.0".to_owned());
        Identity { maker: maker.into(), model: model.into(), serial, firmware, hardware }
    }

    #[test]
    fn what_claims_no_device_is_software_and_so_is_what_is_known_to_be() {
        assert!(software(&identity("Example", "HSM 9000", true)).is_none());
        assert!(matches!(software(&identity("Example", "HSM 9000", false)), Some(Software::Other)));
        assert!(matches!(software(&identity("Kryoptic", "Token", true)), Some(Software::Other)));
        assert!(matches!(
            software(&identity("SoftHSM project", "SoftHSM v2", true)),
            Some(Software::SoftHsm)
        ));
    }
}
