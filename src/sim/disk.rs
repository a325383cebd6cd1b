//! What is on a simulated disk: the part of its files and names that a crash leaves.
//!
//! The files themselves are the kernel's, in a folder of the run. This follows what is done to them, and
//! knows what of it is *durable*:
//!
//! - The bytes of a file are durable once the file was synced. What was written later may be lost, in any
//!   part: at a crash chance decides which writes have reached the disk, and may cut the last one off in
//!   its middle.
//! - A name (a new file, a removal, a rename) is durable once its folder was synced. Later changes of names
//!   have reached the disk up to some point in their order, which chance decides at a crash, as with a
//!   journal.
//! - A sync that fails has lost what it should have made durable. A later one that succeeds does not bring
//!   it back.

use super::network::Random;
use std::collections::BTreeMap;
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
}

type Names = BTreeMap<PathBuf, Node>;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(FileId),
    Folder,
}

#[derive(Debug, Default)]
struct Bytes {
    durable: Vec<u8>,
    writes: Vec<Write>,
    len: u64,
}

#[derive(Clone, Debug)]
enum Write {
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
            Change::Add(path, node) => _ = names.insert(path.clone(), *node),
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

impl Write {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Write::Length(len) => to.resize(*len as usize, 0),
            Write::Bytes { offset, bytes } => {
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
        self.names.get(path).copied()
    }

    /// Names have changed.
    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    /// Bytes were written.
    pub(super) fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) {
        if let Some(file) = self.files.get_mut(&file) {
            file.len = file.len.max(offset + bytes.len() as u64);
            file.writes.push(Write::Bytes { offset, bytes: bytes.to_vec() });
        }
    }

    /// The length was set.
    pub(super) fn set_len(&mut self, file: FileId, len: u64) {
        if let Some(file) = self.files.get_mut(&file) {
            file.len = len;
            file.writes.push(Write::Length(len));
        }
    }

    /// The length of a file.
    pub(super) fn len(&self, file: FileId) -> u64 {
        self.files.get(&file).map_or(0, |file| file.len)
    }

    /// How many bytes the files have together.
    pub(super) fn used(&self) -> u64 {
        self.files.values().map(|file| file.len).sum()
    }

    /// A file was synced, or its sync has failed.
    pub(super) fn sync_file(&mut self, file: FileId, succeeds: bool) {
        let Some(file) = self.files.get_mut(&file) else { return };
        for write in std::mem::take(&mut file.writes) {
            if succeeds {
                write.apply(&mut file.durable);
            }
        }
    }

    /// A folder was synced: its names are durable, and all changes before theirs.
    pub(super) fn sync_folder(&mut self, folder: &Path) {
        let last = self.changes.iter().rposition(|change| change.concerns(folder));
        let count = last.map_or(0, |last| last + 1);
        for change in self.changes.drain(..count) {
            change.apply(&mut self.durable);
        }
    }

    /// The host crashes. What is left is what the disk has from now on.
    pub(super) fn crash(&mut self, random: &mut Random) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let kept = random.below(self.changes.len() as u64 + 1) as usize;
        for change in self.changes.drain(..).take(kept) {
            change.apply(&mut self.durable);
        }
        self.names = self.durable.clone();
        for file in self.files.values_mut() {
            let writes = std::mem::take(&mut file.writes);
            let mode = random.below(4);
            let first = random.below(writes.len() as u64 + 1) as usize;
            for (number, write) in writes.iter().enumerate() {
                let keeps = match mode {
                    0 => false,
                    1 => true,
                    2 => number < first,
                    _ => random.chance(0.5),
                };
                match write {
                    Write::Bytes { offset, bytes } if mode == 2 && number == first => {
                        let len = random.below(bytes.len() as u64 + 1) as usize;
                        let end = *offset as usize + len;
                        // The file ends where it may; a tear in the middle is at the end of a sector.
                        let len = if random.chance(0.5) { len } else { len.saturating_sub(end % SECTOR) };
                        Write::Bytes { offset: *offset, bytes: bytes[..len].to_vec() }
                            .apply(&mut file.durable);
                    }
                    write if keeps => write.apply(&mut file.durable),
                    _ => {}
                }
            }
            file.len = file.durable.len() as u64;
        }
        let named: Vec<FileId> = self.names.values().filter_map(Node::file).collect();
        self.files.retain(|id, _| named.contains(id));
        let content = |node: &Node| node.file().map(|id| self.files[&id].durable.clone());
        self.names.iter().map(|(path, node)| (path.clone(), content(node))).collect()
    }
}

impl Node {
    pub(super) fn file(&self) -> Option<FileId> {
        match self {
            Node::File(id) => Some(*id),
            Node::Folder => None,
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
        disk.write(file, 0, b"old");
        disk.sync_file(file, true);
        disk.sync_folder(Path::new("/"));
        (disk, file)
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_may() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let (mut disk, file) = disk();
            disk.write(file, 3, b"123456");
            disk.write(file, 9, b"789");
            let left = disk.crash(&mut Random::new(seed));
            let bytes = left[Path::new("/a")].clone().expect("a file");
            assert!(bytes.starts_with(b"old"), "{bytes:?}");
            seen.insert(bytes);
        }
        assert!(seen.contains(&b"old"[..]), "none");
        assert!(seen.contains(&b"old123456789"[..]), "all");
        assert!(seen.contains(&b"old123456"[..]), "the first");
        assert!(seen.contains(&b"old\0\0\0\0\0\x00789"[..]), "the second alone");
        assert!(seen.contains(&b"old123"[..]), "torn");
    }

    #[test]
    fn names_are_durable_with_their_folder_and_else_up_to_a_point() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let (mut disk, _) = disk();
            let new = disk.add_file();
            disk.change(Change::Add(path("/new"), Node::File(new)));
            disk.write(new, 0, b"new");
            disk.sync_file(new, true);
            disk.change(Change::Rename(path("/new"), path("/a")));
            let left = disk.crash(&mut Random::new(seed));
            assert!(left.contains_key(Path::new("/a")));
            seen.insert((left[Path::new("/a")].clone(), left.contains_key(Path::new("/new"))));
        }
        let old = (Some(b"old".to_vec()), false);
        let both = (Some(b"old".to_vec()), true);
        let renamed = (Some(b"new".to_vec()), false);
        assert_eq!(seen, [old, both, renamed.clone()].into());

        let (mut disk, _) = disk();
        let new = disk.add_file();
        disk.change(Change::Add(path("/new"), Node::File(new)));
        disk.write(new, 0, b"new");
        disk.sync_file(new, true);
        disk.change(Change::Rename(path("/new"), path("/a")));
        disk.sync_folder(Path::new("/"));
        let left = disk.crash(&mut Random::new(1));
        assert_eq!((left[Path::new("/a")].clone(), left.contains_key(Path::new("/new"))), renamed);
    }

    #[test]
    fn a_sync_that_fails_loses_what_it_was_for() {
        let (mut disk, file) = disk();
        disk.write(file, 3, b"lost");
        disk.sync_file(file, false);
        disk.sync_file(file, true);
        for seed in 0..10 {
            assert_eq!(disk.crash(&mut Random::new(seed))[Path::new("/a")], Some(b"old".to_vec()));
        }
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
