//! The engine: the policy set in force, how a request is decided under it, and how it is replaced.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use cedar_policy::{Entity, PolicySet};
use kms_core::{names, state::KeyClass};
use parking_lot::Mutex;

use super::{
    cache::DecisionCache,
    evaluate::{self, Question},
    explain,
    family::{FamilyForbids, unless_forbidden},
    load::{self, Loaded, Texts},
    masks::Masks,
    problem::{PolicyProblems, Problem},
    request::{Decision, Explanation, MAX_PURPOSE, PolicyEpoch, PolicyId, PolicyRequest, Resource, Subject},
    scope::{ResourceKind, Scope, resource_kinds},
};
use crate::{
    identity::{IdentityName, KeyExchangeGroup},
    operation::Operation,
};

/// How much the engine may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Most bytes of cached decisions; one takes about 400.
    pub cache_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 16 << 20 }
    }
}

/// Decides by the policies of a directory.
pub struct PolicyEngine {
    force: ArcSwap<Force>,
    directory: Option<PathBuf>,
    options: Options,
    /// One reload at a time.
    reloading: Mutex<()>,
    too_long: Arc<Decision>,
}

impl PolicyEngine {
    /// Reads and validates a directory.
    ///
    /// # Errors
    /// All that is wrong with it, each with file and line; then nothing of it is used.
    pub fn load(directory: &Path) -> Result<Self, PolicyProblems> {
        Self::load_with(directory, Options::default())
    }

    /// [`load`](Self::load) with other bounds.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(directory: &Path, options: Options) -> Result<Self, PolicyProblems> {
        let texts = Texts::read(directory).map_err(|problems| refuse(Some(directory), problems, false))?;
        Self::new(texts, Some(directory.to_owned()), options)
    }

    /// Takes file names and texts in place of a directory, for example [`EXAMPLES`](super::EXAMPLES).
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn of(files: &[(&str, &str)], options: Options) -> Result<Self, PolicyProblems> {
        Self::new(Texts::given(files), None, options)
    }

    fn new(texts: Texts, directory: Option<PathBuf>, options: Options) -> Result<Self, PolicyProblems> {
        let force = Force::new(texts, PolicyEpoch(1), options)
            .map_err(|problems| refuse(directory.as_deref(), problems, false))?;
        let errors = vec![format!("a purpose has at most {MAX_PURPOSE} bytes").into()];
        Ok(Self {
            force: ArcSwap::from_pointee(force),
            directory,
            options,
            reloading: Mutex::new(()),
            too_long: Arc::new(Decision::Deny { policies: Vec::new(), errors }),
        })
    }

    /// Decides. A decision made before under the same policies, for a request equal in every attribute, is found again.
    pub fn decide(&self, request: &PolicyRequest<'_>) -> Arc<Decision> {
        if request.purpose.is_some_and(|purpose| purpose.len() > MAX_PURPOSE) {
            return self.too_long.clone();
        }
        let force = self.force.load();
        let narrowed = match force.narrowed(request) {
            Ok(narrowed) => narrowed,
            Err(unnamed) => return unnamed,
        };
        match force.cache.find(&narrowed) {
            Some(decision) => decision,
            None => force.decide(&narrowed),
        }
    }

    /// Decides, and says why in words.
    pub fn explain(&self, request: &PolicyRequest<'_>) -> Explanation {
        let force = self.force.load();
        let decision = match request.purpose {
            Some(purpose) if purpose.len() > MAX_PURPOSE => self.too_long.clone(),
            _ => match force.narrowed(request) {
                Ok(_) => force.decide(request),
                Err(unnamed) => unnamed,
            },
        };
        let words = explain::in_words(request, &decision, &force.loaded.rules);
        Explanation { decision, words, epoch: force.epoch }
    }

    /// Which policy set is in force.
    pub fn epoch(&self) -> PolicyEpoch {
        self.force.load().epoch
    }

    /// How many policies are in force.
    pub fn policies(&self) -> usize {
        self.force.load().loaded.rules.len()
    }

    /// The masks in force, with the policy set they came with. Whoever answers a call keeps to one of them.
    pub fn masks(&self) -> (Arc<Masks>, PolicyEpoch) {
        let force = self.force.load();
        (Arc::clone(&force.loaded.masks), force.epoch)
    }

    /// Bytes of cached decisions, for the metrics.
    pub fn cache_weight(&self) -> u64 {
        self.force.load().cache.weight()
    }

    /// Reads the directory again. Where nothing changed the epoch stays, and with it the cache.
    ///
    /// # Errors
    /// All that is wrong with the directory; the policies in force stay.
    pub fn reload(&self) -> Result<PolicyEpoch, PolicyProblems> {
        let _one = self.reloading.lock();
        let old = self.force.load_full();
        let Some(directory) = self.directory.as_deref() else { return Ok(old.epoch) };
        let refuse = |problems| refuse(Some(directory), problems, true);
        let texts = Texts::read(directory).map_err(refuse)?;
        if texts == old.texts {
            return Ok(old.epoch);
        }
        let epoch = PolicyEpoch(old.epoch.0 + 1);
        self.force.store(Arc::new(Force::new(texts, epoch, self.options).map_err(refuse)?));
        Ok(epoch)
    }
}

/// What `kms policy check DIR` says.
#[derive(Debug)]
pub struct Checked {
    /// Policy files found.
    pub files: usize,
    /// Policies taken; 0 where there is a problem.
    pub policies: usize,
    /// The masks declared; none where there is a problem.
    pub masks: Arc<Masks>,
    /// All that is wrong.
    pub problems: Vec<Problem>,
}

/// Checks a directory without serving from it.
pub fn check(directory: &Path) -> Checked {
    let texts = match Texts::read(directory) {
        Ok(texts) => texts,
        Err(problems) => return Checked { files: 0, policies: 0, masks: Arc::default(), problems },
    };
    let files = texts.policies.len();
    match Force::new(texts, PolicyEpoch(0), Options { cache_bytes: 0 }) {
        Ok(Force { loaded: Loaded { rules, masks, .. }, .. }) => {
            Checked { files, policies: rules.len(), masks, problems: Vec::new() }
        }
        Err(problems) => Checked { files, policies: 0, masks: Arc::default(), problems },
    }
}

fn refuse(directory: Option<&Path>, problems: Vec<Problem>, old_stays: bool) -> PolicyProblems {
    PolicyProblems { directory: directory.map(Into::into), problems, old_stays }
}

/// The callers and tenants that a shard's policies name in their scope; `None`: they name none.
type ShardKey = (Option<Arc<str>>, Option<Arc<str>>);

/// Policies that name the same caller and tenant.
#[derive(Default)]
struct Shard {
    set: PolicySet,
    volatile: Vec<Scope>,
}

/// A policy set in force, with the decisions made under it.
struct Force {
    epoch: PolicyEpoch,
    texts: Texts,
    loaded: Loaded,
    actions: HashMap<Operation, Entity>,
    shards: HashMap<ShardKey, Shard>,
    /// Policies that look at the subject, and where.
    subject_readers: Vec<(PolicyId, Scope)>,
    family_forbids: FamilyForbids,
    cache: DecisionCache,
}

impl Force {
    fn new(texts: Texts, epoch: PolicyEpoch, options: Options) -> Result<Self, Vec<Problem>> {
        let loaded = load::load(&texts)?;
        let actions = evaluate::actions(&loaded.schema);
        let mut shards: HashMap<ShardKey, Shard> = HashMap::new();
        let mut problems = Vec::new();
        for rule in &loaded.rules {
            let key = (rule.scope.principal.clone(), rule.scope.tenant.clone());
            let shard = shards.entry(key).or_default();
            if let Err(mistake) = shard.set.add(rule.policy.clone()) {
                problems.push(Problem { file: String::new(), line: None, text: mistake.to_string() });
            }
            if rule.volatile {
                shard.volatile.push(rule.scope.clone());
            }
        }
        let readers = loaded.rules.iter().filter(|rule| rule.reads_subject);
        let subject_readers = readers.map(|rule| (rule.id.clone(), rule.scope.clone())).collect();
        let family_forbids = FamilyForbids::of(&loaded.rules).map_err(|problem| vec![problem])?;
        let cache = DecisionCache::new(options.cache_bytes).map_err(|error| {
            vec![Problem { file: String::new(), line: None, text: format!("no random bytes: {error}") }]
        })?;
        let force = Self { epoch, texts, loaded, actions, shards, subject_readers, family_forbids, cache };
        problems.extend(force.probe());
        if problems.is_empty() { Ok(force) } else { Err(problems) }
    }

    /// The request without the subject, where no policy that could have a say looks at it: one decision serves the family.
    ///
    /// # Errors
    /// The denial, where one looks at the subject and the request does not name it.
    // ATTACK: a `forbid` for one subject would not see that its key is opened by the address of a version.
    fn narrowed<'r>(&self, request: &PolicyRequest<'r>) -> Result<PolicyRequest<'r>, Arc<Decision>> {
        let mut narrowed = *request;
        let Resource::Key { name, key_revision, .. } = &mut narrowed.resource else { return Ok(narrowed) };
        if name.subject == Subject::None {
            return Ok(narrowed);
        }
        // Class and purposes are the family's, and compared.
        *key_revision = 0;
        let reader = (!self.subject_readers.is_empty()).then(|| {
            let caller = request.principal.to_string();
            self.subject_readers.iter().find(|(_, scope)| scope.may_reach(request, &caller))
        });
        match (reader.flatten(), name.subject) {
            (None, _) => name.subject = Subject::Unnamed,
            (Some(_), Subject::Named(_) | Subject::None) => {}
            (Some((id, _)), Subject::Unnamed) => {
                let error = format!("policy `{id}` looks at the subject, which the request must name");
                return Err(Arc::new(Decision::Deny { policies: Vec::new(), errors: vec![error.into()] }));
            }
        }
        Ok(narrowed)
    }

    fn decide(&self, request: &PolicyRequest<'_>) -> Arc<Decision> {
        metrics::counter!("kms_policy_evaluations_total").increment(1);
        let caller: Arc<str> = match request.principal {
            IdentityName::Spiffe(id) => id.clone(),
            spki @ IdentityName::Spki(_) => spki.to_string().into(),
        };
        let tenant: Option<Arc<str>> = match request.resource {
            Resource::System => None,
            Resource::Tenant { name } | Resource::Key { tenant: name, .. } => Some(name.as_str().into()),
        };
        let mut keys = vec![(None, None), (Some(caller.clone()), None)];
        if tenant.is_some() {
            keys.extend([(None, tenant.clone()), (Some(caller.clone()), tenant)]);
        }
        let shards: Vec<&Shard> = keys.iter().filter_map(|key| self.shards.get(key)).collect();

        let mut decision = self.ask(request, shards.iter().map(|shard| &shard.set));
        let mut volatile = shards
            .iter()
            .flat_map(|shard| &shard.volatile)
            .any(|scope| scope.agreement(request, &caller).is_full());
        if let Some(family) = self.family_forbids.above(request) {
            let of_family = self.ask(&family, std::iter::once(self.family_forbids.set()));
            decision = unless_forbidden(decision, of_family);
            volatile |= self.family_forbids.is_volatile(&family, &caller);
        }
        let decision = Arc::new(decision);
        if !volatile {
            self.cache.keep(request, decision.clone());
        }
        decision
    }

    fn ask<'p>(&self, request: &PolicyRequest<'_>, sets: impl Iterator<Item = &'p PolicySet>) -> Decision {
        match Question::new(request, &self.loaded.schema, &self.actions) {
            Ok(question) => question.ask(sets),
            Err(unfit) => Decision::Deny { policies: Vec::new(), errors: vec![unfit.to_string().into()] },
        }
    }

    /// Asks the schema for everything this release will ask: one that is older or was edited is found now, not at a request.
    fn probe(&self) -> Vec<Problem> {
        let unknown = load::unknown_actions(&self.loaded.schema).into_iter().map(|action| {
            load::schema_problem(format!(
                "the schema has an action `{action}` that this release does not know"
            ))
        });
        let asked = Operation::ALL.iter().flat_map(|operation| {
            resource_kinds(*operation).iter().filter_map(|kind| self.probe_one(*operation, *kind).err())
        });
        unknown.chain(asked).collect()
    }

    fn probe_one(&self, operation: Operation, kind: ResourceKind) -> Result<(), Problem> {
        let name = |mistake: names::NameError| load::schema_problem(mistake.to_string());
        let tenant = names::TenantName::try_from("probe").map_err(name)?;
        let key = names::KeyName::try_from("probe/subject").map_err(name)?;
        let purposes = ["probe".into()];
        let resource = match kind {
            ResourceKind::System => Resource::System,
            ResourceKind::Tenant => Resource::Tenant { name: &tenant },
            ResourceKind::Key => Resource::Key {
                tenant: &tenant,
                name: (&key).into(),
                class: KeyClass::L2,
                purposes: &purposes,
                key_revision: 0,
            },
        };
        let principal = IdentityName::Spiffe("spiffe://probe/service".into());
        let group = KeyExchangeGroup::X25519MlKem768;
        let request = PolicyRequest {
            principal: &principal,
            operation,
            resource,
            purpose: Some("probe"),
            group,
            window: Duration::ZERO,
        };
        Question::new(&request, &self.loaded.schema, &self.actions)
            .and_then(|question| question.probe(&self.loaded.schema))
            .map_err(|unfit| load::schema_problem(format!("for `{operation}`: {unfit}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{EXAMPLES, golden};

    /// Scopes of every shape, over the callers and tenants of the grid.
    const SHAPES: &str = r#"
        @id("a") @says("s") forbid (principal, action == Action::"Decrypt", resource == Key::"acme/payroll");
        @id("b") @says("s") permit (principal is Service, action, resource is Key in Tenant::"acme");
        @id("c") @says("s") @tenants("any")
        permit (principal == Service::"spiffe://dev.local/hr-portal", action, resource in System::"kms");
        @id("d") @says("s") @tenants("any") permit (principal in Service::"spiffe://dev.local/operator", action, resource)
        when { resource is Tenant || resource is System };
        @id("e") @says("s")
        forbid (principal == Service::"spiffe://dev.local/hr-portal", action in [Action::"seals", Action::"Reveal"],
            resource == Key::"umbrella/attendance");
        @id("f") @says("s") permit (principal, action in Action::"describes", resource == Tenant::"umbrella");
        @id("g") @says("s") forbid (principal, action, resource is System in System::"kms")
        when { principal.id == "spiffe://dev.local/compliance" };"#;

    #[test]
    fn shards_decide_as_all_policies_together_would() {
        for files in [EXAMPLES, &[("shapes.cedar", SHAPES)]] {
            let force = Force::new(Texts::given(files), PolicyEpoch(1), Options::default()).unwrap();
            assert!(force.shards.len() > 3);
            let all =
                PolicySet::from_policies(force.loaded.rules.iter().map(|rule| rule.policy.clone())).unwrap();
            let (mut number, mut allowed) = (0, 0);
            golden::each(|caller, request, what| {
                number += 1;
                // Every third: the grid has 2 purposes and 7 keys, so that each shape is still met.
                if number % 3 != 0 {
                    return;
                }
                let question = Question::new(request, &force.loaded.schema, &force.actions).unwrap();
                let together = question.ask(std::iter::once(&all));
                assert_eq!(*force.decide(request), together, "{caller} {} {what}", request.operation);
                allowed += usize::from(together.is_allowed());
            });
            assert!(allowed > 50, "{allowed}");
        }
    }
}
