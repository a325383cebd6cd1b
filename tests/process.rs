//! What ends a process or needs one of its own: each test runs itself again as a child.

mod checked;
mod common;

use common::cpu_time;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const ROLE: &str = "SWARD_TEST_ROLE";

/// Runs this test again in a child process with that role and environment.
fn child(test: &str, environment: &[(&str, &str)]) -> Output {
    command(test).envs(environment.iter().copied()).output().expect("a child")
}

fn command(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test's own program"));
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, test)
        .env("RUST_BACKTRACE", "0");
    command
}

const UNSUPPORTED: &str = "this kernel has no MADV_GUARD_INSTALL";

fn is_child() -> bool {
    std::env::var_os(ROLE).is_some()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[inline(never)]
fn deep(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 64]);
    if n == 0 { 0 } else { deep(n - 1) + frame[(n % 64) as usize] }
}

#[test]
fn an_overflow_names_the_coroutine() {
    use std::os::unix::process::ExitStatusExt;
    if is_child() {
        sward::run(|| {
            let deep = sward::task::Builder::new().name("digger").spawn(|| deep(1 << 40));
            deep.expect("spawned").join().expect("unreachable")
        });
        return;
    }
    let output = child("an_overflow_names_the_coroutine", &[]);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{}", text(&output));
    let report = text(&output);
    for part in
        [" \"digger\" (spawned at tests/process.rs:", "overflowed its stack of 256 KiB", "SWARD_STACK_SIZE"]
    {
        assert!(report.contains(part), "{part} is missing in: {report}");
    }
}

/// Nobody builds the first coroutine: what sizes its stack is the runtime's builder.
#[test]
fn an_overflow_of_the_main_coroutine_says_what_gives_it_more() {
    if is_child() {
        sward::run(|| deep(1 << 40));
        return;
    }
    let report = text(&child("an_overflow_of_the_main_coroutine_says_what_gives_it_more", &[]));
    for part in [" \"main\" (spawned at tests/process.rs:", "runtime::Builder::stack_size"] {
        assert!(report.contains(part), "{part} is missing in: {report}");
    }
}

/// A misuse is blamed on the line that does it.
#[test]
fn misuse_is_reported_where_it_is() {
    if is_child() {
        sward::run(|| sward::run(|| ()));
    }
    let report = text(&child("misuse_is_reported_where_it_is", &[]));
    assert!(report.contains("tests/process.rs:") && report.contains("inside a coroutine"), "{report}");
    assert!(!report.contains("src/sched"), "{report}");
}

#[test]
fn what_a_shutdown_leaks_is_reported() {
    if is_child() {
        let runtime = sward::runtime::Builder::new().build().expect("a runtime");
        // One that has not started is dropped, not leaked.
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
    let report = text(&child("what_a_shutdown_leaks_is_reported", &[]));
    for part in ["1 coroutine has not unwound within 50ms and is leaked:\n", "  coroutine #"] {
        assert!(report.contains(part), "{part} is missing in: {report}");
    }
}

#[test]
fn another_fault_goes_to_the_earlier_handler() {
    use std::os::unix::process::ExitStatusExt;
    if is_child() {
        // SAFETY: none; this ends the process, which is the point.
        sward::run(|| unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) });
        return;
    }
    let output = child("another_fault_goes_to_the_earlier_handler", &[]);
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{}", text(&output));
    assert!(!text(&output).contains("overflowed"));
}

/// Without an earlier handler, a signal that a process sends ends this one as it does any other.
#[test]
fn a_fault_signal_that_was_sent_ends_the_process() {
    use std::os::unix::process::ExitStatusExt;
    const TEST: &str = "a_fault_signal_that_was_sent_ends_the_process";
    if is_child() {
        let signal = std::env::var("SIGNAL").expect("set").parse().expect("a number");
        // SAFETY: the default takes the place of std's handler; the signal is meant to end the process.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            assert_eq!(sward::run(|| libc::kill(libc::getpid(), signal)), 0);
        }
        // The signal may come on another thread.
        std::thread::sleep(Duration::from_secs(5));
        return;
    }
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        let output = child(TEST, &[("SIGNAL", &signal.to_string())]);
        assert_eq!(output.status.signal(), Some(signal), "{}", text(&output));
    }
}

/// One that was ignored stays so: it neither ends the process nor undoes the report of overflows.
#[test]
fn a_fault_signal_that_was_ignored_stays_ignored() {
    use std::os::unix::process::ExitStatusExt;
    if is_child() {
        // SAFETY: std's handler is not needed here, and the signal is ignored.
        unsafe {
            libc::signal(libc::SIGSEGV, libc::SIG_IGN);
            sward::run(|| assert_eq!(libc::kill(libc::getpid(), libc::SIGSEGV), 0));
        }
        println!("goes on");
        sward::run(|| deep(1 << 40));
        return;
    }
    let output = child("a_fault_signal_that_was_ignored_stays_ignored", &[]);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{}", text(&output));
    for part in ["goes on", "overflowed its stack"] {
        assert!(text(&output).contains(part), "{part} is missing in: {}", text(&output));
    }
}

#[test]
fn nonsense_in_the_environment_is_named() {
    if is_child() {
        let error = sward::runtime::Builder::new().build().expect_err("nonsense");
        println!("error: {error}");
        return;
    }
    let size = "want bytes, or a number with K, M or G, up to 1G";
    for (name, value, want) in [
        ("SWARD_WORKERS", "0", "want a number from 1 to 1024"),
        ("SWARD_WORKERS", "abc", "want a number from 1 to 1024"),
        ("SWARD_STACK_SIZE", "0", size),
        ("SWARD_STACK_SIZE", "8G", size),
        ("SWARD_STACK_SIZE", "much", size),
        ("SWARD_STACK_GUARD", "hope", "want \"madvise\" or \"mprotect\""),
    ] {
        let output = child("nonsense_in_the_environment_is_named", &[(name, value)]);
        assert!(output.status.success());
        let said = text(&output);
        assert!(said.contains(&format!("environment variable {name}=")) && said.contains(value), "{said}");
        assert!(said.contains(want), "{said}");
    }
}

#[test]
fn the_environment_sets_defaults() {
    if is_child() {
        sward::run(|| assert_eq!(sward::runtime::metrics().expect("inside").workers.len(), 3));
        return;
    }
    let output =
        child("the_environment_sets_defaults", &[("SWARD_WORKERS", "3"), ("SWARD_STACK_SIZE", "64K")]);
    assert!(output.status.success(), "{}", text(&output));
}

/// Guards that split no mapping: 20,000 stacks take few of them.
#[test]
fn stacks_share_mappings() {
    if is_child() {
        let runtime = match sward::runtime::Builder::new().build() {
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return println!("{error}"),
            runtime => runtime.expect("a runtime"),
        };
        runtime.run(|| {
            static STARTED: AtomicUsize = AtomicUsize::new(0);
            let one = || {
                STARTED.fetch_add(1, Ordering::Relaxed);
                sward::task::park();
            };
            let handles: Vec<_> = (0..20_000).map(|_| sward::spawn(one)).collect();
            while STARTED.load(Ordering::Relaxed) < 20_000 && !handles.iter().any(|h| h.is_finished()) {
                sward::sleep(Duration::from_millis(1));
            }
            let mappings = std::fs::read_to_string("/proc/self/maps").expect("Linux").lines().count();
            for handle in handles {
                handle.task().unpark();
                handle.join().expect("no panic");
            }
            assert!(mappings < 200, "{mappings} mappings");
        });
        return;
    }
    let output = child("stacks_share_mappings", &[("SWARD_STACK_GUARD", "madvise")]);
    assert!(output.status.success(), "{}", text(&output));
    if text(&output).contains(UNSUPPORTED) {
        println!("skipped: {UNSUPPORTED}");
    }
}

#[test]
fn an_empty_variable_counts_as_unset() {
    if is_child() {
        let runtime = sward::runtime::Builder::new().build().expect("the defaults");
        assert!(!runtime.metrics().workers.is_empty());
        return;
    }
    let empty = [("SWARD_WORKERS", ""), ("SWARD_STACK_SIZE", ""), ("SWARD_STACK_GUARD", "")];
    let output = child("an_empty_variable_counts_as_unset", &empty);
    assert!(output.status.success(), "{}", text(&output));
}

/// With the forced fallback stacks run out early: the joiner is told which limit it was, the rest goes
/// on, and stacks that come back are used again.
#[test]
fn stacks_that_run_out_are_errors() {
    if is_child() {
        sward::run(|| {
            let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").expect("Linux");
            let count = limit.trim().parse::<usize>().expect("a number") / 4 + 100;
            let handles: Vec<_> = (0..count).map(|_| sward::spawn(sward::task::park)).collect();
            while !handles.iter().any(|handle| handle.is_finished()) {
                sward::sleep(Duration::from_millis(1));
            }
            sward::sleep(Duration::from_millis(20));
            for handle in &handles {
                handle.task().unpark();
            }
            let errors: Vec<_> = handles.into_iter().filter_map(|handle| handle.join().err()).collect();
            println!("{} errors, such as: {}", errors.len(), errors[0]);
            assert_eq!(sward::spawn(|| 7).join().expect("a stack again"), 7);
        });
        return;
    }
    let output = child("stacks_that_run_out_are_errors", &[("SWARD_STACK_GUARD", "mprotect")]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("vm.max_map_count"), "{}", text(&output));
}

/// A runtime with 1,000 parked connections makes no context switches.
#[test]
fn an_idle_runtime_sleeps() {
    use std::io::Read;
    if !is_child() {
        let output = child("an_idle_runtime_sleeps", &[]);
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
    // The machine may have been too busy to let the runtime come to rest at once.
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
    assert_eq!(all.len(), 3, "two workers and the netpoller");
    all.sort();
    all
}

/// With no descriptors left, `accept` neither spins nor fails, and goes on when there are some again.
#[test]
fn accept_backs_off_when_descriptors_run_out() {
    use sward::net::{TcpListener, TcpStream};
    if !is_child() {
        let output = child("accept_backs_off_when_descriptors_run_out", &[]);
        assert!(output.status.success(), "{}", text(&output));
        assert!(text(&output).contains("backing off"), "{}", text(&output));
        return;
    }
    sward::run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
        // SAFETY: the limit lives until the call ends.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        let client = TcpStream::connect(address).expect("connected");
        let mut held = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            held.push(file);
        }
        let accepting = sward::spawn(move || listener.accept().map(drop));
        let before = cpu_time();
        sward::sleep(Duration::from_secs(1));
        assert!(!accepting.is_finished());
        assert!(cpu_time() - before < Duration::from_millis(500), "it spins");
        drop(held);
        accepting.join().expect("no panic").expect("accepted in the end");
        drop(client);
    });
}

/// Leaves the process without free descriptors for as long as what this returns lives. One connection
/// waits at the listener.
fn without_descriptors() -> (sward::net::TcpListener, Box<dyn std::any::Any>) {
    let listener = sward::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    // SAFETY: the limit lives until the call ends.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    let client = std::net::TcpStream::connect(listener.local_addr().expect("its address"));
    let mut held = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        held.push(file);
    }
    (listener, Box::new((client.expect("connected"), held)))
}

/// A listener in non-blocking mode does not wait for descriptors either.
#[test]
fn accept_without_blocking_reports_that_descriptors_ran_out() {
    if !is_child() {
        let output = child("accept_without_blocking_reports_that_descriptors_ran_out", &[]);
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    sward::run(|| {
        let (listener, _held) = without_descriptors();
        listener.set_nonblocking(true).expect("set");
        let mut errors = (0..5).map(|_| listener.accept().expect_err("no descriptor").raw_os_error());
        assert!(errors.all(|errno| errno == Some(libc::EMFILE)));
    });
}

/// Waiting for descriptors is waiting at the listener: closing it ends that, too.
#[test]
fn close_ends_a_back_off() {
    if !is_child() {
        let output = child("close_ends_a_back_off", &[]);
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    sward::run(|| {
        let (listener, _held) = without_descriptors();
        let theirs = listener.try_clone().expect("no descriptor needed");
        let accepting = sward::spawn(move || theirs.accept().map(drop));
        let theirs = listener.try_clone().expect("no descriptor needed");
        let thread = std::thread::spawn(move || theirs.accept().map(drop));
        // By now one pause is of a second; it began at 635 ms.
        sward::sleep(Duration::from_millis(700));
        listener.close().expect("closed");
        let error = accepting.join().expect("no panic").expect_err("closed");
        assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
        let error = thread.join().expect("no panic").expect_err("closed");
        assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
    });
}

/// The report of a back-off goes to stderr, which may lead nowhere.
#[test]
fn accept_backs_off_with_stderr_gone() {
    use std::os::fd::AsRawFd;
    if !is_child() {
        let output = child("accept_backs_off_with_stderr_gone", &[]);
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    // SAFETY: the call takes no pointers.
    assert_eq!(unsafe { libc::dup2(writer.as_raw_fd(), 2) }, 2);
    sward::run(|| {
        let (listener, held) = without_descriptors();
        let accepting = sward::spawn(move || listener.accept().map(drop));
        sward::sleep(Duration::from_millis(50));
        drop(held);
        accepting.join().expect("no panic").expect("accepted in the end");
    });
}

/// What does not concern the listener does not end a server that says `accept()?`.
#[test]
fn a_fault_that_may_pass_does_not_end_a_server() {
    const NAME: &str = "a_fault_that_may_pass_does_not_end_a_server";
    let passing = [libc::EPERM, libc::ENOSPC, libc::ENOMEM, libc::EPROTO, libc::EOPNOTSUPP, libc::EXDEV];
    if !is_child() {
        for errno in [&passing[..], &[libc::EINVAL, libc::ENOTSOCK]].concat() {
            let output = child(NAME, &[("SWARD_TEST_ERRNO", &errno.to_string())]);
            assert!(output.status.success(), "{errno}: {}", text(&output));
        }
        return;
    }
    let errno = std::env::var("SWARD_TEST_ERRNO").expect("set").parse().expect("a number");
    refuse(libc::SYS_accept4, errno);
    let test = || {
        let listener = sward::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let _client =
            sward::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let accepted = sward::time::timeout(Duration::from_millis(30), || listener.accept());
        match accepted {
            Ok(Err(error)) => assert!(!passing.contains(&errno) && error.raw_os_error() == Some(errno)),
            Ok(Ok(_)) => unreachable!("the call is refused"),
            Err(_) => assert!(passing.contains(&errno), "{errno} is the listener's"),
        }
    };
    sward::run(test);
    test();
}

/// A forked child that goes on using the runtime is stopped.
#[test]
fn a_forked_child_is_refused() {
    if !is_child() {
        let output = child("a_forked_child_is_refused", &[]);
        assert!(output.status.success(), "{}", text(&output));
        assert!(text(&output).contains("may only exec"), "{}", text(&output));
        return;
    }
    sward::spawn(|| ()).join().expect("the runtime runs");
    // SAFETY: the child calls into the runtime only, which is what is tested, and ends.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            drop(sward::spawn(|| ()));
            libc::_exit(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGABRT);
    }
}

/// A program becomes a daemon between two runs, and its child a second time. It has used all that has
/// threads.
#[test]
fn a_child_forked_after_the_last_runtime_has_its_own() {
    if !is_child() {
        let output = child("a_child_forked_after_the_last_runtime_has_its_own", &[]);
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    let work = || {
        let connected = sward::run(|| {
            let orphan = sward::process::Command::new("sleep").arg("0.05").spawn().expect("a child");
            drop(orphan);
            let calls: Vec<_> = (0..20).map(|_| sward::spawn(|| sward::fs::metadata("Cargo.toml"))).collect();
            assert!(calls.into_iter().all(|call| call.join().expect("no panic").is_ok()));
            let listener = sward::net::TcpListener::bind(("localhost", 0)).expect("a listener");
            let address = listener.local_addr().expect("bound");
            let client = sward::spawn(move || sward::net::TcpStream::connect(address).expect("connected"));
            let server = listener.accept().expect("accepted");
            sward::sleep(Duration::from_millis(1));
            (client.join().expect("no panic"), server)
        });
        drop(connected);
        hear_a_signal();
    };
    // SAFETY: no runtime is alive; what the child does is what is tested.
    unsafe {
        libc::alarm(60);
        work();
        for generation in 0..3 {
            let pid = libc::fork();
            if pid == 0 {
                libc::alarm(60);
                work();
                continue;
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "generation {generation}");
            if generation == 0 {
                work();
                return;
            }
            libc::_exit(0);
        }
        libc::_exit(0);
    }
}

#[cfg(feature = "signal")]
fn hear_a_signal() {
    use sward::signal::{SignalKind, signal};
    let signals = signal(SignalKind::USER_DEFINED1).expect("a stream");
    // SAFETY: the call takes no pointers; the signal has a handler.
    assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
    assert!(signals.recv_timeout(Duration::from_secs(30)));
}

#[cfg(not(feature = "signal"))]
fn hear_a_signal() {}

/// A kernel without `epoll_pwait2`, or a filter that forbids it: all workers find out at the same time.
#[test]
fn a_missing_system_call_is_done_without() {
    if cfg!(sward_libkqueue) {
        println!("skipped: what stands for kqueue here is made of the calls that the test forbids");
        return;
    }
    for (name, errno) in
        [("ENOSYS", libc::ENOSYS), ("EPERM", libc::EPERM), ("EACCES", libc::EACCES), ("EIO", libc::EIO)]
    {
        if !is_child() {
            let output = child("a_missing_system_call_is_done_without", &[("SWARD_TEST_ERRNO", name)]);
            assert!(output.status.success(), "{name}: {}", text(&output));
            continue;
        }
        if std::env::var("SWARD_TEST_ERRNO").as_deref() != Ok(name) {
            continue;
        }
        refuse(libc::SYS_epoll_pwait2, errno);
        for _ in 0..20 {
            let runtime = sward::runtime::Builder::new().worker_threads(8).build().expect("a runtime");
            runtime.run(|| sward::sleep(Duration::from_millis(1)));
        }
    }
}

/// The other calls that have a fallback, and a sandbox that refuses them with an errno of its choice.
#[test]
fn a_forbidden_system_call_is_done_without() {
    use std::io::{Read, Write};
    const NAME: &str = "a_forbidden_system_call_is_done_without";
    if !is_child() {
        for errno in [libc::EACCES, libc::EPERM, libc::ENOSYS] {
            let mut child = command(NAME)
                .env("SWARD_TEST_ERRNO", errno.to_string())
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .expect("a child");
            child.stdin.take().expect("piped").write_all(b"input").expect("written");
            let output = child.wait_with_output().expect("it ends");
            assert!(output.status.success(), "{errno}: {}", text(&output));
            assert!(text(&output).contains("read: input"), "{errno}: {}", text(&output));
        }
        return;
    }
    let errno = std::env::var("SWARD_TEST_ERRNO").expect("set").parse().expect("a number");
    for call in [libc::SYS_preadv2, libc::SYS_pwritev2, libc::SYS_pidfd_open, libc::SYS_process_madvise] {
        refuse(call, errno);
    }
    let test = || {
        let mut input = String::new();
        sward::io::stdin().read_to_string(&mut input).expect("read");
        if !input.is_empty() {
            writeln!(sward::io::stdout(), "read: {input}").expect("written");
        }
        let status = sward::process::Command::new("true").status().expect("it ends");
        assert!(status.success());
        let all: Vec<_> = (0..100).map(|i| sward::spawn(move || i)).collect();
        assert_eq!(all.into_iter().map(|one| one.join().expect("no panic")).sum::<i32>(), 4_950);
    };
    sward::run(test);
    test();
}

/// Has the kernel refuse that system call from now on.
fn refuse(call: libc::c_long, errno: libc::c_int) {
    let instruction = |code: u32, jf, k| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, call as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program lives until the calls end; the kernel copies it.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

/// What the runtime has to say it says in vain where stderr takes nothing, and goes on.
#[test]
fn reports_that_cannot_be_written_do_no_harm() {
    const NAME: &str = "reports_that_cannot_be_written_do_no_harm";
    if !is_child() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux");
        let output = command(NAME).stderr(full).output().expect("a child");
        assert!(output.status.success(), "{} {}", output.status, text(&output));
        return;
    }
    let runtime = sward::runtime::Builder::new().worker_threads(1);
    let runtime = runtime.stall_threshold(Duration::from_millis(5)).build().expect("a runtime");
    runtime.run(|| {
        sward::spawn(|| panic!("to be said")).join().expect_err("it panics");
        // The monitor reports this worker, since one of its own waits.
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

/// A runtime whose last owner is one of its own coroutines ends like any other: no thread is left.
#[test]
fn a_runtime_that_ends_from_within_leaves_no_thread() {
    if !is_child() {
        let output = child("a_runtime_that_ends_from_within_leaves_no_thread", &[]);
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
    assert!(matches!(spawned.join(), Err(sward::task::JoinError::Cancelled)));
    let end = std::time::Instant::now() + Duration::from_secs(5);
    while threads().iter().any(|name| name.starts_with("sward")) {
        assert!(std::time::Instant::now() < end, "{:?}", threads());
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok()).collect()
}

/// A closure that cannot be started is dropped by the worker itself, which cannot wait for its own runtime.
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
        let output = child("run_in_a_destructor_on_a_worker_is_refused", &[]);
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
    assert!(receiver.recv_timeout(Duration::from_secs(5)).expect("it hangs"), "it was let through");
}

/// A forked child that drops what it has inherited leaves the parent's pollers alone, and does not wait for
/// threads that it does not have.
#[test]
fn what_a_forked_child_drops_stays_with_the_parent() {
    use std::io::{Read, Write};
    if !is_child() {
        let output = child("what_a_forked_child_drops_stays_with_the_parent", &[]);
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    let (mut ours, theirs) = runtime.run(|| {
        let listener = sward::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        let mut theirs = std::net::TcpStream::connect(address).expect("connected");
        let (mut ours, _) = listener.accept().expect("accepted");
        // Makes it join the worker's shard.
        let reader = sward::spawn(move || ours.read_exact(&mut [0]).map(|()| ours));
        sward::sleep(Duration::from_millis(20));
        theirs.write_all(b"x").expect("written");
        (reader.join().expect("no panic").expect("read"), theirs)
    });
    // SAFETY: the child drops what it has, which is what is tested, and ends.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::alarm(3);
            drop(ours);
            drop(runtime);
            libc::_exit(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        assert!(libc::WIFEXITED(status), "the child waits for what it does not have");
    }
    runtime.run(|| {
        ours.set_read_timeout(Some(Duration::from_secs(2))).expect("set");
        let reader = sward::spawn(move || ours.read_exact(&mut [0]));
        sward::sleep(Duration::from_millis(20));
        (&theirs).write_all(b"y").expect("written");
        reader.join().expect("no panic").expect("the parent's socket is watched no more");
    });
}

/// A coroutine that blocks its worker is reported, also when what waits could be run by any worker but there
/// is no other, and when what waits is ready behind it.
#[test]
fn a_coroutine_that_blocks_the_only_worker_is_reported() {
    if !is_child() {
        let output = child("a_coroutine_that_blocks_the_only_worker_is_reported", &[]);
        assert!(output.status.success(), "{}", text(&output));
        let reports = text(&output).matches("has kept worker 0").count();
        assert_eq!(reports, 2, "{}", text(&output));
        return;
    }
    let runtime = || {
        let runtime = sward::runtime::Builder::new().worker_threads(1);
        runtime.stall_threshold(Duration::from_millis(5)).build().expect("a runtime")
    };
    runtime().run(|| {
        let _unstarted = sward::spawn(|| ());
        std::thread::sleep(Duration::from_millis(300));
    });
    runtime().run(|| {
        let pinned = sward::task::Builder::new().pinned(true);
        let ready = pinned.spawn(sward::task::park).expect("spawned");
        sward::sleep(Duration::from_millis(5));
        ready.task().unpark();
        std::thread::sleep(Duration::from_millis(300));
    });
    // Nobody waits for this one.
    runtime().run(|| std::thread::sleep(Duration::from_millis(300)));
}

/// Writes far below its own frame, as C code does whose frame is so large and which was compiled without
/// stack probes.
#[inline(never)]
fn write_below(bytes: usize) {
    let frame = 0_u8;
    let below = std::hint::black_box(&raw const frame).wrapping_sub(bytes).cast_mut();
    // SAFETY: none. The child must end by this.
    unsafe { below.write_volatile(1) };
}

/// A frame of 240 KiB that is not probed jumps over the usual guard, into another stack. A larger guard, of
/// the runtime, of the environment or of the coroutine, catches it, and the report is the usual one.
#[test]
fn a_frame_that_jumps_the_usual_guard_is_caught_by_a_larger_one() {
    use std::os::unix::process::ExitStatusExt;
    const TEST: &str = "a_frame_that_jumps_the_usual_guard_is_caught_by_a_larger_one";
    if is_child() {
        let way = std::env::var("WAY").expect("given");
        let mut runtime = sward::runtime::Builder::new().worker_threads(1);
        if way == "runtime" {
            runtime = runtime.guard_size(512 << 10);
        }
        runtime.build().expect("a runtime").run(|| {
            let mut jumper = sward::task::Builder::new().name("jumper").stack_size(64 << 10);
            if way == "coroutine" {
                jumper = jumper.guard_size(512 << 10);
            }
            // Stacks below its own, to be jumped into: the first region has 16.
            let started = Arc::new(AtomicUsize::new(0));
            let other = || {
                let started = Arc::clone(&started);
                let other = move || {
                    started.fetch_add(1, Ordering::SeqCst);
                    sward::task::park();
                };
                sward::task::Builder::new().stack_size(64 << 10).spawn(other).expect("spawned")
            };
            let others: Vec<_> = std::iter::repeat_with(other).take(12).collect();
            while started.load(Ordering::SeqCst) < others.len() {
                sward::yield_now();
            }
            jumper.spawn(|| write_below(240 << 10)).expect("spawned").join().expect("no panic");
            println!("nobody has noticed");
            for other in others {
                other.task().unpark();
                other.join().expect("no panic");
            }
        });
        return;
    }
    for way in ["runtime", "environment", "coroutine", "none"] {
        let size = if way == "environment" { "500K" } else { "" };
        let output = child(TEST, &[("WAY", way), ("SWARD_GUARD_SIZE", size)]);
        let said = text(&output);
        if way == "none" {
            assert!(said.contains("nobody has noticed"), "the frame is too small to show anything: {said}");
            continue;
        }
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{way}: {said}");
        assert!(said.contains("jumper") && said.contains("overflowed its stack of 64 KiB"), "{said}");
    }
}

/// The page tables of stacks cost a tenth of what a parked coroutine does. They go when the coroutines are
/// gone.
#[test]
fn a_past_burst_leaves_few_page_tables() {
    const BURST: usize = 60_000;
    const TEST: &str = "a_past_burst_leaves_few_page_tables";
    if !is_child() {
        let output = child(TEST, &[("SWARD_STACK_GUARD", "madvise")]);
        if text(&output).contains(UNSUPPORTED) {
            println!("skipped: {UNSUPPORTED}");
            return;
        }
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    let tables = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmPTE:")).expect("Linux says");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
    };
    let runtime = sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
    runtime.run(|| {
        // Ones that stay, spread over the burst.
        let (started, mut burst, mut stay) = (Arc::new(AtomicUsize::new(0)), Vec::new(), Vec::new());
        for n in 0..BURST {
            let started = Arc::clone(&started);
            let handle = sward::spawn(move || {
                started.fetch_add(1, Ordering::SeqCst);
                sward::task::park();
            });
            (if n % 1_000 == 0 { &mut stay } else { &mut burst }).push(handle);
        }
        while started.load(Ordering::SeqCst) < BURST {
            sward::sleep(Duration::from_millis(1));
        }
        let most = tables();
        assert!(most > BURST * 500, "{most} bytes: stacks are smaller than this test thinks");
        let end = |handles: Vec<sward::task::JoinHandle<()>>| {
            handles.iter().for_each(|handle| handle.task().unpark());
            handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
        };
        end(burst);
        // 4,000 free stacks of half a KiB, and a chunk of 64 for each of the 60 that live and of what workers
        // have.
        let left = tables();
        assert!(left < 11 << 20, "{left} bytes of {most} are left");
        end(stay);
        // The stacks that were emptied have guards again, and are of use.
        for _ in 0..2 {
            end((0..BURST / 4).map(|_| sward::spawn(sward::task::park)).collect());
        }
        let left = tables();
        assert!(left < 8 << 20, "{left} bytes of {most} are left");
    });
}
