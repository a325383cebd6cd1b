//! Files of simulated hosts: what was synced survives a crash, and the rest may not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use sward::fs::{self, File};
use sward::sim::{Check, DiskSettings, Sim};

#[test]
fn files_belong_to_their_host() {
    Check::new().runs(5).run(|sim| {
        for name in ["a", "b"] {
            sim.host(name, move || {
                fs::create_dir_all("/data/deep").expect("made");
                fs::write("/data/deep/file", name).expect("written");
                fs::rename("/data/deep/file", "/data/moved").expect("renamed");
                let names: Vec<_> =
                    fs::read_dir("/data").expect("read").map(|entry| entry.expect("read").path()).collect();
                assert_eq!(names.len(), 2, "{names:?}");
                assert!(names.contains(&"/data/moved".into()));
                sward::sleep(Duration::from_millis(5));
                assert_eq!(fs::read_to_string("/data/moved").expect("read"), name);
            });
        }
        sward::sleep(Duration::from_secs(1));
        assert!(fs::metadata("/data/moved").is_err(), "the check itself uses the system's files");
    });
}

/// The second look at a missing file is answered from the kernel's cache of names.
#[test]
fn what_the_kernel_has_cached_makes_no_difference() {
    let missing = format!("/tmp/sward-sim-missing-{}", std::process::id());
    let present = std::env::current_exe().expect("a program");
    Check::new().runs(1).run(|_| {
        assert!(fs::metadata(&missing).is_err());
        assert!(fs::metadata(&present).is_ok());
        let mut file = File::open(&present).expect("opened");
        assert!(file.metadata().expect("open").is_file());
        file.read_exact(&mut [0; 100]).expect("read");
        sward::sleep(Duration::from_millis(1));
    });
}

/// The folder of a run is new: another process of the same number may have left one of the next numbers.
#[test]
fn a_run_does_not_use_a_folder_that_it_finds() {
    let memory = std::path::Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let prefix = format!("sward-sim-{}-", std::process::id());
    let last = Mutex::new(0);
    let touches = |sim: &Sim, planted: bool| {
        sim.host("a", move || {
            fs::write("/own", "x").expect("written");
            assert!(!planted || !fs::exists("/planted").expect("asked"), "the folder was there before");
        });
        sward::sleep(Duration::from_secs(1));
    };
    Check::new().runs(1).run(|sim| {
        touches(sim, false);
        let names = std::fs::read_dir(&base).expect("read").map(|entry| entry.expect("read").file_name());
        let number = |name: &str| name.strip_prefix(&prefix)?.parse::<u64>().ok();
        let numbers = names.filter_map(|name| number(name.to_str()?));
        *last.lock().expect("no panic") = numbers.max().expect("the folder of this run");
    });
    let last = last.into_inner().expect("no panic");
    let planted: Vec<_> = (last + 1..last + 50)
        .map(|number| base.join(format!("{prefix}{number}")))
        .filter(|folder| std::fs::create_dir(folder).is_ok())
        .collect();
    for folder in &planted {
        std::fs::create_dir(folder.join("host-1")).expect("made");
        std::fs::write(folder.join("host-1/planted"), "x").expect("written");
    }
    let run = Check::new().runs(1).try_run(|sim| touches(sim, true));
    planted.iter().for_each(|folder| _ = std::fs::remove_dir_all(folder));
    assert!(run.is_ok(), "{}", run.expect_err("it failed"));
}

#[test]
fn a_crash_keeps_what_was_synced_and_any_part_of_the_rest() {
    const SYNCED: &[u8] = b"synced";
    const REST: &[u8] = b", not synced";
    let lengths = Arc::new(Mutex::new(BTreeSet::new()));
    let run = |sim: &Sim| {
        let lengths = Arc::clone(&lengths);
        sim.host("db", move || match fs::read("/log") {
            Ok(bytes) => {
                assert!(bytes.starts_with(SYNCED), "{bytes:?}");
                lengths.lock().expect("no panic").insert(bytes.len());
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound);
                let mut file = File::create("/log").expect("made");
                file.write_all(SYNCED).expect("written");
                file.sync_all().expect("synced");
                sync("/");
                file.write_all(REST).expect("written");
                sward::sleep(Duration::from_secs(60));
            }
        });
        // A call may take 67 milliseconds.
        sward::sleep(Duration::from_secs(10));
        sim.restart("db");
        sward::sleep(Duration::from_secs(10));
        assert!(!sim.is_up("db"), "it has found the log");
    };
    // Whatever the environment says of runs.
    for seed in 0..100 {
        Check::new().runs(1).seed(seed).run(run);
    }
    let lengths = lengths.lock().expect("no panic");
    let whole = SYNCED.len() + REST.len();
    assert!(lengths.contains(&SYNCED.len()) && lengths.contains(&whole), "{lengths:?}");
    assert!(lengths.iter().any(|len| (SYNCED.len() + 1..whole).contains(len)), "none is torn: {lengths:?}");
}

/// Runs a host, restarts it, and runs it again. The closure learns whether it is the second time.
fn restarted(sim: &Sim, f: impl Fn(bool) + Send + Sync + 'static) {
    let second = AtomicBool::new(false);
    sim.host("db", move || {
        f(second.swap(true, SeqCst));
        sward::task::park();
    });
    sward::sleep(Duration::from_secs(20));
    sim.restart("db");
    sward::sleep(Duration::from_secs(20));
    assert!(sim.is_up("db"), "the host has failed");
}

/// Group commit is sound only if what is written during a sync is not taken for synced.
#[test]
fn a_sync_concerns_what_was_written_before_it() {
    let lengths = Mutex::new(BTreeSet::new());
    for seed in 0..60 {
        let length = Arc::new(AtomicUsize::new(9));
        let seen = Arc::clone(&length);
        Check::new().runs(1).seed(seed).leaks_fail(false).run(|sim| {
            let seen = Arc::clone(&seen);
            restarted(sim, move |second| {
                if second {
                    return seen.store(fs::read("/one").expect("it was synced").len(), SeqCst);
                }
                let file = Arc::new(File::create("/one").expect("made"));
                sync("/");
                let (state, theirs) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&file));
                let syncs = Arc::clone(&state);
                let syncer = sward::spawn(move || {
                    syncs.store(1, SeqCst);
                    theirs.sync_all().expect("synced");
                    syncs.store(2, SeqCst);
                });
                while state.load(SeqCst) == 0 {
                    sward::yield_now();
                }
                (&*file).write_all(b"x").expect("written");
                let meanwhile = state.load(SeqCst) == 1;
                syncer.join().expect("no panic");
                if !meanwhile {
                    file.sync_all().expect("synced");
                }
            });
        });
        lengths.lock().expect("no panic").insert(length.load(SeqCst));
    }
    assert_eq!(lengths.into_inner().expect("no panic"), [0, 1].into());
}

#[test]
fn what_several_append_is_recorded_where_it_went() {
    let expected = Arc::new(Mutex::new(Vec::new()));
    Check::new().runs(60).run(|sim| {
        let expected = Arc::clone(&expected);
        restarted(sim, move |second| {
            if second {
                let expected = expected.lock().expect("no panic").clone();
                assert_eq!(
                    fs::read("/log").expect("it was synced"),
                    expected,
                    "a crash changes synced bytes"
                );
                return;
            }
            let log = Arc::new(fs::OpenOptions::new().create(true).append(true).open("/log").expect("made"));
            let writers = [b"aaaa", b"bbbb", b"cccc"].map(|text| {
                let log = Arc::clone(&log);
                sward::spawn(move || (&*log).write_all(text).expect("written"))
            });
            writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
            log.sync_all().expect("synced");
            sync("/");
            *expected.lock().expect("no panic") = fs::read("/log").expect("read");
        });
    });
}

#[test]
fn writes_that_sync_and_symbolic_links_survive_a_crash() {
    Check::new().runs(30).run(|sim| {
        restarted(sim, |second| {
            if second {
                assert_eq!(fs::read("/current").expect("the link was synced"), b"kept");
                assert_eq!(fs::read_link("/current").expect("a link").to_str(), Some("/data/log"));
                return;
            }
            fs::create_dir("/data").expect("made");
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).custom_flags(libc::O_DSYNC);
            options.open("/data/log").expect("made").write_all(b"kept").expect("written");
            fs::symlink("/data/log", "/current").expect("made");
            sync("/data");
            sync("/");
        });
    });
}

#[test]
fn a_file_that_is_opened_by_a_symbolic_link_is_the_same_file() {
    Check::new().runs(30).run(|sim| {
        restarted(sim, |second| {
            if second {
                assert_eq!(fs::read("/data/log").expect("it was synced"), b"kept");
                return;
            }
            fs::create_dir("/data").expect("made");
            fs::symlink("/data", "/link").expect("made");
            let mut file = File::create("/link/new").expect("made");
            file.write_all(b"kept").expect("written");
            file.sync_all().expect("synced");
            fs::rename("/link/new", "/link/log").expect("renamed");
            sync("/link");
            sync("/");
        });
    });
}

/// The kernel does nothing where both names are those of one file.
#[test]
fn a_file_with_two_names_keeps_both() {
    Check::new().runs(30).run(|sim| {
        restarted(sim, |second| {
            if !second {
                fs::create_dir("/data").expect("made");
                fs::rename("/data", "/data").expect("nothing to do");
                fs::write("/data/a", "old").expect("written");
                fs::rename("/data/a", "/data/../data/a").expect("nothing to do");
                fs::hard_link("/data/a", "/data/b").expect("made");
                fs::rename("/data/a", "/data/b").expect("nothing to do");
                sync("/data/a");
                sync("/data");
                sync("/");
            }
            for name in ["/data/a", "/data/b"] {
                assert_eq!(fs::read(name).expect("it was synced"), b"old");
            }
            if second {
                fs::write("/data/a", "new").expect("written");
                assert_eq!(fs::read("/data/b").expect("a name of the same file"), b"new");
            }
        });
    });
}

/// A rename by way of a symbolic link that this same call replaces, or moves.
#[test]
fn a_rename_may_change_the_way_to_its_own_names() {
    Check::new().runs(30).run(|sim| {
        restarted(sim, |second| {
            if !second {
                fs::create_dir("/data").expect("made");
                fs::write("/data/a", "kept").expect("written");
                fs::symlink("/data", "/link").expect("made");
                fs::rename("/link/a", "/link").expect("replaced");
                fs::symlink("/data", "/other").expect("made");
                fs::rename("/other", "/other/moved").expect("moved");
                sync("/link");
                sync("/data");
                sync("/");
            }
            assert_eq!(fs::read("/link").expect("the file"), b"kept");
            assert!(!fs::exists("/data/a").expect("asked") && !fs::exists("/other").expect("asked"));
            assert!(fs::symlink_metadata("/data/moved").expect("the link").is_symlink());
        });
    });
}

/// Opens a file or a folder, and has it safe.
fn sync(path: impl AsRef<Path>) {
    File::open(path).expect("opened").sync_all().expect("synced");
}

/// All names below the folder with what they are, once all of it was synced.
fn synced_tree(folder: &Path, tree: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("read").path();
        let about = fs::symlink_metadata(&path).expect("it is there");
        let what = if about.is_dir() {
            synced_tree(&path, tree);
            "folder".to_owned()
        } else if about.is_symlink() {
            format!("link to {:?}", fs::read_link(&path).expect("read"))
        } else {
            sync(&path);
            format!("{} names of {:?}", about.nlink(), fs::read(&path).expect("read"))
        };
        tree.insert(path, what);
    }
    sync(folder);
}

/// A call with these names, which may fail.
fn random_call(open: &mut Vec<File>, random: &mut impl FnMut(usize) -> usize) -> Option<()> {
    const NAMES: [&str; 9] = ["/a", "/b", "/d", "/d/a", "/d/b", "/d/e", "/d/e/a", "/l", "/l/a"];
    let (one, other) = (NAMES[random(NAMES.len())], NAMES[random(NAMES.len())]);
    let (call, some) = (random(15), random(20));
    let mut options = fs::OpenOptions::new();
    let file = |random: &mut dyn FnMut(usize) -> usize| open.get(random(open.len().max(1)));
    match call {
        0 => open.push(File::create(one).ok()?),
        1 => open.push(options.append(true).create(true).open(one).ok()?),
        2 => open.push(options.write(true).create(true).custom_flags(libc::O_DSYNC).open(one).ok()?),
        3 | 4 => _ = file(random)?.write(&vec![b'a' + some as u8; some]).ok()?,
        5 => _ = file(random)?.write_at(b"at", some as u64).ok()?,
        6 => file(random)?.set_len(some as u64).ok()?,
        7 => fs::create_dir(one).ok()?,
        8 => fs::remove_dir_all(one).ok()?,
        9 => fs::remove_file(one).ok()?,
        10 | 11 => fs::rename(one, other).ok()?,
        12 => fs::hard_link(one, other).ok()?,
        13 => fs::symlink(one, other).ok()?,
        _ => open.clear(),
    }
    Some(())
}

#[test]
fn all_that_random_calls_have_left_survives_a_crash_once_it_is_synced() {
    // Whatever the environment says of runs.
    for seed in 0..40 {
        Check::new().runs(1).seed(seed).leaks_fail(false).run(|sim| {
            let (inside, before) = (*sim, Arc::new(Mutex::new(None)));
            let seen = Arc::clone(&before);
            restarted(sim, move |second| {
                let mut tree = BTreeMap::new();
                if second {
                    synced_tree(Path::new("/"), &mut tree);
                    let before = seen.lock().expect("no panic").take();
                    return assert_eq!(Some(tree), before, "after and before the crash");
                }
                let mut open = Vec::new();
                let mut random = |bound: usize| (inside.random() % bound as u64) as usize;
                (0..80).for_each(|_| _ = random_call(&mut open, &mut random));
                drop(open);
                synced_tree(Path::new("/"), &mut tree);
                *seen.lock().expect("no panic") = Some(tree);
            });
            assert!(before.lock().expect("no panic").is_none(), "it was not compared");
        });
    }
}

#[test]
fn files_that_are_replaced_and_bytes_that_are_overwritten_need_no_room() {
    Check::new().runs(3).run(|sim| {
        sim.host("a", || {
            for _ in 0..5 {
                fs::write("/tmp/new", [0; 400]).expect("there is room");
                fs::rename("/tmp/new", "/state").expect("renamed");
            }
            let file = File::create("/full").expect("made");
            (&file).write_all(&[0; 600]).expect("there is room");
            file.write_all_at(&[1; 10], 0).expect("they are there");
            let error = (&file).write_all(b"x").expect_err("there is none left");
            assert_eq!(error.kind(), ErrorKind::StorageFull);
        });
        sim.disk("a", DiskSettings::new().capacity(1000));
        sward::sleep(Duration::from_secs(10));
        assert!(!sim.is_up("a"));
    });
}

#[test]
fn disks_fill_up_fail_and_take_their_time() {
    Check::new().runs(10).run(|sim| {
        sim.host("full", || {
            let mut file = File::create("/file").expect("made");
            let error = file.write_all(&[0; 2000]).expect_err("there is no room");
            assert_eq!(error.kind(), ErrorKind::StorageFull);
            assert_eq!(fs::metadata("/file").expect("it is there").len(), 1000);
        });
        sim.disk("full", DiskSettings::new().capacity(1000).short_writes(0.5));
        sim.host("broken", || {
            let mut file = File::create("/file").expect("made");
            file.write_all(b"x").expect("written");
            assert_eq!(file.sync_all().expect_err("it fails").raw_os_error(), Some(5));
        });
        sim.disk("broken", DiskSettings::new().sync_fails(1.0));
        sim.host("slow", move || {
            let before = sward::time::Deadline::after(Duration::from_secs(1));
            fs::write("/file", "x").expect("written");
            assert!(before.is_past(), "creating and writing take a second together");
        });
        let second = Duration::from_millis(500);
        sim.disk("slow", DiskSettings::new().latency(second, second));
        sward::sleep(Duration::from_secs(10));
        assert!(!sim.is_up("full") && !sim.is_up("broken") && !sim.is_up("slow"));
    });
}
