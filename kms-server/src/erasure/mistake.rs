//! Mistakes on purpose, so that tests show that they would be noticed. Compiled for tests only: a release has none to make.

#[cfg(test)]
pub(super) use made::{Mistake, efface_unopened};

#[cfg(not(test))]
mod none {
    use kms_core::tree::Planned;

    use crate::{effaceable::SecretId, erasure::state::State};

    impl State {
        pub(in crate::erasure) fn mistake_efface_early(&mut self, _: SecretId) {}
        pub(in crate::erasure) fn mistake_efface_late(&mut self) {}
        pub(in crate::erasure) fn mistake_keep_failed(&self) -> bool {
            false
        }
        pub(in crate::erasure) fn mistake_keep_root(&self, _: &mut Planned) {}
        pub(in crate::erasure) fn mistake_certify_early(&mut self) {}
        pub(in crate::erasure) fn mistake_keep_children(&self, _: &mut Planned) {}
    }
}

#[cfg(test)]
mod made {
    use std::sync::Arc;

    use kms_core::{
        canonical::Text,
        record,
        secret::EpochSecret,
        tree::{Node, Place, Planned, TreeName},
    };

    use crate::{
        effaceable::{Effaceable, EffaceableClass, Evidence, SecretId},
        erasure::{head::Head, state::State},
    };

    /// What is done wrongly.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(in crate::erasure) enum Mistake {
        /// The secret in force is effaced before the next root is durable.
        EffaceBeforeBarrier,
        /// The new secret is effaced after a barrier that failed.
        EffaceAfterFailedBarrier,
        /// An attempt that failed leaves its secret behind.
        KeepFailedSecret,
        /// The epoch secret is new, the root key is not.
        KeepRoot,
        /// The log says that secrets are effaced before they are.
        CertifyBeforeEffacing,
        /// A create re-encrypts what a node held before the epoch.
        KeepChildren,
        /// A start effaces what it does not know before any root has opened.
        EffaceUnopened,
        /// The medium lies in the data directory, and is copied with it.
        MediumInBackup,
    }

    impl State {
        fn makes(&self, mistake: Mistake) -> bool {
            self.mistake == Some(mistake)
        }

        pub(in crate::erasure) fn mistake_efface_early(&mut self, keep: SecretId) {
            if self.makes(Mistake::EffaceBeforeBarrier) {
                drop(self.medium.efface_except(keep));
            }
        }

        pub(in crate::erasure) fn mistake_efface_late(&mut self) {
            if self.makes(Mistake::EffaceAfterFailedBarrier) {
                drop(self.medium.efface_except(self.head.secret()));
            }
        }

        pub(in crate::erasure) fn mistake_keep_failed(&self) -> bool {
            self.makes(Mistake::KeepFailedSecret)
        }

        pub(in crate::erasure) fn mistake_keep_root(&self, planned: &mut Planned) {
            if !self.makes(Mistake::KeepRoot) {
                return;
            }
            let top = Place::root(TreeName::Top, planned.top_height);
            let record = planned.records.iter_mut().find(|record| record.address.place == top).unwrap();
            let header = record::header(&record.wrapped).unwrap();
            let payload = record::unwrap(&planned.root, &header, &record.wrapped).unwrap();
            record.wrapped = record::wrap(&self.root, &header, &payload).unwrap();
            planned.root = self.root.clone();
            planned.nodes.retain(|(place, _)| *place != top);
        }

        pub(in crate::erasure) fn mistake_certify_early(&mut self) {
            if self.makes(Mistake::CertifyBeforeEffacing) {
                let not_yet = Text::lossy("not yet");
                let evidence = Evidence {
                    effaced: Vec::new(),
                    class: EffaceableClass::None,
                    assurance: not_yet.clone(),
                    technique: not_yet.clone(),
                    media: not_yet.clone(),
                    verification: not_yet,
                };
                self.evidence = Some((self.head.epoch, evidence));
                self.record_evidence();
            }
        }

        pub(in crate::erasure) fn mistake_keep_children(&self, planned: &mut Planned) {
            if !self.makes(Mistake::KeepChildren) || planned.epoch == self.head.epoch {
                return;
            }
            for (place, node) in &mut planned.nodes {
                let above_leaves = matches!(place.tree, TreeName::Tenant(_)) && place.level == 1;
                if let Some(before) = self.cache.get(place).filter(|_| above_leaves) {
                    let (key, children) = (node.key.clone(), before.children.clone());
                    // Its hash is not kept: a plan would refuse a node that is not what its parent commits to.
                    *node = Arc::new(Node { key, children, record_ver: node.record_ver, hash: node.hash });
                }
            }
        }
    }

    /// Makes the secret that the head names, as if it were only missing, and effaces all others.
    pub(in crate::erasure) fn efface_unopened(
        mistake: Option<Mistake>,
        mut medium: Box<dyn Effaceable>,
        head: &Head,
    ) -> Box<dyn Effaceable> {
        if mistake == Some(Mistake::EffaceUnopened) {
            drop(medium.prepare(head.secret(), &EpochSecret::random().unwrap()));
            drop(medium.efface_except(head.secret()));
        }
        medium
    }
}
