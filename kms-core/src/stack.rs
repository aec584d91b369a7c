//! Stack that is wiped after use. Ciphers and hashes of others are moved as they are made, and each move leaves the key schedule or
//! the hash state that was moved where it stood; what is wiped on drop is the last copy only.

use std::hint::black_box;

use zeroize::Zeroize;

/// Bytes wiped: more than the deepest of our calls uses. Without optimisation frames are several times as large.
const ROOM: usize = if cfg!(debug_assertions) { 32 * 1024 } else { 8 * 1024 };

/// Runs `work`, and wipes the stack that it used. Its result is moved out of there: it must hold secrets by pointer only.
#[inline(never)]
pub(crate) fn wiped<R>(work: impl FnOnce() -> R) -> R {
    let result = apart(work);
    wipe();
    result
}

/// A call of its own, so that all of `work` is below the frame of [`wiped`], where [`wipe`] then is.
#[inline(never)]
fn apart<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[inline(never)]
fn wipe() {
    // In words: bytes would be wiped one after the other.
    let mut room = [0u64; ROOM / size_of::<u64>()];
    room.zeroize();
    black_box(&room);
}
