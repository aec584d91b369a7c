//! How these benchmarks tell time: contenders take turns, so that whatever else the machine does falls on all of them alike.
#![allow(dead_code, reason = "each benchmark uses its own part")]

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What one turn took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    /// By the clock on the wall.
    pub(crate) wall: Duration,
    /// On all cores together, of this process only.
    pub(crate) cpu: Duration,
}

/// Which of the two is compared.
pub(crate) type Kind = fn(&Took) -> Duration;
pub(crate) const WALL: Kind = |took| took.wall;
pub(crate) const CPU: Kind = |took| took.cpu;

pub(crate) fn took<R>(work: impl FnOnce() -> R) -> Took {
    let (began, before) = (Instant::now(), process_time());
    let result = work();
    let (wall, cpu) = (began.elapsed(), process_time() - before);
    drop(result);
    Took { wall, cpu }
}

fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Every turn of every contender.
pub(crate) struct Turns(Vec<Vec<Took>>);

/// Has contenders take turns; the first two rounds only warm up.
pub(crate) fn in_turns(rounds: usize, contenders: &mut [&mut dyn FnMut() -> Took]) -> Turns {
    let mut turns = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..rounds + 2 {
        for (contender, turns) in contenders.iter_mut().zip(&mut turns) {
            let took = contender();
            if round >= 2 {
                turns.push(took);
            }
        }
    }
    Turns(turns)
}

impl Turns {
    /// The least that a contender took: what it takes on a machine that is left alone.
    pub(crate) fn least(&self, contender: usize, kind: Kind) -> Duration {
        self.0[contender].iter().map(kind).min().unwrap_or_default()
    }

    /// The median, over the rounds, of what one contender took against what another did in the same round.
    pub(crate) fn ratio(&self, contender: usize, against: usize, kind: Kind) -> f64 {
        let rounds = self.0[contender].iter().zip(&self.0[against]);
        let mut ratios: Vec<f64> =
            rounds.map(|(one, other)| kind(one).as_secs_f64() / kind(other).as_secs_f64()).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        ratios[ratios.len() / 2]
    }

    /// The same of the least times.
    pub(crate) fn ratio_of_least(&self, contender: usize, against: usize, kind: Kind) -> f64 {
        self.least(contender, kind).as_secs_f64() / self.least(against, kind).as_secs_f64()
    }
}
