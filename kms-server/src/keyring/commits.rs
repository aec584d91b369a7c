//! What a commit means to the caches and to the clients that hold data keys.

use std::sync::atomic::Ordering;

use kms_core::id::TenantSlot;
use kms_core::state::LifecycleState;

use super::Keyring;
use super::purges::Ending;
use super::watches::Kind;
use crate::erasure::{CommitNotice, Touched};

impl Keyring {
    /// Takes note of a commit. On the writer's thread, after the barrier.
    pub(super) fn committed(&self, notice: &CommitNotice) {
        // ORDER: retired first, then counted: whoever is noted after that gets no data key.
        self.purge(&notice.touched);
        self.tell(notice);
    }

    /// Drops what a commit touched, and wipes what it destroyed; waits for uses under way.
    fn purge(&self, touched: &[Touched]) {
        if touched.is_empty() {
            return;
        }
        let mut register = self.register.lock();
        self.purges.fetch_add(1, Ordering::AcqRel);
        for touched in touched {
            match touched {
                Touched::TenantName(name) => drop(self.tenants.remove(name.as_str())),
                Touched::Tenant(slot) if register.may_hold(*slot) => self.forget_names(*slot),
                Touched::Tenant(_) => {}
                Touched::Key(slot, key) => drop(self.keys.remove(&(*slot, &*key.to_string()))),
                Touched::Version(id) => {
                    self.versions.remove(id);
                    if let Some(version) = register.remove(*id) {
                        version.retire();
                    }
                    self.leases.forget(*id);
                }
                Touched::DestroyedTenant(slot) => {
                    self.forget_names(*slot);
                    self.subjects.retain(|(tenant, _), _| tenant != slot);
                    self.versions.retain(|id, _| id.tenant_slot() != *slot);
                    register.remove_tenant(*slot).iter().for_each(|version| version.retire());
                }
            }
        }
    }

    /// Tells clients what became of the keys that they hold something of. On the writer's thread: none is told twice, or out of order.
    fn tell(&self, notice: &CommitNotice) {
        if let Some(ending) = self.holders.destroyed(notice) {
            self.quiesces(&ending);
        }
        for touched in &*notice.touched {
            match touched {
                Touched::Key(slot, key) => {
                    let Some(held) = self.holders.hold_key(&(*slot, key.clone())) else { continue };
                    // What cannot be read is not told: its leases end.
                    let Ok(entry) = self.key(held.tenant.name.as_str(), &key.to_string()) else { continue };
                    if entry.tenant.slot == *slot {
                        self.holders.changed(&entry, notice);
                    }
                }
                Touched::TenantName(name) => {
                    let Ok(tenant) = self.tenant(name.as_str()) else { continue };
                    let kind = match tenant.state {
                        LifecycleState::Suspended => Kind::Suspended,
                        LifecycleState::DestroyScheduled => Kind::Rotated,
                        _ => continue,
                    };
                    self.holders.tenant_changed(tenant.slot, kind, notice);
                }
                _ => {}
            }
        }
    }

    /// Tells the writer when an epoch is quiesced.
    pub(super) fn quiesces(&self, ending: &Ending) {
        self.writer.quiesces(ending.epoch, ending.at, ending.purges);
    }

    fn forget_names(&self, slot: TenantSlot) {
        self.tenants.retain(|_, tenant| tenant.slot != slot);
        self.keys.retain(|place, _| place.tenant != slot);
    }
}
