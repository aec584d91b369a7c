//! A key centre, in memory or real, with the rights of the example policies: an operator, the attendance service, the HR portal.

use std::time::Duration;

use kms_client::{
    Error, FamilyName, KeyClass, KeyName, Kms, Profile, Reason, TenantName,
    api::{CreateKey, CreateTenant},
    testing::{InMemoryKeyCentre, Operation, Rights},
};
use kms_server::dev::IDENTITIES;
use kms_tests::{Api, Place, Server};

/// The masks of the example policies, which a new place has.
const MASKS: &str = include_str!("../../../policies/masks.toml");
/// Longer than anything that is waited for takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// One of the two.
pub(crate) enum Site {
    InMemory(InMemoryKeyCentre),
    Real { place: Box<Place>, server: Option<Server> },
}

impl Site {
    pub(crate) fn in_memory() -> Self {
        use Operation as Op;
        let centre = InMemoryKeyCentre::new();
        centre.declare_masks(MASKS).unwrap();
        let uses = [
            Op::Encrypt,
            Op::LeaseToSeal,
            Op::GenerateDataKey,
            Op::Decrypt,
            Op::LeaseToOpen,
            Op::ReEncrypt,
            Op::EnsureSubjects,
        ];
        centre.restrict_to_any(
            "attendance",
            [
                Rights::to(uses).on_keys(["attendance"]),
                Rights::to([Op::LeaseToOpen]).on_keys(["attendance.index"]),
                Rights::to([Op::GenerateRandom]),
            ],
        );
        centre.restrict("hr-portal", Rights::to([Op::Reveal]).on_keys(["attendance"]));
        let operates = |operation: &Op| {
            !uses[..6].contains(operation) && ![Op::Reveal, Op::GenerateRandom].contains(operation)
        };
        centre.restrict("operator", Rights::to(Op::ALL.iter().copied().filter(operates)));
        Self::InMemory(centre)
    }

    pub(crate) async fn real() -> Self {
        let place = Box::new(Place::new());
        let server = Some(place.start());
        Self::Real { place, server }
    }

    /// A client with nothing at hand.
    pub(crate) fn client(&self, name: &str) -> Kms {
        match self {
            Self::InMemory(centre) => centre.client(name),
            Self::Real { place, server } => {
                let profile = match server {
                    Some(server) if !IDENTITIES.contains(&name) => {
                        place.profile_of(&place.caller(name), name, server)
                    }
                    _ => place.profile(name),
                };
                Kms::builder(Profile::load(profile).unwrap()).connections(1).build().unwrap()
            }
        }
    }

    pub(crate) fn operator(&self) -> Kms {
        self.client("operator")
    }

    pub(crate) fn service(&self) -> Kms {
        self.client("attendance")
    }

    /// Gives rights to a service `roster`, for the purpose of that name alone.
    pub(crate) fn admit_roster(&self) {
        use Operation as Op;
        match self {
            Self::InMemory(centre) => {
                let uses = [Op::LeaseToSeal, Op::LeaseToOpen, Op::EnsureSubjects];
                centre.restrict("roster", Rights::to(uses).for_purposes(["roster"]));
            }
            Self::Real { place, server } => {
                place.replace(
                    "policies/roster.cedar",
                    r#"@id("roster") @says("the roster makes people, and seals and opens for them, for that alone") @tenants("any")
                       permit (principal == Service::"spiffe://dev.local/roster",
                               action in [Action::"LeaseToSeal", Action::"LeaseToOpen", Action::"EnsureSubjects"], resource is Key)
                       when { context has purpose && context.purpose == "roster" };"#,
                );
                let server = server.as_ref().unwrap();
                server.hang_up();
                server.wait_for_log("policies reloaded", 1);
            }
        }
    }

    /// The calls as messages.
    pub(crate) fn api(&self, name: &str) -> Api {
        Api::over(self.client(name), name)
    }

    /// The key centre is away.
    pub(crate) fn stop(&mut self) {
        match self {
            Self::InMemory(centre) => centre.stop(),
            Self::Real { server, .. } => server.take().unwrap().kill(),
        }
    }

    /// It is back, where it was.
    pub(crate) fn start(&mut self) {
        match self {
            Self::InMemory(centre) => centre.start(),
            Self::Real { place, server } => *server = Some(place.start()),
        }
    }

    /// Time passes: a real server's cannot be moved.
    pub(crate) async fn pass(&self, time: Duration) {
        match self {
            Self::InMemory(centre) => centre.advance(time),
            Self::Real { .. } => tokio::time::sleep(time).await,
        }
    }

    /// Every client has purged what it was told to; of a real server nobody can know, but `purged` shows it.
    pub(crate) async fn told(&self) {
        if let Self::InMemory(centre) = self {
            assert!(centre.purged().await, "a client does not listen");
        }
    }

    /// A tenant `acme` with keys `attendance`, `attendance.index` and `payroll`, which the service has no rights to.
    pub(crate) async fn ground(&self) -> Kms {
        let operator = self.operator();
        self.tenant("acme", &["attendance", "attendance.index", "payroll"]).await;
        operator
    }

    pub(crate) async fn tenant(&self, tenant: &str, keys: &[&str]) {
        self.tenant_with(tenant, keys, CreateKey::default()).await;
    }

    pub(crate) async fn tenant_with(&self, tenant: &str, keys: &[&str], how: CreateKey) {
        let operator = self.operator();
        let tenant = self::tenant(tenant);
        operator.create_tenant(&tenant, CreateTenant::default()).await.unwrap();
        for name in keys {
            operator.create_key(&tenant, &key(name), how.clone()).await.unwrap();
        }
    }
}

pub(crate) fn tenant(name: &str) -> TenantName {
    name.parse().unwrap()
}

pub(crate) fn key(name: &str) -> KeyName {
    name.parse().unwrap()
}

pub(crate) fn attendance() -> KeyName {
    key("attendance")
}

pub(crate) fn family() -> FamilyName {
    "attendance".parse().unwrap()
}

pub(crate) fn of_class(class: KeyClass) -> CreateKey {
    CreateKey { class: Some(class), ..CreateKey::default() }
}

pub(crate) fn with_lease(seconds: u64) -> CreateKey {
    CreateKey { lease: Some(Duration::from_secs(seconds)), ..CreateKey::default() }
}

/// Why not.
pub(crate) fn why<T>(result: Result<T, Error>) -> Reason {
    match result {
        Ok(_) => panic!("it was done"),
        Err(error) => error.reason().unwrap_or_else(|| panic!("{error}")),
    }
}

/// Asks until it is so: what a real server tells its clients is on its way for a moment.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let asking = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never: {what}"));
}
