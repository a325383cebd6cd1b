//! Memory that is short or locked, and transfers that must not take any.

use crate::common::{
    command, in_child, in_runtime, is_child, limit_address_space, pair, pattern, resident, status, text,
    this_test,
};
use crate::peers::byte;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use sward::net::Shutdown;

/// Bytes that a writer could not send yet are in its own buffer, and nowhere else.
#[test]
fn a_long_write_to_a_slow_reader_takes_no_memory() {
    const SIZE: usize = 64 << 20;
    in_child(|| {
        in_runtime(|| {
            let (mut client, mut server) = pair();
            let sent = pattern(SIZE);
            let mut buffer = vec![1; 1 << 16];
            // Buffers that are allocated once are there before the measurement.
            client.write_all(&sent[..1 << 20]).expect("it fits");
            server.read_exact(&mut vec![1; 1 << 20]).expect("read");
            let before = resident();
            let mut most = before;
            sward::scope(|s| {
                s.spawn(|| {
                    client.write_all(&sent).expect("written");
                    client.shutdown(Shutdown::Write).expect("the end");
                });
                let mut at = 0;
                loop {
                    let count = server.read(&mut buffer).expect("read");
                    if count == 0 {
                        break;
                    }
                    assert!(
                        buffer[..count].iter().enumerate().all(|(i, got)| *got == byte(at + i)),
                        "at {at}"
                    );
                    if at >> 20 != (at + count) >> 20 {
                        most = most.max(resident());
                        sward::sleep(Duration::from_millis(5));
                    }
                    at += count;
                }
                assert_eq!(at, SIZE);
            });
            assert!(most < before + (8 << 10), "it took {} KiB", most - before);
        });
    });
}

/// Starts `count` coroutines with that builder, all alive at once. Returns how many got no stack.
fn alive_at_once(count: usize, builder: impl Fn() -> sward::task::Builder) -> usize {
    let (started, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let handles: Vec<_> = (0..count)
        .map(|_| {
            let (started, over) = (Arc::clone(&started), Arc::clone(&over));
            let wait = move || {
                started.fetch_add(1, Ordering::SeqCst);
                while !over.load(Ordering::SeqCst) {
                    sward::task::park();
                }
            };
            builder().spawn(wait).expect("spawned")
        })
        .collect();
    let failed = || handles.iter().filter(|handle| handle.is_finished()).count();
    while started.load(Ordering::SeqCst) + failed() < count {
        sward::sleep(Duration::from_millis(1));
    }
    over.store(true, Ordering::SeqCst);
    handles.iter().for_each(|handle| handle.task().unpark());
    let outcomes = handles.into_iter().map(sward::task::JoinHandle::join);
    outcomes.filter(|outcome| matches!(outcome, Err(sward::task::JoinError::NoStack(_)))).count()
}

/// The kernel marks no guards in locked memory. A program that locks its memory while it has coroutines, and
/// unlocks it, still gets all of its coroutines. The kernel populates a locked region of stacks at once, so
/// it is no larger than needed.
#[test]
fn coroutines_start_after_the_program_has_locked_its_memory() {
    let said = in_child(|| {
        let lock = |flags: libc::c_int| {
            // SAFETY: the calls take no pointers.
            if unsafe { if flags == 0 { libc::munlockall() } else { libc::mlockall(flags) } } == 0 {
                return true;
            }
            println!("skipped: {}", io::Error::last_os_error());
            false
        };
        let usual = || sward::task::Builder::new();
        let large = || sward::task::Builder::new().stack_size(1 << 20);
        in_runtime(|| {
            assert_eq!(alive_at_once(20, usual), 0);
            for flags in [libc::MCL_FUTURE, libc::MCL_CURRENT | libc::MCL_FUTURE, libc::MCL_CURRENT, 0] {
                if !lock(flags) {
                    return;
                }
                assert_eq!(alive_at_once(60, usual), 0, "{flags}");
                assert_eq!(alive_at_once(600, || usual().stack_size(64 << 10)), 0, "{flags}");
            }
            if lock(libc::MCL_FUTURE)
                && let Some(before) = status("VmLck")
            {
                assert_eq!(alive_at_once(20, large), 0);
                let more = status("VmLck").expect("as before") - before;
                assert!(more < 32 << 20, "20 stacks of 1 MiB have locked {more} bytes");
            }
        });
    });
    if let Some(skipped) = said.as_deref().and_then(|said| said.lines().find(|line| line.contains("skipped")))
    {
        println!("{skipped}");
    }
}

/// With little address space some coroutines get a stack and the others an error, and all of them end.
#[test]
fn stacks_leave_address_space_to_the_others() {
    let test = this_test!();
    if is_child() {
        let room = std::env::var("ROOM").expect("given").parse::<u64>().expect("a number");
        let mapped = status("VmSize").unwrap_or(0);
        let runtime = sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
        limit_address_space(mapped + (room << 20));
        runtime.run(|| {
            let failed = alive_at_once(500, sward::task::Builder::new);
            assert!((1..500).contains(&failed), "{failed} of 500 got no stack");
            assert_eq!(sward::runtime::metrics().expect("inside").no_stack, failed as u64);
            // There is room left for the allocator and for new threads.
            assert_eq!(vec![1_u8; 256 << 10].len(), 256 << 10);
        });
        return;
    }
    for room in ["12", "20", "40", "60", "80"] {
        let mut command = command(test, test);
        // glibc's arenas take 64 MiB of address space each, which would disturb the measurement.
        command.env("ROOM", room).env("MALLOC_ARENA_MAX", "1");
        // So would the debug information that checked waits load, and the thread that looks for deadlocks.
        // And that which the stack in the report of a stall needs.
        command.env("SWARD_CHECK", "0").env("SWARD_DEADLOCKS", "0").env("SWARD_STALL_REPORTS", "0");
        let output = command.output().expect("a child");
        let said = text(&output);
        assert!(output.status.success(), "with {room} MiB: {said}");
    }
}

/// No joiner learns that a detached coroutine got no stack, so a report says it, once for many.
#[test]
fn a_detached_coroutine_without_a_stack_is_reported() {
    let said = in_child(|| {
        let mapped = status("VmSize").unwrap_or(1 << 30);
        let runtime = sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
        limit_address_space(mapped + (600 << 20));
        runtime.run(|| {
            for n in 0..50 {
                let huge = sward::task::Builder::new().name(format!("huge {n}")).stack_size(1 << 30);
                let handle = huge.spawn(|| unreachable!("there is no such stack")).expect("spawned");
                // Half of the handles are dropped after the end.
                while n % 2 == 0 && !handle.is_finished() {
                    sward::yield_now();
                }
                drop(handle);
            }
            let no_stack = || sward::runtime::metrics().expect("inside").no_stack;
            while no_stack() < 50 {
                sward::sleep(Duration::from_millis(1));
            }
            assert_eq!(no_stack(), 50);
        });
    });
    let Some(said) = said else { return };
    assert_eq!(said.matches("never ran, and nobody joins it: no stack: ").count(), 1, "{said}");
    assert!(said.contains("\"huge 0\""), "{said}");
}
