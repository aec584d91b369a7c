//! The server, for tests: the same library call, over the same allocator, as in `kms-server`.

use std::process::ExitCode;

#[global_allocator]
static WIPING: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    kms_server::cli::main(std::env::args_os())
}
