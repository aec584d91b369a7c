//! The server, for tests: the same library call, over the same allocator, as in `kms-server`.

use std::{process::ExitCode, thread, time::Duration};

use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};

#[global_allocator]
static WIPING: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

/// Undoes, as soon as it is done, what hides the memory of the process from the user who runs the tests.
fn be_readable() {
    while dumpable_behavior().is_ok_and(|behaviour| behaviour == DumpableBehavior::Dumpable) {
        // Nothing tells when it is done.
        thread::sleep(Duration::from_millis(1));
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::Dumpable) {
        eprintln!("the memory stays hidden: {error}");
    }
}

fn main() -> ExitCode {
    if std::env::var_os("KMS_TESTS_READABLE").is_some() {
        thread::spawn(be_readable);
    }
    kms_server::cli::main(std::env::args_os())
}
