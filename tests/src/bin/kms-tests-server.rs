//! The server, for tests: the same library call as in `kms-server`.

use std::process::ExitCode;

fn main() -> ExitCode {
    kms_server::cli::main(std::env::args_os())
}
