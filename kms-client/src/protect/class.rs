//! Compares the class that a column declares with the class that its key is of, as far as the server has said it.

use kms_core::names::TenantName;

use super::Layout;
use crate::{Error, Kms};

/// Columns whose present key is of another class than they declare. Nothing is said of a key that this client was never leased.
pub(super) fn differing(kms: &Kms, layout: &Layout, tenant: &TenantName) -> Vec<(usize, Error)> {
    let differs = |(at, column): (usize, &super::layout::LaidColumn)| {
        let (declared, key) = (column.class?, &layout.keys[column.now.key]);
        let actual = kms.shared.leases.class_of(tenant, key).filter(|actual| *actual != declared)?;
        Some((at, Error::OtherClass { key: key.clone().into(), declared, actual }))
    };
    layout.columns.iter().enumerate().filter_map(differs).collect()
}
