//! The effaceable medium that the configuration names.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _};

use kms_core::id::InstanceId;

use crate::{
    config::{EffaceableConfig, MediumKind},
    effaceable::{
        Effaceable, EffaceableError,
        file::FileMedium,
        pkcs11::{self, TokenMedium, TokenOptions},
    },
};

/// Says whether one can be made, before anything is.
pub(super) fn check(config: &EffaceableConfig) -> Result<(), EffaceableError> {
    match &config.kind {
        MediumKind::File(terms) => match FileMedium::look_at(&config.file(), *terms)?.unsuitable {
            Some(why) if !terms.accept_unsuitable => {
                Err(EffaceableError::Unsuitable { path: config.file(), why })
            }
            _ => Ok(()),
        },
        MediumKind::Pkcs11(options) => Ok(pkcs11::look_at(options).map(drop)?),
    }
}

/// Makes a new one.
pub(super) fn create(
    config: &EffaceableConfig,
    id: InstanceId,
) -> Result<Box<dyn Effaceable>, EffaceableError> {
    DirBuilder::new().recursive(true).mode(0o700).create(&config.path)?;
    match &config.kind {
        MediumKind::File(terms) => Ok(Box::new(said(FileMedium::create_on(&config.file(), id, *terms)?)?)),
        MediumKind::Pkcs11(options) => token(config, options, id),
    }
}

/// Opens one that is there.
pub(super) fn open(
    config: &EffaceableConfig,
    id: InstanceId,
) -> Result<Box<dyn Effaceable>, EffaceableError> {
    match &config.kind {
        MediumKind::File(terms) => Ok(Box::new(said(FileMedium::open_on(&config.file(), id, *terms)?)?)),
        MediumKind::Pkcs11(options) => token(config, options, id),
    }
}

/// Opens the one that the instance passes to; makes it, unless an earlier try did.
pub(super) fn open_or_create(
    config: &EffaceableConfig,
    id: InstanceId,
) -> Result<Box<dyn Effaceable>, EffaceableError> {
    match open(config, id) {
        Err(EffaceableError::Missing(_)) => create(config, id),
        opened => opened,
    }
}

fn said(medium: FileMedium) -> Result<FileMedium, EffaceableError> {
    tracing::info!("effaceable medium: {}", medium.worth()?);
    Ok(medium)
}

fn token(
    config: &EffaceableConfig,
    options: &TokenOptions,
    id: InstanceId,
) -> Result<Box<dyn Effaceable>, EffaceableError> {
    let medium = TokenMedium::open(&config.path.join("token-secrets"), options.clone(), id)?;
    tracing::info!("effaceable medium: {}", medium.worth());
    Ok(Box::new(medium))
}
