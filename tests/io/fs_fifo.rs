//! Files that block: FIFOs and devices.

use crate::common::{Folder, LONG, MOMENT};
use crate::fs::in_folder;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use sward::fs::{self, File, OpenOptions};

fn fifo(folder: &Folder, name: &str) -> PathBuf {
    let path = folder.at(name);
    let text = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: the path ends with a zero, and lives until the call ends.
    assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
    path
}

/// More FIFOs than the pool has threads, some to read and some to write.
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
fn limits_end_waits_for_a_fifo() {
    use sward::time::timeout;
    in_folder(|folder| {
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
        // The reader and the writer of a FIFO meet.
        let reading = sward::spawn(move || fs::read(path));
        fs::write(folder.at("fifo"), b"hello").unwrap();
        assert_eq!(reading.join().unwrap().unwrap(), b"hello");
    });
}

/// Reads and writes of a FIFO are as in std. Only opening it differs.
#[test]
fn a_fifo_behaves_as_in_std() {
    in_folder(|folder| {
        let path = &fifo(folder, "fifo");
        let mut reader = File::open(path).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(reader.read(&mut []).unwrap(), 0);
        // The end comes when the last writer leaves, also one that has written nothing.
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
        // A FIFO that is open for both has no end.
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
        // std gets a blocking file, unless `O_NONBLOCK` was asked for.
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
        // A file from std waits as well.
        let mut back = File::from(std);
        assert!(sward::time::timeout(Duration::from_millis(2), || back.read(&mut buffer)).is_err());
    });
}

/// Terminals and other devices that can be polled.
#[test]
fn a_device_is_waited_for() {
    use std::os::fd::AsRawFd;
    in_folder(|_| {
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
        // A device that cannot be polled is always ready.
        fs::write("/dev/null", b"gone").unwrap();
        assert_eq!(fs::read("/dev/null").unwrap(), b"");
        let mut zero = File::open("/dev/zero").unwrap();
        assert_eq!(zero.read(&mut buffer).unwrap(), 16);
    });
}
