//! System calls that the kernel does not have, or a sandbox forbids.

use crate::common::{child, command, in_child, is_child, text, this_test};
use std::time::Duration;

/// A kernel without `epoll_pwait2`, or a filter that forbids it. All workers find out at the same time.
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
            let output = child(this_test!(), &[("SWARD_TEST_ERRNO", name)]);
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

/// The other system calls with a fallback, in a sandbox that refuses them with an errno of its choice.
#[test]
fn a_forbidden_system_call_is_done_without() {
    use std::io::{Read, Write};
    let test = this_test!();
    if !is_child() {
        for errno in [libc::EACCES, libc::EPERM, libc::ENOSYS] {
            let mut child = command(test, test)
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

/// Makes the kernel refuse that system call from now on.
pub(crate) fn refuse(call: libc::c_long, errno: libc::c_int) {
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

/// A sandbox that forbids a ring, or its set-up, or the calls on it: then the pool makes the calls on files.
/// The last one begins once the ring is in use, and amid calls.
#[cfg(target_os = "linux")]
#[test]
fn a_forbidden_ring_is_done_without() {
    use std::os::unix::fs::FileExt;
    use sward::fs::File;
    let test = this_test!();
    if !is_child() {
        for (when, call) in
            [("at first", libc::SYS_io_uring_setup), ("at first", libc::SYS_io_uring_register)]
                .into_iter()
                .chain([("later", libc::SYS_io_uring_enter)])
        {
            for errno in [libc::EPERM, libc::EAGAIN] {
                let output = command(test, test)
                    .env("SWARD_IO_URING", "1")
                    // A netpoller on io_uring cannot do without it later.
                    .env_remove("SWARD_NETPOLL")
                    .env("SWARD_TEST_CALL", call.to_string())
                    .env("SWARD_TEST_WHEN", when)
                    .env("SWARD_TEST_ERRNO", errno.to_string())
                    .output()
                    .expect("a child");
                assert!(output.status.success(), "{call} {errno}: {}", text(&output));
            }
        }
        return;
    }
    let variable = |name| std::env::var(name).expect("set");
    let number = |name| variable(name).parse::<i32>().expect("a number");
    let (call, errno) = (number("SWARD_TEST_CALL").into(), number("SWARD_TEST_ERRNO"));
    let folder = crate::common::Folder::new();
    let path = folder.at("file");
    let work = |file: &File, round: u64| {
        sward::scope(|s| {
            for writer in 0..20 {
                s.spawn(move || file.write_all_at(&[round as u8; 100], writer * 100).expect("written"));
            }
        });
        file.sync_all().expect("synced");
        let mut read = [0; 2_000];
        file.read_exact_at(&mut read, 0).expect("read");
        assert!(read.iter().all(|&byte| byte == round as u8));
    };
    if variable("SWARD_TEST_WHEN") == "at first" {
        refuse(call, errno);
    }
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    runtime.run(|| {
        let file = File::options().read(true).write(true).create(true).open(&path).expect("a file");
        work(&file, 1);
        if variable("SWARD_TEST_WHEN") == "later" {
            // For this worker.
            refuse(call, errno);
        }
        (2..20).for_each(|round| work(&file, round));
    });
}

/// A shortage of descriptors, when a worker makes its ring, is not for ever.
#[cfg(target_os = "linux")]
#[test]
fn a_ring_is_made_when_there_are_descriptors_again() {
    use std::os::unix::fs::FileExt;
    use sward::fs::File;
    use sward::runtime::{Builder, IoUring, metrics};
    in_child(|| {
        // SAFETY: no other thread runs.
        unsafe { std::env::set_var("SWARD_IO_URING", "1") };
        let folder = crate::common::Folder::new();
        let path = folder.at("file");
        // In migrating mode a spare worker may go on with it.
        let works = || {
            let workers = metrics().expect("inside of a runtime").workers;
            workers.iter().any(|worker| worker.io_uring == IoUring::Works)
        };
        let write = |times, short: bool| {
            Builder::new().worker_threads(1).build().expect("a runtime").run(|| {
                let file =
                    File::options().write(true).create(true).truncate(true).open(&path).expect("a file");
                if short {
                    let _all = crate::common::take_all_descriptors();
                    file.write_all_at(b"text", 0).expect("written");
                    assert!(!works());
                }
                (0..times).for_each(|_| file.write_all_at(b"text", 0).expect("written"));
                works()
            })
        };
        let usual = write(1, false);
        assert_eq!(write(1_000, true), usual);
    });
}

/// A sandbox that forbids a part of io_uring before the runtime starts: then the netpoller is epoll, and says
/// so.
#[cfg(target_os = "linux")]
#[test]
fn a_forbidden_netpoller_is_done_without() {
    use std::io::{Read, Write};
    let test = this_test!();
    if cfg!(any(sward_poll, sward_libkqueue)) {
        println!("skipped: the build has no io_uring");
        return;
    }
    if !is_child() {
        for call in [libc::SYS_io_uring_setup, libc::SYS_io_uring_register, libc::SYS_io_uring_enter] {
            for errno in [libc::EPERM, libc::ENOSYS, libc::ENOMEM] {
                let output = command(test, test)
                    .env("SWARD_NETPOLL", "io_uring")
                    .env("SWARD_TEST_CALL", call.to_string())
                    .env("SWARD_TEST_ERRNO", errno.to_string())
                    .output()
                    .expect("a child");
                assert!(output.status.success(), "{call} {errno}: {}", text(&output));
            }
        }
        return;
    }
    let number = |name| std::env::var(name).expect("set").parse::<i32>().expect("a number");
    refuse(number("SWARD_TEST_CALL").into(), number("SWARD_TEST_ERRNO"));
    sward::run(|| {
        assert_eq!(sward::runtime::metrics().expect("inside").netpoll, "epoll");
        let (mut one, mut other) = sward::net::UnixStream::pair().expect("a pair");
        let reader = sward::spawn(move || other.read(&mut [0; 8]).expect("read"));
        sward::sleep(Duration::from_millis(1));
        one.write_all(b"heard").expect("written");
        assert_eq!(reader.join().expect("no panic"), 5);
    });
}
