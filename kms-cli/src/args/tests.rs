//! What is taken, and what is not.

use clap::CommandFactory as _;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("kms").chain(line.split_whitespace()))
}

#[test]
fn the_command_line_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_of_the_contract_is_taken() {
    for line in [
        "tenant create acme",
        "tenant describe acme",
        "tenant list",
        "tenant destroy acme --now --reason contract-ended --ticket OPS-1",
        "tenant destroy acme --in 7d --reason contract-ended",
        "key create attendance --tenant acme --family --class L3 --rotate-every 90d --lease 5m",
        "key list --tenant acme",
        "key describe attendance/employee-17 --tenant acme",
        "key census attendance --tenant acme",
        "key rotate attendance --tenant acme --deterministic",
        "key suspend attendance --tenant acme",
        "key resume attendance --tenant acme",
        "key destroy attendance --tenant acme --version 1 --reason retention-ended",
        "key destroy attendance --tenant acme --all --now --reason test --force",
        "encrypt --tenant acme --key attendance --context a=b --context c=d",
        "decrypt --tenant acme --key attendance",
        "reveal --tenant acme --key attendance --table checkins --column phone --record 1",
        "policy check policies --schema schema.json --schema more.json",
        "policy masks --key attendance --schema schema.json",
        "policy schema schema.json more.json",
        "reencrypt --tenant acme --key attendance --context a=b --to-key other --to-context a=c",
        "columns seal --tenant acme --key attendance --table checkins --id id --column name --column phone:deterministic in.csv out.csv",
        "columns open --tenant acme --key attendance --table checkins --id id --column name --keep-going - -",
        "columns reseal --tenant acme --key attendance --table t --id id --column n --format jsonl --delimiter ; a b",
        "reseal --database sqlite:a.db --tenant acme --key attendance --table t --id id --column n --column p:deterministic",
        "reseal --database postgres://a@b/c --tenant acme --key k --table t --id id --column n --sql-table s.t --dry-run --rate 500",
        "verify certificate.json",
        "verify - --key log.key --policy p.toml --pin checkpoint --mirror dir --report out.html",
        "key cancel-destroy attendance --tenant acme --version 1",
        "key cancel-destroy attendance --tenant acme --all",
        "tenant cancel-destroy acme",
        "clock confirm",
        "cert get --tenant acme --key attendance --version 1 --wait 30s certificate.json",
        "cert get --tenant acme --uid d46b1903b7cd003b3e2f5e5b7c192517 certificate.json",
        "log checkpoint -",
        "log key out",
        "log mirror dir",
        "log cosign note",
        "doctor",
        "man pages",
        "seal-file --tenant acme --key attendance a b",
        "open-file --tenant acme --key attendance a -",
        "audit query --tenant acme --operation encrypt --outcome denied --from 2h --limit 5 -o json",
        "audit tail",
        "audit export dir",
        "audit verify dir",
        "audit delete --through-segment 3 --export dir",
        "policy check policies",
        "policy explain --as spiffe://dev.local/hr-portal --operation Decrypt --tenant acme --key attendance",
        "demo",
        "bench --concurrency 1,8,64 --connections 4 --payload 64 --batch 1 --seconds 2",
        "completions bash",
        "--profile a.toml -o json tenant list",
        "tenant list --profile a.toml --output json",
        "encrypt --tenant acme --key attendance --purpose payroll",
        "--purpose payroll reseal --database sqlite:a.db --tenant acme --key attendance --table t --id id --column n",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn what_makes_no_sense_is_not_taken() {
    for line in [
        "",
        "tenant create Acme",
        "tenant destroy acme --now",
        "tenant destroy acme --now --reason because",
        "tenant destroy acme --now --in 7d --reason test",
        "key create a --tenant acme --class L5",
        "key create a",
        "key destroy a --tenant acme --reason test",
        "key destroy a --tenant acme --version 1 --all --reason test",
        "key destroy a --tenant acme --version 0 --reason test",
        "columns seal --tenant a --key k --table t --id id in out",
        "columns seal --tenant a --key k --table t --id id --column c --keep-going in out",
        "columns seal --tenant a --key k --table t --id id --column c --delimiter ab in out",
        "policy explain --as x --operation Fly",
        "audit query --from yesterday",
        "key cancel-destroy a --tenant acme",
        "log cosign",
        "cert get --tenant acme --uid d46b c.json",
        "cert get --tenant acme --key k --uid d46b1903b7cd003b3e2f5e5b7c192517 c.json",
        "cert get --tenant acme",
        "verify",
        "-o yaml tenant list",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn a_purpose_is_stated_by_every_command_and_a_new_key_may_be_for_several() {
    let line = "decrypt --tenant acme --key salaries";
    for (line, purpose) in [(format!("{line} --purpose payroll"), Some("payroll")), (line.to_owned(), None)] {
        assert_eq!(parse(&line).unwrap().purpose.as_deref(), purpose, "{line}");
    }
    let create = parse("key create salaries --tenant acme --purpose payroll --purpose audit").unwrap();
    let Command::Key(Key::Create { purposes, .. }) = create.command else { panic!("another command") };
    assert_eq!(purposes, ["payroll", "audit"]);
    let explain = "policy explain --as spiffe://a/b --operation Decrypt --tenant acme --key salaries";
    for (line, stated) in [(format!("{explain} --purpose payroll"), "payroll"), (explain.to_owned(), "")] {
        let Command::Policy(Policy::Explain { purpose, .. }) = parse(&line).unwrap().command else {
            panic!("another command")
        };
        assert_eq!(purpose, stated);
    }
}
