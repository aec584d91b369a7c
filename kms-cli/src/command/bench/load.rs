//! A closed loop of callers: each sends its next call when the last is answered.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use tonic::{Status, transport::Channel};

use crate::failure::Failure;

/// What one turn measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Turn {
    pub(super) calls: u64,
    pub(super) calls_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// Lets `callers` call for `time`, spread over the channels.
pub(super) async fn run<F, R>(
    channels: &[Channel],
    callers: u32,
    time: Duration,
    call: Arc<F>,
) -> Result<Turn, Failure>
where
    F: Fn(Channel) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), Status>> + Send + 'static,
{
    let begun = Instant::now();
    let end = begun + time;
    let tasks: Vec<_> = channels
        .iter()
        .cycle()
        .take(callers as usize)
        .map(|channel| {
            let (channel, call) = (channel.clone(), call.clone());
            tokio::spawn(async move {
                let mut took = Vec::new();
                loop {
                    let asked = Instant::now();
                    if asked >= end {
                        return Ok(took);
                    }
                    call(channel.clone()).await?;
                    took.push(asked.elapsed());
                }
            })
        })
        .collect();
    let mut took: Vec<Duration> = Vec::new();
    for task in tasks {
        let caller: Result<Vec<Duration>, Status> =
            task.await.map_err(|_| Failure::failed("INTERNAL", "a caller ended before its time"))?;
        took.extend(caller.map_err(|status| {
            Failure::failed(
                "BENCH_CALL_FAILED",
                format!("a call failed: {}", crate::print::harmless(status.message())),
            )
        })?);
    }
    let elapsed = begun.elapsed();
    took.sort_unstable();
    Ok(Turn {
        calls: took.len() as u64,
        calls_per_second: took.len() as f64 / elapsed.as_secs_f64(),
        p50_us: quantile(&took, 0.50),
        p99_us: quantile(&took, 0.99),
    })
}

fn quantile(sorted: &[Duration], part: f64) -> f64 {
    let at = (sorted.len() as f64 * part) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).map_or(0.0, |took| took.as_secs_f64() * 1e6)
}

/// The middle one; of an even number the lower.
pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_does_not_follow_one_bad_turn() {
        assert_eq!(median(vec![900.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![]), 0.0);
        let took: Vec<_> = (1..=100).map(Duration::from_micros).collect();
        assert_eq!((quantile(&took, 0.5).round(), quantile(&took, 0.99).round()), (51.0, 100.0));
    }
}
