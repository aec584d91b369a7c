//! The binary `kms`.

use std::process::ExitCode;

fn main() -> ExitCode {
    kms_cli::main(std::env::args_os())
}
