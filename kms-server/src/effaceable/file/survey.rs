//! What lies below a file: file system, block device and what that is made of. Looks, and judges nothing: see [`super::worth`].
//!
//! From statx(2), `/proc/self/mountinfo` (proc(5)), `/proc/fs/ext4/*/options`, and `/sys/dev/block` (sysfs).

use std::{
    fs::{self, File},
    io,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, IFlags, StatxFlags, ioctl_getflags, statx};

use super::extents::Extents;
use crate::effaceable::EffaceableError;

/// Everything that was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Type of the file system, as the kernel calls it.
    pub filesystem: String,
    /// Whether file data go through a journal.
    pub journal: Journal,
    /// Where the file lies; `None` where the file system does not say.
    pub extents: Option<Extents>,
    /// The block device; `None` where there is none.
    pub device: Option<Device>,
    /// Why the machine itself seems to be virtual.
    pub virtual_machine: Option<&'static str>,
}

/// What goes through a file system's journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    /// Records of the file system only, or nothing.
    NoData,
    /// Data too: a copy of each write lies in the journal.
    Data,
    /// That cannot be told.
    Unknown,
}

/// A block device, or the disk that a partition is of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    /// Its name in the kernel.
    pub name: String,
    /// How the machine reaches it.
    pub attached: Attached,
    /// Whether it says that it rotates.
    pub rotational: bool,
    /// How it is divided into zones; `none` for a disk that writes anywhere.
    pub zoned: String,
    /// Vendor and model.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
}

/// How the machine reaches a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Attached {
    /// ATA, through libata.
    Ata,
    /// SCSI, through a SAS or parallel bus.
    Scsi,
    /// Over a network: iSCSI, Fibre Channel, NBD and the like.
    Network(String),
    /// Made by software of this machine from other devices or files: device-mapper, md, loop, zram.
    Layer(String),
    /// Made by a hypervisor.
    Virtual(String),
    /// In another way.
    Other(String),
    /// That cannot be told.
    #[default]
    Unknown,
}

impl Facts {
    /// About an open file, or the directory where one shall be made.
    ///
    /// # Errors
    /// Where the kernel cannot be asked.
    pub fn of(file: &File) -> Result<Self, EffaceableError> {
        let mount = Mount::of(file)?;
        let device = device(Path::new("/sys"), &mount.device);
        let journal = match mount.filesystem.as_str() {
            "ext3" | "ext4" if file_flags(file).contains(IFlags::JOURNALING) => Journal::Data,
            "ext3" | "ext4" => data_journal(&mount, &device_directory(Path::new("/sys"), &mount.device)),
            "ext2" | "xfs" => Journal::NoData,
            _ => Journal::Unknown,
        };
        let extents = if file.metadata()?.is_file() { Extents::of(file)? } else { Some(Extents::NONE) };
        let virtual_machine = virtual_machine(Path::new("/"));
        Ok(Self { filesystem: mount.filesystem, journal, extents, device, virtual_machine })
    }
}

fn file_flags(file: &File) -> IFlags {
    // Those that do not know the request keep no such flag.
    ioctl_getflags(file).unwrap_or(IFlags::empty())
}

/// A line of `mountinfo`.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// `major:minor`.
    device: String,
    filesystem: String,
    options: Vec<String>,
}

impl Mount {
    fn of(file: &File) -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let id = mount_id(file)?.to_string();
        let found = mounts.lines().find_map(|line| Self::parse(line, &id));
        found.ok_or_else(|| {
            io::Error::other("the mount of the effaceable medium is not in /proc/self/mountinfo")
        })
    }

    /// `36 35 98:0 /root /mnt rw,noatime master:1 - ext4 /dev/root rw,data=ordered`, if that is its id.
    fn parse(line: &str, id: &str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let (mut mount, mut filesystem) = (mount.split(' '), filesystem.split(' '));
        if mount.next()? != id {
            return None;
        }
        let device = mount.nth(1)?.to_owned();
        let of_mount = mount.nth(2)?;
        let name = filesystem.next()?.to_owned();
        let of_filesystem = filesystem.nth(1).unwrap_or_default();
        let options = of_mount.split(',').chain(of_filesystem.split(',')).map(Into::into).collect();
        Some(Self { device, filesystem: name, options })
    }
}

/// statx(2) tells since Linux 5.8. `fdinfo` tells too, but not to a process that hides its memory from its user, on older kernels.
fn mount_id(file: &File) -> io::Result<u64> {
    let found = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    if StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID) {
        return Ok(found.stx_mnt_id);
    }
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    id.ok_or_else(|| io::Error::other("the kernel does not tell the mount of the effaceable medium"))
}

/// `mountinfo` leaves out what is the default of the file system itself, so the list of all options is asked.
fn data_journal(mount: &Mount, device: &Option<PathBuf>) -> Journal {
    if mount.options.iter().any(|option| option == "data=journal") {
        return Journal::Data;
    }
    let name = device.as_ref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy());
    let file = name.map(|name| format!("/proc/fs/ext4/{name}/options"));
    match file.map(fs::read_to_string) {
        Some(Ok(all)) if all.lines().any(|option| option.trim() == "data=journal") => Journal::Data,
        Some(Ok(_)) => Journal::NoData,
        _ => Journal::Unknown,
    }
}

fn device_directory(sys: &Path, number: &str) -> Option<PathBuf> {
    sys.join("dev/block").join(number).canonicalize().ok()
}

/// The disk with this number, or of which the partition with this number is; `None` where no block device has it.
fn device(sys: &Path, number: &str) -> Option<Device> {
    let found = device_directory(sys, number)?;
    let disk = if found.join("partition").exists() { found.parent()?.to_path_buf() } else { found };
    let word = |file: &str| {
        let text = fs::read_to_string(disk.join(file)).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    let names = ["device/vendor", "device/model"].iter().filter_map(|file| word(file));
    // virtio gives a number where others give a name.
    let model: Vec<_> = names.filter(|name| !name.starts_with("0x")).collect();
    let serial = word("serial").or_else(|| word("device/serial")).or_else(|| unit_serial(&disk));
    Some(Device {
        name: disk.file_name()?.to_string_lossy().into_owned(),
        attached: attached(&disk, &model.join(" ")),
        rotational: word("queue/rotational").as_deref() == Some("1"),
        zoned: word("queue/zoned").unwrap_or_else(|| "none".into()),
        model: (!model.is_empty()).then(|| model.join(" ")),
        serial,
    })
}

/// SCSI's vital product data, page 80: four bytes, then the serial number. libata makes one for ATA disks.
fn unit_serial(disk: &Path) -> Option<String> {
    let page = fs::read(disk.join("device/vpd_pg80")).ok()?;
    let text =
        String::from_utf8_lossy(page.get(4..)?).trim_matches(|c: char| c == '\0' || c == ' ').to_owned();
    (!text.is_empty()).then_some(text)
}

/// Names that hypervisors and storage arrays give to the disks they make.
const MADE_UP: [&str; 10] =
    ["QEMU", "VBOX", "VMware", "Virtual", "Msft", "Xen", "VirtIO", "LIO-ORG", "IET", "Google"];

fn attached(disk: &Path, model: &str) -> Attached {
    let path = disk.to_string_lossy();
    let name = disk.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut parts = disk.iter().map(|part| part.to_string_lossy());
    let starts = |prefix: &str| disk.iter().any(|part| numbered(&part.to_string_lossy(), prefix));
    let below = fs::read_dir(disk.join("slaves")).is_ok_and(|mut slaves| slaves.next().is_some());
    let network = ["nbd", "rbd", "drbd", "etherd", "ublk"].iter().any(|prefix| name.starts_with(prefix));
    if network || starts("session") || starts("rport-") || parts.any(|part| part.starts_with("nvme-fabrics"))
    {
        return Attached::Network(name);
    }
    // Of a drive with several paths to it the kernel makes one disk.
    if name.starts_with("nvme") {
        return Attached::Other("NVMe".into());
    }
    if below || path.contains("/devices/virtual/") {
        return Attached::Layer(match name.trim_end_matches(|c: char| c.is_ascii_digit()) {
            "dm-" => "device-mapper".into(),
            kind => kind.into(),
        });
    }
    if starts("virtio")
        || starts("vbd-")
        || path.to_ascii_lowercase().contains("/vmbus")
        || name.starts_with("xvd")
    {
        return Attached::Virtual(name);
    }
    if MADE_UP.iter().any(|maker| model.contains(maker)) {
        return Attached::Virtual(model.into());
    }
    if starts("usb") {
        return Attached::Other("USB".into());
    }
    if starts("ata") {
        return Attached::Ata;
    }
    // Behind a controller that makes disks of its own (RAID) there is no end device of SAS.
    if starts("end_device-") {
        return Attached::Scsi;
    }
    let bus = fs::read_link(disk.join("device/subsystem")).ok();
    match bus.as_deref().and_then(Path::file_name) {
        Some(bus) => Attached::Other(bus.to_string_lossy().into_owned()),
        None => Attached::Unknown,
    }
}

/// Whether a part of a device's path is this prefix and a number: `ata1`, `end_device-0:0`.
fn numbered(part: &str, prefix: &str) -> bool {
    part.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn virtual_machine(root: &Path) -> Option<&'static str> {
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    let flags = read("proc/cpuinfo");
    if flags.lines().any(|line| line.starts_with("flags") && line.split(' ').any(|flag| flag == "hypervisor"))
    {
        return Some("its processor says that a hypervisor runs it");
    }
    if !read("sys/hypervisor/type").is_empty() {
        return Some("its kernel names a hypervisor");
    }
    let maker = read("sys/class/dmi/id/sys_vendor") + &read("sys/class/dmi/id/product_name");
    let made_up = MADE_UP.iter().chain(&["innotek", "Amazon EC2", "KVM", "Bochs", "Parallels", "OpenStack"]);
    made_up.into_iter().any(|name| maker.contains(name)).then_some("its firmware names a hypervisor")
}

#[cfg(test)]
mod tests;
