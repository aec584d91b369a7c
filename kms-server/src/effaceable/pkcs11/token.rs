//! A token by way of its vendor's library: one AES key for each secret, which never leaves it.
//!
//! PKCS #11 v2.40 (OASIS). Keys have the label `kms INSTANCE` and the id `epoch u64 || attempt`, so that instances that share a token
//! find their own. Calls block.

use std::{
    cell::{Cell, RefCell},
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
    mechanism::{Mechanism, MechanismType, aead::GcmParams},
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::{AuthPin, Ulong},
};
use kms_core::{
    canonical::Text,
    id::{Attempt, Epoch, InstanceId},
    secret::EpochSecret,
};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::{error::TokenError, wrapped::Wrapped};
use crate::effaceable::{EffaceableClass, SecretId, Worth};

/// Longest PIN that is read.
const PIN: u64 = 256;
const TAG_BITS: u64 = 128;

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

/// A token, logged in.
pub(super) struct Token {
    library: Pkcs11,
    options: TokenOptions,
    instance: InstanceId,
    pub(super) identity: Identity,
    pub(super) how: Wrapping,
    /// Closed after a call that failed, for the token may have been away; the next call opens one anew.
    session: RefCell<Option<Session>>,
    /// A PIN that was refused once is not tried again.
    refused: Cell<bool>,
}

impl Token {
    pub(super) fn open(options: TokenOptions, instance: InstanceId) -> Result<Self, TokenError> {
        let library = module(&options.module)?;
        let slot = slot(&library, &options.token)?;
        let identity = identity(&library, slot, &options.token)?;
        let how = wrapping(&library, slot, &options.token)?;
        let (session, refused) = (RefCell::new(None), Cell::new(false));
        let token = Self { library, options, instance, identity, how, session, refused };
        token.with(|_| Ok(()))?;
        Ok(token)
    }

    pub(super) fn label(&self) -> &str {
        &self.options.token
    }

    /// What destroying a key here is worth.
    pub(super) fn worth(&self) -> Worth {
        worth(self.label(), &self.identity)
    }

    /// The keys of this instance.
    pub(super) fn keys(&self) -> Result<Vec<SecretId>, TokenError> {
        let found = self.with(|session| self.found(session))?;
        let ids: Option<Vec<_>> = found.into_iter().map(|(_, id)| parse(&id)).collect();
        let mut ids = ids.ok_or_else(|| TokenError::Strange(self.label().into()))?;
        ids.sort_unstable();
        Ok(ids)
    }

    /// The same, seen by a session that was opened for this alone.
    pub(super) fn keys_in_a_new_session(&self) -> Result<Vec<SecretId>, TokenError> {
        self.session.replace(None);
        self.keys()
    }

    /// Makes the key of a secret, and looks whether it is one that stays in the token.
    pub(super) fn generate(&self, id: SecretId) -> Result<(), TokenError> {
        let gcm = self.how == Wrapping::Gcm;
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::ValueLen(Ulong::new(32)),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(gcm),
            Attribute::Decrypt(gcm),
            Attribute::Wrap(!gcm),
            Attribute::Unwrap(!gcm),
            Attribute::Label(self.key_label()),
            Attribute::Id(key_id(id)),
        ];
        let weak = self.with(|session| {
            let key = session.generate_key(&Mechanism::AesKeyGen, &template)?;
            let weak = weakness(session, key)?;
            if weak.is_some() {
                session.destroy_object(key)?;
            }
            Ok(weak)
        })?;
        match weak {
            Some(weak) => Err(TokenError::Weak(self.label().into(), weak)),
            None => Ok(()),
        }
    }

    /// Wraps a secret under its key.
    pub(super) fn wrap(&self, id: SecretId, secret: &EpochSecret) -> Result<Wrapped, TokenError> {
        let mut iv = [0; 12];
        getrandom::fill(&mut iv).map_err(|error| self.failed(&error.to_string()))?;
        let aad = self.aad(id);
        let ciphertext = self.with(|session| {
            let key = self.key(session, id)?;
            match self.how {
                Wrapping::Gcm => {
                    // Some tokens write into the vector that they are given.
                    let mut vector = iv;
                    let parameters = GcmParams::new(&mut vector, &aad, Ulong::new(TAG_BITS))?;
                    let sealed =
                        session.encrypt(&Mechanism::AesGcm(parameters), key, secret.expose_secret())?;
                    if vector == iv { Ok(sealed) } else { Err(Error::NotSupported) }
                }
                Wrapping::KeyWrap => {
                    let mut template = session_key();
                    template.push(Attribute::Value(secret.expose_secret().to_vec()));
                    let object = session.create_object(&template)?;
                    let wrapped = session.wrap_key(&Mechanism::AesKeyWrapPad, key, object);
                    session.destroy_object(object)?;
                    wrapped
                }
            }
        })?;
        Ok(Wrapped { how: self.how, iv, ciphertext })
    }

    /// Unwraps it again.
    pub(super) fn unwrap(&self, id: SecretId, wrapped: &Wrapped) -> Result<EpochSecret, TokenError> {
        let aad = self.aad(id);
        let opened = self.with(|session| {
            let key = self.key(session, id)?;
            match wrapped.how {
                Wrapping::Gcm => {
                    let mut iv = wrapped.iv;
                    let parameters = GcmParams::new(&mut iv, &aad, Ulong::new(TAG_BITS))?;
                    session
                        .decrypt(&Mechanism::AesGcm(parameters), key, &wrapped.ciphertext)
                        .map(Zeroizing::new)
                }
                Wrapping::KeyWrap => {
                    let (mechanism, template) = (Mechanism::AesKeyWrapPad, session_key());
                    let object = session.unwrap_key(&mechanism, key, &wrapped.ciphertext, &template)?;
                    let value = session.get_attributes(object, &[AttributeType::Value]);
                    session.destroy_object(object)?;
                    match value?.pop() {
                        Some(Attribute::Value(value)) => Ok(Zeroizing::new(value)),
                        _ => Err(Error::InvalidValue),
                    }
                }
            }
        })?;
        EpochSecret::copied_from(&opened).ok_or_else(|| self.not_authentic(id))
    }

    pub(super) fn not_authentic(&self, id: SecretId) -> TokenError {
        TokenError::NotAuthentic { label: self.label().into(), id }
    }

    /// Destroys the key of a secret; one that is not there is destroyed already.
    pub(super) fn destroy(&self, id: SecretId) -> Result<(), TokenError> {
        self.with(|session| {
            let found = self.found(session)?.into_iter().filter(|(_, there)| *there == key_id(id));
            for (key, _) in found {
                session.destroy_object(key)?;
            }
            Ok(())
        })
    }

    fn found(&self, session: &Session) -> Result<Vec<(ObjectHandle, Vec<u8>)>, Error> {
        let ours = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Token(true),
            Attribute::Label(self.key_label()),
        ];
        let keys = session.find_objects(&ours)?.into_iter();
        keys.map(|key| match session.get_attributes(key, &[AttributeType::Id])?.pop() {
            Some(Attribute::Id(id)) => Ok((key, id)),
            _ => Ok((key, Vec::new())),
        })
        .collect()
    }

    fn key(&self, session: &Session, id: SecretId) -> Result<ObjectHandle, Error> {
        let found = self.found(session)?.into_iter().find(|(_, there)| *there == key_id(id));
        found.map(|(key, _)| key).ok_or(Error::InvalidValue)
    }

    fn key_label(&self) -> Vec<u8> {
        format!("kms {}", self.instance).into_bytes()
    }

    fn aad(&self, id: SecretId) -> Vec<u8> {
        [b"kms/token-wrap/v1".as_slice(), &self.instance.0, &key_id(id)].concat()
    }

    fn failed(&self, what: &str) -> TokenError {
        TokenError::Call { label: self.label().into(), what: what.into() }
    }

    /// Runs calls in a session that is logged in.
    fn with<T>(&self, calls: impl FnOnce(&Session) -> Result<T, Error>) -> Result<T, TokenError> {
        let mut session = self.session.borrow_mut();
        let open = match session.take() {
            Some(open) => open,
            None => self.log_in()?,
        };
        let done = calls(&open).map_err(|error| TokenError::call(self.label(), &error))?;
        *session = Some(open);
        Ok(done)
    }

    fn log_in(&self) -> Result<Session, TokenError> {
        let label = self.label();
        if self.refused.get() {
            return Err(TokenError::WrongPin(label.into()));
        }
        let slot = slot(&self.library, label)?;
        if identity(&self.library, slot, label)? != self.identity {
            return Err(TokenError::Replaced(label.into()));
        }
        let call = |error| TokenError::call(label, &error);
        let session = self.library.open_rw_session(slot).map_err(call)?;
        let pin = pin(&self.options.pin_file)?;
        match session.login(UserType::User, Some(&pin)) {
            // A login holds for all sessions of the process.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => {
                let error = call(error);
                self.refused.set(matches!(error, TokenError::WrongPin(_) | TokenError::PinLocked(_)));
                Err(error)
            }
        }
    }
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

fn worth(label: &str, identity: &Identity) -> Worth {
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
fn module(path: &Path) -> Result<Pkcs11, TokenError> {
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

fn slot(library: &Pkcs11, label: &str) -> Result<Slot, TokenError> {
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

fn identity(library: &Pkcs11, slot: Slot, label: &str) -> Result<Identity, TokenError> {
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

fn wrapping(library: &Pkcs11, slot: Slot, label: &str) -> Result<Wrapping, TokenError> {
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

fn pin(path: &Path) -> Result<AuthPin, TokenError> {
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

/// A secret as a session object, which the token may give back; gone with the session at the latest.
fn session_key() -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Token(false),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ]
}

/// What the token did otherwise than it was asked, where that lets the key out of it.
fn weakness(session: &Session, key: ObjectHandle) -> Result<Option<&'static str>, Error> {
    let attributes = session.get_attributes(
        key,
        &[
            AttributeType::Sensitive,
            AttributeType::AlwaysSensitive,
            AttributeType::Extractable,
            AttributeType::NeverExtractable,
            AttributeType::Local,
        ],
    )?;
    let has = |attribute: &Attribute| attributes.contains(attribute);
    Ok(match () {
        () if !has(&Attribute::Sensitive(true)) || !has(&Attribute::AlwaysSensitive(true)) => {
            Some("it is not sensitive")
        }
        () if !has(&Attribute::Extractable(false)) || !has(&Attribute::NeverExtractable(true)) => {
            Some("it is extractable")
        }
        () if !has(&Attribute::Local(true)) => Some("it was not made in the token"),
        () => None,
    })
}

fn key_id(id: SecretId) -> Vec<u8> {
    [&id.epoch.0.to_be_bytes()[..], &id.attempt.0].concat()
}

fn parse(bytes: &[u8]) -> Option<SecretId> {
    let (epoch, attempt) = bytes.split_first_chunk::<8>()?;
    Some(SecretId { epoch: Epoch(u64::from_be_bytes(*epoch)), attempt: Attempt(attempt.try_into().ok()?) })
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

    #[test]
    fn a_key_id_is_read_back_and_no_other_length_is() {
        let id = SecretId { epoch: Epoch(0x0102), attempt: Attempt([9; 16]) };
        assert_eq!(parse(&key_id(id)), Some(id));
        for length in [0, 8, 23, 25] {
            assert_eq!(parse(&vec![1; length]), None);
        }
    }
}
