//! What is on a simulated disk: the part of its files and names that a crash leaves.
//!
//! The files themselves are the kernel's, in a folder of the run. This follows what is done to them, and
//! knows what of it is *durable*:
//!
//! - The bytes of a file are durable once the file was synced. A sync concerns what was written before it
//!   began. What was written later may be lost, in any part: at a crash chance decides which writes have
//!   reached the disk, and may cut the last one off in its middle. A write to a file that was opened with
//!   `O_SYNC` or `O_DSYNC` is durable, and those before it to the same file are not.
//! - A name (a new file, a removal, a rename) is durable once its folder was synced. Later changes of names
//!   have reached the disk up to some point in their order, which chance decides at a crash, as with a
//!   journal.
//! - A sync that fails has lost what it should have made durable. A later one that succeeds does not bring
//!   it back.

use super::network::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A file, whatever its names.
pub(super) type FileId = u64;

/// A tear is at a multiple of this.
const SECTOR: usize = 512;

/// A disk.
#[derive(Debug, Default)]
pub(super) struct Disk {
    files: BTreeMap<FileId, Bytes>,
    last: FileId,
    /// The durable names, and what they name.
    durable: Names,
    /// The names as the program sees them.
    names: Names,
    /// Changes of names since the last one that is durable, in order.
    changes: Vec<Change>,
    /// How many changes there were before these.
    settled: u64,
}

type Names = BTreeMap<PathBuf, Node>;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(FileId),
    Folder,
    /// A symbolic link, with its target.
    Link(PathBuf),
}

/// What a crash has left of a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Left {
    /// A file with these bytes.
    File(Vec<u8>),
    Folder,
    Link(PathBuf),
}

#[derive(Debug, Default)]
struct Bytes {
    durable: Vec<u8>,
    /// The writes since the last one that was synced, in order.
    writes: Vec<Write>,
    /// How many writes there were before these.
    settled: u64,
    len: u64,
}

#[derive(Clone, Debug)]
struct Write {
    what: Written,
    /// Its call has synced it: a crash keeps it.
    durable: bool,
}

#[derive(Clone, Debug)]
enum Written {
    Bytes { offset: u64, bytes: Vec<u8> },
    Length(u64),
}

/// A change of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Add(PathBuf, Node),
    /// The name, and all below it.
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl Change {
    /// Whether the folder has a name that this changes.
    fn concerns(&self, folder: &Path) -> bool {
        let within = |path: &Path| path.parent() == Some(folder);
        match self {
            Change::Add(path, _) | Change::Remove(path) => within(path),
            Change::Rename(from, to) => within(from) || within(to),
        }
    }

    fn apply(&self, names: &mut Names) {
        match self {
            Change::Add(path, node) => _ = names.insert(path.clone(), node.clone()),
            Change::Remove(path) => names.retain(|name, _| !name.starts_with(path)),
            Change::Rename(from, to) => {
                let moved: Vec<_> = names
                    .iter()
                    .filter(|(name, _)| name.starts_with(from))
                    .map(|(name, _)| name.clone())
                    .collect();
                names.remove(to);
                for name in moved {
                    let node = names.remove(&name).expect("it was found");
                    let rest = name.strip_prefix(from).expect("it starts with that");
                    // Not `join` with nothing, which would add a separator.
                    let new = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                    names.insert(new, node);
                }
            }
        }
    }
}

impl Written {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Written::Length(len) => to.resize(*len as usize, 0),
            Written::Bytes { offset, bytes } => {
                let end = *offset as usize + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*offset as usize..end].copy_from_slice(bytes);
            }
        }
    }
}

impl Disk {
    /// A folder that has always been there.
    pub(super) fn add_folder(&mut self, path: &Path) {
        self.durable.insert(path.to_owned(), Node::Folder);
        self.names.insert(path.to_owned(), Node::Folder);
    }

    /// A new file, which has no name so far.
    pub(super) fn add_file(&mut self) -> FileId {
        self.last += 1;
        self.files.insert(self.last, Bytes::default());
        self.last
    }

    /// What that name stands for.
    pub(super) fn node(&self, path: &Path) -> Option<Node> {
        self.names.get(path).cloned()
    }

    /// Names have changed.
    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    /// Bytes were written, and perhaps synced by the same call.
    pub(super) fn write(&mut self, file: FileId, offset: u64, bytes: &[u8], durable: bool) {
        if let Some(file) = self.files.get_mut(&file) {
            file.len = file.len.max(offset + bytes.len() as u64);
            file.writes.push(Write { what: Written::Bytes { offset, bytes: bytes.to_vec() }, durable });
        }
    }

    /// The length was set.
    pub(super) fn set_len(&mut self, file: FileId, len: u64) {
        if let Some(file) = self.files.get_mut(&file) {
            file.len = len;
            file.writes.push(Write { what: Written::Length(len), durable: false });
        }
    }

    /// The length of a file.
    pub(super) fn len(&self, file: FileId) -> u64 {
        self.files.get(&file).map_or(0, |file| file.len)
    }

    /// How many bytes the files have together that have a name. A file without one counts as gone, although
    /// it may be open.
    pub(super) fn used(&self) -> u64 {
        let named: BTreeSet<FileId> = self.names.values().filter_map(Node::file).collect();
        named.iter().map(|file| self.len(*file)).sum()
    }

    /// How many writes to the file there were so far.
    pub(super) fn writes(&self, file: FileId) -> u64 {
        self.files.get(&file).map_or(0, |file| file.settled + file.writes.len() as u64)
    }

    /// How many changes of names there were so far.
    pub(super) fn changes(&self) -> u64 {
        self.settled + self.changes.len() as u64
    }

    /// The writes to a file up to that number were synced, or their sync has failed.
    pub(super) fn sync_file(&mut self, file: FileId, writes: u64, succeeds: bool) {
        let Some(file) = self.files.get_mut(&file) else { return };
        let count = writes.saturating_sub(file.settled).min(file.writes.len() as u64);
        file.settled += count;
        for write in file.writes.drain(..count as usize) {
            if succeeds || write.durable {
                write.what.apply(&mut file.durable);
            }
        }
    }

    /// A folder was synced: the changes of its names up to that number are durable, and all changes before
    /// them.
    pub(super) fn sync_folder(&mut self, folder: &Path, changes: u64) {
        let before = changes.saturating_sub(self.settled).min(self.changes.len() as u64) as usize;
        let last = self.changes[..before].iter().rposition(|change| change.concerns(folder));
        let count = last.map_or(0, |last| last + 1);
        self.settled += count as u64;
        for change in self.changes.drain(..count) {
            change.apply(&mut self.durable);
        }
    }

    /// The host crashes. What is left is what the disk has from now on.
    pub(super) fn crash(&mut self, random: &mut Random) -> BTreeMap<PathBuf, Left> {
        let kept = random.below(self.changes.len() as u64 + 1) as usize;
        self.settled = self.changes();
        for change in self.changes.drain(..).take(kept) {
            change.apply(&mut self.durable);
        }
        self.names = self.durable.clone();
        for file in self.files.values_mut() {
            let writes = std::mem::take(&mut file.writes);
            file.settled += writes.len() as u64;
            let mode = random.below(4);
            let first = random.below(writes.len() as u64 + 1) as usize;
            for (number, write) in writes.iter().enumerate() {
                let keeps = match mode {
                    0 => false,
                    1 => true,
                    2 => number < first,
                    _ => random.chance(0.5),
                };
                match &write.what {
                    Written::Bytes { offset, bytes } if mode == 2 && number == first && !write.durable => {
                        let len = random.below(bytes.len() as u64 + 1) as usize;
                        let end = *offset as usize + len;
                        // The file ends where it may; a tear in the middle is at the end of a sector.
                        let len = if random.chance(0.5) { len } else { len.saturating_sub(end % SECTOR) };
                        Written::Bytes { offset: *offset, bytes: bytes[..len].to_vec() }
                            .apply(&mut file.durable);
                    }
                    what if keeps || write.durable => what.apply(&mut file.durable),
                    _ => {}
                }
            }
            file.len = file.durable.len() as u64;
        }
        let named: Vec<FileId> = self.names.values().filter_map(Node::file).collect();
        self.files.retain(|id, _| named.contains(id));
        let left = |node: &Node| match node {
            Node::File(id) => Left::File(self.files[id].durable.clone()),
            Node::Folder => Left::Folder,
            Node::Link(target) => Left::Link(target.clone()),
        };
        self.names.iter().map(|(path, node)| (path.clone(), left(node))).collect()
    }
}

impl Node {
    pub(super) fn file(&self) -> Option<FileId> {
        match self {
            Node::File(id) => Some(*id),
            Node::Folder | Node::Link(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathBuf {
        PathBuf::from(text)
    }

    /// A disk with the folder `/` and a file `/a` that holds "old", all durable.
    fn disk() -> (Disk, FileId) {
        let mut disk = Disk::default();
        disk.add_folder(Path::new("/"));
        let file = disk.add_file();
        disk.change(Change::Add(path("/a"), Node::File(file)));
        disk.write(file, 0, b"old", false);
        disk.sync_file(file, disk.writes(file), true);
        disk.sync_folder(Path::new("/"), disk.changes());
        (disk, file)
    }

    fn bytes(left: &Left) -> Vec<u8> {
        match left {
            Left::File(bytes) => bytes.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_may() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let (mut disk, file) = disk();
            disk.write(file, 3, b"123456", false);
            disk.write(file, 9, b"789", false);
            let left = disk.crash(&mut Random::new(seed));
            let bytes = bytes(&left[Path::new("/a")]);
            assert!(bytes.starts_with(b"old"), "{bytes:?}");
            seen.insert(bytes);
        }
        assert!(seen.contains(&b"old"[..]), "none");
        assert!(seen.contains(&b"old123456789"[..]), "all");
        assert!(seen.contains(&b"old123456"[..]), "the first");
        assert!(seen.contains(&b"old\0\0\0\0\0\x00789"[..]), "the second alone");
        assert!(seen.contains(&b"old123"[..]), "torn");
    }

    /// That disk, after a new file with "new", which is durable, has taken the name `/a`.
    fn renamed_disk() -> Disk {
        let (mut disk, _) = disk();
        let new = disk.add_file();
        disk.change(Change::Add(path("/new"), Node::File(new)));
        disk.write(new, 0, b"new", false);
        disk.sync_file(new, 1, true);
        disk.change(Change::Rename(path("/new"), path("/a")));
        disk
    }

    #[test]
    fn names_are_durable_with_their_folder_and_else_up_to_a_point() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let left = renamed_disk().crash(&mut Random::new(seed));
            assert!(left.contains_key(Path::new("/a")));
            seen.insert((left[Path::new("/a")].clone(), left.contains_key(Path::new("/new"))));
        }
        let file = |bytes: &[u8]| Left::File(bytes.to_vec());
        let old = (file(b"old"), false);
        let both = (file(b"old"), true);
        let renamed = (file(b"new"), false);
        assert_eq!(seen, [old, both, renamed.clone()].into());

        let mut disk = renamed_disk();
        disk.sync_folder(Path::new("/"), disk.changes());
        let left = disk.crash(&mut Random::new(1));
        assert_eq!((left[Path::new("/a")].clone(), left.contains_key(Path::new("/new"))), renamed);
    }

    #[test]
    fn a_sync_that_fails_loses_what_it_was_for() {
        let (mut disk, file) = disk();
        disk.write(file, 3, b"lost", false);
        disk.sync_file(file, disk.writes(file), false);
        disk.sync_file(file, disk.writes(file), true);
        for seed in 0..10 {
            assert_eq!(bytes(&disk.crash(&mut Random::new(seed))[Path::new("/a")]), b"old");
        }
    }

    #[test]
    fn a_sync_concerns_what_came_before_it() {
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let (mut disk, file) = disk();
            disk.write(file, 3, b"1", false);
            let (writes, changes) = (disk.writes(file), disk.changes());
            disk.write(file, 4, b"2", false);
            disk.change(Change::Add(path("/new"), Node::Folder));
            disk.sync_file(file, writes, true);
            disk.sync_folder(Path::new("/"), changes);
            // Of two syncs at a time the earlier one may end last.
            disk.sync_file(file, 1, true);
            let left = disk.crash(&mut Random::new(seed));
            assert!(bytes(&left[Path::new("/a")]).starts_with(b"old1"));
            seen.insert((bytes(&left[Path::new("/a")]), left.contains_key(Path::new("/new"))));
        }
        assert_eq!(seen.len(), 4, "{seen:?}");
    }

    #[test]
    fn a_write_that_syncs_itself_is_kept_and_those_before_it_may_be_lost() {
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let (mut disk, file) = disk();
            disk.write(file, 3, b"1", false);
            disk.write(file, 4, b"2", true);
            seen.insert(bytes(&disk.crash(&mut Random::new(seed))[Path::new("/a")]));
        }
        assert_eq!(seen, [b"old12".to_vec(), b"old\x002".to_vec()].into());
    }

    #[test]
    fn files_without_a_name_use_no_room() {
        let (mut disk, file) = disk();
        disk.change(Change::Add(path("/link"), Node::File(file)));
        assert_eq!(disk.used(), 3);
        let new = disk.add_file();
        disk.change(Change::Add(path("/new"), Node::File(new)));
        disk.write(new, 0, b"newer", false);
        disk.change(Change::Rename(path("/new"), path("/a")));
        assert_eq!(disk.used(), 8);
        disk.change(Change::Remove(path("/link")));
        assert_eq!(disk.used(), 5);
    }

    #[test]
    fn a_folder_moves_with_what_is_in_it() {
        let (mut disk, file) = disk();
        disk.change(Change::Add(path("/d"), Node::Folder));
        disk.change(Change::Rename(path("/a"), path("/d/a")));
        disk.change(Change::Rename(path("/d"), path("/e")));
        assert_eq!(disk.node(Path::new("/e/a")), Some(Node::File(file)));
        assert_eq!(disk.node(Path::new("/d/a")), None);
        disk.change(Change::Remove(path("/e")));
        assert_eq!(disk.node(Path::new("/e/a")), None);
    }
}
