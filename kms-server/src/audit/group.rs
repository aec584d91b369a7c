//! Lines that are written together, and the future that waits for them.
//!
//! The first waiter of a group writes for all of it: it lets the tasks that are ready now add their lines, then makes one write(2).
//! There is no writer thread and no channel. A leader that is dropped before it wrote writes while it is dropped, so nobody hangs.

use std::{
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

use super::{Durability, log::Core};

/// Proof that a line was accepted. Only the log makes one.
#[derive(Debug)]
#[must_use = "a result is released against it"]
pub struct Recorded {
    sequence: u64,
    durability: Durability,
}

impl Recorded {
    /// Number of the line.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How far the line has got, at the least.
    pub fn durability(&self) -> Durability {
        self.durability
    }
}

/// The line was not accepted, so the request must fail. Nothing that it was about may leave the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit cannot be written, so the request is refused; the server's health says why")]
pub struct Unavailable;

/// How far a group has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Reached {
    // 0 is a group that has got nowhere yet.
    Written = 1,
    Synced,
    Failed,
}

/// Lines that share a write.
#[derive(Default)]
pub(super) struct Group {
    reached: AtomicU8,
    wakers: Mutex<Wakers>,
}

#[derive(Default)]
struct Wakers {
    written: Vec<Waker>,
    synced: Vec<Waker>,
}

impl Group {
    /// Says how far the group has got, and wakes whom that concerns.
    pub(super) fn settle(&self, reached: Reached) {
        let (written, synced) = {
            let mut wakers = self.wakers.lock();
            // ORDER: the sync thread may have said that it is synced before who wrote it says that it is written: that takes nothing back.
            self.reached.fetch_max(reached as u8, Ordering::AcqRel);
            let synced = if reached == Reached::Written { Vec::new() } else { mem::take(&mut wakers.synced) };
            (mem::take(&mut wakers.written), synced)
        };
        written.into_iter().chain(synced).for_each(Waker::wake);
    }

    fn outcome(&self, wants: Durability) -> Option<Result<(), Unavailable>> {
        let reached = self.reached.load(Ordering::Acquire);
        if reached == Reached::Failed as u8 {
            return Some(Err(Unavailable));
        }
        let enough = match wants {
            Durability::Written => Reached::Written,
            Durability::Synced => Reached::Synced,
        };
        (reached >= enough as u8).then_some(Ok(()))
    }

    /// Has `waker` called once the group has got that far; `false` where that has happened meanwhile.
    fn register(&self, wants: Durability, waker: &Waker) -> bool {
        let mut wakers = self.wakers.lock();
        if self.outcome(wants).is_some() {
            return false;
        }
        let list = match wants {
            Durability::Written => &mut wakers.written,
            Durability::Synced => &mut wakers.synced,
        };
        if !list.iter().any(|known| known.will_wake(waker)) {
            list.push(waker.clone());
        }
        true
    }
}

/// Groups whose sync is under way. They have failed where nobody says otherwise.
pub(super) struct Waiting(pub(super) Vec<Arc<Group>>);

impl Waiting {
    /// Says how far they have got.
    pub(super) fn settle(mut self, reached: Reached) {
        mem::take(&mut self.0).iter().for_each(|group| group.settle(reached));
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.iter().for_each(|group| group.settle(Reached::Failed));
    }
}

/// A line on its way; resolves once it has got as far as was asked.
///
/// The line is in its group from the start: dropping this takes nothing back.
#[must_use = "the line is accepted only once this has resolved"]
pub struct Recording<'a> {
    log: &'a Core,
    line: Option<Line>,
    wants: Durability,
}

struct Line {
    sequence: u64,
    group: Arc<Group>,
    role: Role,
}

enum Role {
    /// Writes for the group, after the tasks that are ready had their turn.
    Leads,
    /// Writes for the group now.
    Writes,
    Follows,
}

impl<'a> Recording<'a> {
    pub(super) fn refused(log: &'a Core, wants: Durability) -> Self {
        Self { log, line: None, wants }
    }

    pub(super) fn submitted(
        log: &'a Core,
        wants: Durability,
        sequence: u64,
        group: Arc<Group>,
        leads: bool,
    ) -> Self {
        let role = if leads { Role::Leads } else { Role::Follows };
        Self { log, line: Some(Line { sequence, group, role }), wants }
    }
}

impl Future for Recording<'_> {
    type Output = Result<Recorded, Unavailable>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(line) = &mut this.line else { return Poll::Ready(Err(Unavailable)) };
        loop {
            if let Some(outcome) = line.group.outcome(this.wants) {
                line.role = Role::Follows;
                let (sequence, durability) = (line.sequence, this.wants);
                return Poll::Ready(outcome.map(|()| Recorded { sequence, durability }));
            }
            match line.role {
                Role::Leads => {
                    line.role = Role::Writes;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Role::Writes => {
                    line.role = Role::Follows;
                    this.log.write_pending();
                }
                Role::Follows if line.group.register(this.wants, context.waker()) => return Poll::Pending,
                Role::Follows => {}
            }
        }
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        if let Some(Line { role: Role::Leads | Role::Writes, .. }) = self.line {
            self.log.write_pending();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_was_synced_before_it_was_said_to_be_written_stays_so() {
        let group = Group::default();
        group.settle(Reached::Synced);
        group.settle(Reached::Written);
        assert_eq!(group.outcome(Durability::Synced), Some(Ok(())));
        assert!(!group.register(Durability::Synced, Waker::noop()), "nobody would wake who came now");
        let group = Group::default();
        group.settle(Reached::Failed);
        group.settle(Reached::Written);
        assert_eq!(group.outcome(Durability::Written), Some(Err(Unavailable)));
    }
}
