//! Locks of files.

use crate::common::Folder;
use crate::fs::in_folder;
use std::io::{ErrorKind, Write};
use std::time::Duration;
use sward::fs::{self, File, OpenOptions, TryLockError};

#[test]
fn locks_are_exclusive_or_shared() {
    in_folder(|folder| {
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

/// More waiters than the pool has threads do not keep the holder from going on.
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
