//! Programs all of whose coroutines wait for ever, which are reported, and programs in which that only seems
//! so, which are not. Each case is a process of its own, since other threads are a hope: so this file has no
//! test harness. Arguments are names of cases, as for one.

mod checked;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn main() {
    println!("skipped: this system does not count threads");
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn main() {
    linux::main();
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::collections::BTreeMap;
    use std::env;
    use std::pin::pin;
    use std::process::{Command, Stdio};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Wake, Waker};
    use std::thread;
    use std::time::{Duration, Instant};
    use sward::channel::{bounded, unbounded};
    use sward::runtime::Builder;
    use sward::signal::{SignalKind, signal};
    use sward::sync::{Condvar, Mutex, Notify, Semaphore};

    /// Names the case that a child runs.
    const CASE: &str = "SWARD_TEST_CASE";
    const REPORT: &str = "nothing is left that could wake one";
    /// Longer than the watch lets waits last, and longer than it lives without a hint.
    const LATER: Duration = Duration::from_millis(800);
    const MUCH_LATER: Duration = Duration::from_millis(2_600);

    type Cases = &'static [(&'static str, fn())];

    /// Their processes abort after the report.
    const STUCK: Cases = &[
        ("own_sender", own_sender),
        ("each_others_channels", each_others_channels),
        ("all_kinds_of_waits", all_kinds_of_waits),
        ("a_thread_that_joins", a_thread_that_joins),
        ("two_runtimes", two_runtimes),
        ("a_thread_has_ended_without_a_message", a_thread_has_ended),
        ("idle_threads_of_the_pool", idle_threads_of_the_pool),
        ("after_a_timer", after_a_timer),
        ("beside_a_dashboard", beside_a_dashboard),
    ];

    /// Their processes end by themselves, and report nothing.
    const HEALTHY: Cases = &[
        ("a_thread_sends", a_thread_sends),
        ("the_main_thread_sends", the_main_thread_sends),
        ("a_signal", a_signal),
        ("a_child_process", a_child_process),
        ("output_of_a_child", output_of_a_child),
        ("a_timer", a_timer),
        ("a_channel_of_the_time", a_channel_of_the_time),
        ("a_time_limit", a_time_limit),
        ("a_blocking_call", a_blocking_call),
        ("a_thread_with_a_deadline", a_thread_with_a_deadline),
        ("a_socket", a_socket),
        ("a_future_of_a_socket", a_future_of_a_socket),
        ("a_future_of_a_time", a_future_of_a_time),
        ("a_timer_whose_waker_is_slow", a_timer_whose_waker_is_slow),
        ("a_future_that_waits_for_a_thread", a_future_that_waits_for_a_thread),
    ];

    pub(super) fn main() {
        if let Ok(name) = env::var(CASE) {
            let (_, case) = STUCK.iter().chain(HEALTHY).find(|(known, _)| *known == name).expect("a case");
            return case();
        }
        let wanted: Vec<_> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
        let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part));
        let start = |(name, _): &(&'static str, fn())| {
            let program = env::current_exe().expect("known");
            let mut command = Command::new(program);
            command.env(CASE, name).env("SWARD_DEADLOCKS", "abort").env("SWARD_WORKERS", "2");
            (*name, command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("a child"))
        };
        let run = |cases: Cases| -> BTreeMap<_, _> {
            let children: Vec<_> = cases.iter().filter(|(name, _)| is_wanted(name)).map(start).collect();
            let output = |(name, mut child): (_, std::process::Child)| {
                let limit = Instant::now() + Duration::from_secs(120);
                while child.try_wait().expect("known").is_none() {
                    if Instant::now() > limit {
                        let _ = child.kill();
                    }
                    thread::sleep(Duration::from_millis(10));
                }
                let output = child.wait_with_output().expect("known");
                (name, (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
            };
            children.into_iter().map(output).collect()
        };
        for (name, (success, said)) in run(HEALTHY) {
            assert!(success && !said.contains(REPORT), "{name}: {said}");
            println!("{name}: ok");
        }
        for (name, (success, said)) in run(STUCK) {
            assert!(!success && said.matches(REPORT).count() == 1, "{name}: {said}");
            assert!(said.contains("tests/global_deadlock.rs:"), "{name}: {said}");
            println!("{name}: ok");
        }
    }

    /// The dashboard's own coroutines wait for a socket, and wake no others.
    fn beside_a_dashboard() {
        sward::observe::serve("127.0.0.1:0").expect("served");
        own_sender();
    }

    /// The timer is all that wakes the program, on a worker and on a plain thread.
    fn a_future_of_a_time() {
        sward::run(|| {
            let sleeps = || sward::block_on(sward::time::sleep_async(LATER));
            sward::spawn(sleeps).join().expect("no panic");
            sward::block_on(sward::time::timeout_async(LATER, std::future::pending::<()>())).unwrap_err();
        });
        sward::block_on(sward::time::sleep_async(MUCH_LATER));
    }

    /// The netpoller thread fires the timer for the worker, which is busy, and is in the waker for long. By
    /// then no timer is left, and all workers sleep.
    fn a_timer_whose_waker_is_slow() {
        struct Slow(sward::task::Task, AtomicBool);
        impl Wake for Slow {
            fn wake(self: Arc<Self>) {
                self.1.store(true, Ordering::SeqCst);
                thread::sleep(MUCH_LATER);
                self.0.unpark();
            }
        }
        sward::run(|| {
            let waits = sward::spawn(|| {
                let slow = Arc::new(Slow(sward::task::current(), AtomicBool::new(false)));
                let mut sleeps = pin!(sward::time::sleep_async(Duration::from_millis(20)));
                let waker = Waker::from(slow.clone());
                if sleeps.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                    while !slow.1.load(Ordering::SeqCst) {
                        std::hint::spin_loop();
                    }
                    sward::task::park();
                }
            });
            waits.join().expect("no panic");
        });
    }

    fn a_future_that_waits_for_a_thread() {
        let (sender, receiver) = bounded::<()>(1);
        let sends = thread::spawn(move || {
            thread::sleep(LATER);
            sender.send(())
        });
        sward::run(|| sward::block_on(receiver.recv_async())).expect("a message");
        sends.join().expect("no panic").expect("a receiver");
    }

    fn own_sender() {
        sward::run(|| {
            let (sender, receiver) = unbounded::<String>();
            for message in &receiver {
                println!("{message}");
            }
            drop(sender);
        });
    }

    fn each_others_channels() {
        sward::run(|| {
            let ((to_a, a), (to_b, b)) = (bounded::<()>(1), bounded::<()>(1));
            let one = sward::spawn(move || a.recv().is_ok_and(|()| to_b.send(()).is_ok()));
            let other = sward::spawn(move || b.recv().is_ok_and(|()| to_a.send(()).is_ok()));
            let _ = (one.join(), other.join());
        });
    }

    fn all_kinds_of_waits() {
        sward::run(|| {
            sward::scope(|scope| {
                scope.spawn(|| Semaphore::new(0).acquire().is_ok());
                scope.spawn(|| Notify::new().wait());
                scope.spawn(sward::task::park);
                scope.spawn(|| {
                    let mutex = Mutex::new(());
                    drop(Condvar::new().wait(mutex.lock().expect("no panic")));
                });
                scope.spawn(|| {
                    let ((_one, a), (_other, b)) = (bounded::<()>(1), bounded::<()>(1));
                    sward::select! {
                        recv(a) -> _ => {}
                        recv(b) -> _ => {}
                    }
                });
                scope.spawn(|| {
                    let (sender, _receiver) = bounded::<()>(0);
                    let _ = sender.send(());
                });
            });
        });
    }

    fn a_thread_that_joins() {
        let runtime = Builder::new().worker_threads(2).build().expect("a runtime");
        let _ = runtime.spawn(sward::task::park).join();
    }

    fn two_runtimes() {
        let runtimes = [(); 2].map(|()| Builder::new().worker_threads(1).build().expect("a runtime"));
        let (sender, receiver) = bounded::<()>(0);
        let theirs = sender.clone();
        runtimes[0].spawn(move || drop((sward::task::park(), theirs)));
        runtimes[1].run(|| receiver.recv().is_ok());
        drop(sender);
    }

    fn a_thread_has_ended() {
        sward::run(|| {
            let (sender, receiver) = bounded::<()>(0);
            let its = sender.clone();
            thread::spawn(move || {
                thread::sleep(LATER);
                drop(its);
            });
            let _ = receiver.recv();
            drop(sender);
        });
    }

    fn idle_threads_of_the_pool() {
        sward::run(|| {
            sward::blocking(|| ()).expect("a thread");
            sward::task::park();
        });
    }

    fn after_a_timer() {
        sward::run(|| {
            sward::sleep(MUCH_LATER);
            sward::task::park();
        });
    }

    fn a_thread_sends() {
        sward::run(|| {
            let (sender, receiver) = bounded::<()>(0);
            thread::spawn(move || {
                thread::sleep(MUCH_LATER);
                sender.send(())
            });
            receiver.recv().expect("sent");
        });
    }

    fn the_main_thread_sends() {
        let runtime = Builder::new().worker_threads(2).build().expect("a runtime");
        let (sender, receiver) = bounded::<()>(0);
        let waits = runtime.spawn(move || receiver.recv());
        thread::sleep(MUCH_LATER);
        sender.send(()).expect("received");
        waits.join().expect("no panic").expect("sent");
    }

    /// Runs that command of a shell a little later.
    fn later(command: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("sleep {}; {command}", LATER.as_secs_f32())]);
        shell
    }

    fn a_signal() {
        let stream = signal(SignalKind::USER_DEFINED1).expect("a signal");
        let mut child = later(&format!("kill -USR1 {}", std::process::id())).spawn().expect("a child");
        sward::run(|| stream.recv());
        child.wait().expect("it ends");
    }

    fn a_child_process() {
        sward::run(|| {
            let shell = sward::process::Command::new("sleep").arg("0.8").status();
            assert!(shell.expect("a child").success());
        });
    }

    fn output_of_a_child() {
        sward::run(|| {
            let mut shell = sward::process::Command::new("sh");
            let output = shell.args(["-c", "sleep 0.8; echo later"]).output().expect("a child");
            assert_eq!(output.stdout, b"later\n");
        });
    }

    fn a_timer() {
        sward::run(|| {
            let (sender, receiver) = bounded::<()>(0);
            sward::spawn(move || {
                sward::sleep(MUCH_LATER);
                sender.send(())
            });
            receiver.recv().expect("sent");
        });
    }

    fn a_channel_of_the_time() {
        sward::run(|| {
            let (_sender, receiver) = bounded::<()>(0);
            let after = sward::channel::after(LATER);
            sward::select! {
                recv(receiver) -> _ => unreachable!("nobody sends"),
                recv(after) -> _ => {}
            }
        });
    }

    fn a_time_limit() {
        sward::run(|| {
            let outcome = sward::time::timeout(LATER, sward::task::park);
            assert!(outcome.is_err());
        });
    }

    fn a_blocking_call() {
        sward::run(|| {
            let (sender, receiver) = bounded::<()>(0);
            sward::spawn(move || {
                sward::blocking(move || {
                    thread::sleep(MUCH_LATER);
                    sender.send(()).expect("received");
                })
            });
            receiver.recv().expect("sent");
        });
    }

    fn a_thread_with_a_deadline() {
        let runtime = Builder::new().worker_threads(2).build().expect("a runtime");
        let (sender, receiver) = bounded::<()>(0);
        let waits = runtime.spawn(move || receiver.recv());
        let (_never, other) = bounded::<()>(0);
        assert!(other.recv_timeout(LATER).is_err());
        drop(sender);
        assert!(waits.join().expect("no panic").is_err());
    }

    /// The waker of a future is called by a worker or the netpoller thread.
    fn a_future_of_a_socket() {
        sward::run(|| {
            let listener = sward::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = listener.local_addr().expect("bound").port();
            let mut child =
                later(&format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}'")).spawn().expect("a child");
            let polls = std::future::poll_fn(|context| listener.poll_readable(context));
            sward::block_on(polls).expect("ready");
            child.wait().expect("it ends");
        });
    }

    fn a_socket() {
        sward::run(|| {
            let listener = sward::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = listener.local_addr().expect("bound").port();
            let mut child =
                later(&format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}'")).spawn().expect("a child");
            let (sender, receiver) = bounded::<()>(0);
            sward::spawn(move || listener.accept().is_ok() && sender.send(()).is_ok());
            receiver.recv().expect("sent");
            child.wait().expect("it ends");
        });
    }
}
