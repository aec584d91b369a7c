//! Who may do what: a list in place of the real server's policies.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
};

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What a client can be allowed to do, in the words of policies.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Operation { $($(#[$doc])* $name),* }

        impl Operation {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The operation's word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }
        }
    };
}

operations!(
    /// Have the server seal values.
    Encrypt,
    /// Have the server open values.
    Decrypt,
    /// Have the server seal values again that it does not show.
    ReEncrypt,
    /// Make envelope keys.
    GenerateDataKey,
    /// Be leased data keys to seal with.
    LeaseToSeal,
    /// Be leased data keys to open with, and index keys.
    LeaseToOpen,
    /// Random bytes.
    GenerateRandom,
    /// See masked forms.
    Reveal,
    /// Create a tenant.
    CreateTenant,
    /// See one tenant.
    DescribeTenant,
    /// See the names of tenants.
    ListTenants,
    /// Change a tenant's label.
    UpdateTenant,
    /// Stop every key of a tenant.
    SuspendTenant,
    /// Undo that.
    ResumeTenant,
    /// Destroy a tenant with all its keys.
    DestroyTenant,
    /// Create a key.
    CreateKey,
    /// See that subjects of a family have keys.
    EnsureSubjects,
    /// See one key and its versions.
    DescribeKey,
    /// See the names of a tenant's keys.
    ListKeys,
    /// Change a key's lease, rotation period, purposes.
    UpdateKey,
    /// Make a new active version.
    RotateKey,
    /// Stop a key.
    SuspendKey,
    /// Undo that.
    ResumeKey,
    /// Destroy a version or all.
    DestroyKey,
    /// See which masks are declared.
    ExplainPolicy,
);

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a client may do: some operations, on some tenants, with some keys. What a list leaves out it may not.
///
/// The real server decides by policies, which can say more; test those with `kms policy test`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    operations: BTreeSet<Operation>,
    tenants: Option<BTreeSet<String>>,
    keys: Option<BTreeSet<String>>,
}

impl Rights {
    /// These operations and no others, on every tenant and with every key.
    pub fn to(operations: impl IntoIterator<Item = Operation>) -> Self {
        Self { operations: operations.into_iter().collect(), tenants: None, keys: None }
    }

    /// Every operation.
    pub fn all() -> Self {
        Self::to(Operation::ALL.iter().copied())
    }

    /// None whatever.
    pub fn none() -> Self {
        Self::to([])
    }

    /// On these tenants only.
    #[must_use]
    pub fn on_tenants<T: Into<String>>(mut self, tenants: impl IntoIterator<Item = T>) -> Self {
        self.tenants = Some(tenants.into_iter().map(Into::into).collect());
        self
    }

    /// With these keys only, where an operation is on a key. Of a subject's key the family counts.
    #[must_use]
    pub fn on_keys<T: Into<String>>(mut self, keys: impl IntoIterator<Item = T>) -> Self {
        self.keys = Some(keys.into_iter().map(Into::into).collect());
        self
    }

    fn allow(&self, operation: Operation, tenant: Option<&str>, key: Option<&str>) -> bool {
        let named = |list: &Option<BTreeSet<String>>, name: Option<&str>| match (list, name) {
            (Some(list), Some(name)) => list.contains(name),
            _ => true,
        };
        self.operations.contains(&operation) && named(&self.tenants, tenant) && named(&self.keys, key)
    }
}

/// The rights of all clients. Who is not named may do everything.
#[derive(Debug, Default)]
pub(super) struct Restrictions(HashMap<String, Vec<Rights>>);

impl Restrictions {
    pub(super) fn set(&mut self, client: &str, rights: Vec<Rights>) {
        self.0.insert(client.into(), rights);
    }

    pub(super) fn allow(
        &self,
        client: &str,
        operation: Operation,
        tenant: Option<&str>,
        key: Option<&str>,
    ) -> bool {
        self.0
            .get(client)
            .is_none_or(|rights| rights.iter().any(|rights| rights.allow(operation, tenant, key)))
    }
}
