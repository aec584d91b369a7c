//! A disk that keeps what was synced and may lose the rest: the states in which a machine may find it after it stopped.
//!
//! - A write, or a change of a file's length, is kept once the file was synced; a name, once its directory was.
//! - What was not synced is kept or lost in any mix: of writes each sector of 512 bytes by itself, of a file's length the old or the
//!   new one, of the changes of a directory's names the first so many.
//!
//! That is harsher than common file systems are. The one thing they do not lose either is lost never: what was synced.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, OpenOptions},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{dice::Dice, record::Event};

const SECTOR: usize = 512;
/// Content that is all zero is left out in pieces of this size.
const PIECE: usize = 64 * 1024;

/// Content of a file.
#[derive(Debug, Clone)]
enum Change {
    Write(u64, Arc<Vec<u8>>),
    Length(u64),
    AtLeast(u64),
}

#[derive(Debug, Clone)]
enum Node {
    File { synced: Arc<Vec<u8>>, since: Vec<Change> },
    Directory,
}

/// A change of the names in a directory.
#[derive(Debug, Clone)]
enum Naming {
    Add(PathBuf, usize),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

impl Naming {
    fn directory(&self) -> PathBuf {
        let (Self::Add(path, _) | Self::Remove(path) | Self::Rename(path, ..)) = self;
        path.parent().unwrap().to_path_buf()
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Add(path, node) => drop(names.insert(path.clone(), *node)),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

/// How a machine stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The process is killed; the machine lives on, and nothing is lost.
    Killed,
    /// All that was not synced is lost.
    Lost,
    /// Some of it is, by these dice.
    Torn(u64),
}

/// Files and directories, by path; a directory has no content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct State(BTreeMap<PathBuf, Option<Arc<Vec<u8>>>>);

/// The disk while the program runs.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    nodes: Vec<Node>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    since: Vec<Naming>,
}

impl State {
    /// What is below a directory.
    pub(super) fn read(root: &Path) -> Self {
        fn add(root: &Path, directory: &Path, files: &mut BTreeMap<PathBuf, Option<Arc<Vec<u8>>>>) {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().to_path_buf();
                if path.is_dir() {
                    files.insert(name, None);
                    add(root, &path, files);
                } else {
                    files.insert(name, Some(Arc::new(fs::read(&path).unwrap())));
                }
            }
        }
        let mut files = BTreeMap::new();
        add(root, root, &mut files);
        Self(files)
    }

    /// Writes it into an empty directory.
    pub(super) fn write(&self, root: &Path) {
        for (name, content) in &self.0 {
            let path = root.join(name);
            let Some(content) = content else {
                DirBuilder::new().mode(0o700).create(path).unwrap();
                continue;
            };
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
            file.set_len(content.len() as u64).unwrap();
            for (number, piece) in content.chunks(PIECE).enumerate() {
                if piece != &ZERO[..piece.len()] {
                    file.write_all_at(piece, (number * PIECE) as u64).unwrap();
                }
            }
        }
    }

    /// This, but for one file, which is that of another.
    pub(super) fn beside(&self, other: &Self, name: &str) -> Self {
        let mut files = self.0.clone();
        files.extend(other.0.get(Path::new(name)).map(|content| (name.into(), content.clone())));
        Self(files)
    }

    /// This without a directory.
    pub(super) fn without(mut self, directory: &str) -> Self {
        self.0.retain(|path, _| !path.starts_with(directory));
        self
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.0.iter().filter_map(|(name, content)| Some((name.as_path(), content.as_ref()?.as_slice())))
    }
}

static ZERO: [u8; PIECE] = [0; PIECE];

impl Disk {
    pub(super) fn new(state: &State) -> Self {
        let (mut nodes, mut names) = (Vec::new(), BTreeMap::new());
        for (name, content) in &state.0 {
            names.insert(name.clone(), nodes.len());
            nodes.push(match content {
                Some(content) => Node::File { synced: content.clone(), since: Vec::new() },
                None => Node::Directory,
            });
        }
        Self { nodes, synced_names: names.clone(), names, since: Vec::new() }
    }

    /// Does what the program did.
    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::Create(path) => {
                self.add(path, Node::File { synced: Arc::default(), since: Vec::new() });
            }
            Event::Directory(path) => self.add(path, Node::Directory),
            Event::Write { path, offset, data } => {
                self.change(path, Change::Write(*offset, Arc::new(data.clone())));
            }
            Event::Length(path, length) => self.change(path, Change::Length(*length)),
            Event::Allocate(path, end) => self.change(path, Change::AtLeast(*end)),
            Event::Rename(from, to) => {
                assert_eq!(from.parent(), to.parent(), "a rename between directories is not replayed");
                let node = self.node(from);
                assert!(!matches!(self.nodes[node], Node::Directory), "nor is one of a directory");
                self.rename(Naming::Rename(from.clone(), to.clone(), node));
            }
            Event::Remove(path) => self.rename(Naming::Remove(path.clone())),
            Event::Sync(path) => self.sync(path),
            Event::SyncAll => {
                let paths: Vec<_> = self.names.keys().cloned().collect();
                paths.iter().for_each(|path| self.sync(path));
                self.sync(Path::new(""));
            }
            Event::Fault | Event::Ack(_) => {}
        }
    }

    /// Whether anything would be lost now.
    pub(super) fn is_synced(&self) -> bool {
        let whole = |node: &Node| !matches!(node, Node::File { since, .. } if !since.is_empty());
        self.since.is_empty() && self.nodes.iter().all(whole)
    }

    /// What is found after it stopped now.
    pub(super) fn stop(&self, stop: Stop) -> State {
        let mut dice = Dice(if let Stop::Torn(seed) = stop { seed } else { 0 });
        let mut names = self.synced_names.clone();
        let directories: BTreeSet<_> = self.since.iter().map(Naming::directory).collect();
        for directory in directories {
            let since: Vec<_> = self.since.iter().filter(|naming| naming.directory() == directory).collect();
            let kept = match stop {
                Stop::Killed => since.len(),
                Stop::Lost => 0,
                Stop::Torn(_) => dice.below(since.len() + 1),
            };
            since[..kept].iter().for_each(|naming| naming.apply(&mut names));
        }
        let mut contents = BTreeMap::new();
        for (name, node) in &names {
            // Names in a directory that is lost are lost with it. A parent comes before what is in it.
            let parent = name.parent().unwrap();
            if parent != Path::new("") && !contents.contains_key(parent) {
                continue;
            }
            let content = match &self.nodes[*node] {
                Node::Directory => None,
                Node::File { synced, since } => Some(found(synced, since, stop, &mut dice)),
            };
            contents.insert(name.clone(), content);
        }
        State(contents)
    }

    fn node(&self, path: &Path) -> usize {
        *self.names.get(path).unwrap_or_else(|| panic!("{} is not there", path.display()))
    }

    fn add(&mut self, path: &Path, node: Node) {
        self.nodes.push(node);
        self.rename(Naming::Add(path.to_path_buf(), self.nodes.len() - 1));
    }

    fn rename(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.since.push(naming);
    }

    fn change(&mut self, path: &Path, change: Change) {
        let node = self.node(path);
        let Node::File { since, .. } = &mut self.nodes[node] else { panic!("a directory is written to") };
        since.push(change);
    }

    fn sync(&mut self, path: &Path) {
        match self.names.get(path).map(|node| &mut self.nodes[*node]) {
            Some(Node::File { synced, since }) => {
                if !since.is_empty() {
                    *synced = found(synced, since, Stop::Killed, &mut Dice(0));
                    since.clear();
                }
            }
            _ => {
                let (of_it, others) = std::mem::take(&mut self.since)
                    .into_iter()
                    .partition(|naming| naming.directory() == path);
                let of_it: Vec<Naming> = of_it;
                of_it.iter().for_each(|naming| naming.apply(&mut self.synced_names));
                self.since = others;
            }
        }
    }
}

/// What is found of a file.
fn found(synced: &Arc<Vec<u8>>, since: &[Change], stop: Stop, dice: &mut Dice) -> Arc<Vec<u8>> {
    if since.is_empty() || stop == Stop::Lost {
        return synced.clone();
    }
    let torn = stop != Stop::Killed;
    // Of all sectors most, half or few are kept; or those on one side of a cut.
    let (odds, cut, below) = (dice.below(5), dice.below(synced.len().max(1 << 16)), dice.below(2) == 0);
    let mut keeps = |at: usize| match odds {
        _ if !torn => true,
        0 => dice.below(10) != 0,
        1 => dice.below(2) == 0,
        2 => dice.below(10) == 0,
        _ => (at < cut) == below,
    };
    let mut content = Vec::clone(synced);
    let mut length = content.len();
    for change in since {
        match change {
            Change::Length(new) => {
                length = *new as usize;
                content.truncate(length);
                content.resize(length, 0);
            }
            Change::AtLeast(end) => length = length.max(*end as usize),
            Change::Write(offset, data) => {
                let (from, end) = (*offset as usize, *offset as usize + data.len());
                length = length.max(end);
                if content.len() < end {
                    content.resize(end, 0);
                }
                let mut at = from;
                while at < end {
                    let next = end.min((at / SECTOR + 1) * SECTOR);
                    if keeps(at) {
                        content[at..next].copy_from_slice(&data[at - from..next - from]);
                    }
                    at = next;
                }
            }
        }
        content.resize(length.max(content.len()), 0);
    }
    content.resize(length, 0);
    if torn && dice.below(3) == 0 {
        content.truncate(synced.len());
        content.extend_from_slice(&synced[content.len()..]);
    }
    Arc::new(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> PathBuf {
        path.into()
    }

    fn write(offset: u64, byte: u8, length: usize) -> Event {
        Event::Write { path: path("a/file"), offset, data: vec![byte; length] }
    }

    fn disk(events: &[Event]) -> Disk {
        let mut disk = Disk::new(&State(BTreeMap::from([(path("a"), None)])));
        events.iter().for_each(|event| disk.apply(event));
        disk
    }

    fn content(state: &State, name: &str) -> Option<Vec<u8>> {
        state.files().find(|(path, _)| *path == Path::new(name)).map(|(_, content)| content.to_vec())
    }

    #[test]
    fn a_file_is_kept_once_it_and_its_directory_were_synced() {
        let (made, file, directory) =
            (Event::Create(path("a/file")), Event::Sync(path("a/file")), Event::Sync(path("a")));
        let lost = |events: &[Event]| content(&disk(events).stop(Stop::Lost), "a/file");
        assert_eq!(lost(&[made.clone(), write(0, 1, 3), file.clone()]), None, "its name is lost");
        let events = [made, write(0, 1, 3), directory, write(1, 2, 1), file, write(2, 3, 4)];
        assert_eq!(lost(&events[..3]), Some(vec![]), "its content is lost");
        assert_eq!(lost(&events), Some(vec![1, 2, 1]), "what came after is lost");
        assert_eq!(content(&disk(&events).stop(Stop::Killed), "a/file"), Some(vec![1, 2, 3, 3, 3, 3]));
        assert!(!disk(&events).is_synced() && disk(&events[..5]).is_synced());
    }

    #[test]
    fn names_are_lost_from_the_last_on_and_what_is_in_a_lost_directory_with_it() {
        let mut events =
            vec![Event::Create(path("a/file")), Event::Sync(path("a/file")), Event::Sync(path("a"))];
        events.extend([
            Event::Rename(path("a/file"), path("a/other")),
            Event::Create(path("a/file")),
            Event::Remove(path("a/other")),
        ]);
        let disk = disk(&events);
        let names = |seed| -> Vec<_> {
            disk.stop(Stop::Torn(seed)).files().map(|(path, _)| path.to_path_buf()).collect()
        };
        let seen: BTreeSet<_> = (0..64).map(names).collect();
        let (file, other) = (path("a/file"), path("a/other"));
        assert_eq!(seen, BTreeSet::from([vec![file.clone()], vec![other.clone()], vec![file, other]]));

        let made = [Event::Directory(path("b")), Event::Create(path("b/file")), Event::Sync(path("b"))];
        let mut disk = Disk::new(&State(BTreeMap::new()));
        made.iter().for_each(|event| disk.apply(event));
        assert!(disk.stop(Stop::Lost).0.is_empty());
    }

    #[test]
    fn what_was_not_synced_is_torn_at_sectors() {
        let events = [
            Event::Create(path("a/file")),
            Event::Sync(path("a")),
            write(0, 1, 8 * SECTOR),
            Event::Sync(path("a/file")),
        ];
        let mut disk = disk(&events);
        disk.apply(&write(100, 2, 4 * SECTOR));
        let mut seen = BTreeSet::new();
        for seed in 0..64 {
            let found = content(&disk.stop(Stop::Torn(seed)), "a/file").unwrap();
            assert_eq!(found.len(), 8 * SECTOR);
            for (number, sector) in found.chunks(SECTOR).enumerate() {
                let (from, to) = (100, 4 * SECTOR + 100);
                let written: Vec<_> = (number * SECTOR..(number + 1) * SECTOR)
                    .map(|at| if (from..to).contains(&at) { 2 } else { 1 })
                    .collect();
                assert!(sector == [1; SECTOR] || sector == written);
            }
            seen.insert(found);
        }
        assert!(seen.len() > 8, "{} different states", seen.len());
    }
}
