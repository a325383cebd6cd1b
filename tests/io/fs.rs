//! Files and folders, in coroutines and on plain threads.

use crate::common::{Folder, in_runtime};
use std::fs::Permissions;
use std::io::{BufRead, BufReader, ErrorKind, IoSlice, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};
use sward::fs::{self, DirBuilder, File, OpenOptions};

/// Runs the test in a coroutine and on a plain thread, each time with a new folder.
pub(crate) fn in_folder(f: impl Fn(&Folder) + Send + Sync) {
    f(&Folder::new());
    in_runtime(|| f(&Folder::new()));
}

#[test]
fn files_are_written_and_read() {
    in_folder(|folder| {
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
fn a_file_has_a_position() {
    in_folder(|folder| {
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
    in_folder(|folder| {
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
    in_folder(|folder| {
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
    in_folder(|folder| {
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
    // One batch of entries, several whole batches, and one entry more.
    for count in [0, 3, 64, 128, 129] {
        in_folder(|folder| {
            for i in 0..count {
                fs::write(folder.at(&i.to_string()), b"").unwrap();
            }
            let entries = fs::read_dir(folder.path()).unwrap();
            let mut numbers: Vec<usize> = entries
                .map(|entry| {
                    let entry = entry.unwrap();
                    assert!(entry.file_type().unwrap().is_file() && entry.metadata().unwrap().is_file());
                    assert_eq!(entry.path().parent(), Some(folder.path()));
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
