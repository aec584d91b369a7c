//! Looks at trees of files that look like the kernel's.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn the_mount_of_a_file_is_found_by_its_id() {
    let line =
        "36 35 98:0 /sub /mnt/kms rw,noatime master:1 - ext4 /dev/root rw,errors=continue,data=journal";
    let mount = Mount::parse(line, "36").unwrap();
    assert_eq!((mount.device.as_str(), mount.filesystem.as_str()), ("98:0", "ext4"));
    assert_eq!(mount.options, ["rw", "noatime", "rw", "errors=continue", "data=journal"]);
    assert_eq!(Mount::parse(line, "35"), None);
    assert_eq!(data_journal(&mount, &None), Journal::Data);
    let bare = Mount::parse("36 35 0:30 / /mnt rw - btrfs /dev/sda rw", "36").unwrap();
    assert_eq!((bare.device.as_str(), bare.filesystem.as_str()), ("0:30", "btrfs"));
    assert_eq!(data_journal(&bare, &None), Journal::Unknown, "what cannot be told is not taken for good");
    assert_eq!(Mount::parse("36 35 broken", "36"), None);
}

/// A `/sys` with one disk.
struct Sys(tempfile::TempDir);

impl Sys {
    /// `path` below `devices`, with files in it; a partition too.
    fn with(path: &str, files: &[(&str, &[u8])]) -> Self {
        let sys = Self(tempfile::tempdir().unwrap());
        let disk = sys.0.path().join("devices").join(path);
        let partition = disk.join("part1");
        fs::create_dir_all(&partition).unwrap();
        fs::write(partition.join("partition"), "1\n").unwrap();
        for (name, bytes) in files {
            let file = disk.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bytes).unwrap();
        }
        let numbers = sys.0.path().join("dev/block");
        fs::create_dir_all(&numbers).unwrap();
        symlink(&disk, numbers.join("8:0")).unwrap();
        symlink(&partition, numbers.join("8:1")).unwrap();
        sys
    }

    fn device(&self, number: &str) -> Option<Device> {
        device(self.0.path(), number)
    }
}

const ATA: &str = "pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda";

#[test]
fn a_partition_is_of_its_disk_which_tells_what_it_is() {
    let sys = Sys::with(
        ATA,
        &[
            ("device/vendor", b"ATA     \n"),
            ("device/model", b"WDC WD40EFRX-68N\n"),
            ("device/vpd_pg80", b"\0\x80\0\x14     WD-WCC4E1"),
            ("queue/rotational", b"1\n"),
            ("queue/zoned", b"none\n"),
        ],
    );
    let disk = sys.device("8:1").unwrap();
    assert_eq!(sys.device("8:0").as_ref(), Some(&disk));
    assert_eq!(disk.name, "sda");
    assert_eq!(disk.attached, Attached::Ata);
    assert_eq!(disk.model.as_deref(), Some("ATA WDC WD40EFRX-68N"));
    assert_eq!(disk.serial.as_deref(), Some("WD-WCC4E1"));
    assert!(disk.rotational);
    assert_eq!(sys.device("0:43"), None, "a file system without a device");
}

#[test]
fn what_a_disk_is_attached_by_is_read_from_its_path_and_its_names() {
    let attached =
        |path: &str, files: &[(&str, &[u8])]| Sys::with(path, files).device("8:0").unwrap().attached;
    assert_eq!(
        attached("pci0/host1/port-1:0/end_device-1:0/target1:0:0/1:0:0:0/block/sdb", &[]),
        Attached::Scsi
    );
    assert_eq!(
        attached("pci0/usb1/1-1/host4/target4:0:0/4:0:0:0/block/sdc", &[]),
        Attached::Other("USB".into())
    );
    let network = |path: &str| matches!(attached(path, &[]), Attached::Network(_));
    assert!(network("platform/host5/session1/target5:0:0/5:0:0:0/block/sdd"), "iSCSI");
    assert!(network("pci0/host6/rport-6:0-0/target6:0:0/6:0:0:0/block/sde"), "Fibre Channel");
    assert!(network("virtual/block/nbd0") && network("virtual/block/drbd1"));
    let layer = |path: &str| attached(path, &[]);
    assert_eq!(layer("virtual/block/dm-0"), Attached::Layer("device-mapper".into()));
    assert_eq!(layer("virtual/block/md127"), Attached::Layer("md".into()));
    assert_eq!(layer("virtual/block/loop3"), Attached::Layer("loop".into()));
    let below: &[(&str, &[u8])] = &[("slaves/sda2", b"")];
    assert_eq!(attached("pci0/ata1/host0/block/bcache0", below), Attached::Layer("bcache".into()));
    assert!(matches!(attached("pci0/0000:00:02.0/virtio1/block/vda", &[]), Attached::Virtual(_)));
    assert_eq!(layer("virtual/nvme-subsystem/nvme-subsys0/nvme0n1"), Attached::Other("NVMe".into()));
    assert!(network("virtual/nvme-fabrics/ctl/nvme0/nvme0n1"));
    let made_up: &[(&str, &[u8])] = &[("device/vendor", b"ATA\n"), ("device/model", b"QEMU HARDDISK\n")];
    assert!(matches!(attached(ATA, made_up), Attached::Virtual(_)), "it says that it rotates, too");
    // A RAID controller's logical disk: SCSI by its bus, and no disk.
    assert!(!matches!(
        layer("pci0/0000:02:00.0/host0/target0:2:0/0:2:0:0/block/sda"),
        Attached::Ata | Attached::Scsi
    ));
}

#[test]
fn a_virtual_machine_is_told_from_a_real_one() {
    let root = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let file = root.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    write("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu vme sse2\nbugs\t\t: hypervisor\n");
    write("sys/class/dmi/id/sys_vendor", "Dell Inc.\n");
    assert_eq!(virtual_machine(root.path()), None);
    write("sys/class/dmi/id/sys_vendor", "QEMU\n");
    assert!(virtual_machine(root.path()).is_some());
    write("sys/class/dmi/id/sys_vendor", "Dell Inc.\n");
    write("proc/cpuinfo", "flags\t\t: fpu hypervisor sse2\n");
    assert!(virtual_machine(root.path()).is_some());
}

#[test]
fn a_real_file_is_surveyed() {
    let file = tempfile::tempfile().unwrap();
    let facts = Facts::of(&file).unwrap();
    assert!(!facts.filesystem.is_empty());
    let directory = tempfile::tempdir().unwrap();
    let of_directory = Facts::of(&File::open(directory.path()).unwrap()).unwrap();
    assert_eq!(of_directory.filesystem, facts.filesystem);
}
