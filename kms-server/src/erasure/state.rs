//! What the writer's thread owns, and the ordinary commit: changes that destroy nothing.

use std::{
    collections::VecDeque,
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use kms_core::{
    id::Epoch,
    secret::{SealSecret, WrappingKey},
    tree::{Base, Plan, PlanError, Planned, Superseded},
};

use super::{
    change::{Draft, TreeOp},
    collect,
    group::{Finish, Job, Outcome},
    head::Head,
    log::Log,
    nodes::{NodeCache, Nodebook, TreeError},
    options::{Fatal, Rider},
    published::{LogHead, Published, Roots},
    quiesce::Quiescing,
    redo::RedoStore,
    room::{Room, Size},
    view::Overlay,
    writer::{CommitNotice, WriteError},
    writes,
};
use crate::{
    effaceable::{Evidence, Media},
    store::{Batch, CommitError},
};

/// The writer's own: nothing else reads tree state, wraps, or commits.
pub(super) struct State {
    pub(super) published: Arc<Published>,
    pub(super) medium: Media,
    pub(super) redo: Box<dyn RedoStore>,
    pub(super) seal: SealSecret,
    pub(super) head: Head,
    pub(super) root: Arc<WrappingKey>,
    pub(super) cache: NodeCache,
    pub(super) rider: Rider,
    pub(super) fatal: Fatal,
    pub(super) interval: Duration,
    /// When the next epoch may begin.
    pub(super) next_epoch: Instant,
    /// When a failed effacement is tried again.
    pub(super) retry_at: Option<Instant>,
    /// Right edge of the transparency log.
    pub(super) log: Log,
    /// Epochs of which leases may run.
    pub(super) quiescing: Quiescing,
    /// Evidence that a commit of its own is to record.
    pub(super) evidence: Option<(Epoch, Evidence)>,
    /// Whether records of an abandoned epoch may be left.
    pub(super) abandoned: bool,
    /// Whether anything may be left to collect.
    pub(super) garbage: bool,
    /// What a test wants done wrongly.
    #[cfg(test)]
    pub(super) mistake: Option<super::mistake::Mistake>,
}

/// Changes that ran, and what they come to.
pub(super) struct Drafted {
    pub(super) group: Draft,
    pub(super) planned: Planned,
    pub(super) kept: Vec<Finish>,
    /// Changes that said no: that may rest on what others of the group wrote, so they are answered after these.
    pub(super) refused: Vec<Finish>,
}

/// What came of running changes.
pub(super) struct Drafting {
    /// `None` where no one is left to answer.
    pub(super) drafted: Option<Drafted>,
    /// The change that did not fit: it rests on the others, so it is the first of the next commit.
    pub(super) left: Option<Ran>,
}

/// A change that was run and is to be kept.
pub(super) struct Ran {
    pub(super) draft: Draft,
    pub(super) finish: Finish,
}

/// A commit that is not durable.
pub(super) enum Failure {
    /// Nothing was handed to the store, or the store says it wrote nothing.
    NotWritten(WriteError),
    /// Only a restart can tell.
    Unknown(Box<str>),
}

impl Failure {
    pub(super) fn not_written(why: &(dyn Error + 'static)) -> Self {
        Self::NotWritten(WriteError::of(why))
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::NotWritten(_) => Self::not_written(&error),
            CommitError::Unknown(_) => Self::Unknown(error.to_string().into()),
        }
    }
}

impl State {
    /// Runs changes and commits them together; those that do not fit, in commits of their own.
    pub(super) fn commit(&mut self, mut jobs: VecDeque<Job>) {
        if !jobs.is_empty() {
            self.record_evidence();
        }
        let mut next = None;
        while (next.is_some() || !jobs.is_empty()) && !self.published.is_stopped() {
            let Drafting { drafted, left } = self.draft(next.take(), &mut jobs, Size::COMMIT);
            let outcome = drafted.map(|drafted| self.commit_drafted(drafted));
            match (left, outcome) {
                // It was run over what those before it wrote: it is written where they were.
                (Some(left), Some(outcome @ (Outcome::NotWritten(_) | Outcome::Unknown))) => {
                    (left.finish)(outcome)
                }
                (left, _) => next = left,
            }
        }
    }

    pub(super) fn commit_drafted(&mut self, drafted: Drafted) -> Outcome {
        let Drafted { group, planned, mut kept, refused } = drafted;
        let outcome = match self.write(group, planned, |_| {}) {
            Ok(()) => self.durable(self.retry_at.is_none()),
            Err(failure) => self.failed(failure),
        };
        kept.extend(refused);
        answer(kept, &outcome);
        outcome
    }

    /// Runs changes, each over what those before it wrote, until no more fit: `first`, which was run already, and then `jobs`.
    /// Destructions stop before they have too much, for one that was run names its epoch.
    pub(super) fn draft(&self, first: Option<Ran>, jobs: &mut VecDeque<Job>, most: Size) -> Drafting {
        let (mut group, mut kept, mut refused) = (Draft::default(), Vec::new(), Vec::new());
        let (mut room, mut left, mut failed) = (Room::default(), None, None);
        let mut book = self.nodebook();
        let mut plan = Plan::new(&mut book, self.base());
        let mut first = first;
        while most == Size::COMMIT || room.fits(most) {
            let ran = match first.take() {
                Some(first) => first,
                None => {
                    let Some(job) = jobs.pop_front() else { break };
                    let Some(ran) = self.run_change(job, &group, &mut refused) else { continue };
                    ran
                }
            };
            let Ran { mut draft, finish } = ran;
            let size = Room::of(&draft);
            let alone = if most == Size::COMMIT { most } else { Size::DESTRUCTION };
            if !size.fits(alone) {
                finish(Outcome::TooLarge);
                continue;
            }
            // What cannot be read fails the one change that needs it, before anything of it is in the plan.
            if let Err(error) = probe(&mut plan, &draft.trees) {
                finish(Outcome::NotWritten(Arc::new(WriteError::of(&error))));
                continue;
            }
            let limit = if most == Size::COMMIT { most } else { Size::UNBOUNDED };
            if !room.take(size, limit) {
                left = Some(Ran { draft, finish });
                break;
            }
            let trees = std::mem::take(&mut draft.trees);
            group.absorb(draft);
            kept.push(finish);
            if let Err(error) = apply(&mut plan, trees) {
                failed = Some(error);
                break;
            }
        }
        // What an epoch may write and one commit may not is written as an epoch, even if it destroys nothing.
        let renew = group.renew || !room.fits(Size::COMMIT);
        let planned = match failed {
            Some(error) => Err(error),
            None => plan.finish(renew).and_then(|planned| self.check(planned)),
        };
        let drafted = match planned {
            Ok(planned) if !kept.is_empty() => Some(Drafted { group, planned, kept, refused }),
            Ok(_) => {
                answer(refused, &self.durable(false));
                None
            }
            Err(error) => {
                kept.extend(refused);
                let outcome = Outcome::NotWritten(Arc::new(WriteError::of(&error)));
                kept.extend(left.take().map(|left| left.finish));
                answer(kept, &outcome);
                None
            }
        };
        Drafting { drafted, left }
    }

    /// The state that the nodes add up to must be the one that the last commit left.
    fn check(&self, planned: Planned) -> Result<Planned, TreeError> {
        match planned.state_root_before {
            Some(before) if before != self.head.state_root => Err(PlanError::Mismatch.into()),
            _ => Ok(planned),
        }
    }

    pub(super) fn nodebook(&self) -> Nodebook<'_> {
        let (store, cache) = (&*self.published.store, &self.cache);
        Nodebook { store, cache, instance: self.head.instance, abandoned: self.abandoned }
    }

    pub(super) fn base(&self) -> Base {
        let Head { instance, epoch, top_height, live, .. } = self.head;
        Base { instance, epoch, root: self.root.clone(), top_height, live }
    }

    /// One ordinary commit.
    pub(super) fn write(
        &mut self,
        group: Draft,
        planned: Planned,
        edit: impl FnOnce(&mut Head),
    ) -> Result<(), Failure> {
        if group.writes.is_empty() && planned.records.is_empty() && group.log.is_empty() {
            return Ok(());
        }
        let (log, entries) = self.log.append(self.head.commit.next(), &group.log);
        let mut head = self.next_head(&group, &planned, &log);
        edit(&mut head);
        let mut batch = Batch::default();
        let tree = writes::of_tree(&planned, head.commit, &mut batch);
        // What nothing reaches yet and what follows the last entry of the log is new, as far as any reader goes.
        let new_nodes = tree.iter().filter(|(unreachable, _)| *unreachable).flat_map(|(_, writes)| writes);
        let fresh = new_nodes.chain(&entries).map(|(key, _)| (key.clone(), None)).collect();
        let before = self.before(&group, fresh)?;
        batch.writes.extend(tree.into_iter().flat_map(|(_, writes)| writes));
        batch.writes.extend(group.writes.clone());
        batch.writes.extend(entries);
        collect::some(self, &mut batch).map_err(|error| Failure::not_written(&error))?;
        batch.before = Arc::clone(&before);
        self.published.hide(before);
        self.hand_over(&head, batch).inspect_err(|_| self.published.reveal())?;
        self.settle(head, planned, log, &group);
        Ok(())
    }

    pub(super) fn next_head(&self, group: &Draft, planned: &Planned, log: &Log) -> Head {
        Head {
            commit: self.head.commit.next(),
            epoch: planned.epoch,
            top_height: planned.top_height,
            next_tenant: group.next_tenant.unwrap_or(self.head.next_tenant),
            live: planned.live,
            state_root: planned.state_root.unwrap_or(self.head.state_root),
            redo_attempt: None,
            log_size: log.size(),
            log_root: log.root(),
            ..self.head.clone()
        }
    }

    /// What readers are to see until the commit is durable: the records that a group replaces, beside others that are known.
    pub(super) fn before(&self, group: &Draft, mut known: Overlay) -> Result<Arc<Overlay>, Failure> {
        let read =
            |key: &Vec<u8>| self.published.store.get(key).map_err(|error| Failure::not_written(&error));
        for key in group.writes.keys() {
            let value = if group.fresh.contains(key) { None } else { read(key)? };
            debug_assert!(
                value.is_some() || read(key).is_ok_and(|stored| stored.is_none()),
                "it was not new"
            );
            known.insert(key.clone(), value);
        }
        Ok(Arc::new(known))
    }

    /// Hands a batch to the store, with the head and what rides along.
    pub(super) fn hand_over(&mut self, head: &Head, mut batch: Batch) -> Result<(), CommitError> {
        writes::put_head(head, &mut batch);
        batch.writes.extend((self.rider)().map(|(key, value)| (key, Some(value))));
        self.published.store.commit(head.commit, batch)
    }

    /// The commit is durable: what it left becomes what is read and built on, and copies of what it changed are forgotten.
    pub(super) fn settle(&mut self, head: Head, mut planned: Planned, log: Log, group: &Draft) {
        self.root = planned.root.clone();
        self.mistake_keep_children(&mut planned);
        self.cache.fill(&mut planned);
        self.garbage |= planned.superseded.iter().any(|what| !matches!(what, Superseded::Write(_)));
        self.head = head;
        self.log = log;
        // ORDER: roots and values first; whoever reads after the listeners ran reads what is true now.
        self.published.swap(self.roots());
        self.published.reveal();
        let Head { commit: revision, epoch, .. } = self.head;
        let touched = group.touched.iter().cloned().collect();
        let destroyed = group.destroyed.as_slice().into();
        self.published.tell(&CommitNotice { revision, epoch, touched, destroyed });
    }

    pub(super) fn roots(&self) -> Roots {
        let Head { instance, commit: revision, epoch, top_height, next_tenant, .. } = self.head;
        let log = LogHead { size: self.head.log_size, root: self.head.log_root };
        Roots { instance, revision, epoch, root: self.root.clone(), top_height, next_tenant, log }
    }

    pub(super) fn durable(&self, effaced: bool) -> Outcome {
        Outcome::Durable { revision: self.head.commit, epoch: self.head.epoch, effaced }
    }

    /// Says what a failed commit means to those who asked for it; after an unknown outcome nothing is read or written any more.
    pub(super) fn failed(&self, failure: Failure) -> Outcome {
        match failure {
            Failure::NotWritten(why) => Outcome::NotWritten(Arc::new(why)),
            Failure::Unknown(why) => {
                self.published.set_stopped();
                (self.fatal)(&why);
                Outcome::Unknown
            }
        }
    }
}

pub(super) fn answer(finishes: Vec<Finish>, outcome: &Outcome) {
    finishes.into_iter().for_each(|finish| finish(outcome.clone()));
}

fn probe(plan: &mut Plan<'_, Nodebook<'_>>, trees: &[TreeOp]) -> Result<(), TreeError> {
    let made = |slot| trees.iter().any(|op| matches!(op, TreeOp::CreateTenant(made, ..) if *made == slot));
    for op in trees {
        let reached = match op {
            TreeOp::CreateLeaf(tenant, slot, _) if !made(*tenant) => plan.reach(*tenant, *slot),
            TreeOp::DestroyLeaf(version) => plan.reach(version.tenant_slot(), version.leaf_slot()),
            _ => Ok(()),
        };
        match (op, reached) {
            // What is gone already is destroyed without effect.
            (TreeOp::DestroyLeaf(_), Err(TreeError::Plan(PlanError::NoTenant(_)))) => {}
            (_, reached) => reached?,
        }
    }
    Ok(())
}

fn apply(plan: &mut Plan<'_, Nodebook<'_>>, trees: Vec<TreeOp>) -> Result<(), TreeError> {
    for op in trees {
        match op {
            TreeOp::CreateTenant(slot, uid, index_key) => plan.create_tenant(slot, uid, index_key)?,
            TreeOp::CreateLeaf(tenant, slot, leaf) => plan.create_leaf(tenant, slot, leaf)?,
            TreeOp::DestroyLeaf(version) => {
                plan.destroy_leaf(version)?;
            }
            TreeOp::DestroyTenant(tenant) => {
                plan.destroy_tenant(tenant)?;
            }
        }
    }
    Ok(())
}
