//! What happens on the server, and what the attacker takes along after each step: every file of the product, its output, metrics and
//! errors. The effaceable medium is only for who came before a destruction: see [`Story::media`].

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use kms_attacker::{Archive, Attacker, EpochSecret, Secret, medium, sealed};
use kms_client::{
    Column, RecordId,
    api::{CreateKey, Gone},
};
use kms_core::state::LifecycleState;
use kms_proto::v1;
use kms_tests::{
    Api, Place, Server,
    api::{context, field, fresh},
};

/// Longer than an erasure takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Table and column that clients seal for.
const COLUMN: [&str; 2] = ["checkins", "phone"];

/// Every word that the server has to say, and no waiting for others before an epoch.
const SETTINGS: [&str; 4] = ["--set", "log.filter=trace", "--set", "erasure_interval=10ms"];

/// Lets the service use keys of every name.
const POLICY: &str = r#"
@id("service-uses-every-key")
@says("the attendance service seals and opens with every key of every tenant")
@tenants("any")
permit (
  principal == Service::"spiffe://dev.local/attendance",
  action in [Action::"seals", Action::"opens"],
  resource is Key
);
"#;

/// A value that a user sealed and kept.
pub(crate) struct Kept {
    pub(crate) tenant: &'static str,
    pub(crate) key: &'static str,
    pub(crate) plaintext: Vec<u8>,
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) destroyed: bool,
}

impl Kept {
    pub(crate) fn name(&self) -> String {
        format!("{}/{} version {:?}", self.tenant, self.key, sealed::address(&self.ciphertext))
    }
}

pub(crate) struct Story {
    pub(crate) place: Place,
    pub(crate) server: Server,
    operator: Api,
    service: Api,
    pub(crate) archive: Archive,
    /// Epoch secrets as the medium gave them before each destruction: what an attacker had to take along in time.
    pub(crate) media: Vec<EpochSecret>,
    pub(crate) kept: Vec<Kept>,
    /// Values that clients sealed under leased data keys.
    pub(crate) leased: Vec<Leased>,
    /// Keys that are not destroyed as a whole.
    live: BTreeSet<(&'static str, &'static str)>,
    steps: usize,
}

/// A value that a client sealed under a data key it was leased.
pub(crate) struct Leased {
    tenant: &'static str,
    pub(crate) plaintext: Vec<u8>,
    pub(crate) ciphertext: Vec<u8>,
}

impl Leased {
    /// The data key, and what is derived from it for the column.
    pub(crate) fn keys(&self, material: &Secret) -> Vec<Secret> {
        let [table, column] = COLUMN;
        sealed::column_keys(&self.ciphertext, material, [self.tenant, table, column])
    }
}

impl Story {
    /// All of it: keys in use, rotated ones, a version destroyed, a key, a tenant; and a restart.
    pub(crate) async fn whole() -> Self {
        let mut story = Self::used().await;
        story.destroy().await;
        story.restart().await
    }

    /// Tenants with keys that were used, of which some were rotated.
    pub(crate) async fn used() -> Self {
        let place = Place::new();
        let policies = place.path("policies");
        fs::create_dir_all(&policies).unwrap();
        for (name, text) in kms_server::policy::EXAMPLES {
            fs::write(policies.join(name), text).unwrap();
        }
        fs::write(policies.join("forensic.cedar"), POLICY).unwrap();
        let server = place.start_readable(&SETTINGS);
        let (operator, service) = (Api::of(&place, "operator").await, Api::of(&place, "attendance").await);
        let (archive, media, live) = (Archive::default(), Vec::new(), BTreeSet::new());
        let (kept, leased, steps) = (Vec::new(), Vec::new(), 0);
        let mut story = Self { place, server, operator, service, archive, media, kept, leased, live, steps };
        story.take_along("started");
        story.create("acme", &["payroll", "ledger", "checkins"]).await;
        story.create("globex", &["customers"]).await;
        story.seal_with_each().await;
        story.rotate("acme", "payroll").await;
        story.rotate("acme", "ledger").await;
        story.seal_with_each().await;
        story.use_columns("acme", "ledger").await;
        story.use_columns("globex", "customers").await;
        story
    }

    /// Destroys a version, a key and a tenant, one after the other.
    pub(crate) async fn destroy(&mut self) {
        self.destroy_version("acme", "payroll", 1).await;
        self.destroy_key("acme", "ledger").await;
        self.destroy_tenant("globex").await;
    }

    async fn create(&mut self, tenant: &'static str, keys: &[&'static str]) {
        self.operator.create_tenant(tenant).await.unwrap();
        self.take_along("tenant created");
        for key in keys {
            // Leases of a second: an erasure waits for them.
            let how = CreateKey { lease: Some(Duration::from_secs(1)), ..CreateKey::default() };
            self.operator.kms.create_key(&tenant.parse().unwrap(), &key.parse().unwrap(), how).await.unwrap();
            self.live.insert((tenant, key));
        }
        self.take_along("keys created");
    }

    /// Seals a new value under each key that lives.
    async fn seal_with_each(&mut self) {
        for (tenant, key) in self.live.clone() {
            let plaintext = format!("plaintext of {}", fresh()).into_bytes();
            let bound = context(&[("row", "1")]);
            let ciphertext = self.service.encrypt(tenant, key, &plaintext, bound.clone()).await.unwrap();
            assert_eq!(self.service.decrypt(tenant, key, &ciphertext, bound).await.unwrap(), plaintext);
            self.kept.push(Kept { tenant, key, plaintext, ciphertext, destroyed: false });
        }
        self.take_along("used");
    }

    /// Has a client seal under leased data keys, randomized and deterministic, and the server open.
    async fn use_columns(&mut self, tenant: &'static str, key: &str) {
        let records = self.service.kms.records(&tenant.parse().unwrap(), &key.parse().unwrap());
        let row = RecordId::try_from(&b"row-1"[..]).unwrap();
        let [table, name] = COLUMN;
        for column in [Column::randomized(table, name), Column::deterministic(table, name)] {
            let plaintext = format!("plaintext of {}", fresh()).into_bytes();
            let ciphertext = records.seal(&column.unwrap(), &row, &plaintext).await.unwrap();
            let bound = field(table, name, "row-1");
            assert_eq!(self.service.decrypt(tenant, key, &ciphertext, bound).await.unwrap(), plaintext);
            self.leased.push(Leased { tenant, plaintext, ciphertext });
        }
        self.take_along("used by a client");
    }

    async fn rotate(&mut self, tenant: &'static str, key: &'static str) {
        self.operator.rotate(tenant, key).await.unwrap();
        self.take_along("rotated");
    }

    async fn destroy_version(&mut self, tenant: &'static str, key: &'static str, version: u32) {
        let redo = self.before_destruction();
        self.operator.destroy(tenant, key, Some(version)).await.unwrap();
        let gone = Gone::Version(tenant.parse().unwrap(), key.parse().unwrap(), version);
        // Of each key one value was sealed before it was rotated.
        let first = self.kept.iter_mut().find(|kept| (kept.tenant, kept.key) == (tenant, key)).unwrap();
        first.destroyed = true;
        self.after_destruction(gone, redo).await;
    }

    async fn destroy_key(&mut self, tenant: &'static str, key: &'static str) {
        let redo = self.before_destruction();
        self.operator.destroy(tenant, key, None).await.unwrap();
        let gone = Gone::Key(tenant.parse().unwrap(), key.parse().unwrap());
        self.live.remove(&(tenant, key));
        for kept in self.kept.iter_mut().filter(|kept| (kept.tenant, kept.key) == (tenant, key)) {
            kept.destroyed = true;
        }
        self.after_destruction(gone, redo).await;
    }

    async fn destroy_tenant(&mut self, tenant: &'static str) {
        let redo = self.before_destruction();
        self.operator.destroy_tenant(tenant).await.unwrap();
        self.live.retain(|(other, _)| *other != tenant);
        self.kept.iter_mut().filter(|kept| kept.tenant == tenant).for_each(|kept| kept.destroyed = true);
        self.after_destruction(Gone::Tenant(tenant.parse().unwrap()), redo).await;
    }

    /// Copies the medium for the controls; and gives the redo that is to be written a second name, for it will be deleted.
    fn before_destruction(&mut self) -> PathBuf {
        self.media.extend(self.epoch_secrets());
        let redo = self.place.scratch().join(format!("redo-{}", self.steps));
        fs::hard_link(self.place.path("store/redo/spare"), &redo).unwrap();
        redo
    }

    /// Waits until the product says that it is erased, and takes the certificate.
    async fn after_destruction(&mut self, gone: Gone, redo: PathBuf) {
        let state = self.operator.kms.wait_for_erasure(&gone, PATIENCE).await.unwrap();
        assert_eq!(state, LifecycleState::Erased, "{gone:?}");
        let certificate = self.operator.kms.certificate(&gone, &[]).await.unwrap();
        assert!(certificate.erased);
        let step = "destroyed and erased";
        self.archive.add(step, &PathBuf::from(format!("certificate-{}", self.steps)), certificate.file);
        self.archive.copy_file(step, &redo).unwrap();
        let mut errors = Vec::new();
        for kept in self.kept.iter().filter(|kept| kept.destroyed) {
            let message = v1::DecryptRequest {
                tenant: kept.tenant.into(),
                key: kept.key.into(),
                ciphertext: kept.ciphertext.clone(),
                binding: Some(context(&[("row", "1")])),
                purpose: String::new(),
            };
            let refused = self.service.crypto().decrypt(message).await.unwrap_err();
            errors.extend_from_slice(format!("{refused:?}").as_bytes());
            errors.extend_from_slice(refused.details());
        }
        self.archive.add(step, &PathBuf::from(format!("errors-{}", self.steps)), errors);
        self.take_along(step);
    }

    /// Stops the server, starts it again, and uses what lives.
    async fn restart(self) -> Self {
        let Self { place, server, archive, media, kept, leased, live, steps, .. } = self;
        let status = tokio::task::spawn_blocking(move || server.terminate()).await.unwrap();
        assert!(status.success());
        let server = place.start_readable(&SETTINGS);
        let (operator, service) = (Api::of(&place, "operator").await, Api::of(&place, "attendance").await);
        let mut story = Self { place, server, operator, service, archive, media, kept, leased, live, steps };
        story.take_along("restarted");
        story.seal_with_each().await;
        story
    }

    /// Copies everything but the medium.
    fn take_along(&mut self, step: &str) {
        self.steps += 1;
        let step = format!("{} {step}", self.steps);
        self.archive.copy(&step, &self.place.dir(), &[self.place.path("effaceable")]).unwrap();
        let (metrics, said) = (self.server.admin("/metrics").1, self.server.said());
        for (name, text) in [("log", self.server.log()), ("stdout", said), ("metrics", metrics)] {
            let name = PathBuf::from(format!("{name}-{}", self.server.pid()));
            self.archive.add(&step, &name, text.into_bytes());
        }
    }

    /// The medium's file as it is now.
    pub(crate) fn medium(&self) -> Vec<u8> {
        let mut files = fs::read_dir(self.place.path("effaceable")).unwrap();
        let file = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none(), "one file");
        fs::read(file).unwrap()
    }

    /// What the medium gives now.
    pub(crate) fn epoch_secrets(&self) -> Vec<EpochSecret> {
        let secrets = medium::secrets(&self.medium());
        assert_eq!(secrets.len(), 1, "one secret is in force, and no other is there");
        secrets
    }

    /// The seal's secret, which the attacker has.
    pub(crate) fn seal(&self) -> Secret {
        let text = fs::read_to_string(self.place.path("seal")).unwrap();
        hex::decode(text.trim()).unwrap().try_into().unwrap()
    }

    /// Who has all copies, the seal's secret and today's epoch secret.
    pub(crate) fn attacker(&self) -> Attacker {
        let mut attacker = Attacker::new(&self.archive, self.seal());
        attacker.learn_epochs(&self.epoch_secrets());
        attacker
    }

    /// The same who, for a control, also copied the medium before each destruction.
    pub(crate) fn attacker_in_time(&self) -> Attacker {
        let mut attacker = self.attacker();
        attacker.learn_epochs(&self.media);
        attacker
    }

    /// Every key between material and ciphertext, of what users kept and what clients sealed; only where the material is in reach.
    pub(crate) fn keys_of_use(&self, attacker: &Attacker) -> BTreeSet<Secret> {
        let materials = attacker.materials();
        let material = |ciphertext: &[u8]| materials.get(&sealed::address(ciphertext).unwrap());
        let kept = self.kept.iter().filter_map(|kept| Some((material(&kept.ciphertext)?, kept)));
        let leased = self.leased.iter().filter_map(|leased| Some((material(&leased.ciphertext)?, leased)));
        let kept = kept.flat_map(|(material, kept)| sealed::keys(&kept.ciphertext, material));
        kept.chain(leased.flat_map(|(material, leased)| leased.keys(material))).collect()
    }
}
