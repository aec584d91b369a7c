//! Counts refused handshakes by source and second, in bounded memory, until the audit takes them.
//!
//! ATTACK: anybody on the network can cause a refusal; what one costs here is a counter.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;

use super::{OnRefusal, Refusal};
use crate::audit::FailedHandshakes;

/// Sources that are told apart; what others cause is counted together, as from `0.0.0.0`.
const MOST_SOURCES: usize = 4096;

/// Refusals that the audit does not have yet.
#[derive(Debug, Default)]
pub struct Tally(Mutex<HashMap<(IpAddr, u64), u32>>);

impl Tally {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What the accept loop calls: counts, for the audit and for the metrics.
    pub fn counting(self: &Arc<Self>) -> OnRefusal {
        let tally = Arc::clone(self);
        Arc::new(move |remote: SocketAddr, refusal: &Refusal| {
            metrics::counter!("kms_handshakes_refused_total", "why" => refusal.as_str()).increment(1);
            tracing::debug!(%remote, %refusal, "handshake refused");
            tally.add(remote.ip(), SystemTime::now());
        })
    }

    /// Takes what was counted, in no order.
    pub fn drain(&self) -> Vec<FailedHandshakes> {
        let counts = std::mem::take(&mut *self.0.lock());
        let instant = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let tallied = |((source, second), count)| FailedHandshakes { source, second: instant(second), count };
        counts.into_iter().map(tallied).collect()
    }

    fn add(&self, source: IpAddr, now: SystemTime) {
        let second = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut counts = self.0.lock();
        let crowded = counts.len() >= MOST_SOURCES && !counts.contains_key(&(source, second));
        // All in one place, whatever the second: a tally that nobody drains stays bounded too.
        let place = if crowded { (Ipv4Addr::UNSPECIFIED.into(), 0) } else { (source, second) };
        let count = counts.entry(place).or_default();
        *count = count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_source_and_second_and_given_once() {
        let tally = Tally::new();
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(5_200);
        let source = IpAddr::from([127, 0, 0, 1]);
        tally.add(source, now);
        tally.add(source, now + Duration::from_millis(300));
        let second = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        assert_eq!(tally.drain(), [FailedHandshakes { source, second, count: 2 }]);
        assert_eq!(tally.drain(), []);
    }

    #[test]
    fn a_flood_from_everywhere_is_bounded_and_loses_no_count() {
        let tally = Tally::new();
        for n in 0..10_000_u32 {
            tally.add(Ipv4Addr::from(0x0a00_0000 + n).into(), SystemTime::now());
        }
        let drained = tally.drain();
        assert_eq!(drained.len(), MOST_SOURCES + 1);
        assert_eq!(drained.iter().map(|tallied| tallied.count).sum::<u32>(), 10_000);
    }
}
