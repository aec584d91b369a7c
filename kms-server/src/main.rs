//! The binary `kms-server`: see [`kms_server::cli`].

use std::process::ExitCode;

/// Memory is wiped as it is freed: what no type of ours holds (buffers of libraries) may have held a key.
#[global_allocator]
static WIPING: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    kms_server::cli::main(std::env::args_os())
}
