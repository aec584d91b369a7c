//! A policy directory becomes a policy set, or a list of all that is wrong with it. There is nothing between.
//!
//! Read are the `*.cedar` files of the directory itself, in order of their names, `masks.toml` (where it is absent nothing is
//! revealed), and `schema.cedarschema`; where that is absent, the schema of this release counts. Names that begin with a dot are passed over (a mounted volume keeps its versions there).
//! A subdirectory is a mistake: a `forbid` in it would be thought to be in force.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use cedar_policy::{Effect, EntityUid, Policy, PolicySet, Schema, ValidationMode, Validator};

use miette::Diagnostic;

use super::{
    examples::{SCHEMA, SCHEMA_FILE},
    masks::{MASKS_FILE, Masks},
    problem::{Problem, Statement, diagnosed},
    request::PolicyId,
    scope::Scope,
    subject, volatile,
};

/// Most bytes of one policy file.
const MAX_FILE: u64 = 1 << 20;

/// File names and texts, as read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Texts {
    pub(super) schema: Option<String>,
    pub(super) masks: Option<String>,
    pub(super) policies: BTreeMap<String, String>,
}

impl Texts {
    pub(super) fn given(files: &[(&str, &str)]) -> Self {
        let mut texts = Self::default();
        for (name, text) in files {
            texts.take(name, (*text).to_owned());
        }
        texts
    }

    /// Reads the directory; what cannot be read is a problem each.
    pub(super) fn read(directory: &Path) -> Result<Self, Vec<Problem>> {
        let (mut texts, mut problems) = (Self::default(), Vec::new());
        let entries = match files(directory) {
            Ok(entries) => entries,
            Err(mistake) => {
                let text = format!("`{}` cannot be read: {mistake}", directory.display());
                return Err(vec![Problem { file: String::new(), line: None, text }]);
            }
        };
        for (name, path) in entries {
            match read(&name, &path) {
                Ok(Some(text)) => texts.take(&name, text),
                Ok(None) => {}
                Err(text) => problems.push(Problem { file: name, line: None, text }),
            }
        }
        if problems.is_empty() { Ok(texts) } else { Err(problems) }
    }

    fn take(&mut self, name: &str, text: String) {
        if name == SCHEMA_FILE {
            self.schema = Some(text);
        } else if name == MASKS_FILE {
            self.masks = Some(text);
        } else if name.ends_with(".cedar") {
            self.policies.insert(name.to_owned(), text);
        }
    }
}

fn files(directory: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

fn read(name: &str, path: &Path) -> Result<Option<String>, String> {
    // Follows links: a mounted volume is full of them.
    let found = fs::metadata(path).map_err(|mistake| format!("cannot be read: {mistake}"))?;
    if found.is_dir() {
        return Err(
            "is a directory, and policies are read from one level; move its files up, or it away".into()
        );
    }
    if name != SCHEMA_FILE && name != MASKS_FILE && !name.ends_with(".cedar") {
        return Ok(None);
    }
    if !found.is_file() || found.len() > MAX_FILE {
        return Err(format!("is not a file of at most {MAX_FILE} bytes; split it"));
    }
    fs::read_to_string(path).map(Some).map_err(|mistake| format!("cannot be read as text: {mistake}"))
}

/// A validated policy with what the engine needs to know of it.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: PolicyId,
    /// The author's sentence.
    pub(super) says: Arc<str>,
    pub(super) permits: bool,
    pub(super) scope: Scope,
    /// Its answer can change while every cached attribute stays.
    pub(super) volatile: bool,
    /// Its answer may depend on which subject of a family a key is.
    pub(super) reads_subject: bool,
    pub(super) policy: Policy,
}

/// Everything a directory says, validated.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) schema: Schema,
    pub(super) rules: Vec<Rule>,
    pub(super) masks: Arc<Masks>,
}

/// Parses and validates.
pub(super) fn load(texts: &Texts) -> Result<Loaded, Vec<Problem>> {
    let mut problems = Vec::new();
    let schema = schema(texts.schema.as_deref().unwrap_or(SCHEMA)).map_err(|problem| vec![problem])?;

    let mut parsed: BTreeMap<PolicyId, (Statement<'_>, Policy)> = BTreeMap::new();
    for (file, text) in &texts.policies {
        for statement in Statement::all(file, text) {
            match parse(&statement) {
                Err(found) => problems.extend(found),
                Ok((id, policy)) => match parsed.get(&id) {
                    None => drop(parsed.insert(id, (statement, policy))),
                    Some((first, _)) => {
                        let text = format!("`{}` has a policy `{id}` too; an id stands once", first.file);
                        problems.push(statement.problem(text));
                    }
                },
            }
        }
    }
    if parsed.is_empty() && problems.is_empty() {
        let text = "there is no policy, so everybody would be denied; the shipped examples are a start";
        problems.push(Problem { file: String::new(), line: None, text: text.into() });
    }
    problems.extend(validate(&schema, &parsed));

    let masks = match texts.masks.as_deref().map_or_else(|| Ok(Masks::default()), Masks::read) {
        Ok(masks) => masks,
        Err(found) => {
            problems.extend(found);
            Masks::default()
        }
    };

    let mut rules = Vec::new();
    for (id, (statement, policy)) in parsed {
        let scope = Scope::of(&policy, &schema);
        problems.extend(wall(&statement, &policy, &scope));
        let says = policy.annotation("says").unwrap_or_default().into();
        let permits = policy.effect() == Effect::Permit;
        let volatile = volatile::reads_more_than_is_cached(&policy);
        let reads_subject = scope.names_subject() || subject::is_read_by(&policy);
        rules.push(Rule { id, says, permits, scope, volatile, reads_subject, policy });
    }
    if !problems.is_empty() {
        problems.sort();
        problems.dedup();
        return Err(problems);
    }
    Ok(Loaded { schema, rules, masks: Arc::new(masks) })
}

fn schema(text: &str) -> Result<Schema, Problem> {
    match Schema::from_cedarschema_str(text) {
        Err(mistake) => Err(diagnosed(SCHEMA_FILE, text, &mistake)),
        Ok((schema, mut warnings)) => match warnings.next() {
            Some(warning) => Err(diagnosed(SCHEMA_FILE, text, &warning)),
            None => Ok(schema),
        },
    }
}

fn parse(statement: &Statement<'_>) -> Result<(PolicyId, Policy), Vec<Problem>> {
    let policy = Policy::parse(None, statement.text()).map_err(|mistakes| {
        mistakes.iter().map(|mistake| statement.diagnosed(mistake)).collect::<Vec<_>>()
    })?;
    let mut problems = Vec::new();
    let id = policy.annotation("id").unwrap_or_default();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    if id.is_empty() || id.len() > 64 || !id.chars().all(plain) {
        let text = "the policy needs an id that the audit can name it by: write `@id(\"…\")` before it, \
                    up to 64 letters, digits, `-`, `_` or `.`";
        problems.push(statement.problem(text));
    }
    if policy.annotation("says").is_none_or(|says| says.trim().is_empty()) {
        let text =
            "the policy needs a sentence that `kms policy explain` can show: write `@says(\"…\")` before it";
        problems.push(statement.problem(text));
    }
    if let Some((unknown, _)) =
        policy.annotations().find(|(name, _)| !["id", "says", "tenants"].contains(name))
    {
        problems
            .push(statement.problem(format!(
                "`@{unknown}` means nothing here; known are `@id`, `@says` and `@tenants`"
            )));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let own = PolicyId(id.into());
    let policy = policy.new_id(cedar_policy::PolicyId::new(own.as_str()));
    Ok((own, policy))
}

/// Strict validation; a warning refuses too, for each tells of a policy that does not do what it seems to.
fn validate(schema: &Schema, parsed: &BTreeMap<PolicyId, (Statement<'_>, Policy)>) -> Vec<Problem> {
    let policies = parsed.values().map(|(_, policy)| policy.clone());
    let set = match PolicySet::from_policies(policies) {
        Ok(set) => set,
        Err(mistake) => return vec![Problem { file: String::new(), line: None, text: mistake.to_string() }],
    };
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    let place = |id: &cedar_policy::PolicyId, mistake: &dyn Diagnostic| {
        let id: &str = id.as_ref();
        match parsed.get(&PolicyId(id.into())) {
            Some((statement, _)) => statement.diagnosed(mistake),
            None => Problem { file: String::new(), line: None, text: mistake.to_string() },
        }
    };
    let wrong: BTreeSet<_> = result.validation_errors().map(|error| error.policy_id().clone()).collect();
    let errors = result.validation_errors().map(|error| place(error.policy_id(), error));
    // A policy with an error seems to match nothing either; that warning would only distract.
    let warnings = result.validation_warnings().filter(|warning| !wrong.contains(warning.policy_id()));
    let mut problems: Vec<_> =
        errors.chain(warnings.map(|warning| place(warning.policy_id(), warning))).collect();
    // Cedar says the same for each action that a policy covers; once is enough.
    problems.sort();
    let mut seen = BTreeSet::new();
    problems
        .retain(|problem| seen.insert((problem.file.clone(), problem.line, without_actions(&problem.text))));
    problems
}

/// The text with each `Action::"…"` left out.
fn without_actions(text: &str) -> String {
    let mut parts = text.split("Action::\"");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('"').map_or("", |(_, rest)| rest))
}

/// The tenant wall: a `permit` reaches a tenant only where its scope names that tenant, or its author wrote that any is meant.
fn wall(statement: &Statement<'_>, policy: &Policy, scope: &Scope) -> Option<Problem> {
    let said = policy.annotation("tenants");
    let text = match (policy.effect(), scope.reaches_tenants(), &scope.tenant, said) {
        (_, _, _, Some(other)) if other != "any" => {
            format!(
                "`@tenants(\"{other}\")` is not understood; write `@tenants(\"any\")`, or name one tenant in the scope"
            )
        }
        (Effect::Permit, true, None, None) => "the policy would reach every tenant; name one in the scope \
            (`resource in Tenant::\"…\"`), or write `@tenants(\"any\")` if every one is meant"
            .into(),
        (_, _, Some(tenant), Some(_)) => {
            format!("the scope names tenant `{tenant}` and the annotation says any; leave one of them out")
        }
        _ => return None,
    };
    Some(statement.problem(text))
}

/// Only for the message of a schema that lacks what this release asks.
pub(super) fn schema_problem(text: String) -> Problem {
    let text =
        format!("{text}; take the schema that came with this release, or leave the file away to use it");
    Problem { file: SCHEMA_FILE.into(), line: None, text }
}

/// The actions that a schema lists beside those of this release, groups left out.
pub(super) fn unknown_actions(schema: &Schema) -> Vec<String> {
    let own = |uid: &&EntityUid| uid.id().unescaped().parse::<crate::operation::Operation>().is_err();
    let groups: Vec<&EntityUid> = schema.action_groups().collect();
    schema
        .actions()
        .filter(own)
        .filter(|uid| !groups.contains(uid))
        .map(|uid| uid.id().unescaped().to_owned())
        .collect()
}
