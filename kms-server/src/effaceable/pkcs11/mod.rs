//! The medium `pkcs11`: a key in a token for each secret, destroyed with it.
//!
//! The secret is 32 random bytes as in any medium. It lies in a file, wrapped by the token's key of its own epoch and attempt
//! (`wrapped`), so that destroying the key (`token`) is what makes it unreadable, whoever copied the file.
//!
//! ATTACK: who has the token, its PIN, the file and the seal has what is not yet destroyed. A token that keeps backups of its keys keeps them
//! after their destruction too; certificates name that as a risk.

mod error;
mod library;
mod token;
mod wrapped;

use std::path::Path;

use kms_core::{canonical::Text, id::InstanceId, secret::EpochSecret};
use subtle::ConstantTimeEq;

pub use self::{
    error::TokenError,
    library::{TokenOptions, look_at},
};
use self::{token::Token, wrapped::WrappedFiles};
use super::{
    Effaceable, EffaceableClass, EffaceableError, Evidence, MediumName, SLOTS, SecretId, Worth,
    media::KeptElsewhere,
};

/// The token, and what it wrapped.
pub struct TokenMedium {
    token: Token,
    files: WrappedFiles,
}

impl TokenMedium {
    /// Opens the token, and the directory for what it wraps: a new medium and an old one alike.
    ///
    /// # Errors
    /// Where the token cannot be used, or another process has the directory.
    pub fn open(
        directory: &Path,
        options: TokenOptions,
        instance: InstanceId,
    ) -> Result<Self, EffaceableError> {
        let files = WrappedFiles::open(directory, instance)?;
        Ok(Self { token: Token::open(options, instance)?, files })
    }

    /// What destroying a key here is worth.
    pub fn worth(&self) -> Worth {
        self.token.worth()
    }

    fn destroy(&mut self, keep: Option<SecretId>) -> Result<Evidence, EffaceableError> {
        let effaced: Vec<_> = self.list()?.into_iter().filter(|id| Some(*id) != keep).collect();
        for id in &effaced {
            self.token.destroy(*id)?;
        }
        if self.token.keys_in_a_new_session()?.iter().any(|id| Some(*id) != keep) {
            return Err(EffaceableError::StillThere);
        }
        // ORDER: after the keys: while one is there its file is needed to tell what opens the store.
        self.files.remove_except(keep)?;
        let technique = format!(
            "the non-extractable AES-256 key in the token that wrapped the secret ({}) was destroyed with C_DestroyObject",
            self.token.how.words()
        );
        let Worth { class, assurance, media } = self.worth();
        Ok(Evidence {
            effaced,
            class,
            assurance,
            technique: Text::lossy(&technique),
            media,
            verification: Text::lossy(match keep {
                Some(_) => "a new session found no key of this key centre in the token but the one in force",
                None => "a new session found no key of this key centre in the token",
            }),
        })
    }
}

impl Effaceable for TokenMedium {
    fn class(&self) -> EffaceableClass {
        EffaceableClass::Token
    }

    fn name(&self) -> MediumName {
        let (serial, label) = (self.token.identity.serial.clone(), self.token.label().to_owned());
        let id = if serial.is_empty() { label.clone() } else { serial };
        MediumName { kind: "pkcs11".into(), id, place: label }
    }

    fn prepare(&mut self, id: SecretId, secret: &EpochSecret) -> Result<(), EffaceableError> {
        let there = self.list()?;
        if there.contains(&id) {
            return Err(EffaceableError::There(id));
        }
        if there.len() >= SLOTS {
            return Err(EffaceableError::Full);
        }
        // ORDER: a crash after this leaves a key without a file: it is listed, opens nothing, and is destroyed with the next effacement.
        self.token.generate(id)?;
        let wrapped = self.token.wrap(id, secret)?;
        self.files.put(id, &wrapped)?;
        match self.read(id)? {
            Some(back) if back.expose_secret().ct_eq(secret.expose_secret()).into() => Ok(()),
            _ => Err(self.token.not_authentic(id).into()),
        }
    }

    fn read(&self, id: SecretId) -> Result<Option<EpochSecret>, EffaceableError> {
        if !self.token.keys()?.contains(&id) {
            return Ok(None);
        }
        let wrapped = self.files.get(id)?;
        Ok(wrapped.map(|wrapped| self.token.unwrap(id, &wrapped)).transpose()?)
    }

    fn list(&self) -> Result<Vec<SecretId>, EffaceableError> {
        Ok(self.token.keys()?)
    }

    fn efface_except(&mut self, keep: SecretId) -> Result<Evidence, EffaceableError> {
        match self.read(keep) {
            Ok(Some(_)) => self.destroy(Some(keep)),
            Ok(None) => Err(EffaceableError::NothingKept(keep)),
            Err(error) => Err(error),
        }
    }

    fn efface_all(&mut self, _: &KeptElsewhere) -> Result<Evidence, EffaceableError> {
        self.destroy(None)
    }
}
