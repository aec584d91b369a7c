//! The command line, for tests: the same library call as in `kms`.

use std::process::ExitCode;

fn main() -> ExitCode {
    kms_cli::main(std::env::args_os())
}
