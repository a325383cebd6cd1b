//! Files and folders, in coroutines and on plain threads: what std's own tests cover.

mod checked;

use std::fs::Permissions;
use std::io::{BufRead, BufReader, ErrorKind, IoSlice, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};
use sward::fs::{self, DirBuilder, File, OpenOptions, TryLockError};

/// A folder of the test's own, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sward-fs-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("a folder");
        Folder(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// In a coroutine, and on a plain thread.
fn both(f: impl Fn(&Folder) + Send + Sync) {
    f(&Folder::new());
    let runtime = sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
    runtime.run(|| f(&Folder::new()));
}

#[test]
fn files_are_written_and_read() {
    both(|folder| {
        let path = folder.at("file");
        assert_eq!(File::open(&path).unwrap_err().kind(), ErrorKind::NotFound);
        let mut file = File::create(&path).unwrap();
        file.write_all(b"some ").unwrap();
        assert_eq!(file.write_vectored(&[IoSlice::new(b"by"), IoSlice::new(b"tes")]).unwrap(), 5);
        file.flush().unwrap();
        file.sync_all().unwrap();
        file.sync_data().unwrap();
        assert_eq!(file.metadata().unwrap().len(), 10);
        let mut text = String::new();
        File::open(&path).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "some bytes");
        assert_eq!(File::create_new(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(
            file.read(&mut [0]).unwrap_err().raw_os_error(),
            Some(libc::EBADF),
            "opened to write only"
        );
    });
}

#[test]
fn a_file_has_a_place() {
    both(|folder| {
        let path = folder.at("file");
        let mut file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.write_all(b"0123456789").unwrap();
        assert_eq!(file.seek(SeekFrom::Start(3)).unwrap(), 3);
        let mut two = [0; 2];
        file.read_exact(&mut two).unwrap();
        assert_eq!(&two, b"34");
        assert_eq!(file.stream_position().unwrap(), 5);
        let mut clone = file.try_clone().unwrap();
        clone.read_exact(&mut two).unwrap();
        assert_eq!(&two, b"56", "clones share the place");
        file.write_all_at(b"ab", 8).unwrap();
        file.read_exact_at(&mut two, 8).unwrap();
        assert_eq!(&two, b"ab");
        assert_eq!(file.read_at(&mut two, 100).unwrap(), 0);
        file.set_len(4).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"0123");
        let mut shared = &file;
        shared.seek(SeekFrom::End(0)).unwrap();
        shared.write_all(b"!").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "0123!");
    });
}

#[test]
fn appended_and_permitted() {
    both(|folder| {
        let path = folder.at("file");
        fs::write(&path, "one\n").unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"two\n").unwrap();
        let lines: Vec<_> = BufReader::new(File::open(&path).unwrap()).lines().map(Result::unwrap).collect();
        assert_eq!(lines, ["one", "two"]);
        let other =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.at("other")).unwrap();
        assert_eq!(other.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        other.set_permissions(Permissions::from_mode(0o640)).unwrap();
        assert_eq!(fs::metadata(folder.at("other")).unwrap().permissions().mode() & 0o777, 0o640);
        fs::set_permissions(folder.at("other"), Permissions::from_mode(0o600)).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        other.set_modified(time).unwrap();
        assert_eq!(other.metadata().unwrap().modified().unwrap(), time);
        assert_eq!(OpenOptions::new().open(&path).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn names() {
    both(|folder| {
        let [a, b, c] = ["a", "b", "c"].map(|name| folder.at(name));
        fs::write(&a, b"contents").unwrap();
        assert_eq!(fs::copy(&a, &b).unwrap(), 8);
        fs::rename(&b, &c).unwrap();
        assert!(!fs::exists(&b).unwrap() && fs::exists(&c).unwrap());
        fs::hard_link(&c, &b).unwrap();
        fs::remove_file(&c).unwrap();
        assert_eq!(fs::read(&b).unwrap(), b"contents");
        fs::symlink(&a, &c).unwrap();
        assert_eq!(fs::read_link(&c).unwrap(), a);
        assert!(fs::symlink_metadata(&c).unwrap().is_symlink() && fs::metadata(&c).unwrap().is_file());
        assert_eq!(fs::canonicalize(&c).unwrap(), std::fs::canonicalize(&a).unwrap());
    });
}

#[test]
fn folders() {
    both(|folder| {
        fs::create_dir_all(folder.at("x/y/z")).unwrap();
        assert_eq!(fs::create_dir(folder.at("x")).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(fs::remove_dir(folder.at("x")).is_err(), "it is not empty");
        fs::remove_dir(folder.at("x/y/z")).unwrap();
        fs::remove_dir_all(folder.at("x")).unwrap();
        DirBuilder::new().recursive(true).mode(0o700).create(folder.at("p/q")).unwrap();
        assert_eq!(fs::metadata(folder.at("p/q")).unwrap().permissions().mode() & 0o777, 0o700);
    });
}

#[test]
fn the_entries_of_a_folder() {
    // One batch, a whole number of them, and one more.
    for count in [0, 3, 64, 128, 129] {
        both(|folder| {
            for i in 0..count {
                fs::write(folder.at(&i.to_string()), b"").unwrap();
            }
            let entries = fs::read_dir(&folder.0).unwrap();
            let mut numbers: Vec<usize> = entries
                .map(|entry| {
                    let entry = entry.unwrap();
                    assert!(entry.file_type().unwrap().is_file() && entry.metadata().unwrap().is_file());
                    assert_eq!(entry.path().parent(), Some(folder.0.as_path()));
                    entry.file_name().to_str().unwrap().parse().unwrap()
                })
                .collect();
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(0..count));
        });
    }
    assert_eq!(fs::read_dir(Path::new("/nowhere/at/all")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn many_at_once() {
    let folder = Folder::new();
    let runtime = sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
    let paths: Vec<_> = (0..500).map(|i| folder.at(&i.to_string())).collect();
    let sizes: Vec<_> = runtime.run(|| {
        let writers: Vec<_> = paths
            .iter()
            .cloned()
            .enumerate()
            .map(|(i, path)| {
                sward::spawn(move || {
                    fs::write(&path, vec![7; i]).unwrap();
                    fs::read(&path).unwrap().len()
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert!(sizes.into_iter().eq(0..500));
}

#[test]
fn locks_are_had_alone_or_shared() {
    both(|folder| {
        let path = folder.at("file");
        let (one, two) = (File::create(&path).unwrap(), File::open(&path).unwrap());
        one.lock_shared().unwrap();
        two.try_lock_shared().unwrap();
        assert!(matches!(one.try_lock(), Err(TryLockError::WouldBlock)));
        two.unlock().unwrap();
        one.try_lock().unwrap();
        assert_eq!(std::io::Error::from(two.try_lock_shared().unwrap_err()).kind(), ErrorKind::WouldBlock);
        let limited = sward::time::timeout(Duration::from_millis(5), || two.lock());
        assert!(limited.is_err());
        let waiting = sward::spawn(move || two.lock());
        sward::sleep(Duration::from_millis(5));
        assert!(!waiting.is_finished());
        // Closing it unlocks it.
        drop(one);
        waiting.join().unwrap().unwrap();
    });
}

/// More who wait than the pool has threads do not keep the holder from going on.
#[test]
fn many_wait_for_a_lock() {
    let folder = Folder::new();
    let path = folder.at("file");
    fs::write(&path, b"").unwrap();
    let runtime = sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
    runtime.run(|| {
        let all: Vec<_> = (0..600)
            .map(|_| {
                let path = path.clone();
                sward::spawn(move || {
                    let mut file = OpenOptions::new().append(true).open(path).unwrap();
                    file.lock().unwrap();
                    file.write_all(b"x").unwrap();
                })
            })
            .collect();
        for one in all {
            one.join().unwrap();
        }
    });
    assert_eq!(fs::read(&path).unwrap().len(), 600);
}

fn fifo(folder: &Folder, name: &str) -> PathBuf {
    let path = folder.at(name);
    let text = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: the path ends with a zero, and lives until the call ends.
    assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
    path
}

/// A limit that no test reaches unless it hangs.
const LONG: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(20);

/// More FIFOs than the pool has threads, some to be read and some to be written.
#[test]
fn fifos_do_not_use_up_the_pool() {
    const COUNT: usize = 600;
    let folder = &Folder::new();
    let paths: Vec<_> = (0..COUNT).map(|i| fifo(folder, &i.to_string())).collect();
    let runtime = sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
    runtime.run(|| {
        sward::scope(|s| {
            let all: Vec<_> = paths
                .iter()
                .enumerate()
                .map(|(i, path)| {
                    s.spawn(move || {
                        if i % 3 == 0 {
                            return fs::write(path, b"data").map(|()| Vec::new());
                        }
                        let mut file = File::open(path)?;
                        let mut contents = Vec::new();
                        file.read_to_end(&mut contents).map(|_| contents)
                    })
                })
                .collect();
            sward::sleep(MOMENT);
            let start = std::time::Instant::now();
            assert!(sward::time::timeout(LONG, || fs::metadata(&paths[0]).unwrap()).is_ok(), "files wait");
            let bound =
                sward::time::timeout(LONG, || sward::net::TcpListener::bind(("localhost", 0)).unwrap());
            assert!(bound.is_ok() && start.elapsed() < LONG, "names wait");
            assert!(all.iter().all(|one| !one.is_finished()));
            sward::blocking(|| {
                for (i, path) in paths.iter().enumerate() {
                    if i % 3 == 0 {
                        assert_eq!(std::fs::read(path).unwrap(), b"data");
                    } else {
                        std::fs::write(path, b"data").unwrap();
                    }
                }
            })
            .unwrap();
            for (i, one) in all.into_iter().enumerate() {
                assert_eq!(one.join().unwrap().unwrap(), if i % 3 == 0 { &b""[..] } else { b"data" });
            }
        });
    });
}

#[test]
fn limits_end_what_waits_for_a_fifo() {
    use sward::time::timeout;
    both(|folder| {
        let path = &fifo(folder, "fifo");
        assert!(timeout(MOMENT, || File::create(path)).is_err(), "nobody reads");
        assert!(timeout(MOMENT, || fs::write(path, b"data")).is_err());
        assert!(timeout(MOMENT, || fs::read(path)).is_err(), "nobody writes");
        assert!(timeout(MOMENT, || fs::read_to_string(path)).is_err());
        let mut reader = File::open(path).unwrap();
        assert!(timeout(MOMENT, || reader.read(&mut [0; 8])).is_err());
        let mut writer = File::create(path).unwrap();
        assert!(timeout(MOMENT, || reader.read(&mut [0; 8])).is_err(), "nothing was written");
        assert!(timeout(MOMENT, || while writer.write(&[0; 4096]).is_ok() {}).is_err(), "it is full");
        assert_ne!(reader.read(&mut [0; 8]).unwrap(), 0);
    });
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    runtime.run(|| {
        let folder = Folder::new();
        let path = fifo(&folder, "fifo");
        let (theirs, also) = (path.clone(), path.clone());
        let waiting =
            [sward::spawn(move || drop(File::create(theirs))), sward::spawn(move || drop(fs::read(also)))];
        for one in waiting {
            sward::sleep(Duration::from_millis(5));
            one.cancel();
            let _ = one.join();
        }
        // Alone with each other, they meet.
        let reading = sward::spawn(move || fs::read(path));
        fs::write(folder.at("fifo"), b"hello").unwrap();
        assert_eq!(reading.join().unwrap().unwrap(), b"hello");
    });
}

/// But for its opening, a FIFO is read and written as std does it.
#[test]
fn a_fifo_is_what_std_s_is() {
    both(|folder| {
        let path = &fifo(folder, "fifo");
        let mut reader = File::open(path).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(reader.read(&mut []).unwrap(), 0);
        // The end comes with the last writer, also with one that has written nothing.
        for text in ["", "one", "two"] {
            let mut writer = OpenOptions::new().append(true).open(path).unwrap();
            writer.write_all(text.as_bytes()).unwrap();
            writer.flush().unwrap();
            drop(writer);
            let mut all = String::new();
            reader.read_to_string(&mut all).unwrap();
            assert_eq!(all, text);
            assert_eq!(reader.read(&mut buffer).unwrap(), 0);
        }
        assert!(reader.metadata().unwrap().len() == 0 && format!("{reader:?}").contains("File"));
        assert_eq!(reader.seek(SeekFrom::Start(0)).unwrap_err().raw_os_error(), Some(libc::ESPIPE));
        // One that is open for both never ends.
        let mut own = OpenOptions::new().read(true).write(true).open(path).unwrap();
        own.write_all(b"x").unwrap();
        assert_eq!(own.read(&mut buffer).unwrap(), 1);
        drop((own, reader));
        // With `O_NONBLOCK` these calls fail instead of waiting.
        let nonblocking = |options: &mut OpenOptions| options.custom_flags(libc::O_NONBLOCK).open(path);
        let refused = nonblocking(OpenOptions::new().write(true)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ENXIO));
        let mut reader = nonblocking(OpenOptions::new().read(true)).unwrap();
        let writer = nonblocking(OpenOptions::new().write(true)).unwrap();
        assert_eq!(reader.read(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
        // A file is copied into a FIFO, and a FIFO is no file.
        let file = folder.at("file");
        fs::write(&file, b"copied").unwrap();
        assert_eq!(fs::copy(&file, path).unwrap(), 6);
        assert_eq!(reader.read(&mut buffer).unwrap(), 6);
        assert_eq!(fs::copy(path, &file).unwrap_err().kind(), ErrorKind::InvalidInput);
        // std gets back what it was: blocking, unless that was asked for.
        let mode = |file: &std::fs::File| {
            use std::os::fd::AsRawFd;
            // SAFETY: the call takes no pointers.
            unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) & libc::O_NONBLOCK != 0 }
        };
        let clone = reader.try_clone().unwrap();
        assert!(mode(&reader.into_std()) && mode(&clone.into_std()) && mode(&writer.into_std()));
        let mut reader = File::open(path).unwrap();
        let _writer = File::create(path).unwrap();
        assert!(sward::time::timeout(Duration::from_millis(2), || reader.read(&mut buffer)).is_err());
        let std = reader.into_std();
        assert!(!mode(&std));
        // And what comes from there waits as well.
        let mut back = File::from(std);
        assert!(sward::time::timeout(Duration::from_millis(2), || back.read(&mut buffer)).is_err());
    });
}

/// Terminals and other devices that can be polled.
#[test]
fn a_device_is_waited_for() {
    use std::os::fd::AsRawFd;
    both(|_| {
        let open =
            |path: &Path| OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path);
        let mut master = open("/dev/ptmx".as_ref()).unwrap();
        let mut name = [0; 64];
        // SAFETY: the name has room for as many bytes as said, and ends with a zero.
        let path = unsafe {
            assert_eq!(libc::unlockpt(master.as_raw_fd()), 0);
            assert_eq!(libc::ptsname_r(master.as_raw_fd(), name.as_mut_ptr(), name.len()), 0);
            std::ffi::CStr::from_ptr(name.as_ptr()).to_str().unwrap().to_owned()
        };
        let mut terminal = open(path.as_ref()).unwrap();
        let mut buffer = [0; 16];
        assert!(sward::time::timeout(MOMENT, || terminal.read(&mut buffer)).is_err());
        master.write_all(b"line\n").unwrap();
        assert_eq!(terminal.read(&mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"line\n");
        // One that cannot be polled is always ready.
        fs::write("/dev/null", b"gone").unwrap();
        assert_eq!(fs::read("/dev/null").unwrap(), b"");
        let mut zero = File::open("/dev/zero").unwrap();
        assert_eq!(zero.read(&mut buffer).unwrap(), 16);
    });
}
