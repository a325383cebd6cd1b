//! What reports say, and whom they accuse.

use crate::common::{LONG, child_command, homes_by_default, one_worker_and_home};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sward::runtime::{Builder, Homes, Runtime};

const READY: &str = "the child is ready";
const TURN_ENDS: &str = "the turn ends";

/// Runs the child, which must succeed, and returns what it says on stderr.
fn stderr_of(mut command: Command) -> String {
    let output = command.arg("--nocapture").output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let all = format!("{}{said}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success() && all.contains("1 passed"), "{all}");
    said
}

/// Runs the child until it has reported a stall of the coroutine of that name. Returns what it has said up to
/// then.
fn report_of(mut command: Command, name: &str) -> String {
    let command = command.arg("--nocapture").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a child");
    let (mut said, name) = (String::new(), format!(" \"{name}\" "));
    let is_it = |line: &str| line.contains(&name) && line.contains("has kept worker ");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let found = lines.any(|line| {
        let line = line.expect("read");
        said += &line;
        said.push('\n');
        is_it(&line)
    });
    // It computes still, unless there was no report.
    let _ = child.kill();
    child.wait().expect("it has ended");
    assert!(found, "no report of {name}: {said}");
    said
}

/// Runs the closure in a coroutine that the line of the caller spawns, while another coroutine of its worker,
/// or of its home, is ready to run.
#[track_caller]
fn keeps_a_sibling_waiting(name: Option<&str>, f: impl FnOnce() + Send + 'static) {
    let f = Arc::new(Mutex::new(Some(f)));
    while f.lock().expect("no panic").is_some() {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let (started, has_started) = sward::channel::bounded(1);
        // Pinned, as a spare worker would run it in migrating mode.
        let sibling = sward::task::Builder::new().pinned(true).spawn(move || {
            started.send(std::thread::current().id()).expect("heard");
            while !seen.load(Ordering::Relaxed) {
                sward::yield_now();
            }
        });
        let sibling = sibling.expect("spawned");
        let home = has_started.recv().expect("it starts");
        let mut builder = sward::task::Builder::new();
        if let Some(name) = name {
            builder = builder.name(name);
        }
        let f = Arc::clone(&f);
        let run = move || {
            // A spare worker may have started one of the two elsewhere. Then both are spawned once more.
            if std::thread::current().id() == home {
                let f = f.lock().expect("no panic").take().expect("it is called once");
                f();
            }
        };
        builder.spawn(run).expect("spawned").join().expect("it ends well");
        over.store(true, Ordering::Relaxed);
        sibling.join().expect("it ends well");
    }
}

/// A runtime with mobile homes; `None` where there can be none.
fn with_homes(workers: usize, homes: Homes) -> Option<Runtime> {
    let runtime = Builder::new().worker_threads(workers).homes(homes).build().expect("a runtime");
    runtime.metrics().homes.is_some().then_some(runtime)
}

fn on_one_worker(f: impl FnOnce() + Send) {
    one_worker_and_home().run(f);
}

/// The report about a worker that was kept: worker 0, unless a spare worker runs the home.
fn kept(said: &str) -> &str {
    let text = if homes_by_default() { "has kept worker " } else { "has kept worker 0 for" };
    said.lines().find(|line| line.contains(text)).expect(said)
}

/// The processor time of this thread.
fn used() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place for the time lives until the call ends.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn compute(time: Duration) {
    let end = used() + time;
    while used() < end {
        std::hint::spin_loop();
    }
}

#[test]
fn a_coroutine_that_computes_is_reported_as_computing() {
    let here = format!("(spawned at {}:{}:", file!(), line!() + 5);
    let Some(child) = child_command(|| {
        on_one_worker(|| {
            // Until the parent has read the report. A starved machine may need long for it, and a report of
            // another coroutine holds it back for a while.
            keeps_a_sibling_waiting(Some("spinner"), || compute(LONG));
        });
    }) else {
        return;
    };
    let said = report_of(child, "spinner");
    let line = said.lines().last().expect("a line");
    assert!(line.contains(" \"spinner\" ") && line.contains(&here), "{said}");
    assert!(line.contains("it computes (") && line.contains("ms of processor time)"), "{said}");
}

/// In its first turn a coroutine is in no list yet.
#[test]
fn a_nameless_coroutine_is_known_by_the_line_that_spawned_it() {
    let here = format!("(spawned at {}:{}:", file!(), line!() + 2);
    let Some(child) = child_command(|| {
        on_one_worker(|| keeps_a_sibling_waiting(None, || compute(Duration::from_millis(600))))
    }) else {
        return;
    };
    let said = stderr_of(child);
    let line = kept(&said);
    assert!(line.starts_with("sward: coroutine #") && line.contains(&here), "{said}");
    assert!(!said.contains("coroutine #0"), "{said}");
}

#[test]
fn a_coroutine_that_blocks_its_thread_is_reported_as_blocked() {
    let Some(child) = child_command(|| {
        on_one_worker(|| {
            keeps_a_sibling_waiting(Some("sleeper"), || std::thread::sleep(Duration::from_secs(2)));
        });
    }) else {
        return;
    };
    let said = stderr_of(child);
    let line = kept(&said);
    assert!(line.contains(" \"sleeper\" ") && line.contains("it is blocked in the kernel"), "{said}");
    assert!(line.contains("(clock_nanosleep"), "{said}");
}

/// A threshold for a thread that computes a little even so.
const COMPUTES_A_LITTLE: Duration = Duration::from_millis(100);

/// A thread that computes all the time takes the processor that the worker is bound to with the lowest
/// priority.
fn a_thread_is_not_run(threshold: Duration) {
    fn bind() {
        // SAFETY: zeros are a valid value; what the calls get lives until they end.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            assert_eq!(libc::sched_getaffinity(0, size_of_val(&set), &raw mut set), 0);
            let first = (0..libc::CPU_SETSIZE as usize).find(|&cpu| libc::CPU_ISSET(cpu, &set));
            libc::CPU_ZERO(&mut set);
            libc::CPU_SET(first.expect("a processor"), &mut set);
            assert_eq!(libc::sched_setaffinity(0, size_of_val(&set), &raw const set), 0);
        }
    }
    // Before the turn: a thread that starts late would leave the processor to the worker.
    let (over, (computes, has_begun)) = (Arc::new(AtomicBool::new(false)), std::sync::mpsc::channel());
    let ends = over.clone();
    std::thread::spawn(move || {
        bind();
        computes.send(()).expect("awaited");
        while !ends.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    has_begun.recv().expect("it begins");
    let builder = Builder::new().worker_threads(1).stall_threshold(threshold);
    let builder = if homes_by_default() { builder.homes(Homes::Count(1)) } else { builder };
    builder.build().expect("a runtime").run(|| {
        keeps_a_sibling_waiting(None, move || {
            bind();
            // SAFETY: the value lives until the call ends.
            let done = unsafe {
                let priority = libc::sched_param { sched_priority: 0 };
                libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const priority)
            };
            assert_eq!(done, 0);
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(3) {
                std::hint::spin_loop();
            }
            eprintln!("{TURN_ENDS}");
            over.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn a_coroutine_whose_thread_is_not_run_is_not_blamed() {
    let Some(child) = child_command(|| a_thread_is_not_run(COMPUTES_A_LITTLE)) else {
        return;
    };
    let said = stderr_of(child);
    // Afterwards the worker still has the lowest priority, and any lock that it meets may block it for long.
    let (said, _) = said.split_once(TURN_ENDS).expect("the turn ends");
    let worker = if homes_by_default() { "" } else { "0" };
    assert!(said.contains(&format!("the system has not run the thread of worker {worker}")), "{said}");
    assert!(!said.contains("has kept worker"), "{said}");
}

#[test]
fn reports_that_are_switched_off_are_not_printed_for_threads_that_are_not_run_either() {
    let Some(mut child) = child_command(|| a_thread_is_not_run(COMPUTES_A_LITTLE)) else {
        return;
    };
    child.env("SWARD_STALL_REPORTS", "0");
    let said = stderr_of(child);
    assert!(!said.contains("sward:"), "{said}");
}

/// Nobody waits for a coroutine whose siblings all live in other homes: other workers run those.
#[test]
fn a_coroutine_that_computes_alone_in_its_home_is_not_reported() {
    let Some(child) = child_command(|| {
        let Some(runtime) = with_homes(1, Homes::Auto) else { return };
        runtime.run(|| {
            let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
            let others: Vec<_> = (0..20)
                .map(|_| {
                    let (over, done) = (over.clone(), done.clone());
                    sward::spawn(move || {
                        while !over.load(Ordering::Relaxed) {
                            sward::sleep(Duration::from_millis(1));
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    })
                })
                .collect();
            let seen = done.clone();
            let hog = sward::task::Builder::new().isolated(true).spawn(move || {
                over.store(true, Ordering::Relaxed);
                compute(Duration::from_millis(600));
                let start = Instant::now();
                while seen.load(Ordering::Relaxed) < 20 {
                    assert!(start.elapsed() < LONG, "the others do not run beside it");
                }
            });
            hog.expect("spawned").join().expect("it ends well");
            others.into_iter().for_each(|other| other.join().expect("it ends well"));
        });
    }) else {
        return;
    };
    let said = stderr_of(child);
    assert!(!said.contains("has kept worker"), "{said}");
}

/// A sibling in the same home does wait, although other workers have nothing to do.
#[test]
fn a_coroutine_that_computes_beside_a_sibling_is_reported() {
    let Some(mut child) = child_command(|| {
        let Some(runtime) = with_homes(2, Homes::Count(1)) else { return };
        println!("{READY}");
        runtime.run(|| keeps_a_sibling_waiting(Some("spinner"), || compute(Duration::from_millis(600))));
    }) else {
        return;
    };
    let output = child.arg("--nocapture").output().expect("a child");
    let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}{said}");
    if shown.contains(READY) {
        let line = said.lines().find(|line| line.contains("has kept worker ")).expect(&said);
        assert!(line.contains(" \"spinner\" ") && line.contains("it computes ("), "{said}");
    }
}

fn signal(child: &Child, signal: libc::c_int) {
    // SAFETY: the call takes no pointers. The number is still the child's, as no call has waited for it.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, signal) }, 0);
}

#[test]
fn a_stopped_process_reports_no_stall_when_it_continues() {
    let Some(mut command) = child_command(|| {
        on_one_worker(|| {
            let over = Arc::new(AtomicBool::new(false));
            let busy: Vec<_> = (0..3)
                .map(|_| {
                    let seen = Arc::clone(&over);
                    sward::spawn(move || {
                        while !seen.load(Ordering::Relaxed) {
                            compute(Duration::from_millis(2));
                            sward::yield_now();
                        }
                    })
                })
                .collect();
            println!("{READY}");
            sward::blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).expect("run").expect("read");
            over.store(true, Ordering::Relaxed);
            busy.into_iter().for_each(|one| one.join().expect("it ends well"));
        });
    }) else {
        return;
    };
    let mut child = command
        .arg("--nocapture")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.contains(READY) {
        line.clear();
        assert_ne!(output.read_line(&mut line).expect("read"), 0, "it has ended");
    }
    for _ in 0..3 {
        signal(&child, libc::SIGSTOP);
        std::thread::sleep(Duration::from_secs(1));
        signal(&child, libc::SIGCONT);
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(child.stdin.take());
    let limit = Instant::now() + LONG;
    while child.try_wait().expect("waited").is_none() {
        assert!(Instant::now() < limit, "the child hangs");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("read");
    // On a busy machine the system may really not have run a thread for a while. But not for a second.
    let of_machine = |line: &str| {
        let (_, time) =
            line.split_once("the system has not run the thread of worker")?.1.split_once("most of ")?;
        time.split_once(" ms").is_some_and(|(time, _)| time.len() < 4).then_some(())
    };
    let mut reports = said.lines().filter(|line| line.contains("sward:"));
    assert!(reports.all(|line| of_machine(line).is_some()), "{said}");
}

fn panics() {
    let error = sward::spawn(|| -> () { panic!("the reason") }).join().expect_err("a panic");
    let said = error.to_string();
    assert!(said.starts_with("coroutine #") && said.ends_with("panicked: the reason"), "{said}");
    assert!(said.contains(&format!("(spawned at {}:", file!())), "{said}");
}

#[test]
fn a_panic_is_printed_with_its_coroutine_and_its_reason() {
    let Some(child) = child_command(|| on_one_worker(panics)) else {
        return;
    };
    let said = stderr_of(child);
    let (_, rest) = said.split_once("sward: coroutine #").expect(&said);
    assert!(rest.contains(&format!("(spawned at {}:", file!())), "{said}");
    assert!(rest.contains("panics:") && rest.contains("the reason"), "{said}");
}

/// A test harness that captures output sets a panic hook, which keeps the message from stderr. Then the line
/// about the coroutine is not there either.
#[test]
fn captured_output_does_not_part_a_panic_from_its_coroutine() {
    let Some(mut child) = child_command(|| {
        on_one_worker(panics);
        panic!("it fails, so that what was captured is shown");
    }) else {
        return;
    };
    let output = child.output().expect("a child");
    let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(shown.contains("the reason") && shown.contains("1 failed"), "{shown}");
    assert!(!shown.contains("sward: coroutine"), "{shown}");
    // Not any line of ours: a busy machine is reported, too.
    assert!(!said.contains("sward: coroutine") && !said.contains("the reason"), "{said}");
}

#[test]
fn a_silent_panic_hook_silences_all() {
    let Some(child) = child_command(|| {
        let silent = || std::panic::set_hook(Box::new(|_| {}));
        silent();
        on_one_worker(panics);
    }) else {
        return;
    };
    let said = stderr_of(child);
    assert!(!said.contains("sward: coroutine") && !said.contains("the reason"), "{said}");
}

#[test]
fn a_silent_panic_hook_of_later_silences_all() {
    let Some(child) = child_command(|| {
        on_one_worker(|| {
            std::panic::set_hook(Box::new(|_| {}));
            panics();
        });
    }) else {
        return;
    };
    let said = stderr_of(child);
    assert!(!said.contains("sward: coroutine") && !said.contains("the reason"), "{said}");
}

/// The report names the wait, and not the system call that it makes, or a computation.
#[test]
fn a_wait_in_a_destructor_while_unwinding_is_named() {
    struct SendsInDrop(sward::channel::Sender<()>);
    impl Drop for SendsInDrop {
        fn drop(&mut self) {
            let _ = self.0.send(()); // the channel is full
        }
    }
    let Some(child) = child_command(|| {
        on_one_worker(|| {
            let (sender, receiver) = sward::channel::bounded(1);
            sender.send(()).expect("room");
            keeps_a_sibling_waiting(Some("flusher"), move || {
                let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    let _sends = SendsInDrop(sender);
                    // After enough time for the report. Without this the test would never end.
                    std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_millis(600));
                        receiver.iter().for_each(drop);
                    });
                    std::panic::resume_unwind(Box::new("a panic"));
                }));
                caught.expect_err("a panic");
            });
        });
    }) else {
        return;
    };
    let said = stderr_of(child);
    let line = kept(&said);
    assert!(line.contains(" \"flusher\" "), "{said}");
    assert!(line.contains("a wait in a destructor while unwinding (send)"), "{said}");
}

#[test]
fn a_scope_in_a_destructor_that_could_never_end_says_so() {
    struct ScopeInDrop;
    impl Drop for ScopeInDrop {
        fn drop(&mut self) {
            sward::scope(|s| _ = s.spawn(|| ()));
        }
    }
    if cfg!(sward_migrate) || homes_by_default() {
        println!("skipped: another worker runs it");
        return;
    }
    let Some(mut child) = child_command(|| {
        on_one_worker(|| {
            let _scope = ScopeInDrop;
            std::panic::resume_unwind(Box::new("a panic"));
        });
    }) else {
        return;
    };
    let output = child.arg("--nocapture").output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("for a coroutine of the worker that this wait blocks"), "{said}");
}
