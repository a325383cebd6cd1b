//! System calls that the kernel does not have, or a sandbox forbids.

use crate::common::{child, command, is_child, text, this_test};
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
