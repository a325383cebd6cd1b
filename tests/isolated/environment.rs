//! Environment variables.

use crate::common::{child, is_child, text, this_test};

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
        ("SWARD_NETPOLL", "fast", "want "),
        ("SWARD_STACK_GUARD", "hope", "want \"madvise\" or \"mprotect\""),
    ] {
        let output = child(this_test!(), &[(name, value)]);
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
    let output = child(this_test!(), &[("SWARD_WORKERS", "3"), ("SWARD_STACK_SIZE", "64K")]);
    assert!(output.status.success(), "{}", text(&output));
}

/// The two that Linux has, unless the build forces another one.
#[cfg(target_os = "linux")]
#[test]
fn the_environment_chooses_the_netpoller() {
    use std::io::{Read, Write};
    if cfg!(any(sward_poll, sward_libkqueue)) {
        println!("skipped: the build has one of them only");
        return;
    }
    if is_child() {
        let wanted = std::env::var("SWARD_NETPOLL").expect("set");
        sward::run(|| {
            let found = sward::runtime::metrics().expect("inside").netpoll;
            assert!(found == wanted || wanted == "io_uring" && found == "epoll", "{found}");
            println!("runs on {found}, {wanted} was wanted");
            let (mut one, mut other) = sward::net::UnixStream::pair().expect("a pair");
            let reader = sward::spawn(move || {
                let mut text = String::new();
                other.read_to_string(&mut text).expect("read");
                text
            });
            sward::yield_now();
            one.write_all(b"heard").expect("written");
            drop(one);
            assert_eq!(reader.join().expect("no panic"), "heard");
            let dump = sward::observe::dump();
            assert!(dump.to_string().contains(&format!(" on {found}")), "{dump}");
        });
        return;
    }
    for name in ["epoll", "io_uring"] {
        let output = child(this_test!(), &[("SWARD_NETPOLL", name)]);
        assert!(output.status.success(), "{}", text(&output));
    }
}

/// `ci/io_uring.sh` has seen that the system allows what it sets, so nothing may fall back from it.
#[test]
fn the_netpoller_is_the_one_that_ci_tests() {
    let Ok(wanted) = std::env::var("SWARD_TEST_NETPOLL") else { return };
    sward::run(|| assert_eq!(sward::runtime::metrics().expect("inside").netpoll, wanted));
}

#[test]
fn an_empty_variable_counts_as_unset() {
    if is_child() {
        let runtime = sward::runtime::Builder::new().build().expect("the defaults");
        assert!(!runtime.metrics().workers.is_empty());
        return;
    }
    let empty = [("SWARD_WORKERS", ""), ("SWARD_STACK_SIZE", ""), ("SWARD_STACK_GUARD", "")];
    let output = child(this_test!(), &empty);
    assert!(output.status.success(), "{}", text(&output));
}
