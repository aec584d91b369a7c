//! Nonces for sealing: a ChaCha20 stream for each thread, seeded by the operating system.
//!
//! The one file of this crate that reads a clock and asks for the process id, because nonces must not repeat where a process
//! was copied. A virtual machine restored twice from one snapshot goes on with the same stream twice, so the stream is reseeded
//! from the operating system within a second; a forked child reseeds before its first draw. A draw from the operating system
//! for each nonce would cost 370 ns; this costs about 12. Key material never comes from here.

use std::{cell::RefCell, process};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use rustix::time::{ClockId, Timespec, clock_gettime};
use zeroize::Zeroizing;

/// Bytes of a nonce.
pub const LEN: usize = 12;

/// How long one seed serves, in nanoseconds of a clock that stands still for less than 10 ms at a time.
const SEED_LIFE: i64 = 1_000_000_000;

/// One refill of the generator makes 256 bytes; taking them 12 at a time from it would cost twice as much.
const AHEAD: usize = 21;

#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::MonotonicCoarse;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

thread_local! {
    static STREAM: RefCell<Option<Stream>> = const { RefCell::new(None) };
}

/// A nonce that no other call gives, but for chance: at most 2^32 may be drawn for one key.
///
/// # Errors
/// Where the operating system has no randomness to reseed with.
pub fn fresh() -> Result<[u8; LEN], getrandom::Error> {
    let mut nonce = [0; LEN];
    fill(&mut nonce)?;
    Ok(nonce)
}

/// As [`fresh`], where the nonce is to stand.
pub(crate) fn fill(nonce: &mut [u8; LEN]) -> Result<(), getrandom::Error> {
    STREAM.with_borrow_mut(|slot| {
        let now = nanoseconds(clock_gettime(CLOCK));
        // ORDER: gone before a new seed is asked for, so that nothing is drawn from it should that fail.
        slot.take_if(|stream| !stream.serves(now));
        let stream = match slot {
            Some(stream) => stream,
            None => slot.insert(Stream::seeded(now)?),
        };
        *nonce = *stream.draw();
        Ok(())
    })
}

fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec.wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec)
}

struct Stream {
    generator: ChaCha20Rng,
    /// Nonces drawn ahead, and how many of them were given out.
    drawn: [[u8; LEN]; AHEAD],
    given: usize,
    seeded: i64,
    looked: i64,
    pid: u32,
    fork: Option<forkguard::Guard>,
}

impl Stream {
    fn seeded(now: i64) -> Result<Self, getrandom::Error> {
        // ORDER: guard and pid before the seed, so that a fork in between is still seen.
        let (fork, pid) = (forkguard::Guard::try_new().ok(), process::id());
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed)?;
        let generator = ChaCha20Rng::from_seed(*seed);
        Ok(Self { generator, drawn: [[0; LEN]; AHEAD], given: AHEAD, seeded: now, looked: now, pid, fork })
    }

    fn serves(&mut self, now: i64) -> bool {
        // ATTACK: parent and child of a fork would draw the same nonces under the same keys. The C library tells of its own
        // forks at no cost; the pid, a system call, finds the others at the clock's next tick, or at once where it tells nothing.
        let forked = match &mut self.fork {
            Some(fork) => fork.detected_fork() || now != self.looked && process::id() != self.pid,
            None => process::id() != self.pid,
        };
        self.looked = now;
        let age = now.wrapping_sub(self.seeded);
        !forked && (0..SEED_LIFE).contains(&age)
    }

    fn draw(&mut self) -> &[u8; LEN] {
        if self.given == AHEAD {
            self.generator.fill_bytes(self.drawn.as_flattened_mut());
            self.given = 0;
        }
        self.given += 1;
        &self.drawn[self.given - 1]
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::*;

    #[test]
    fn nonces_of_several_threads_do_not_repeat() {
        let draw = || (0..20_000).map(|_| fresh().unwrap()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| thread::spawn(draw)).collect();
        let all: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn a_seed_serves_for_less_than_a_second_and_not_before_it_was_drawn() {
        let mut stream = Stream::seeded(5).unwrap();
        assert!(stream.serves(5) && stream.serves(5 + SEED_LIFE - 1));
        assert!(!stream.serves(5 + SEED_LIFE));
        assert!(!stream.serves(4), "a clock that went back");
    }

    #[test]
    fn another_process_reseeds_at_the_next_tick_or_at_once_without_a_guard() {
        let mut stream = Stream::seeded(5).unwrap();
        stream.pid = stream.pid.wrapping_add(1);
        assert!(!stream.serves(6));
        stream.fork = None;
        assert!(!stream.serves(6));
    }
}
