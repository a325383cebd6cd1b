//! What glibc keeps for each thread, and libraries that are loaded later.

use super::{on_worker, storage};
use crate::storage::loan::{LENT, Loan};
use crate::storage::{Storage, sys};
use std::ffi::{CString, c_int, c_void};
use std::mem;
use std::os::unix::thread::JoinHandleExt;
use std::path::Path;
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

#[test]
fn a_lender_is_started_inside() {
    let Some(outer) = storage() else { return };
    let inner = on_worker(&outer, || Storage::lend("inner".into(), || ()).expect("a thread"));
    assert_eq!(on_worker(&inner, || thread::current().name().map(str::to_owned)).as_deref(), Some("inner"));
    inner.end().join().expect("it only lends");
    outer.end().join().expect("it only lends");
}

#[test]
fn errno_follows() {
    let Some(storage) = storage() else { return };
    sys::swap_errno(5);
    on_worker(&storage, || sys::swap_errno(77));
    // The second worker's system calls before it enters are on its own block.
    assert_eq!(on_worker(&storage, || sys::swap_errno(0)), 77);
    storage.end().join().expect("it ends");
}

/// The lender goes round in its loop while a worker is inside.
#[test]
fn a_lender_that_wakes_up_leaves_errno_alone() {
    let Some(storage) = storage() else { return };
    let errnos = on_worker(&storage, || {
        let loan = Loan::of(sys::thread_pointer()).expect("a worker inside");
        [0; 20].map(|_| {
            sys::swap_errno(77);
            loan.set_state(LENT);
            thread::sleep(Duration::from_millis(1));
            sys::swap_errno(0)
        })
    });
    assert_eq!(errnos, [77; 20]);
    storage.end().join().expect("it ends");
}

#[test]
fn the_c_library_takes_each_worker_for_the_lender() {
    let Some(storage) = storage() else { return };
    let lender = storage.thread().as_pthread_t() as usize;
    for _ in 0..2 {
        // SAFETY: the call has no conditions.
        assert_eq!(on_worker(&storage, || unsafe { libc::pthread_self() } as usize), lender);
    }
    storage.end().join().expect("it ends");
}

/// Locked by one worker, locked again and unlocked by another.
#[test]
fn a_recursive_mutex_has_the_storage_for_its_owner() {
    let Some(storage) = storage() else { return };
    struct Shared(libc::pthread_mutex_t);
    // SAFETY: a mutex is for several threads.
    unsafe impl Sync for Shared {}
    // SAFETY: any bytes are an attribute and a mutex before they are initialized.
    let (mut attribute, mut mutex): (libc::pthread_mutexattr_t, Shared) = unsafe { mem::zeroed() };
    // SAFETY: both are initialized in this order, and live until the end of the test.
    unsafe {
        libc::pthread_mutexattr_init(&raw mut attribute);
        libc::pthread_mutexattr_settype(&raw mut attribute, libc::PTHREAD_MUTEX_RECURSIVE);
        libc::pthread_mutex_init(&raw mut mutex.0, &raw const attribute);
    }
    let mutex = &mutex;
    let at = move || (&raw const mutex.0).cast_mut();
    // SAFETY: the mutex is initialized; each call reports its error.
    let (lock, unlock) =
        (|| unsafe { libc::pthread_mutex_trylock(at()) }, || unsafe { libc::pthread_mutex_unlock(at()) });
    assert_eq!(on_worker(&storage, lock), 0);
    assert_eq!((lock(), unlock()), (libc::EBUSY, libc::EPERM), "from outside");
    let turn = on_worker(&storage, || (lock(), unlock(), unlock(), unlock()));
    assert_eq!(turn, (0, 0, 0, libc::EPERM));
    assert_eq!((lock(), unlock()), (0, 0), "from outside, once it is free");
    storage.end().join().expect("it ends");
}

/// The calling thread's stack, as glibc knows it.
fn stack_of(thread: libc::pthread_t) -> (usize, usize) {
    let (mut address, mut size) = (ptr::null_mut(), 0);
    // SAFETY: the thread exists; the attribute is initialized by the first call, and freed by the last.
    unsafe {
        let mut attribute: libc::pthread_attr_t = mem::zeroed();
        assert_eq!(libc::pthread_getattr_np(thread, &raw mut attribute), 0);
        assert_eq!(libc::pthread_attr_getstack(&raw const attribute, &raw mut address, &raw mut size), 0);
        libc::pthread_attr_destroy(&raw mut attribute);
    }
    (address as usize, size)
}

#[test]
fn the_stack_is_the_lenders_to_glibc() {
    let Some(storage) = storage() else { return };
    let of_lender = stack_of(storage.thread().as_pthread_t() as libc::pthread_t);
    // SAFETY: the call has no conditions.
    let inside = on_worker(&storage, || stack_of(unsafe { libc::pthread_self() }));
    assert_eq!(inside, of_lender);
    // SAFETY: as above.
    assert_ne!(stack_of(unsafe { libc::pthread_self() }), of_lender);
    storage.end().join().expect("it ends");
}

#[test]
fn thread_specific_data_follows_and_is_destroyed_once_at_the_end() {
    static DESTROYED: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" fn destroy(value: *mut c_void) {
        DESTROYED.fetch_add(value as usize, Ordering::Relaxed);
    }
    let Some(storage) = storage() else { return };
    let mut key = 0;
    // SAFETY: the key is written by the call, and then exists for good.
    assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(destroy)) }, 0);
    // SAFETY: the key exists, and the values are no pointers to anybody.
    let (get, set) = (
        || unsafe { libc::pthread_getspecific(key) } as usize,
        |value| unsafe { libc::pthread_setspecific(key, ptr::without_provenance(value)) },
    );
    on_worker(&storage, || set(1000));
    assert_eq!(on_worker(&storage, get), 1000);
    assert_eq!(get(), 0);
    assert_eq!(DESTROYED.load(Ordering::Relaxed), 0, "a worker's end is not the storage's");
    storage.end().join().expect("it ends");
    assert_eq!(DESTROYED.load(Ordering::Relaxed), 1000);
}

/// On each processor that this process may use.
#[test]
fn the_processor_is_the_workers() {
    let Some(storage) = storage() else { return };
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: all bits zero is an empty set. The calls read and write variables of that size.
    let mut all: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: as above.
    assert_eq!(unsafe { libc::sched_getaffinity(0, size, &raw mut all) }, 0);
    // SAFETY: the numbers are below the size of the set.
    for cpu in (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &all) }) {
        let found = on_worker(&storage, || {
            // SAFETY: as above; it concerns the calling kernel thread, the worker, which ends soon.
            unsafe {
                let mut one: libc::cpu_set_t = mem::zeroed();
                libc::CPU_SET(cpu, &mut one);
                assert_eq!(libc::sched_setaffinity(0, size, &raw const one), 0);
                libc::sched_getcpu()
            }
        });
        assert_eq!(found, cpu as c_int);
    }
    storage.end().join().expect("it ends");
}

/// Allocated by one worker, freed by others, in sizes that glibc caches for each thread and in others.
#[test]
fn memory_is_allocated_and_freed_by_different_workers() {
    let Some(storage) = storage() else { return };
    let mut held: Vec<Vec<u8>> = Vec::new();
    for round in 0..20_usize {
        held = on_worker(&storage, move || {
            drop(held);
            (0..200).map(|i| vec![round as u8; 1 << (i % 14)]).collect()
        });
        assert!(held.iter().flatten().all(|byte| *byte == round as u8));
    }
    storage.end().join().expect("it ends");
}

const LIBRARY: &str = "
    static __thread int value __attribute__((tls_model(\"initial-exec\"))) = 42;
    int sward_test_swap(int with) { int was = value; value = with; return was; }
";

/// Builds the library. None, and the reason is printed, if there is no compiler.
fn build(folder: &Path) -> Option<CString> {
    let (source, library) = (folder.join("library.c"), folder.join("library.so"));
    std::fs::write(&source, LIBRARY).expect("a file");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    match built {
        Ok(status) if status.success() => {
            Some(CString::new(library.to_str().expect("UTF-8")).expect("no null byte"))
        }
        other => {
            println!("skipped: no C compiler: {other:?}");
            None
        }
    }
}

/// A library whose thread-locals are in each thread's block, at a fixed offset: glibc must know the block, to
/// initialize that part of it.
#[test]
fn a_library_with_static_thread_local_storage_is_loaded_later() {
    let Some(storage) = storage() else { return };
    on_worker(&storage, || sys::swap_errno(0));
    let folder = std::env::temp_dir().join(format!("sward-storage-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let library = build(&folder);
    if let Some(library) = library {
        // SAFETY: the library has no initializer.
        let library = unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_NOW) };
        assert!(!library.is_null());
        // SAFETY: the name ends with a null byte; the function is of that type.
        let swap = unsafe {
            let swap = libc::dlsym(library, c"sward_test_swap".as_ptr());
            mem::transmute::<*mut c_void, extern "C" fn(c_int) -> c_int>(swap)
        };
        let later = Storage::lend("later".into(), || ()).expect("a thread");
        for storage in [&storage, &later] {
            assert_eq!(on_worker(storage, || swap(43)), 42);
            assert_eq!(on_worker(storage, || swap(44)), 43);
        }
        assert_eq!(swap(42), 42);
        later.end().join().expect("it ends");
    }
    std::fs::remove_dir_all(&folder).expect("removed");
    storage.end().join().expect("it ends");
}
