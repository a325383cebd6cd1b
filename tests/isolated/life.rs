//! The life of a runtime: idling, misuse, shutdown.

use crate::common::{child, command, homes_by_default, is_child, text, this_test};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::time::Duration;
use sward::runtime::Homes;

/// The panic about a misuse names the line of the misuse.
#[test]
fn misuse_is_reported_where_it_is() {
    if is_child() {
        sward::run(|| sward::run(|| ()));
    }
    let report = text(&child(this_test!(), &[]));
    assert!(report.contains(&format!("{}:", file!())) && report.contains("inside a coroutine"), "{report}");
    assert!(!report.contains("src/sched"), "{report}");
}

#[test]
fn leaks_at_a_shutdown_are_reported() {
    if is_child() {
        let runtime = sward::runtime::Builder::new().build().expect("a runtime");
        // A shutdown drops an unstarted coroutine, and does not leak it.
        let (started, starts) = std::sync::mpsc::channel();
        drop(runtime.spawn(move || {
            let _ = started.send(());
            loop {
                std::hint::spin_loop();
            }
        }));
        starts.recv().expect("it starts");
        runtime.shutdown_timeout(Duration::from_millis(50));
        return;
    }
    let report = text(&child(this_test!(), &[]));
    for part in ["1 coroutine has not unwound within 50ms and is leaked:\n", "  coroutine #"] {
        assert!(report.contains(part), "{part} is missing in: {report}");
    }
}

/// A runtime with 1,000 parked connections makes no context switches.
#[test]
fn an_idle_runtime_sleeps() {
    use std::io::Read;
    if !is_child() {
        let output = child(this_test!(), &[]);
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    let runtime = sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
    let clients = runtime.run(|| {
        let listener = sward::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        sward::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("accepted");
                sward::spawn(move || stream.read(&mut [0]).map(drop));
            }
        });
        (0..1_000).map(|_| std::net::TcpStream::connect(address).expect("connected")).collect::<Vec<_>>()
    });
    std::thread::sleep(Duration::from_millis(500));
    // A busy machine may delay the moment at which the runtime is idle.
    let quiet = (0..5).any(|_| {
        let before = switches();
        std::thread::sleep(Duration::from_secs(3));
        before == switches()
    });
    assert!(quiet, "it wakes up: {:?}", switches());
    drop(clients);
}

/// The voluntary context switches of the runtime's threads.
fn switches() -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").expect("Linux") {
        let path = task.expect("an entry").path();
        let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        if let (true, Some(count)) = (name.starts_with("sward"), line) {
            all.push((name, count.trim().parse().expect("a number")));
        }
    }
    // With mobile homes more workers may have been added, and each home has a thread, which never wakes up.
    // The watch for deadlocks has just begun, perhaps.
    all.retain(|(name, _)| !matches!(name.trim(), "sward-watch" | "sward-report"));
    let workers = all.iter().filter(|(name, _)| !name.contains("-home-")).count();
    assert!(workers == 3 || homes_by_default() && workers > 3, "two workers and the netpoller: {all:?}");
    assert_eq!(all.len() > workers, homes_by_default());
    all.sort();
    all
}

/// The runtime goes on where stderr takes none of its reports.
#[test]
fn reports_that_cannot_be_written_do_no_harm() {
    let test = this_test!();
    if !is_child() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux");
        let output = command(test, test).stderr(full).output().expect("a child");
        assert!(output.status.success(), "{} {}", output.status, text(&output));
        return;
    }
    let runtime = sward::runtime::Builder::new().worker_threads(1);
    let runtime = runtime.stall_threshold(Duration::from_millis(5)).build().expect("a runtime");
    runtime.run(|| {
        sward::spawn(|| panic!("to be said")).join().expect_err("it panics");
        // The monitor reports this worker, since another coroutine of it is runnable.
        let sleeper = sward::spawn(|| sward::sleep(Duration::from_millis(10)));
        sward::sleep(Duration::from_millis(1));
        std::thread::sleep(Duration::from_millis(300));
        sleeper.join().expect("no panic");
    });
    let (sender, receiver) = std::sync::mpsc::channel();
    runtime.spawn(move || {
        sender.send(()).expect("the test listens");
        std::thread::sleep(Duration::from_secs(3600));
    });
    receiver.recv().expect("it runs");
    runtime.shutdown_timeout(Duration::from_millis(1));
}

/// A runtime whose last owner is one of its own coroutines ends as usual: no thread is left.
#[test]
fn a_runtime_that_ends_from_within_leaves_no_thread() {
    if !is_child() {
        let output = child(this_test!(), &[]);
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    let runtime = std::sync::Arc::new(sward::runtime::Builder::new().worker_threads(2).build().expect("one"));
    let (theirs, too_late) = (runtime.clone(), runtime.clone());
    let (sender, receiver) = std::sync::mpsc::channel();
    let handle = runtime.spawn(move || {
        sward::sleep(Duration::from_millis(20));
        sender.send(too_late.spawn(|| sward::sleep(Duration::from_secs(3600)))).expect("the test listens");
        drop(too_late);
        drop(theirs);
    });
    drop(runtime);
    let _ = handle.join();
    let spawned = receiver.recv().expect("spawned");
    assert!(matches!(spawned.join(), Err(sward::task::JoinError::ShutDown)));
    let end = std::time::Instant::now() + Duration::from_secs(120);
    while threads().iter().any(|name| name.starts_with("sward")) {
        assert!(std::time::Instant::now() < end, "{:?}", threads());
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok()).collect()
}

/// A coroutine that blocks the only worker is reported, both when a coroutine waits behind it that any worker
/// could run, and when one waits that is ready at this worker. With mobile homes a spare worker runs the
/// former.
#[test]
fn a_coroutine_that_blocks_the_only_worker_is_reported() {
    if !is_child() {
        let mut command = command(this_test!(), this_test!());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut input = child.stdin.take().expect("piped");
        let (mut reports, mut said) = (0, String::new());
        for line in BufReader::new(child.stderr.take().expect("piped")).lines() {
            let line = line.expect("text");
            if line.contains("has kept worker ") {
                reports += 1;
                // Not if nothing was to be reported any more.
                let _ = input.write_all(b"x");
            }
            said.push_str(&line);
            said.push('\n');
        }
        assert!(child.wait().expect("it has ended").success(), "{said}");
        assert_eq!(reports, if homes_by_default() { 1 } else { 2 }, "{said}");
        return;
    }
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(120));
        eprintln!("there is no report");
        std::process::abort();
    });
    // The worker is blocked until the parent has read the report.
    let block = || {
        std::thread::sleep(Duration::from_millis(300));
        std::io::stdin().read_exact(&mut [0]).expect("the parent has read a report");
    };
    let runtime = || {
        let runtime = sward::runtime::Builder::new().worker_threads(1);
        // In one home the two coroutines are siblings.
        let runtime = if homes_by_default() { runtime.homes(Homes::Count(1)) } else { runtime };
        runtime.stall_threshold(Duration::from_millis(5)).build().expect("a runtime")
    };
    runtime().run(|| {
        let _unstarted = sward::spawn(|| ());
        if homes_by_default() { std::thread::sleep(Duration::from_millis(300)) } else { block() }
    });
    runtime().run(|| {
        let sibling = || {
            let (sender, receiver) = sward::channel::bounded(1);
            let parks = move || {
                sender.send(std::thread::current().id()).expect("heard");
                sward::task::park();
            };
            let sibling = sward::task::Builder::new().pinned(true).spawn(parks).expect("spawned");
            (receiver.recv() == Ok(std::thread::current().id())).then_some(sibling)
        };
        // A spare worker may have started it elsewhere.
        let ready = std::iter::repeat_with(sibling).flatten().next().expect("a sibling");
        sward::sleep(Duration::from_millis(5));
        ready.task().unpark();
        block();
    });
    // No coroutine waits behind this one.
    runtime().run(|| std::thread::sleep(Duration::from_millis(300)));
}

/// The worker itself drops a closure that cannot start. It cannot wait for its own runtime there.
#[test]
fn run_in_a_destructor_on_a_worker_is_refused() {
    struct Runs(std::sync::Weak<sward::runtime::Runtime>, std::sync::mpsc::Sender<bool>);
    impl Drop for Runs {
        fn drop(&mut self) {
            let runtime = self.0.upgrade().expect("the test holds it");
            let run = std::panic::AssertUnwindSafe(|| runtime.run(|| ()));
            self.1.send(std::panic::catch_unwind(run).is_err()).expect("the test listens");
        }
    }
    if !is_child() {
        let output = child(this_test!(), &[]);
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = pages.split(' ').next().expect("a size").parse().expect("a number");
    let most = (pages << 12) + (512 << 20);
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: the limit lives until the call ends.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    let runtime = std::sync::Arc::new(runtime);
    let (sender, receiver) = std::sync::mpsc::channel();
    let theirs = std::sync::Arc::downgrade(&runtime);
    runtime.run(|| {
        let runs = Runs(theirs, sender);
        let large = sward::task::Builder::new().stack_size(1 << 30);
        drop(large.spawn(move || drop(runs)).expect("spawned"));
    });
    assert!(receiver.recv_timeout(Duration::from_secs(120)).expect("it hangs"), "it was let through");
}
