//! Checked waits: which waits they refuse, and which they allow.

mod checked;
mod common;

use common::{command, role, text, this_test};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{LazyLock, Once, OnceLock};
use std::time::Duration;
use sward::task::{self, JoinError};

/// A short wait.
fn wait() {
    sward::sleep(Duration::from_millis(1));
}

/// Runs the closure in a coroutine, and returns the message of its panic.
fn refusal(f: impl FnOnce() + Send + 'static) -> String {
    let runtime = sward::runtime::Builder::new().worker_threads(1).checks(true).build().expect("a runtime");
    match runtime.spawn(f).join() {
        Err(JoinError::Panicked(panic)) => panic.message().expect("a text").to_owned(),
        other => panic!("not refused: {other:?}"),
    }
}

fn assert_refused(what: &str, f: impl FnOnce() + Send + 'static) {
    let said = refusal(f);
    assert!(said.starts_with("sward: a coroutine waits at tests/checks.rs:"), "{said}");
    assert!(said.contains(&format!(", inside {what}")), "{said}");
}

thread_local! {
    static SLOW: u32 = {
        wait();
        1
    };
    static SLOW_AND_DROPPED: Vec<u32> = {
        sward::yield_now();
        Vec::new()
    };
}

#[test]
fn a_thread_local_whose_initializer_waits_is_refused() {
    assert_refused("the initializer of a thread_local!", || SLOW.with(|_| ()));
    assert_refused("the initializer of a thread_local!", || SLOW_AND_DROPPED.with(|_| ()));
}

#[test]
fn the_panic_names_both_lines_and_a_remedy() {
    let said = refusal(|| SLOW.with(|_| ()));
    assert!(said.contains("checks::wait, inside") && said.contains("in checks::SLOW)"), "{said}");
    assert!(said.contains("sward::sync::OnceLock"), "{said}");
}

#[test]
fn a_thread_local_whose_initializer_connects_is_refused() {
    thread_local!(static STREAM: std::io::Result<sward::net::TcpStream> = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let stream = sward::net::TcpStream::connect(listener.local_addr()?)?;
        // On the loopback interface a connection is often there at once.
        std::io::Read::read(&mut &stream, &mut [0])?;
        Ok(stream)
    });
    assert_refused("the initializer of a thread_local!", || STREAM.with(|_| ()));
}

#[test]
fn initializers_of_std_that_wait_are_refused() {
    let what = "the initializer of a Once, OnceLock, LazyLock, OnceCell or lazy_static!";
    assert_refused(what, || {
        static LAZY: LazyLock<u32> = LazyLock::new(|| {
            wait();
            1
        });
        let _ = *LAZY;
    });
    assert_refused(what, || {
        static CELL: OnceLock<()> = OnceLock::new();
        CELL.get_or_init(wait);
        wait();
    });
    assert_refused(what, || {
        static ONCE: Once = Once::new();
        ONCE.call_once(wait);
    });
}

#[test]
fn scoped_thread_locals_held_over_a_wait_are_refused() {
    scoped_tls::scoped_thread_local!(static KEY: u32);
    assert_refused("scoped_tls's ScopedKey::set", || {
        KEY.set(&1, || task::park_timeout(Duration::from_millis(1)))
    });
}

/// A refused wait unwinds like a cancelled one, so nothing stays in a queue.
#[test]
fn a_refused_wait_leaves_nothing_behind() {
    let runtime = sward::runtime::Builder::new().checks(true).build().expect("a runtime");
    runtime.run(|| {
        let mutex = sward::sync::Mutex::new(0);
        let held = mutex.lock().expect("free");
        let refused = sward::scope(|s| {
            let other = s.spawn(|| {
                thread_local!(static KEY: u32 = const { 1 });
                scoped_tls::scoped_thread_local!(static SCOPED: u32);
                KEY.with(|one| SCOPED.set(one, || *mutex.lock().expect("not poisoned") += 1));
            });
            other.join()
        });
        assert!(matches!(refused, Err(JoinError::Panicked(_))), "{refused:?}");
        drop(held);
        *mutex.lock().expect("not poisoned") += 1;
        assert_eq!(mutex.into_inner().expect("not poisoned"), 1);
    });
}

/// The end of a scope must not unwind while its coroutines run. So the children are cancelled first, and then
/// the wait is refused.
#[test]
fn a_scope_in_an_initializer_is_refused_once_it_has_ended() {
    static ENDED: OnceLock<bool> = OnceLock::new();
    thread_local!(static KEY: u32 = {
        let parked = Cell::new(false);
        sward::scope(|s| {
            s.spawn(|| {
                struct Ends;
                impl Drop for Ends {
                    fn drop(&mut self) {
                        ENDED.set(true).expect("once");
                    }
                }
                let _ends = Ends;
                task::park();
            });
            parked.set(true);
        });
        1
    });
    let said = refusal(|| KEY.with(|_| ()));
    assert!(said.contains("inside the initializer of a thread_local!"), "{said}");
}

#[test]
fn waits_outside_of_thread_bound_code_are_not_refused() {
    let runtime = sward::runtime::Builder::new().checks(true).build().expect("a runtime");
    runtime.run(|| {
        static CELL: sward::sync::OnceLock<u32> = sward::sync::OnceLock::new();
        static ONCE: sward::sync::Once = sward::sync::Once::new();
        static LAZY: sward::sync::LazyLock<u32> = sward::sync::LazyLock::new(|| {
            wait();
            3
        });
        assert_eq!(
            *CELL.get_or_init(|| {
                wait();
                2
            }),
            2
        );
        ONCE.call_once(wait);
        assert_eq!(*LAZY, 3);
        // A second scope between two waits, and a thread-local that is borrowed over a wait. The coroutine
        // stays on its thread.
        thread_local!(static KEY: Cell<u32> = const { Cell::new(0) });
        task::Builder::new()
            .pinned(true)
            .spawn(|| KEY.with(|key| (wait(), key.set(1))))
            .expect("spawned")
            .join()
            .expect("not refused");
    });
}

/// In migrating mode, a coroutine must not keep a reference into a thread-local over a wait.
#[test]
fn a_borrowed_thread_local_is_refused_where_coroutines_migrate() {
    thread_local!(static KEY: u32 = const { 1 });
    // SAFETY: the coroutine keeps a reference to a number over a wait that is refused.
    let builder = unsafe { sward::runtime::Builder::new().migrate_started() };
    let runtime = builder.checks(true).build().expect("a runtime");
    let outcome = runtime.spawn(|| KEY.with(|_| wait())).join();
    let Err(JoinError::Panicked(panic)) = outcome else { panic!("not refused: {outcome:?}") };
    let said = panic.message().expect("a text");
    assert!(said.contains("LocalKey::with"), "{said}");
}

/// No wait is refused on a plain thread, where calls nest, or while a panic unwinds, since such a wait does
/// not switch.
#[test]
fn waits_that_do_not_switch_are_not_refused() {
    SLOW.with(|_| ());
    let runtime = sward::runtime::Builder::new().checks(true).build().expect("a runtime");
    runtime.run(|| {
        struct Waits;
        impl Drop for Waits {
            fn drop(&mut self) {
                wait();
            }
        }
        scoped_tls::scoped_thread_local!(static KEY: u32);
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            KEY.set(&1, || {
                let _waits = Waits;
                panic!("on purpose");
            });
        }));
        assert_eq!(unwound.expect_err("a panic").downcast_ref(), Some(&"on purpose"));
    });
}

/// Runs itself again in children with different values of the variable.
#[test]
fn the_environment_turns_checks_on() {
    if let Some(role) = role() {
        let outcome = sward::run(|| sward::spawn(|| SLOW.with(|_| ())).join());
        assert_eq!(outcome.is_err(), role == "refused", "{outcome:?}");
        return;
    }
    for (value, role) in [("1", "refused"), ("0", "not refused")] {
        let mut child = command(this_test!(), role);
        let output = child.env("SWARD_CHECK", value).output().expect("a child");
        assert!(output.status.success(), "{value}: {}", String::from_utf8_lossy(&output.stdout));
    }
    let mut child = command(this_test!(), "refused");
    let output = child.env("SWARD_CHECK", "maybe").output().expect("a child");
    let said = text(&output);
    assert!(!output.status.success() && said.contains("SWARD_CHECK=\"maybe\": want 1 or 0"), "{said}");
}
