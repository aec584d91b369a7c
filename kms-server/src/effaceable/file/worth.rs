//! What an overwrite is worth, from what lies below the file. Decides and looks at nothing.

use kms_core::canonical::Text;

use super::survey::{Attached, Device, Facts, Journal};
use crate::effaceable::{EffaceableClass, Worth};

/// What was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What an overwrite is worth.
    pub worth: Worth,
    /// Why it means nothing at all here, where that is so.
    pub unsuitable: Option<String>,
}

/// File systems that write elsewhere, or say nothing of where they write: an overwrite there leaves what was before.
const UNSUITABLE: [(&str, &str); 22] = [
    ("btrfs", COPIES),
    ("zfs", COPIES),
    ("bcachefs", COPIES),
    ("f2fs", COPIES),
    ("nilfs2", COPIES),
    ("ubifs", COPIES),
    ("jffs2", COPIES),
    ("logfs", COPIES),
    ("apfs", COPIES),
    ("overlay", STACKED),
    ("aufs", STACKED),
    ("unionfs", STACKED),
    ("nfs", NETWORK),
    ("nfs4", NETWORK),
    ("cifs", NETWORK),
    ("smb3", NETWORK),
    ("9p", NETWORK),
    ("virtiofs", NETWORK),
    ("ceph", NETWORK),
    ("afs", NETWORK),
    ("lustre", NETWORK),
    ("fuse", PROGRAM),
];
const COPIES: &str = "it writes anew elsewhere and leaves what was there before";
const STACKED: &str = "it lies on another file system, of which nothing is known here";
const NETWORK: &str = "another machine keeps it, in a way that is not known here";
const PROGRAM: &str = "a program keeps it, in a way that is not known here";

/// File systems that overwrite in place.
const IN_PLACE: [&str; 4] = ["ext2", "ext3", "ext4", "xfs"];

/// Judges. `declared` is the operator's word that it is a magnetic disk that overwrites in place.
pub fn judge(facts: &Facts, declared: bool) -> Judgement {
    let unsuitable = unsuitable(facts);
    let objections = match &unsuitable {
        Some(why) => vec![why.clone()],
        None => objections(facts, declared),
    };
    let (class, assurance) = match objections.as_slice() {
        [] => (
            EffaceableClass::Clear,
            "a physical magnetic disk, by what it says of itself and by the operator's declaration; sectors that it took out of use are not reached"
                .to_owned(),
        ),
        [..] => (EffaceableClass::None, format!("none claimed: {}", objections.join("; "))),
    };
    let worth = Worth { class, assurance: Text::lossy(&assurance), media: Text::lossy(&media(facts)) };
    Judgement { worth, unsuitable }
}

fn unsuitable(facts: &Facts) -> Option<String> {
    let name = facts.filesystem.as_str();
    let family = name.split('.').next().unwrap_or(name);
    let known = UNSUITABLE.iter().find(|(unsuitable, _)| *unsuitable == family);
    // `fuseblk` has a device of its own, and a program between all the same.
    let known = known.map(|(_, why)| *why).or((name == "fuseblk").then_some(PROGRAM));
    if let Some(why) = known {
        return Some(format!("the file system is {name}: {why}"));
    }
    let extents = facts.extents.as_ref()?;
    if extents.shared {
        return Some(
            "the file shares its place with a copy (reflink): an overwrite would leave the copy".into(),
        );
    }
    None
}

/// All that speaks against class `clear`.
fn objections(facts: &Facts, declared: bool) -> Vec<String> {
    let mut all = Vec::new();
    let mut object = |holds: bool, why: &str| {
        if holds {
            all.push(why.to_owned());
        }
    };
    let name = facts.filesystem.as_str();
    object(!IN_PLACE.contains(&name), &format!("the file system {name} is not known to overwrite in place"));
    match facts.journal {
        Journal::NoData => {}
        Journal::Data => object(true, "file data go through a journal (data=journal)"),
        Journal::Unknown => object(true, "whether file data go through a journal is not known"),
    }
    match &facts.extents {
        None => object(true, "the file system does not say where the file lies"),
        Some(extents) => {
            object(extents.inline, "the file lies within the file system's own records");
            object(extents.unwritten, "parts of the file were never written");
            object(extents.elsewhere, "the file is compressed, encrypted or of no known place");
        }
    }
    match &facts.device {
        None => object(true, "there is no disk below it"),
        Some(device) => device_objections(device, &mut object),
    }
    if let Some(why) = facts.virtual_machine {
        object(true, &format!("the machine is virtual, so its disks may be ({why})"));
    }
    object(
        !declared,
        "the operator has not declared that it is a magnetic disk (`effaceable.magnetic_disk`)",
    );
    all
}

fn device_objections(device: &Device, object: &mut impl FnMut(bool, &str)) {
    let name = &device.name;
    match &device.attached {
        Attached::Ata | Attached::Scsi => {}
        Attached::Network(_) => object(true, &format!("{name} is reached over a network")),
        Attached::Layer(layer) => object(true, &format!("{name} is put together by the system ({layer})")),
        Attached::Virtual(_) => object(true, &format!("{name} is a virtual disk")),
        Attached::Other(bus) => object(true, &format!("{name} is neither an ATA nor a SCSI disk ({bus})")),
        Attached::Unknown => object(true, &format!("what {name} is, is not known")),
    }
    object(!device.rotational, &format!("{name} is not magnetic: it does not rotate"));
    object(device.zoned != "none", &format!("{name} writes in zones ({})", device.zoned));
    object(device.model.is_none(), &format!("{name} does not name its model"));
    object(device.serial.is_none(), &format!("{name} does not tell its serial number"));
}

/// Of what a certificate should say: `file on ext4 on sda, WDC WD40EFRX, serial WD-WCC4E1`.
fn media(facts: &Facts) -> String {
    let mut text = format!("file on {}", facts.filesystem);
    let Some(device) = &facts.device else { return text };
    text += &format!(" on {}", device.name);
    match &device.attached {
        Attached::Ata => text += " (ATA disk)",
        Attached::Scsi => text += " (SCSI disk)",
        Attached::Network(_) => text += " (over a network)",
        Attached::Layer(layer) => text += &format!(" ({layer})"),
        Attached::Virtual(_) => text += " (virtual disk)",
        Attached::Other(bus) => text += &format!(" ({bus})"),
        Attached::Unknown => {}
    }
    if let Some(model) = &device.model {
        text += &format!(", {model}");
    }
    if let Some(serial) = &device.serial {
        text += &format!(", serial {serial}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::extents::Extents, *};

    /// A place where everything is as it should be.
    fn good() -> Facts {
        Facts {
            filesystem: "ext4".into(),
            journal: Journal::NoData,
            extents: Some(Extents::NONE),
            device: Some(Device {
                name: "sda".into(),
                attached: Attached::Ata,
                rotational: true,
                zoned: "none".into(),
                model: Some("ATA WDC WD40EFRX".into()),
                serial: Some("WD-WCC4E1".into()),
            }),
            virtual_machine: None,
        }
    }

    fn with(change: impl FnOnce(&mut Facts)) -> Facts {
        let mut facts = good();
        change(&mut facts);
        facts
    }

    fn on_disk(change: impl FnOnce(&mut Device)) -> Facts {
        with(|facts| change(facts.device.as_mut().unwrap()))
    }

    fn with_extents(change: impl FnOnce(&mut Extents)) -> Facts {
        with(|facts| change(facts.extents.as_mut().unwrap()))
    }

    #[test]
    fn a_declared_physical_magnetic_disk_is_clear_and_named() {
        for facts in [
            good(),
            with(|facts| facts.filesystem = "xfs".into()),
            on_disk(|disk| disk.attached = Attached::Scsi),
        ] {
            let judged = judge(&facts, true);
            assert_eq!(
                (judged.worth.class, &judged.unsuitable),
                (EffaceableClass::Clear, &None),
                "{judged:?}"
            );
            assert!(judged.worth.media.as_str().contains("serial WD-WCC4E1"));
        }
    }

    #[test]
    fn each_condition_alone_keeps_it_from_being_clear_and_is_named() {
        let layer = |name: &str| on_disk(|disk| disk.attached = Attached::Layer(name.into()));
        for (facts, said) in [
            (with(|facts| facts.filesystem = "tmpfs".into()), "tmpfs is not known to overwrite in place"),
            (with(|facts| facts.journal = Journal::Data), "data=journal"),
            (with(|facts| facts.journal = Journal::Unknown), "journal is not known"),
            (with(|facts| facts.extents = None), "does not say where the file lies"),
            (with_extents(|extents| extents.inline = true), "own records"),
            (with_extents(|extents| extents.unwritten = true), "never written"),
            (with_extents(|extents| extents.elsewhere = true), "no known place"),
            (with(|facts| facts.device = None), "no disk below"),
            (with(|facts| facts.virtual_machine = Some("it says so")), "the machine is virtual"),
            (layer("device-mapper"), "put together by the system (device-mapper)"),
            (layer("md"), "put together by the system (md)"),
            (layer("loop"), "put together by the system (loop)"),
            (on_disk(|disk| disk.attached = Attached::Virtual("vda".into())), "virtual disk"),
            (on_disk(|disk| disk.attached = Attached::Network("sdb".into())), "over a network"),
            (on_disk(|disk| disk.attached = Attached::Other("nvme".into())), "neither an ATA nor a SCSI"),
            (on_disk(|disk| disk.attached = Attached::Unknown), "is not known"),
            (on_disk(|disk| disk.rotational = false), "does not rotate"),
            (on_disk(|disk| disk.zoned = "host-aware".into()), "in zones"),
            (on_disk(|disk| disk.model = None), "model"),
            (on_disk(|disk| disk.serial = None), "serial number"),
        ] {
            let Judgement { worth, unsuitable } = judge(&facts, true);
            assert_eq!((worth.class, unsuitable), (EffaceableClass::None, None), "{said}");
            assert!(worth.assurance.as_str().contains(said), "{said}: {}", worth.assurance);
            assert_eq!(worth.assurance.as_str().matches("; ").count(), 0, "only that: {}", worth.assurance);
        }
        let undeclared = judge(&good(), false).worth;
        assert_eq!(undeclared.class, EffaceableClass::None);
        assert!(undeclared.assurance.as_str().contains("has not declared"));
    }

    #[test]
    fn where_an_overwrite_means_nothing_it_is_unsuitable_and_the_reason_is_on_record() {
        for name in
            ["btrfs", "zfs", "f2fs", "overlay", "bcachefs", "nfs4", "cifs", "fuse.sshfs", "fuseblk", "9p"]
        {
            let judged = judge(&with(|facts| facts.filesystem = name.into()), true);
            assert_eq!(judged.worth.class, EffaceableClass::None);
            assert!(judged.unsuitable.unwrap().contains(name));
            assert!(judged.worth.assurance.as_str().contains(name));
        }
        let shared = judge(&with_extents(|extents| extents.shared = true), true);
        assert!(shared.unsuitable.unwrap().contains("reflink"));
        assert_eq!(shared.worth.class, EffaceableClass::None);
        for name in ["ext4", "xfs", "ext3", "tmpfs", "vfat"] {
            assert_eq!(
                judge(&with(|facts| facts.filesystem = name.into()), false).unsuitable,
                None,
                "{name}"
            );
        }
    }

    #[test]
    fn no_assurance_of_a_file_has_the_word_by_which_a_certificate_knows_a_software_token() {
        let disk = on_disk(|disk| disk.attached = Attached::Layer("loop".into()));
        assert!(!judge(&good(), true).worth.assurance.as_str().contains("software"));
        assert!(!judge(&disk, true).worth.assurance.as_str().contains("software"));
    }
}
