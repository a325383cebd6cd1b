//! Hosts: they crash, restart, and have clocks of their own.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use sward::net::{Conn, Next, ServeOptions, TcpListener, TcpStream, serve};
use sward::sim::Check;
use sward::{sleep, spawn};

sward::sim::override_libc!();

struct OnDrop(Arc<AtomicUsize>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_crash_ends_all_coroutines_of_a_host_and_no_others() {
    Check::new().run(|sim| {
        let (starts, drops) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for name in ["a", "b"] {
            let (starts, drops) = (Arc::clone(&starts), Arc::clone(&drops));
            sim.host(name, move || {
                starts.fetch_add(1, Ordering::SeqCst);
                let child = OnDrop(Arc::clone(&drops));
                spawn(move || {
                    let _child = child;
                    sward::task::park();
                });
                let _own = OnDrop(Arc::clone(&drops));
                sward::task::park();
            });
        }
        sleep(Duration::from_secs(1));
        assert_eq!(starts.load(Ordering::SeqCst), 2);
        sim.crash("a");
        assert_eq!(drops.load(Ordering::SeqCst), 2);
        assert!(!sim.is_up("a") && sim.is_up("b"));
        sim.restart("a");
        sleep(Duration::from_secs(1));
        assert_eq!((starts.load(Ordering::SeqCst), drops.load(Ordering::SeqCst)), (3, 2));
        assert!(sim.is_up("a"));
    });
}

#[test]
fn a_client_meets_a_crash_and_finds_the_server_again() {
    Check::new().runs(30).run(|sim| {
        sim.host("server", || {
            let listener = TcpListener::bind("0.0.0.0:80").unwrap();
            loop {
                let (mut stream, _) = listener.accept().unwrap();
                spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
                });
            }
        });
        sleep(Duration::from_millis(1));
        let ask = |stream: &mut TcpStream| {
            stream.write_all(b"x")?;
            stream.read_exact(&mut [0])
        };
        let mut stream = TcpStream::connect("server:80").unwrap();
        ask(&mut stream).unwrap();
        sim.crash("server");
        sim.restart("server");
        sleep(Duration::from_millis(1));
        assert!(ask(&mut stream).is_err(), "the connection has outlived its server");
        let mut stream = TcpStream::connect("server:80").unwrap();
        ask(&mut stream).unwrap();
    });
}

#[test]
fn the_clock_and_the_hash_seeds_of_std_are_those_of_the_simulation() {
    let seen = std::sync::Mutex::new(HashMap::new());
    Check::new().runs(20).run(|sim| {
        let began = Instant::now();
        sleep(Duration::from_secs(100));
        assert!(began.elapsed() >= Duration::from_secs(100) && began.elapsed() < Duration::from_secs(101));
        let map: HashMap<u32, u32> = (0..20).map(|i| (i, i)).collect();
        let order: Vec<u32> = map.into_keys().collect();
        let before = seen.lock().unwrap().insert(sim.seed(), order.clone());
        assert!(before.is_none_or(|before| before == order), "the second run of a seed has another order");
        if order[0].is_multiple_of(2) {
            sleep(Duration::from_secs(1));
        }
    });
    let seen = seen.into_inner().unwrap();
    assert!(seen.values().any(|order| *order != seen[&0]), "all seeds have the same order");
    let real = Instant::now();
    std::thread::sleep(Duration::from_millis(2));
    assert!(real.elapsed() >= Duration::from_millis(2));
}

#[test]
fn a_host_has_a_clock_of_its_own() {
    Check::new().runs(5).run(|sim| {
        let seen = Arc::new(sward::sync::Mutex::new(None));
        let host = Arc::clone(&seen);
        let (inside, in_test) = (*sim, SystemTime::now());
        assert_eq!(in_test, sim.system_time());
        sim.host("late", move || *host.lock().unwrap() = Some((SystemTime::now(), inside.system_time())));
        sim.clock_skew("late", -3_600_000_000_000);
        sleep(Duration::from_secs(1));
        let (theirs, same) = seen.lock().unwrap().unwrap();
        assert_eq!(theirs, same);
        let behind = in_test.duration_since(theirs).unwrap();
        assert!(behind > Duration::from_secs(3598) && behind <= Duration::from_secs(3600), "{behind:?}");
    });
}

/// The coroutines of a server's connections, which the poller starts, are those of its host.
#[test]
fn the_connections_of_a_server_belong_to_its_host() {
    Check::new().runs(20).run(|sim| {
        let (seen, inside) = (Arc::new(AtomicUsize::new(0)), *sim);
        let served = Arc::clone(&seen);
        sim.host("late", move || {
            let (listener, served) = (TcpListener::bind("0.0.0.0:80").unwrap(), Arc::clone(&served));
            let serving = serve(listener, ServeOptions::new(), move |connection: &mut Conn| {
                let behind = inside.now().as_nanos() as u64 + 946_684_800_000_000_000;
                let clock = inside.system_time().duration_since(SystemTime::UNIX_EPOCH).unwrap();
                assert_eq!(behind - clock.as_nanos() as u64, 1_000_000);
                served.fetch_add(1, Ordering::SeqCst);
                connection.read_exact(&mut [0])?;
                connection.write_all(b"x")?;
                Ok(Next::Close)
            });
            serving.unwrap();
        });
        sim.clock_skew("late", -1_000_000);
        sleep(Duration::from_millis(1));
        let mut text = String::new();
        let mut stream = TcpStream::connect("late:80").unwrap();
        stream.write_all(b"?").unwrap();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!((&text[..], seen.load(Ordering::SeqCst)), ("x", 1));
    });
}

#[test]
fn a_host_that_several_restart_at_a_time_is_started_once() {
    for restarts in [1, 2, 3] {
        Check::new().runs(50).run(|sim| {
            let (inside, up) = (*sim, Arc::new(AtomicUsize::new(0)));
            let counts = Arc::clone(&up);
            sim.host("a", move || {
                counts.fetch_add(1, Ordering::SeqCst);
                let _down = OnDrop(Arc::clone(&counts));
                loop {
                    sleep(Duration::from_secs(1));
                }
            });
            sleep(Duration::from_secs(1));
            let crashes = spawn(move || inside.crash("a"));
            let callers: Vec<_> = (0..restarts).map(|_| spawn(move || inside.restart("a"))).collect();
            crashes.join().unwrap();
            callers.into_iter().for_each(|caller| caller.join().unwrap());
            // `OnDrop` counts as well.
            let changes = up.load(Ordering::SeqCst);
            sleep(Duration::from_secs(1));
            assert!(!sim.is_up("a") || up.load(Ordering::SeqCst) % 2 == 1, "{changes} starts and ends");
            assert!(sim.now() < Duration::from_secs(5), "nobody waits for the end of the host that is up");
        });
    }
}

#[test]
fn a_host_may_restart_itself() {
    Check::new().runs(50).run(|sim| {
        let (inside, starts, after) = (*sim, Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counts, reached) = (Arc::clone(&starts), Arc::clone(&after));
        sim.host("a", move || {
            spawn(sward::task::park);
            if counts.fetch_add(1, Ordering::SeqCst) < 2 {
                inside.restart("a");
                reached.fetch_add(1, Ordering::SeqCst);
            }
            sward::task::park();
        });
        sleep(Duration::from_secs(1));
        assert_eq!((starts.load(Ordering::SeqCst), after.load(Ordering::SeqCst)), (3, 0));
        assert!(sim.is_up("a"));
    });
}

/// A machine that has lost its power reports no panic.
#[test]
fn a_panic_of_a_crashed_host_is_no_failure() {
    let program = |crashes: bool| {
        move |sim: &sward::sim::Sim| {
            sim.host("a", || {
                spawn(|| {
                    sward::task::mask(|| {
                        sleep(Duration::from_secs(2));
                        sward::fs::write("/a", "x").unwrap();
                    });
                    panic!("a panic that nobody joins");
                });
                sward::task::park();
            });
            sleep(Duration::from_secs(1));
            if crashes {
                sim.restart("a");
            }
            sleep(Duration::from_secs(1));
        }
    };
    Check::new().runs(10).run(program(true));
    let failed = Check::new().runs(10).try_run(program(false)).expect_err("the host is up");
    assert!(failed.what().contains("a panic that nobody joins"), "{failed}");
}
