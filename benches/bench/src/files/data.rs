//! The files, whose contents say where they belong.

use super::Work;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub const PAGE: usize = 4096;
/// The size of a cached read.
pub const PIECE: usize = 64 << 10;
/// What of the large file is read from memory, in pages.
pub const CACHED: u64 = (32 << 20) / PAGE as u64;
/// The pages of a file to write to.
pub const PAGES_TO_WRITE: u64 = 256;
pub const WRITERS: u64 = 16;
/// A power of two, so that each is one task's.
pub const SMALL_FILES: u64 = 1 << 10;
pub const SMALL: usize = 2048;
/// Directories in the tree, directories in each, and files in each of these.
pub const TREE: [u64; 3] = [16, 8, 16];

/// The folder with all of them.
#[derive(Clone)]
pub struct Data {
    pub folder: PathBuf,
    /// Of the large file: a power of two.
    pub pages: u64,
}

/// The word at that place of the large file.
fn word(page: u64, at: u64) -> u64 {
    (page * (PAGE as u64 / 8) + at).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

pub fn page(number: u64) -> Vec<u8> {
    (0..PAGE as u64 / 8).flat_map(|at| word(number, at).to_le_bytes()).collect()
}

/// Fails unless these are the pages from that one on. Looks at the first and the last word of each.
pub fn check(bytes: &[u8], first: u64) -> io::Result<()> {
    for (page, bytes) in (first..).zip(bytes.chunks(PAGE)) {
        let at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        if at(0) != word(page, 0) || at(PAGE - 8) != word(page, PAGE as u64 / 8 - 1) {
            return Err(io::Error::other(format!("page {page} has the bytes of another one")));
        }
    }
    Ok(())
}

/// As `check`, for all bytes.
pub fn check_all(bytes: &[u8], first: u64) -> io::Result<()> {
    let same = |(number, bytes): (u64, &[u8])| bytes == page(number);
    match (first..).zip(bytes.chunks(PAGE)).all(same) {
        true => Ok(()),
        false => Err(io::Error::other("pages have the bytes of others")),
    }
}

pub fn check_small(bytes: &[u8], number: u64) -> io::Result<()> {
    let right = bytes.len() == SMALL && bytes[0] == number as u8 && bytes[SMALL - 1] == (number >> 8) as u8;
    if right { Ok(()) } else { Err(io::Error::other(format!("small file {number} has other contents"))) }
}

/// Room for so many bytes that begins at a page.
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub fn new(len: usize) -> Aligned {
        let bytes = vec![0; len + PAGE];
        let start = bytes.as_ptr().align_offset(PAGE);
        Aligned { bytes, start, len }
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

impl Data {
    /// Makes all files anew.
    pub fn make(quick: bool) -> io::Result<Data> {
        let folder = std::env::temp_dir().join(format!("sward-bench-files-{}", std::process::id()));
        let data = Data { folder, pages: if quick { 1 << 13 } else { 1 << 17 } };
        fs::create_dir_all(data.folder.join("small"))?;
        let mut large = BufWriter::with_capacity(1 << 20, File::create(data.large())?);
        for number in 0..data.pages {
            large.write_all(&page(number))?;
        }
        large.into_inner()?.sync_all()?;
        for writer in 0..WRITERS {
            let file = File::create(data.to_write(writer))?;
            file.write_all_at(&vec![1; PAGES_TO_WRITE as usize * PAGE], 0)?;
            file.sync_all()?;
        }
        for number in 0..SMALL_FILES {
            let mut bytes = [7; SMALL];
            (bytes[0], bytes[SMALL - 1]) = (number as u8, (number >> 8) as u8);
            fs::write(data.small(number), bytes)?;
        }
        for outer in 0..TREE[0] {
            for inner in 0..TREE[1] {
                let folder = data.tree(outer).join(inner.to_string());
                fs::create_dir_all(&folder)?;
                for file in 0..TREE[2] {
                    fs::write(folder.join(format!("file-{file}")), "text")?;
                }
            }
        }
        Ok(data)
    }

    /// Files that were made.
    pub fn at(folder: PathBuf) -> io::Result<Data> {
        let pages = fs::metadata(folder.join("large"))?.len() / PAGE as u64;
        Ok(Data { folder, pages })
    }

    pub fn remove(&self) {
        let _ = fs::remove_dir_all(&self.folder);
    }

    pub fn large(&self) -> PathBuf {
        self.folder.join("large")
    }

    pub fn to_write(&self, writer: u64) -> PathBuf {
        self.folder.join(format!("write-{writer}"))
    }

    pub fn small(&self, number: u64) -> PathBuf {
        self.folder.join("small").join(number.to_string())
    }

    /// The file whose length a task sets.
    pub fn resized(&self, task: u64) -> PathBuf {
        self.folder.join(format!("resized-{task}"))
    }

    /// The two names of a file that is renamed, the present one first.
    pub fn names(&self, op: u64) -> (PathBuf, PathBuf) {
        let number = op / 2 % SMALL_FILES;
        let names = (self.small(number), self.folder.join("moved").join(number.to_string()));
        if op.is_multiple_of(2) { names } else { (names.1, names.0) }
    }

    /// A name that nothing has between two operations: for a directory or a link.
    pub fn other_name(&self, op: u64) -> PathBuf {
        self.folder.join("moved").join(format!("other-{}", op / 2 % SMALL_FILES))
    }

    pub fn tree(&self, outer: u64) -> PathBuf {
        self.folder.join("tree").join(outer.to_string())
    }

    /// A page for each operation. No page comes twice before all have come.
    pub fn random_page(&self, op: u64) -> u64 {
        op.wrapping_mul(0x9e37_79b1) & (self.pages - 1)
    }

    /// Brings into memory what the work reads from memory, and removes what it reads from the disk.
    pub fn prepare(&self, work: Work) -> io::Result<()> {
        match work {
            Work::Cached => {
                let mut bytes = vec![0; CACHED as usize * PAGE];
                File::open(self.large())?.read_exact_at(&mut bytes, 0)?;
                check_all(&bytes, 0)
            }
            Work::Direct => open_direct(&self.large()).map(drop).map_err(|e| match e.raw_os_error() {
                Some(libc::EINVAL) => io::Error::new(io::ErrorKind::Unsupported, "no O_DIRECT here"),
                _ => e,
            }),
            Work::Buffered => {
                // SAFETY: the call takes no pointers.
                unsafe {
                    libc::posix_fadvise(
                        File::open(self.large())?.as_raw_fd(),
                        0,
                        0,
                        libc::POSIX_FADV_DONTNEED,
                    )
                };
                Ok(())
            }
            Work::ReadPath
            | Work::OpenRead
            | Work::Stat
            | Work::Open
            | Work::Rename
            | Work::Folder
            | Work::Link
            | Work::Symlink => {
                fs::create_dir_all(self.folder.join("moved"))?;
                (0..SMALL_FILES).try_for_each(|number| check_small(&fs::read(self.small(number))?, number))
            }
            Work::Resize => (0..64).try_for_each(|task| File::create(self.resized(task)).map(drop)),
            Work::Sync | Work::Walk => Ok(()),
        }
    }
}

pub fn open_direct(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_DIRECT).open(path)
}

/// No reading ahead.
pub fn reads_at_random(file: &impl AsRawFd) {
    // SAFETY: the call takes no pointers.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM) };
}
