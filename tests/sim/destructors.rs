//! Destructors that wait while they unwind: such a wait blocks the thread, and all coroutines with it.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use sward::net::{TcpListener, TcpStream};
use sward::sim::{Check, Link, Sim, Strategy};
use sward::sync::{Mutex, Semaphore};
use sward::{channel, spawn, task};

/// Locks when it is dropped.
struct LocksOnDrop(Arc<Mutex<u32>>);

impl Drop for LocksOnDrop {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(|poison| poison.into_inner()) += 1;
    }
}

/// A destructor that waits while it unwinds blocks the thread, so the run would hang.
#[test]
fn a_destructor_that_waits_for_a_coroutine_is_found() {
    let program = |_: &Sim| {
        let lock = Arc::new(Mutex::new(0));
        let (held, locks) = (Arc::clone(&lock), LocksOnDrop(lock));
        let holds = spawn(move || {
            let _held = held.lock().unwrap();
            sward::sleep(Duration::from_secs(1));
        });
        let unwinds = task::Builder::new().name("unwinds").spawn(move || {
            let _locks = locks;
            task::park();
        });
        let unwinds = unwinds.unwrap();
        task::yield_now();
        unwinds.cancel();
        assert!(unwinds.join().is_err());
        holds.join().unwrap();
    };
    let check = Check::new().runs(200);
    let failed = check.try_run(program).expect_err("no destructor waits");
    assert!(failed.what().contains("\"unwinds\" waits in Mutex::lock while it unwinds"), "{failed}");
    let again = check.clone().seed(failed.seed()).runs(1).try_run(program).expect_err("it fails again");
    assert_eq!(again.what(), failed.what());
    let failed = Check::new()
        .strategy(Strategy::Exhaustive { preemptions: 2 })
        .try_run(program)
        .expect_err("no destructor waits");
    assert!(failed.what().contains("while it unwinds"), "{failed}");
}

/// The thread of such a run never goes on. No report looks at its wait any more, since what that waits for
/// may be gone.
#[test]
fn a_destructor_that_waits_leaves_nothing_to_report() {
    let failed = Check::new().runs(1).try_run(|_| {
        let permits = Arc::new(Semaphore::new(0));
        let _acquires = CallsOnDrop(move || drop(permits.acquire()));
        panic!("its destructor waits for a permit");
    });
    let failed = failed.expect_err("the destructor waits");
    assert!(failed.what().contains("waits in Semaphore::acquire while it unwinds"), "{failed}");
    let dump = sward::observe::dump();
    let of_permits = dump.threads.iter().find(|thread| format!("{thread:?}").contains("Semaphore"));
    assert!(of_permits.is_none(), "{of_permits:?}");
}

struct CallsOnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for CallsOnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Such waits take simulated time, as all others.
#[test]
fn waits_of_destructors_that_unwind_end_in_simulated_time() {
    let began = std::time::Instant::now();
    Check::new().runs(10).run(|sim| {
        let (inside, (_sender, receiver)) = (*sim, channel::bounded::<u32>(0));
        let unwinds = spawn(move || {
            let _sleeps = CallsOnDrop(|| {
                let before = inside.now();
                sward::sleep(Duration::from_secs(3600));
                assert!(receiver.recv_timeout(Duration::from_secs(3600)).is_err());
                assert!(inside.now() - before >= Duration::from_secs(7200));
            });
            panic!("it unwinds");
        });
        assert!(unwinds.join().is_err_and(|error| error.is_panic()));
        assert!(sim.now() >= Duration::from_secs(7200));
    });
    println!("{:?}", began.elapsed());
}

/// What is under way arrives while a destructor blocks the thread, and it reads it.
#[test]
fn a_destructor_that_unwinds_reads_what_is_under_way() {
    let program = |bytes: usize| {
        move |sim: &Sim| {
            let five = Duration::from_secs(5);
            sim.links(Link::new().latency(five, five));
            let listener = TcpListener::bind("0.0.0.0:80").unwrap();
            sim.host("peer", move || {
                // The connection can be accepted five seconds after it is made here.
                let mut stream = TcpStream::connect("10.0.0.254:80").unwrap();
                sward::sleep(Duration::from_secs(1));
                stream.write_all(&b"hello"[..bytes]).unwrap();
                task::park();
            });
            let (mut stream, _) = listener.accept().unwrap();
            let unwinds = spawn(move || {
                let _reads = CallsOnDrop(move || stream.read_exact(&mut [0; 5]).unwrap());
                panic!("it unwinds");
            });
            assert!(unwinds.join().is_err());
        }
    };
    Check::new().runs(20).run(program(5));
    let failed = Check::new().runs(20).try_run(program(4)).expect_err("a byte is missing");
    assert!(failed.what().contains("while it unwinds"), "{failed}");
}

/// As a host that takes another one with it.
#[test]
fn a_destructor_that_unwinds_crashes_and_restarts_hosts() {
    Check::new().runs(50).run(|sim| {
        let (inside, starts) = (*sim, Arc::new(AtomicUsize::new(0)));
        for name in ["crashed", "restarted"] {
            let starts = Arc::clone(&starts);
            sim.host(name, move || {
                starts.fetch_add(1, SeqCst);
                task::park();
            });
        }
        sim.host("unwinds", move || {
            let _unwinds = CallsOnDrop(|| {
                inside.crash("crashed");
                inside.restart("restarted");
            });
            task::park();
        });
        sward::sleep(Duration::from_secs(1));
        sim.crash("unwinds");
        sward::sleep(Duration::from_secs(1));
        assert!(!sim.is_up("crashed") && sim.is_up("restarted") && !sim.is_up("unwinds"));
        assert_eq!(starts.load(SeqCst), 3);
    });
}
