//! The disks of a simulation's hosts: a folder of the system for each, and what is durable of it (`disk.rs`).
//!
//! A host sees its folder as the root of its files. Paths are mapped on the way in and back on the way out
//! (`fs/simulated`). The check itself, outside of all hosts, uses the system's files.

use super::disk::{Change, Disk, FileId, Left, Node};
use super::network::{HostId, Outcome, Random};
use crate::base::sys::calls::{FileCall, FileChange};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How a host's disk behaves. Pass it to `Sim::disk`.
///
/// By default a disk takes no time, has room for everything, and does not fail.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use sward::sim::DiskSettings;
///
/// let tired = DiskSettings::new()
///     .latency(Duration::from_millis(1), Duration::from_millis(30))
///     .sync_fails(0.01)
///     .short_writes(0.1);
/// # let _ = tired;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct DiskSettings {
    latency: (Duration, Duration),
    capacity: Option<u64>,
    write_fails: f64,
    sync_fails: f64,
    short: f64,
}

impl DiskSettings {
    /// The default behaviour.
    pub fn new() -> DiskSettings {
        DiskSettings::default()
    }

    /// Sets how long a call takes: anything between the two, with equal probability.
    pub fn latency(mut self, least: Duration, most: Duration) -> DiskSettings {
        self.latency = (least, most);
        self
    }

    /// Sets how many bytes the files may have together that have a name. Beyond that writes fail with
    /// `StorageFull`, unless they replace bytes that are there.
    pub fn capacity(mut self, bytes: u64) -> DiskSettings {
        self.capacity = Some(bytes);
        self
    }

    /// Sets with which probability a write fails (`EIO`).
    pub fn write_fails(mut self, probability: f64) -> DiskSettings {
        self.write_fails = probability;
        self
    }

    /// Sets with which probability a sync fails (`EIO`). What it should have made durable is then lost at
    /// the next crash, even if a later sync succeeds.
    pub fn sync_fails(mut self, probability: f64) -> DiskSettings {
        self.sync_fails = probability;
        self
    }

    /// Sets with which probability a write takes only a part of its bytes.
    pub fn short_writes(mut self, probability: f64) -> DiskSettings {
        self.short = probability;
        self
    }
}

/// The disks of one run.
pub(super) struct Disks {
    random: Random,
    /// The folder of the run, once there is one.
    folder: Option<PathBuf>,
    disks: BTreeMap<HostId, HostDisk>,
    settings: BTreeMap<HostId, DiskSettings>,
    /// Hosts that have crashed: what their destructors do reaches no disk.
    down: BTreeSet<HostId>,
    /// What has happened, for the trace.
    pub(super) log: Vec<String>,
}

struct HostDisk {
    root: PathBuf,
    disk: Disk,
    /// The files by their inodes.
    inodes: BTreeMap<u64, FileId>,
    /// What a crash has left, until the host runs again. By then all coroutines that use the files have
    /// ended.
    left: Option<BTreeMap<PathBuf, Left>>,
}

impl Disks {
    pub(super) fn new(seed: u64) -> Disks {
        Disks {
            random: Random::new(seed),
            folder: None,
            disks: BTreeMap::new(),
            settings: BTreeMap::new(),
            down: BTreeSet::new(),
            log: Vec::new(),
        }
    }

    pub(super) fn set(&mut self, host: HostId, settings: DiskSettings) {
        self.settings.insert(host, settings);
    }

    fn settings(&self, host: HostId) -> DiskSettings {
        self.settings.get(&host).cloned().unwrap_or_default()
    }

    /// The host's disk, which is made at its first use.
    fn of(&mut self, host: HostId) -> io::Result<&mut HostDisk> {
        if !self.disks.contains_key(&host) {
            let folder = self.folder()?.join(format!("host-{host}"));
            let mut disk = Disk::default();
            for path in ["/", "/tmp"] {
                disk.add_folder(Path::new(path));
                fs::create_dir_all(folder.join(&path[1..]))?;
            }
            self.disks.insert(host, HostDisk { root: folder, disk, inodes: BTreeMap::new(), left: None });
        }
        Ok(self.disks.get_mut(&host).expect("it was made"))
    }

    fn folder(&mut self) -> io::Result<&Path> {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        if self.folder.is_none() {
            // In memory, if the system has such a place.
            let memory = Path::new("/dev/shm");
            let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
            self.folder = loop {
                let run = RUNS.fetch_add(1, Ordering::Relaxed);
                let folder = base.join(format!("sward-sim-{}-{run}", process::id()));
                match fs::create_dir(&folder) {
                    // The kernel's name of it, since open files have such names.
                    Ok(()) => break Some(fs::canonicalize(folder)?),
                    // A process of the same number has left it, or somebody else has made it.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                }
            };
        }
        Ok(self.folder.as_deref().expect("it was made"))
    }

    /// Where the host's path is in the system.
    pub(super) fn map(&mut self, host: HostId, path: &Path) -> io::Result<PathBuf> {
        if self.down.contains(&host) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let mut real = self.of(host)?.root.clone();
        let depth = real.components().count();
        for component in path.components() {
            match component {
                Component::Normal(name) => real.push(name),
                Component::ParentDir if real.components().count() > depth => _ = real.pop(),
                _ => {}
            }
        }
        Ok(real)
    }

    /// What the host calls a path of the system.
    pub(super) fn unmap(&self, host: HostId, real: &Path) -> PathBuf {
        let inside = self.disks.get(&host).and_then(|disk| real.strip_prefix(&disk.root).ok());
        inside.map_or_else(|| real.to_owned(), |inside| Path::new("/").join(inside))
    }

    /// A call is about to be made: how many bytes of it may be, if they are limited; or an error.
    pub(super) fn before(&mut self, host: HostId, call: FileCall<'_>) -> Outcome<Option<usize>> {
        let settings = self.settings(host);
        if self.down.contains(&host) {
            return Err(libc::EIO);
        }
        match call {
            FileCall::Write { len: 0, .. } => Ok(None),
            FileCall::Write { fd, offset, len } => {
                let fails = self.random.chance(settings.write_fails);
                let short = self.random.chance(settings.short);
                let part = 1 + self.random.below(len as u64) as usize;
                let left = match (settings.capacity, self.of(host)) {
                    (Some(capacity), Ok(disk)) => disk.room(capacity, fd, offset),
                    _ => u64::MAX,
                };
                match () {
                    () if left == 0 => Err(libc::ENOSPC),
                    () if fails => {
                        self.log.push(format!("a write of host {host} fails"));
                        Err(libc::EIO)
                    }
                    () if short => Ok(Some(part.min(usize::try_from(left).unwrap_or(usize::MAX)))),
                    () => Ok(Some(usize::try_from(left).unwrap_or(usize::MAX))),
                }
            }
        }
    }

    /// How long the host's next call takes.
    pub(super) fn delay(&mut self, host: HostId) -> Duration {
        let (least, most) = self.settings(host).latency;
        Duration::from_nanos(self.random.between(least, most))
    }

    /// A sync of that file or folder begins: how many of its changes it concerns.
    pub(super) fn sync_begins(&mut self, host: HostId, fd: BorrowedFd<'_>) -> u64 {
        self.of(host).map_or(0, |disk| match disk.file(fd) {
            Some(file) => disk.disk.writes(file),
            None => disk.disk.changes(),
        })
    }

    /// A file or a name has changed.
    pub(super) fn changed(&mut self, host: HostId, change: FileChange<'_>) -> Outcome<()> {
        if self.down.contains(&host) {
            return Err(libc::EIO);
        }
        let sync_fails = self.settings(host).sync_fails;
        let syncs = match change {
            FileChange::Synced { .. } => true,
            FileChange::Wrote { fd, .. } => flags(fd) & libc::O_DSYNC != 0,
            _ => false,
        };
        let fails = syncs && self.random.chance(sync_fails);
        let Ok(host_disk) = self.of(host) else { return Ok(()) };
        let log = host_disk.changed(change, fails);
        if fails {
            self.log.push(format!("a sync of host {host} fails"));
            return Err(libc::EIO);
        }
        self.log.extend(log);
        Ok(())
    }

    /// The host runs again: its files are what the disk has.
    pub(super) fn restart(&mut self, host: HostId) {
        self.down.remove(&host);
        let Some(host_disk) = self.disks.get_mut(&host) else { return };
        if let Some(left) = host_disk.left.take()
            && let Err(error) = host_disk.restore(&left)
        {
            self.log.push(format!("the disk of host {host} cannot be restored: {error}"));
        }
    }

    /// The host crashes. From here on nothing that its coroutines do reaches the disk.
    pub(super) fn crash(&mut self, host: HostId) {
        self.down.insert(host);
        let Some(host_disk) = self.disks.get_mut(&host) else { return };
        let left = host_disk.disk.crash(&mut self.random);
        let files = left.values().filter(|left| matches!(left, Left::File(_))).count();
        host_disk.left = Some(left);
        self.log.push(format!("the disk of host {host} has {files} files after the crash"));
    }
}

impl HostDisk {
    /// The host's name for that path, without symbolic links before its last part.
    fn path(&self, real: &Path) -> PathBuf {
        let resolved = match (real.parent().map(fs::canonicalize), real.file_name()) {
            (Some(Ok(folder)), Some(name)) if real != self.root => folder.join(name),
            _ => real.to_owned(),
        };
        self.unmapped(&resolved)
    }

    fn unmapped(&self, real: &Path) -> PathBuf {
        Path::new("/").join(real.strip_prefix(&self.root).unwrap_or(real))
    }

    /// The kernel's name for an open file.
    fn name(&self, fd: BorrowedFd<'_>) -> Option<PathBuf> {
        let real = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
        Some(self.unmapped(&real))
    }

    /// How many bytes may be written there, if the files may have that many.
    fn room(&self, capacity: u64, fd: BorrowedFd<'_>, offset: Option<u64>) -> u64 {
        let len = self.file(fd).map_or(0, |file| self.disk.len(file));
        let offset = match offset {
            _ if flags(fd) & libc::O_APPEND != 0 => len,
            Some(offset) => offset,
            None => position(fd).unwrap_or(len),
        };
        (len + capacity.saturating_sub(self.disk.used())).saturating_sub(offset)
    }

    fn file(&self, fd: BorrowedFd<'_>) -> Option<FileId> {
        self.inodes.get(&inode(fd)?).copied()
    }

    /// What the change means. Returns a line for the trace.
    fn changed(&mut self, change: FileChange<'_>, sync_fails: bool) -> Option<String> {
        match change {
            FileChange::Opened(fd) => self.opened(fd),
            FileChange::Wrote { fd, end, bytes } => {
                let (file, flags) = (self.file(fd)?, flags(fd));
                let end = match end {
                    // Wherever the caller wanted it.
                    _ if flags & libc::O_APPEND != 0 => status(fd)?.st_size as u64,
                    Some(end) => end,
                    None => position(fd)?,
                };
                let durable = flags & libc::O_DSYNC != 0 && !sync_fails;
                self.disk.write(file, end.checked_sub(bytes.len() as u64)?, bytes, durable);
            }
            FileChange::Length { fd, len } => self.disk.set_len(self.file(fd)?, len),
            FileChange::Synced { fd, changes } => match self.file(fd) {
                Some(file) => self.disk.sync_file(file, changes, !sync_fails),
                // As for a file: what a failed sync was for may be lost.
                None if sync_fails => {}
                None => self.disk.sync_folder(&self.name(fd)?, changes),
            },
            FileChange::Folder(path) => {
                // With all that are missing above it.
                let path = self.path(path);
                for folder in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
                    if self.disk.node(folder).is_none() {
                        self.disk.change(Change::Add(folder.to_owned(), Node::Folder));
                    }
                }
            }
            FileChange::Removed(path) => self.disk.change(Change::Remove(self.path(path))),
            // Both names are those of one file, or the same name: the kernel has done nothing.
            FileChange::Renamed { from, .. } if fs::symlink_metadata(from).is_ok() => {}
            FileChange::Renamed { from, to } => {
                let (from, to) = (self.path(from), self.path(to));
                let line = format!("{} is renamed to {}", from.display(), to.display());
                self.disk.change(Change::Rename(from, to));
                return Some(line);
            }
            FileChange::Linked { original, link } => {
                let node = self.disk.node(&self.path(original))?;
                self.disk.change(Change::Add(self.path(link), node));
            }
            FileChange::Symlink { target, link } => {
                self.disk.change(Change::Add(self.path(link), Node::Link(target.to_owned())));
            }
        }
        None
    }

    fn opened(&mut self, fd: BorrowedFd<'_>) {
        let Some(status) = status(fd).filter(|status| status.st_mode & libc::S_IFMT == libc::S_IFREG) else {
            return;
        };
        // A file without a name has been made without one (`O_TMPFILE`).
        let path = self.name(fd).filter(|_| status.st_nlink > 0);
        let file = match path.as_deref().and_then(|path| self.disk.node(path)) {
            Some(Node::File(file)) => file,
            _ => {
                let file = self.disk.add_file();
                if let Some(path) = path {
                    self.disk.change(Change::Add(path, Node::File(file)));
                }
                file
            }
        };
        // The inode of a file that was removed may be in use again.
        self.inodes.insert(status.st_ino, file);
        let len = status.st_size as u64;
        if len < self.disk.len(file) {
            self.disk.set_len(file, len);
        }
    }

    /// Replaces the system's files by what is left.
    fn restore(&mut self, left: &BTreeMap<PathBuf, Left>) -> io::Result<()> {
        fs::remove_dir_all(&self.root)?;
        self.inodes.clear();
        // Where each file is. Its further names are links to that.
        let mut places = BTreeMap::new();
        // A folder comes before what is in it.
        for (path, content) in left {
            let real = self.root.join(path.strip_prefix("/").expect("it is absolute"));
            if let Some(parent) = real.parent() {
                fs::create_dir_all(parent)?;
            }
            match content {
                Left::Folder => fs::create_dir_all(&real)?,
                Left::Link(target) => std::os::unix::fs::symlink(target, &real)?,
                Left::File(bytes) => {
                    let file =
                        self.disk.node(path).and_then(|node| node.file()).expect("a file has a number");
                    match places.entry(file) {
                        Entry::Occupied(place) => fs::hard_link(place.get(), &real)?,
                        Entry::Vacant(place) => {
                            fs::write(&real, bytes)?;
                            self.inodes.insert(fs::metadata(&real)?.ino(), file);
                            place.insert(real);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn inode(fd: BorrowedFd<'_>) -> Option<u64> {
    status(fd).map(|status| status.st_ino)
}

/// The flags with which it was opened.
fn flags(fd: BorrowedFd<'_>) -> libc::c_int {
    // SAFETY: the call takes no pointer.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) }.max(0)
}

/// Its position.
fn position(fd: BorrowedFd<'_>) -> Option<u64> {
    // SAFETY: the call takes no pointer, and moves nothing.
    u64::try_from(unsafe { libc::lseek(fd.as_raw_fd(), 0, libc::SEEK_CUR) }).ok()
}

fn status(fd: BorrowedFd<'_>) -> Option<libc::stat> {
    // SAFETY: all zeros is a value of this type.
    let mut status = unsafe { std::mem::zeroed::<libc::stat>() };
    // SAFETY: there is room for the answer.
    let got = unsafe { libc::fstat(fd.as_raw_fd(), &raw mut status) };
    (got == 0).then_some(status)
}

impl Drop for Disks {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            // What cannot be removed is left.
            let _ = fs::remove_dir_all(folder);
        }
    }
}
