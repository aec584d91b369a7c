//! A token by way of its vendor's library: one AES key for each secret, which never leaves it.
//!
//! PKCS #11 v2.40 (OASIS). Keys have the label `kms INSTANCE` and the id `epoch u64 || attempt`, so that instances that share a token
//! find their own. Calls block.

use std::cell::{Cell, RefCell};

use cryptoki::{
    context::Pkcs11,
    error::{Error, RvError},
    mechanism::{Mechanism, aead::GcmParams},
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    types::Ulong,
};
use kms_core::{
    id::{Attempt, Epoch, InstanceId},
    secret::EpochSecret,
};
use zeroize::Zeroizing;

use super::{
    error::TokenError,
    library::{self, Identity, TokenOptions, Wrapping},
    wrapped::Wrapped,
};
use crate::effaceable::{SecretId, Worth};

const TAG_BITS: u64 = 128;

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
        let loaded = library::module(&options.module)?;
        let slot = library::slot(&loaded, &options.token)?;
        let identity = library::identity(&loaded, slot, &options.token)?;
        let how = library::wrapping(&loaded, slot, &options.token)?;
        let (session, refused) = (RefCell::new(None), Cell::new(false));
        let token = Self { library: loaded, options, instance, identity, how, session, refused };
        token.with(|_| Ok(()))?;
        Ok(token)
    }

    pub(super) fn label(&self) -> &str {
        &self.options.token
    }

    /// What destroying a key here is worth.
    pub(super) fn worth(&self) -> Worth {
        library::worth(self.label(), &self.identity)
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
        let slot = library::slot(&self.library, label)?;
        if library::identity(&self.library, slot, label)? != self.identity {
            return Err(TokenError::Replaced(label.into()));
        }
        let call = |error| TokenError::call(label, &error);
        let session = self.library.open_rw_session(slot).map_err(call)?;
        let pin = library::pin(&self.options.pin_file)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_id_is_read_back_and_no_other_length_is() {
        let id = SecretId { epoch: Epoch(0x0102), attempt: Attempt([9; 16]) };
        assert_eq!(parse(&key_id(id)), Some(id));
        for length in [0, 8, 23, 25] {
            assert_eq!(parse(&vec![1; length]), None);
        }
    }
}
