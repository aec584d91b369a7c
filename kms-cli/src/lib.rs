//! The command line of the key centre: the binary `kms`.
//!
//! # Layout
//! - [`args`]: what can be typed; [`words`]: words that stand for values.
//! - [`command`]: what each command does, one file each; [`session`]: how they reach the server.
//! - [`columns`]: CSV and JSON Lines files, whatever their size; [`whole_file`]: output that is whole or absent;
//!   [`interruption`]: what is taken away when a signal comes.
//! - [`failure`]: exit codes, and errors in the words of the one who typed; [`print`](mod@print): results.

pub mod args;
pub mod columns;
pub mod command;
pub mod failure;
pub mod interruption;
pub mod own_server;
pub mod print;
pub mod session;
pub mod whole_file;
pub mod words;

use std::{ffi::OsString, io::Write as _, path::Path, process::ExitCode};

use args::{Cli, Command};
use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use failure::{Exit, Failure};
use session::{Session, block_on};

/// The command line, from its words to the exit code.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = words.into_iter().collect();
    let cli = match Cli::try_parse_from(&words) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, wants_json(&words)),
    };
    if let Command::Server { arguments } = cli.command {
        own_server::end_with_stdin();
        return kms_server::cli::main(std::iter::once(OsString::from("kms-server")).chain(arguments));
    }
    let session = Session { profile: cli.profile, purpose: cli.purpose, output: cli.output };
    match run(cli.command, &session) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => {
            say(&failure, session.is_json());
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn run(command: Command, session: &Session) -> Result<Exit, Failure> {
    use crate::command as c;
    match command {
        Command::Tenant(tenant) => block_on(c::tenant::run(tenant, session))?,
        Command::Key(key) => block_on(c::key::run(key, session))?,
        Command::Encrypt(what) => block_on(c::crypt::encrypt(what, session))?,
        Command::Decrypt(what) => block_on(c::crypt::decrypt(what, session))?,
        Command::Reveal(what) => block_on(c::crypt::reveal(what, session))?,
        Command::Reencrypt(what) => block_on(c::crypt::reencrypt(what, session))?,
        Command::Policy(args::Policy::Check { dir, schemas }) => c::policy::check(&dir, &schemas, session)?,
        Command::Policy(args::Policy::Masks { key, schemas }) => {
            block_on(c::policy::masks(key, schemas, session))?
        }
        Command::Policy(args::Policy::Schema { schemas }) => c::policy::review(&schemas, session)?,
        Command::Policy(explain) => block_on(c::policy::explain(explain, session))?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kms", &mut script);
            print::bytes(&script)?;
        }
        Command::Man { dir } => manual(&dir)?,
        Command::Columns(columns) => return block_on(c::columns::run(columns, session)),
        Command::Reseal(what) => return block_on(c::reseal::run(what, session)),
        Command::SealFile(what) => block_on(c::files::seal(what, session))?,
        Command::OpenFile(what) => block_on(c::files::open(what, session))?,
        Command::Cert(args::Cert::Get(what)) => return block_on(c::cert::get(what, session)),
        Command::Verify(what) => return c::verify::run(&what, session),
        Command::Log(args::Log::Checkpoint { out }) => block_on(c::log::checkpoint(&out, session))?,
        Command::Log(args::Log::Key { out }) => block_on(c::log::key(&out, session))?,
        Command::Log(args::Log::Cosign { file }) => block_on(c::log::cosign(&file, session))?,
        Command::Log(args::Log::Mirror { dir }) => block_on(c::log::mirror(&dir, session))?,
        Command::Clock(args::Clock::Confirm) => block_on(c::key::confirm_clock(session))?,
        Command::Audit(args::Audit::Query { filter, limit }) => {
            block_on(c::audit::query(filter, limit, session))?
        }
        Command::Audit(args::Audit::Tail { filter }) => block_on(c::audit::tail(filter, session))?,
        Command::Audit(args::Audit::Export { from_segment, dir }) => {
            block_on(c::audit::export(from_segment, &dir, session))?;
        }
        Command::Audit(args::Audit::Verify { dir, key, pin, start }) => {
            c::audit::verify(&dir, c::audit::Against { key, pin, start }, session)?;
        }
        Command::Audit(args::Audit::Delete { through_segment, export }) => {
            block_on(c::audit::delete(through_segment, &export, session))?;
        }
        Command::Bench(bench) => block_on(c::bench::run(bench, session))?,
        Command::Demo => block_on(c::demo::run())?,
        Command::Doctor => block_on(c::doctor::run(session))?,
        Command::Echo { data } => {
            own_server::end_with_stdin();
            c::bench::serve_echo(&data)?;
        }
        // Its own exit codes and its own words: see `main`.
        Command::Server { .. } => return Err(Failure::usage("`__server` is not for you; run `kms-server`")),
    }
    Ok(Exit::Done)
}

fn manual(dir: &Path) -> Result<(), Failure> {
    let written = std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
    written.map_err(|e| Failure::failed("INPUT_OUTPUT", format!("cannot write to `{}`: {e}", dir.display())))
}

/// Says on stderr what went wrong.
fn say(failure: &Failure, as_json: bool) {
    let text = if as_json { failure.to_json().to_string() } else { format!("kms: {failure}") };
    // Where stderr is closed there is nobody to tell; the exit code still says it.
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// A wrong command line: exit 2; help and version: exit 0.
fn refuse(error: &clap::Error, as_json: bool) -> ExitCode {
    let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    // Words without a command are answered with the help for them.
    if is_help || (error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand && !as_json) {
        drop(error.print());
    } else {
        say(&Failure::usage(in_two_lines(error)), as_json);
    }
    ExitCode::from(if is_help { 0 } else { Exit::Usage as u8 })
}

/// What is wrong in one line, what to do in the next; the rest stands in the help.
fn in_two_lines(error: &clap::Error) -> String {
    let text = error.render().to_string();
    // clap lists hidden commands too; ours begin with two underscores.
    let shown = |word: &&str| !word.starts_with("__");
    let mut parts =
        text.split("\n\n").map(|part| part.split_whitespace().filter(shown).collect::<Vec<_>>().join(" "));
    let what = parts.next().unwrap_or_default();
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    let next = parts.find(|part| part.starts_with("tip: ") || part.starts_with("Usage: "));
    match next.as_deref().map(|next| next.strip_prefix("tip: ").unwrap_or(next)) {
        Some(next) => format!("{what}\n{next}; `--help` says more"),
        None => format!("{what}; `--help` says more"),
    }
}

fn wants_json(words: &[OsString]) -> bool {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    words.iter().any(|word| ["-ojson", "-o=json", "--output=json"].contains(&&**word))
        || words.windows(2).any(|pair| ["-o", "--output"].contains(&&*pair[0]) && pair[1] == "json")
}
