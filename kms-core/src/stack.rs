//! Stack that is wiped after use. Ciphers and hashes of others are moved as they are made, and each move leaves the key schedule or
//! the hash state that was moved where it stood; what is wiped on drop is the last copy only.

use std::mem::MaybeUninit;

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
    // Not initialised, so that it is wiped in one write.
    let mut room = MaybeUninit::<[u64; ROOM / size_of::<u64>()]>::uninit();
    room.zeroize();
}

#[cfg(test)]
mod tests {
    use std::{fs::File, hint::black_box, os::unix::fs::FileExt};

    use super::*;

    /// Leaves a pattern all over 4 KiB of stack.
    fn careless(pattern: u64) -> bool {
        let left = [pattern; 512];
        black_box(&left)[7] == pattern
    }

    /// How often the pattern stands on the stack below here after `run`.
    #[inline(never)]
    fn left_by(run: impl FnOnce(u64) -> bool, pattern: u64) -> usize {
        let memory = File::open("/proc/self/mem").unwrap();
        let mut below = vec![0; 2 * ROOM];
        let from = (&raw const pattern as u64 - below.len() as u64) & !7;
        assert!(run(pattern));
        memory.read_exact_at(&mut below, from).unwrap();
        below.as_chunks().0.iter().filter(|word| u64::from_ne_bytes(**word) == pattern).count()
    }

    #[test]
    fn what_a_careless_callee_leaves_is_wiped_and_without_that_it_stays() {
        let pattern = 0x5ca1_ab1e_0dd5_eed5;
        assert!(left_by(|pattern| apart(|| careless(pattern)), pattern) > 64);
        assert!(left_by(|pattern| wiped(|| careless(pattern)), pattern) < 8, "arguments of callers only");
    }
}
