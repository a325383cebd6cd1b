//! Signals that arrive inside, `setuid` and its kin.

use super::{enter, on_worker, passes_in_child, storage, supported, within_time};
use crate::base::local::thread_locals;
use crate::storage::{Storage, sys};
use std::cell::Cell;
use std::ffi::c_int;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

fn install(signal: c_int, handler: extern "C" fn(c_int)) {
    // SAFETY: an all-zero sigaction is a valid one. The handlers of these tests use atomics and thread-locals
    // without destructors only.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(signal, &raw const action, ptr::null_mut()), 0);
    }
}

/// The handler runs at once, on the worker that has sent itself the signal.
#[test]
fn a_worker_inside_sends_itself_signals() {
    static HANDLED_BY: AtomicI32 = AtomicI32::new(0);
    extern "C" fn on_signal(_: c_int) {
        HANDLED_BY.store(sys::thread_id(), Ordering::Relaxed);
    }
    let Some(storage) = storage() else { return };
    let signal = libc::SIGRTMIN() + 5;
    install(signal, on_signal);
    // SAFETY: the signal has a handler.
    let raise = || unsafe { libc::raise(signal) };
    // SAFETY: as above.
    let kill = || unsafe { libc::pthread_kill(libc::pthread_self(), signal) };
    for send in [&raise as &(dyn Fn() -> c_int + Sync), &kill] {
        let (sent, by, worker) =
            on_worker(&storage, || (send(), HANDLED_BY.swap(0, Ordering::Relaxed), sys::thread_id()));
        assert_eq!((sent, by), (0, worker));
    }
    storage.end().join().expect("it ends");
}

/// The mask of blocked signals of the thread with that name.
fn blocked(name: &str) -> u64 {
    let of_name = |task: &std::path::PathBuf| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|found| found.trim_end() == name)
    };
    let tasks = std::fs::read_dir("/proc/self/task").expect("the threads");
    let task = tasks.map(|task| task.expect("an entry").path()).find(of_name).expect("the lender");
    let status = std::fs::read_to_string(task.join("status")).expect("its status");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("its mask");
    u64::from_str_radix(mask.trim(), 16).expect("a number")
}

/// So no handler runs there while a worker is inside. The kernel lets nobody block SIGKILL and SIGSTOP.
#[test]
fn the_lender_blocks_all_signals_but_the_one_of_setuid() {
    if let Err(reason) = supported() {
        println!("skipped: {reason}");
        return;
    }
    let storage = Storage::lend("blocks-signals".into(), || ()).expect("a thread");
    let open = [libc::SIGKILL, libc::SIGSTOP, 33];
    assert_eq!(blocked("blocks-signals"), !open.iter().fold(0, |mask, signal| mask | 1 << (signal - 1)));
    // At the end it has the mask with which it was started.
    on_worker(&storage, keep_until_the_end);
    let before = blocked_here();
    storage.end().join().expect("it ends");
    assert_eq!(*MASK_AT_END.lock().expect("no panic"), Some(before));
}

fn blocked_here() -> u64 {
    let mut mask = 0_u64;
    // SAFETY: the call writes a signal set of the kernel's size.
    let result = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, ptr::null::<u64>(), &raw mut mask, 8_usize)
    };
    assert_eq!(result, 0);
    mask
}

static MASK_AT_END: Mutex<Option<u64>> = Mutex::new(None);

struct AtEnd;

impl Drop for AtEnd {
    fn drop(&mut self) {
        *MASK_AT_END.lock().expect("no panic") = Some(blocked_here());
    }
}

thread_locals! {
    static AT_END: AtEnd = AtEnd;
    fn keep_until_the_end() = |_at_end| (), destroyed: ();
}

thread_locals! {
    static TICKS: Cell<u32> = Cell::new(0);
    fn tick() = |ticks| ticks.set(ticks.get() + 1), destroyed: ();
    fn ticks() -> u32 = |ticks| ticks.get(), destroyed: 0;
}

/// A timer of the calling kernel thread.
struct Timer(libc::timer_t);

impl Timer {
    fn start(signal: c_int, every: Duration) -> Timer {
        let time = libc::timespec { tv_sec: 0, tv_nsec: every.as_nanos() as libc::c_long };
        let times = libc::itimerspec { it_interval: time, it_value: time };
        // SAFETY: any bytes are an event before its fields are set; the calls write and read variables.
        unsafe {
            let mut event: libc::sigevent = mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal;
            event.sigev_notify_thread_id = sys::thread_id();
            let mut timer = mem::zeroed();
            assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer), 0);
            assert_eq!(libc::timer_settime(timer, 0, &raw const times, ptr::null_mut()), 0);
            Timer(timer)
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the timer exists.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// Each signal counts once, in the block of the moment, whenever it arrives.
#[test]
fn signals_amid_entries_count_in_the_block_of_the_moment() {
    static ALL: AtomicU32 = AtomicU32::new(0);
    extern "C" fn on_tick(_: c_int) {
        tick();
        ALL.fetch_add(1, Ordering::Relaxed);
    }
    let (Some(one), Some(two)) = (storage(), storage()) else { return };
    let signal = libc::SIGRTMIN() + 6;
    install(signal, on_tick);
    let shelves = [Mutex::new(one), Mutex::new(two)];
    let (outside, entries) = (AtomicU32::new(0), AtomicU32::new(0));
    let start = Instant::now();
    thread::scope(|scope| {
        for worker in 0..2 {
            let (shelves, outside, entries) = (&shelves, &outside, &entries);
            scope.spawn(move || {
                let timer = Timer::start(signal, Duration::from_micros(500));
                let mut turn = worker;
                while start.elapsed() < Duration::from_millis(500) {
                    let storage = shelves[turn & 1].lock().expect("no panic");
                    for _ in 0..16 {
                        // SAFETY: the mutex makes it the only one inside, and synchronizes.
                        unsafe { enter(&storage, || drop(vec![turn; 100])) };
                    }
                    entries.fetch_add(16, Ordering::Relaxed);
                    turn += 1;
                }
                drop(timer);
                outside.fetch_add(ticks(), Ordering::Relaxed);
            });
        }
    });
    let inside = shelves.map(|storage| {
        let storage = storage.into_inner().expect("no panic");
        let inside = on_worker(&storage, ticks);
        storage.end().join().expect("it ends");
        inside
    });
    let (outside, all) = (outside.into_inner(), ALL.load(Ordering::Relaxed));
    println!("{} entries; {outside} signals outside, {inside:?} inside", entries.into_inner());
    assert_eq!(outside + inside[0] + inside[1], all);
    assert!(inside.iter().all(|count| *count > 0) && outside > 0, "{outside} outside, {inside:?} inside");
}

/// `setgid` signals each thread and counts the answers.
fn set_same_group() {
    within_time(|| {
        // SAFETY: the calls have no conditions.
        let result = unsafe { libc::setgid(libc::getgid()) };
        assert_eq!(result, 0);
    });
}

/// Runs the function while a worker is inside.
fn while_inside(storage: &Storage, f: impl FnOnce()) {
    let (entered, leave) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    thread::scope(|scope| {
        scope.spawn(|| {
            let wait = || {
                entered.store(true, Ordering::SeqCst);
                while !leave.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_micros(50));
                }
            };
            // SAFETY: no other thread enters until this one has been joined.
            unsafe { enter(storage, wait) };
        });
        while !entered.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        f();
        leave.store(true, Ordering::SeqCst);
    });
}

/// In a process of its own: a hang would be one of all tests.
#[test]
fn setgid_elsewhere_reaches_workers_and_lenders() {
    if passes_in_child("signals::setgid_elsewhere_reaches_workers_and_lenders") {
        return;
    }
    let (Some(one), Some(two)) = (storage(), storage()) else { return };
    set_same_group();
    on_worker(&one, ticks);
    set_same_group();
    while_inside(&one, || {
        set_same_group();
        while_inside(&two, || (0..100).for_each(|_| set_same_group()));
    });
    set_same_group();
    for storage in [one, two] {
        storage.end().join().expect("it ends");
    }
    set_same_group();
}

#[test]
fn setgid_amid_entries() {
    if passes_in_child("signals::setgid_amid_entries") {
        return;
    }
    let Some(storage) = storage() else { return };
    let stop = AtomicBool::new(false);
    let shelf = Mutex::new(storage);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let storage = shelf.lock().expect("no panic");
                    // SAFETY: the mutex makes it the only one inside, and synchronizes.
                    unsafe { enter(&storage, tick) };
                }
            });
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(500) {
            set_same_group();
        }
        stop.store(true, Ordering::Relaxed);
    });
    shelf.into_inner().expect("no panic").end().join().expect("it ends");
}

#[test]
fn setgid_is_called_inside() {
    if passes_in_child("signals::setgid_is_called_inside") {
        return;
    }
    let (Some(one), Some(two)) = (storage(), storage()) else { return };
    while_inside(&two, || {
        for _ in 0..50 {
            // SAFETY: the calls have no conditions.
            assert_eq!(on_worker(&one, || unsafe { libc::setgid(libc::getgid()) }), 0);
        }
    });
    for storage in [one, two] {
        storage.end().join().expect("it ends");
    }
}

/// A thread that gets the block of an ended lender is not mistaken for a worker inside it.
#[test]
fn setgid_after_a_block_has_been_used_again() {
    if passes_in_child("signals::setgid_after_a_block_has_been_used_again") {
        return;
    }
    let Some(storage) = storage() else { return };
    let pointer = on_worker(&storage, sys::thread_pointer);
    storage.end().join().expect("it ends");
    let stop = Arc::new(AtomicBool::new(false));
    // glibc uses the stack of an ended thread, with its block, for the next one of its size.
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let stop = Arc::clone(&stop);
            let wait = move || {
                while !stop.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(1));
                }
                sys::thread_pointer()
            };
            thread::Builder::new().stack_size(256 << 10).spawn(wait).expect("a thread")
        })
        .collect();
    set_same_group();
    stop.store(true, Ordering::Relaxed);
    let pointers: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    println!("the block was used again: {}", pointers.contains(&pointer));
}

/// The lines of all threads' status files that begin with one of the names.
fn credentials() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("the threads");
    let of_thread = |task: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(task.expect("an entry").path().join("status")).ok()?;
        let lines = status
            .lines()
            .filter(|line| ["Uid:", "Gid:", "Groups:", "CapEff:"].iter().any(|name| line.starts_with(name)));
        Some(lines.collect::<Vec<_>>().join("; "))
    };
    tasks.filter_map(of_thread).collect()
}

/// Who calls `setuid` inside gives up the privileges of every thread, the lender's too.
#[test]
fn privileges_are_given_up_inside() {
    if passes_in_child("signals::privileges_are_given_up_inside") {
        return;
    }
    let (Some(one), Some(two)) = (storage(), storage()) else { return };
    // SAFETY: the call has no conditions.
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: only root has privileges to give up");
        return;
    }
    let drop_privileges = || {
        let set_groups = |groups: &[libc::gid_t]| {
            // SAFETY: the list has that length.
            unsafe { libc::setgroups(groups.len(), groups.as_ptr()) }
        };
        // SAFETY: the calls take numbers.
        unsafe {
            [
                libc::setresgid(1234, 1235, 1236),
                libc::setresuid(2345, 0, 0),
                // A late copy in the other lender would fail, or undo one of these.
                (0..300)
                    .map(|i| libc::seteuid(0) | set_groups(&[4000, 4000 + i]) | libc::seteuid(2345))
                    .fold(0, std::ops::BitOr::bitor),
                libc::seteuid(0),
                set_groups(&[4321, 4322]),
                libc::setresuid(2345, 2345, 2345),
                // No longer permitted; every thread fails alike.
                libc::setuid(0),
            ]
        }
    };
    let mut results = [0; 7];
    while_inside(&two, || results = on_worker(&one, drop_privileges));
    let all = credentials();
    assert_eq!(results, [0, 0, 0, 0, 0, 0, -1]);
    assert!(all.len() >= 3, "{all:?}");
    assert!(all.iter().all(|of_thread| *of_thread == all[0]), "{all:#?}");
    let wanted = [
        "Uid:\t2345\t2345\t2345",
        "Gid:\t1234\t1235\t1236",
        "Groups:\t4321 4322",
        "CapEff:\t0000000000000000",
    ];
    assert!(wanted.iter().all(|wanted| all[0].contains(wanted)), "{}", all[0]);
    for storage in [one, two] {
        storage.end().join().expect("it ends");
    }
}
