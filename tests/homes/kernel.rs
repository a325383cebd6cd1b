//! What belongs to the kernel's thread, and so to the worker, not to the home. `docs/SAFETY.md` has the
//! table; these tests hold what it says. Where homes do not move, they have nothing to say.

use super::coroutines::kernel_thread;
use crate::common::{child_command, in_child, soon};
use std::cell::UnsafeCell;
use std::ffi::CStr;
use std::fs;
use std::mem::zeroed;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use sward::runtime::{self, Builder, Homes, Runtime};
use sward::task;

/// A runtime with mobile homes, where there can be any.
fn runtime() -> Option<Runtime> {
    match runtime::homes_supported() {
        Ok(()) if cfg!(sward_migrate) => None,
        Ok(()) => Some(Builder::new().worker_threads(2).homes(Homes::Auto).build().expect("a runtime")),
        Err(reason) => {
            println!("skipped: {reason}");
            None
        }
    }
}

/// Returns once another worker than now runs the home of the calling coroutine.
fn move_to_another_worker() {
    let before = kernel_thread();
    for tries in 0.. {
        if kernel_thread() != before {
            break;
        }
        assert!(tries < 1_000_000, "no other worker runs the home");
        // A thread that is no worker wakes the coroutine, so any worker may run its home.
        sward::blocking(|| ()).expect("a thread");
    }
}

/// Runs the function in a coroutine whose home can move.
fn in_home<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let runtime = runtime()?;
    let result = in_home_of(&runtime, f);
    drop(runtime);
    Some(result)
}

fn in_home_of<T: Send + 'static>(runtime: &Runtime, f: impl FnOnce() -> T + Send + 'static) -> T {
    runtime.run(|| {
        let done = Arc::new(AtomicBool::new(false));
        let isolated = || task::Builder::new().isolated(true);
        // Each blocks a worker half of the time. So it varies which worker is free to run what waits.
        let hog = |done: Arc<AtomicBool>, time| {
            move || {
                while !done.load(Ordering::Relaxed) {
                    thread::sleep(time);
                    sward::sleep(time);
                }
            }
        };
        let hogs = [700, 1_100, 1_900].map(|microseconds| {
            let hog = hog(done.clone(), Duration::from_micros(microseconds));
            isolated().spawn(hog).expect("a coroutine")
        });
        let result = isolated().spawn(f).expect("a coroutine").join().expect("no panic");
        done.store(true, Ordering::Relaxed);
        for hog in hogs {
            hog.join().expect("no panic");
        }
        result
    })
}

/// For scripts.
#[test]
fn homes_are_supported_or_the_reason() {
    match runtime::homes_supported() {
        Ok(()) => println!("mobile homes: yes"),
        Err(reason) => println!("mobile homes: no: {reason}"),
    }
}

#[test]
fn the_kernels_number_changes_and_the_c_librarys_thread_does_not() {
    in_home(|| {
        // SAFETY: the call has no conditions.
        let thread = || (unsafe { libc::pthread_self() }, thread::current().id());
        let (kernel, before) = (kernel_thread(), thread());
        move_to_another_worker();
        assert_ne!(kernel_thread(), kernel);
        assert_eq!(thread(), before);
    });
}

static HANDLED_BY: AtomicI64 = AtomicI64::new(0);

extern "C" fn note_signal(_: libc::c_int) {
    HANDLED_BY.store(kernel_thread(), Ordering::Relaxed);
}

fn handle(signal: libc::c_int) {
    let handler: extern "C" fn(libc::c_int) = note_signal;
    // SAFETY: zeros are a valid value; the handler may be called at any moment.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        assert_eq!(libc::sigaction(signal, &raw const action, null_mut()), 0);
    }
}

/// Before 2.35, glibc sends a signal by `pthread_kill` to the lender, although the caller is meant.
pub(crate) fn pthread_kill_of_the_caller_reaches_it() -> bool {
    // SAFETY: the version is a text that ends with a null byte.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    let minor = version.to_str().ok().and_then(|version| version.split('.').nth(1)?.parse().ok());
    minor.is_some_and(|minor: u32| minor >= 35)
}

/// The C library sends those to the kernel's thread that runs the caller.
#[test]
fn signals_that_a_coroutine_sends_itself_arrive_at_once() {
    in_child(|| {
        handle(libc::SIGUSR1);
        in_home(|| {
            for _ in 0..2 {
                // SAFETY: the signal has a handler, and the thread exists.
                unsafe {
                    HANDLED_BY.store(0, Ordering::Relaxed);
                    assert_eq!(libc::raise(libc::SIGUSR1), 0);
                    assert_eq!(HANDLED_BY.load(Ordering::Relaxed), kernel_thread());
                    if pthread_kill_of_the_caller_reaches_it() {
                        HANDLED_BY.store(0, Ordering::Relaxed);
                        assert_eq!(libc::pthread_kill(libc::pthread_self(), libc::SIGUSR1), 0);
                        assert_eq!(HANDLED_BY.load(Ordering::Relaxed), kernel_thread());
                    }
                }
                move_to_another_worker();
            }
        });
    });
}

/// They wait for the lender, which blocks them. So a library whose threads signal each other and wait for an
/// answer hangs. It must not get the answer of a thread that does not run the home.
#[test]
fn signals_that_other_threads_send_to_a_home_wait_for_its_end() {
    in_child(|| {
        handle(libc::SIGUSR1);
        let Some(runtime) = runtime() else { return };
        in_home_of(&runtime, || {
            // SAFETY: the call has no conditions.
            let this = unsafe { libc::pthread_self() } as usize;
            let sender = thread::spawn(move || {
                // SAFETY: the thread exists: the coroutine waits for this one.
                assert_eq!(unsafe { libc::pthread_kill(this as libc::pthread_t, libc::SIGUSR1) }, 0);
            });
            sender.join().expect("no panic");
            move_to_another_worker();
            thread::sleep(Duration::from_millis(20));
            assert_eq!(HANDLED_BY.load(Ordering::Relaxed), 0);
        });
        drop(runtime);
        assert_ne!(HANDLED_BY.load(Ordering::Relaxed), 0);
    });
}

fn user_signal() -> libc::sigset_t {
    // SAFETY: zeros are a set; the call adds a signal to it.
    unsafe {
        let mut set = zeroed();
        assert_eq!(libc::sigaddset(&raw mut set, libc::SIGUSR2), 0);
        set
    }
}

fn blocks_user_signal() -> bool {
    // SAFETY: the call writes the set.
    unsafe {
        let mut set = zeroed();
        assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut set), 0);
        libc::sigismember(&raw const set, libc::SIGUSR2) == 1
    }
}

#[test]
fn signal_mask_name_and_timer_slack_stay_with_the_worker() {
    in_child(|| {
        let slack = || {
            // SAFETY: the call takes no pointers.
            unsafe { libc::prctl(libc::PR_GET_TIMERSLACK, 0, 0, 0, 0) }
        };
        let name = || {
            let mut name = [0_u8; 16];
            // SAFETY: the kernel writes at most 16 bytes.
            unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
            name
        };
        in_home(move || {
            let set = user_signal();
            // SAFETY: the set and the name live until the calls return.
            unsafe {
                libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, null_mut());
                libc::prctl(libc::PR_SET_TIMERSLACK, 12_345, 0, 0, 0);
                assert_eq!(libc::pthread_setname_np(libc::pthread_self(), c"changed".as_ptr()), 0);
            }
            let changed = *b"changed\0";
            let is_changed = || (blocks_user_signal(), slack() == 12_345, name()[..8] == changed);
            assert_eq!(is_changed(), (true, true, true));
            let (changed_worker, start) = (kernel_thread(), Instant::now());
            move_to_another_worker();
            assert_eq!(is_changed(), (false, false, false));
            // The first one may be a spare worker, which need not come back.
            while kernel_thread() != changed_worker && start.elapsed() < Duration::from_secs(2) {
                sward::blocking(|| ()).expect("a thread");
            }
            let back = kernel_thread() == changed_worker;
            assert!(
                !back || is_changed() == (true, true, true),
                "the worker that was left behind has it still"
            );
        });
    });
}

fn allowed_processors(thread: libc::pid_t) -> i32 {
    // SAFETY: the kernel writes the set.
    unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        assert_eq!(libc::sched_getaffinity(thread, size_of_val(&set), &raw mut set), 0);
        libc::CPU_COUNT(&set)
    }
}

/// The C library finds the kernel's thread in the home's block: that of the lender.
#[test]
fn calls_that_name_a_home_by_its_pthread_reach_the_lender() {
    in_child(|| {
        in_home(|| {
            // SAFETY: the variables live until the calls return; the attributes are initialized by the call.
            unsafe {
                let this = libc::pthread_self();
                let mut attributes: libc::pthread_attr_t = zeroed();
                assert_eq!(libc::pthread_getattr_np(this, &raw mut attributes), 0);
                let (mut low, mut size) = (null_mut(), 0);
                assert_eq!(
                    libc::pthread_attr_getstack(&raw const attributes, &raw mut low, &raw mut size),
                    0
                );
                libc::pthread_attr_destroy(&raw mut attributes);
                let here = (&raw const this).addr();
                assert!(!(low.addr()..low.addr() + size).contains(&here), "the lender's stack");

                let before = allowed_processors(0);
                let mut one: libc::cpu_set_t = zeroed();
                let first = (0..1024).find(|cpu| {
                    let mut all: libc::cpu_set_t = zeroed();
                    libc::sched_getaffinity(0, size_of_val(&all), &raw mut all);
                    libc::CPU_ISSET(*cpu, &all)
                });
                libc::CPU_SET(first.expect("a processor"), &mut one);
                assert_eq!(libc::pthread_setaffinity_np(this, size_of_val(&one), &raw const one), 0);
                assert_eq!(allowed_processors(0), before, "the worker's affinity does not change");

                let mut clock = 0;
                assert_eq!(libc::pthread_getcpuclockid(this, &raw mut clock), 0);
                let time = |clock| {
                    let mut time: libc::timespec = zeroed();
                    assert_eq!(libc::clock_gettime(clock, &raw mut time), 0);
                    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
                };
                let (lender, worker) = (time(clock), time(libc::CLOCK_THREAD_CPUTIME_ID));
                while time(libc::CLOCK_THREAD_CPUTIME_ID) < worker + Duration::from_millis(20) {}
                assert!(time(clock) < lender + Duration::from_millis(10), "the lender does not run");
            }
        });
    });
}

/// A mutex of pthreads, in memory that stays.
struct PthreadMutex(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: all access is by the functions of pthreads.
unsafe impl Sync for PthreadMutex {}

impl PthreadMutex {
    fn new(kind: libc::c_int, protocol: libc::c_int, robust: libc::c_int) -> &'static PthreadMutex {
        let mutex = Box::leak(Box::new(PthreadMutex(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER))));
        // SAFETY: the attributes are initialized before they are used, and the mutex has no other user yet.
        unsafe {
            let mut attributes: libc::pthread_mutexattr_t = zeroed();
            assert_eq!(libc::pthread_mutexattr_init(&raw mut attributes), 0);
            assert_eq!(libc::pthread_mutexattr_settype(&raw mut attributes, kind), 0);
            assert_eq!(libc::pthread_mutexattr_setprotocol(&raw mut attributes, protocol), 0);
            assert_eq!(libc::pthread_mutexattr_setrobust(&raw mut attributes, robust), 0);
            assert_eq!(libc::pthread_mutex_init(mutex.0.get(), &raw const attributes), 0);
        }
        mutex
    }

    fn lock(&self) -> libc::c_int {
        // SAFETY: it is initialized, and stays where it is.
        unsafe { libc::pthread_mutex_lock(self.0.get()) }
    }

    fn lock_within(&self, time: Duration) -> libc::c_int {
        // SAFETY: as above.
        unsafe {
            let mut until: libc::timespec = zeroed();
            libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut until);
            let nanoseconds = until.tv_nsec as u64 + time.as_nanos() as u64;
            until.tv_sec += (nanoseconds / 1_000_000_000) as i64;
            until.tv_nsec = (nanoseconds % 1_000_000_000) as i64;
            libc::pthread_mutex_timedlock(self.0.get(), &raw const until)
        }
    }

    fn unlock(&self) -> libc::c_int {
        // SAFETY: as above.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) }
    }
}

/// Emulators of a processor have none.
fn has_robust_lists() -> bool {
    let (mut list, mut length) = (std::ptr::null_mut::<libc::c_void>(), 0_usize);
    // SAFETY: the kernel writes to the two variables.
    let result = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut list, &raw mut length) };
    result == 0 && !list.is_null()
}

#[test]
fn a_robust_mutex_moves_and_reports_the_end_of_its_home() {
    if !has_robust_lists() {
        println!("skipped: the kernel has no robust lists");
        return;
    }
    let new =
        || PthreadMutex::new(libc::PTHREAD_MUTEX_NORMAL, libc::PTHREAD_PRIO_NONE, libc::PTHREAD_MUTEX_ROBUST);
    let (moved, kept) = (new(), new());
    let ran = in_home(|| {
        assert_eq!((moved.lock(), kept.lock()), (0, 0));
        move_to_another_worker();
        assert_eq!(moved.unlock(), 0);
    });
    if ran.is_some() {
        assert_eq!(moved.lock(), 0);
        assert_eq!(kept.lock_within(Duration::from_secs(120)), libc::EOWNERDEAD);
    }
}

/// Uncontended, a mutex with priority inheritance is as any other. Once another thread waits for it, the
/// kernel compares the owner's number, which is the lender's, with the thread that unlocks it, and hands it
/// to nobody. So the mutex stays locked for ever; but it never has two owners.
#[test]
fn a_mutex_with_priority_inheritance_is_lost_when_it_is_contended() {
    soon(|| {
        let new = || {
            PthreadMutex::new(
                libc::PTHREAD_MUTEX_NORMAL,
                libc::PTHREAD_PRIO_INHERIT,
                libc::PTHREAD_MUTEX_STALLED,
            )
        };
        in_home(move || {
            let mutex = new();
            assert_eq!(mutex.lock(), 0);
            move_to_another_worker();
            assert_eq!(mutex.unlock(), 0);
            for moves in [false, true] {
                let mutex = new();
                assert_eq!(mutex.lock(), 0);
                let (ready, is_ready) = mpsc::channel();
                let waiter = thread::spawn(move || {
                    ready.send(()).expect("the coroutine waits");
                    mutex.lock_within(Duration::from_millis(500))
                });
                is_ready.recv().expect("the waiter sends");
                thread::sleep(Duration::from_millis(50));
                if moves {
                    move_to_another_worker();
                }
                mutex.unlock();
                assert_eq!(waiter.join().expect("no panic"), libc::ETIMEDOUT);
            }
        });
    });
}

/// A library may register an area for restartable sequences in its thread-locals when it first runs on a
/// thread. In a home the kernel would write to it on behalf of a worker that has long left.
#[test]
fn no_area_for_restartable_sequences_is_registered_in_a_home() {
    let command = child_command(|| {
        in_home(|| {
            #[repr(C, align(32))]
            struct Area([u32; 8]);
            let area = Box::leak(Box::new(Area([0; 8])));
            let signature = if cfg!(target_arch = "x86_64") { 0x5305_3053 } else { 0xd428_bc00_u32 };
            for _ in 0..2 {
                // SAFETY: the area stays for ever.
                let result = unsafe { libc::syscall(libc::SYS_rseq, &raw mut *area, 32, 0, signature) };
                assert_eq!(result, -1);
                move_to_another_worker();
            }
        });
    });
    let Some(mut command) = command else { return };
    for tunables in ["", "glibc.pthread.rseq=0"] {
        let output = command.env("GLIBC_TUNABLES", tunables).output().expect("a child");
        assert!(output.status.success(), "{tunables}: {output:?}");
    }
}

/// The different lines of `/proc` about the credentials of this process's threads.
fn credentials() -> Vec<String> {
    let mut lines = Vec::new();
    for task in fs::read_dir("/proc/self/task").expect("a list of threads") {
        let status = fs::read_to_string(task.expect("a thread").path().join("status")).unwrap_or_default();
        let wanted = |line: &&str| ["Uid:", "Gid:", "Groups:"].iter().any(|name| line.starts_with(name));
        lines.extend(status.lines().filter(wanted).map(str::to_owned));
    }
    lines.sort();
    lines.dedup();
    lines
}

/// Calls of two kinds, one right after the other: a lender must not go back to what the first has set.
#[test]
fn all_threads_change_users_together() {
    // SAFETY: the call has no conditions.
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: only root may change users");
        return;
    }
    in_child(|| {
        let change = |user, group| {
            // SAFETY: the calls take no pointers. The group first: only root may set it.
            unsafe {
                let group = || libc::setegid(group);
                let user = || libc::seteuid(user);
                assert_eq!(if libc::geteuid() == 0 { (group(), user()) } else { (user(), group()) }, (0, 0));
            }
            // A thread that is just ending is in the list as well, with what it had.
            let start = Instant::now();
            while credentials().len() != 3 {
                assert!(start.elapsed() < Duration::from_secs(120), "{:?}", credentials());
            }
        };
        let Some(runtime) = runtime() else { return };
        let done = Arc::new(AtomicBool::new(false));
        let spin = || {
            let done = done.clone();
            runtime.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    sward::yield_now();
                }
            })
        };
        let coroutines: Vec<_> = (0..40).map(|_| spin()).collect();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(1) {
            change(1, 1);
            change(0, 0);
        }
        done.store(true, Ordering::Relaxed);
        for coroutine in coroutines {
            coroutine.join().expect("no panic");
        }
        in_home_of(&runtime, move || {
            for _ in 0..10 {
                change(1, 1);
                move_to_another_worker();
                change(0, 0);
                move_to_another_worker();
            }
        });
    });
}
