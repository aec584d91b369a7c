//! A policy, from TOML: strictly, because a condition that is misspelled would be none.

use std::{path::Path, str::FromStr};

use kms_core::certificate::{body::MediumClass, policy::Policy, risks::Risk};
use serde::Deserialize;

use super::text;
use crate::failure::Failure;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct File {
    minimum_class: Option<String>,
    approvals: u32,
    accept: Vec<String>,
    witnesses: Vec<String>,
    log_key: Option<String>,
}

/// Reads a policy.
pub(super) fn load(file: &Path) -> Result<Policy, Failure> {
    parse(&text(file)?).map_err(|why| Failure::usage(format!("the policy `{}`: {why}", file.display())))
}

fn parse(text: &str) -> Result<Policy, String> {
    let file: File = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        format!("line {line}: {}", error.message().replace('\n', " "))
    })?;
    let minimum_class = match &file.minimum_class {
        None => MediumClass::None,
        Some(word) => word_of("minimum_class", word, MediumClass::from_word(word), MediumClass::ALL)?,
    };
    let accept = file.accept.iter().map(|word| word_of("accept", word, Risk::from_word(word), Risk::ALL));
    let witnesses = file.witnesses.iter().map(|line| key_of("witnesses", line));
    Ok(Policy {
        minimum_class,
        approvals: file.approvals.into(),
        accept: accept.collect::<Result<_, _>>()?,
        witnesses: witnesses.collect::<Result<_, _>>()?,
        log_key: file.log_key.as_deref().map(|line| key_of("log_key", line)).transpose()?,
    })
}

fn word_of<T: Copy + ToString>(member: &str, word: &str, read: Option<T>, all: &[T]) -> Result<T, String> {
    read.ok_or_else(|| {
        let known: Vec<String> = all.iter().map(ToString::to_string).collect();
        format!("`{member}` has `{word}`; known are {}", known.join(", "))
    })
}

fn key_of<T: FromStr<Err: ToString>>(member: &str, line: &str) -> Result<T, String> {
    line.parse().map_err(|error: T::Err| {
        format!("`{member}` has `{line}`, which is not a key of that kind: {}", error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITNESS: &str = "witness.example/one+c402dfff+BN+hTmS09zh/3W5MvlzL9cEIytL24NCDW48g6xnqenbv";
    const LOG: &str =
        "keycentre/a2864678b8835ec08b8c31e7b8d5248f+ad581c77+AfEqzh+3hXQvxldFgn+doo7Cg6qBA8YLCNJcy/zt0AQD";

    #[test]
    fn a_policy_says_what_it_says() {
        assert_eq!(parse(""), Ok(Policy::default()));
        let text = format!(
            "minimum_class = \"token\"\napprovals = 2\naccept = [\"no-witness\", \"no-witness\"]\nwitnesses = [\"{WITNESS}\"]\nlog_key = \"{LOG}\"\n"
        );
        let policy = parse(&text).unwrap();
        assert_eq!((policy.minimum_class, policy.approvals), (MediumClass::Token, 2));
        assert_eq!(policy.accept.into_iter().collect::<Vec<_>>(), [Risk::NoWitness]);
        assert_eq!(policy.witnesses.iter().map(ToString::to_string).collect::<Vec<_>>(), [WITNESS]);
        assert_eq!(policy.log_key.map(|key| key.to_string()).as_deref(), Some(LOG));
    }

    #[test]
    fn what_a_policy_cannot_say_is_refused_in_a_sentence() {
        for (text, sentence) in [
            ("minimum_clas = \"clear\"", "line 1: unknown field `minimum_clas`"),
            ("\n\napprovals = \"two\"", "line 3: "),
            ("approvals = -1", "line 1: "),
            ("approvals = 1.5", "line 1: "),
            ("accept = \"no-witness\"", "line 1: "),
            ("accept = [\"no-witnes\"]", "`accept` has `no-witnes`; known are audit-written, "),
            ("minimum_class = \"Clear\"", "`minimum_class` has `Clear`; known are none, token, clear"),
            ("[accept]", "line 1: "),
            ("accept = []\naccept = []", "line 2: "),
            ("log_key = \"me\"", "`log_key` has `me`, which is not a key of that kind: "),
            (&format!("log_key = \"{WITNESS}\""), "`log_key` has "),
            (&format!("witnesses = [\"{LOG}\"]"), "`witnesses` has "),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.starts_with(sentence) && !refused.contains('\n'), "{text}: {refused}");
        }
    }
}
