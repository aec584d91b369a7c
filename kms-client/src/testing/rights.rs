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

/// What a client may do: some operations, on some tenants, with some keys, for some purposes. What a list leaves out it may not.
///
/// Whatever its rights, a client seals, opens and reveals under a key that lists purposes for those alone, as the example policies
/// have it (`keys-keep-to-their-purposes`). The real server decides by policies, which can say more; test those with
/// `kms policy test`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    operations: BTreeSet<Operation>,
    tenants: Option<BTreeSet<String>>,
    keys: Option<BTreeSet<String>>,
    purposes: Option<BTreeSet<String>>,
}

/// What leave is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) operation: Operation,
    pub(super) tenant: Option<&'a str>,
    pub(super) key: Option<&'a str>,
    /// What the caller states that it is for.
    pub(super) purpose: Option<&'a str>,
}

impl Operation {
    /// Whether keys are kept to their purposes in it: what seals, opens and reveals.
    pub(super) fn is_for_a_purpose(self) -> bool {
        matches!(
            self,
            Self::Encrypt
                | Self::LeaseToSeal
                | Self::GenerateDataKey
                | Self::Decrypt
                | Self::LeaseToOpen
                | Self::ReEncrypt
                | Self::Reveal
        )
    }
}

impl Rights {
    /// These operations and no others, on every tenant and with every key.
    pub fn to(operations: impl IntoIterator<Item = Operation>) -> Self {
        Self { operations: operations.into_iter().collect(), tenants: None, keys: None, purposes: None }
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

    /// For these purposes only: where the client states another, or none, it may nothing of this. A client states one with
    /// [`Kms::with_purpose`](crate::Kms::with_purpose).
    #[must_use]
    pub fn for_purposes<T: Into<String>>(mut self, purposes: impl IntoIterator<Item = T>) -> Self {
        self.purposes = Some(purposes.into_iter().map(Into::into).collect());
        self
    }

    fn allow(&self, asked: Asked<'_>) -> bool {
        let named = |list: &Option<BTreeSet<String>>, name: Option<&str>| match (list, name) {
            (Some(list), Some(name)) => list.contains(name),
            _ => true,
        };
        let stated = asked.purpose.unwrap_or_default();
        self.operations.contains(&asked.operation)
            && named(&self.tenants, asked.tenant)
            && named(&self.keys, asked.key)
            && self.purposes.as_ref().is_none_or(|purposes| purposes.contains(stated))
    }
}

/// The rights of all clients. Who is not named may do everything.
#[derive(Debug, Default)]
pub(super) struct Restrictions(HashMap<String, Vec<Rights>>);

impl Restrictions {
    pub(super) fn set(&mut self, client: &str, rights: Vec<Rights>) {
        self.0.insert(client.into(), rights);
    }

    pub(super) fn allow(&self, client: &str, asked: Asked<'_>) -> bool {
        self.0.get(client).is_none_or(|rights| rights.iter().any(|rights| rights.allow(asked)))
    }
}
